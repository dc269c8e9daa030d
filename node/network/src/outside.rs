//! Requests that leave the cluster: a pooled HTTP client on the host's own network.

use crate::error::chain;
use crate::{Body, SendError, policy};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tower::Service;

/// Idle connections kept per destination, and for how long: enough that a busy guest does not
/// reconnect, few enough that thousands of destinations do not exhaust file descriptors.
const IDLE_PER_HOST_MAX: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the client to the outside is made from.
#[derive(Debug, Clone, Default)]
pub struct OutsideConfig {
    /// Certificates trusted besides the host's own store, in PEM: the cluster's authority, for the
    /// API server's endpoints.
    pub extra_roots_pem: String,
}

/// The certificates for TLS cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot set up TLS for requests that leave the cluster: {0}")]
pub struct TlsSetupError(String);

/// HTTP to places that are not pods. Two pools, so that a connection opened for a Service's
/// endpoint can never be reused by a guest that asked for the address itself.
pub struct OutsideClient {
    config: OutsideConfig,
    /// Made on first use: most clusters never need it, and reading the host's certificates takes
    /// longer than everything else that a node does to start.
    clients: OnceCell<Clients>,
}

struct Clients {
    policed: Client<HttpsConnector<Policed>, Body>,
    trusted: Client<HttpsConnector<HttpConnector>, Body>,
}

impl OutsideClient {
    /// A client; nothing is opened or read yet.
    pub fn new(config: OutsideConfig) -> Self {
        Self {
            config,
            clients: OnceCell::new(),
        }
    }

    async fn clients(&self) -> Result<&Clients, SendError> {
        self.clients
            .get_or_try_init(|| async {
                let pem = self.config.extra_roots_pem.clone();
                let tls = tokio::task::spawn_blocking(move || tls_config(&pem))
                    .await
                    .map_err(|error| TlsSetupError(error.to_string()))??;
                Ok::<_, TlsSetupError>(Clients::new(tls))
            })
            .await
            .map_err(|error| SendError::Failed {
                to: "the outside".into(),
                why: error.to_string(),
            })
    }

    /// Sends a request where its URI says, if [`policy::outside`] allows it.
    pub(crate) async fn send(
        &self,
        request: Request<Body>,
        limits: Limits,
    ) -> Result<Response<Body>, SendError> {
        let to = display_host(request.uri());
        // The connector resolves names only; an address in the URI goes past its resolver.
        if let Some(host) = request.uri().host()
            && let Ok(ip) = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<std::net::IpAddr>()
            && let Err(why) = policy::outside(ip)
        {
            return Err(SendError::Denied {
                to,
                why: why.into(),
            });
        }
        let clients = self.clients().await?;
        exchange(clients.policed.request(plain_version(request)), to, limits).await
    }

    /// Sends a request to the endpoint of a Service, wherever that is.
    pub(crate) async fn send_trusted(
        &self,
        addr: SocketAddr,
        request: Request<Body>,
        limits: Limits,
    ) -> Result<Response<Body>, SendError> {
        let to = addr.to_string();
        let request = redirect(request, &to)?;
        let clients = self.clients().await?;
        exchange(clients.trusted.request(plain_version(request)), to, limits).await
    }
}

/// How long a request outside may take until its response's head is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
}

async fn exchange(
    response: hyper_util::client::legacy::ResponseFuture,
    to: String,
    limits: Limits,
) -> Result<Response<Body>, SendError> {
    let after = limits.connect.saturating_add(limits.first_byte);
    match tokio::time::timeout(after, response).await {
        Err(_) => Err(SendError::Timeout {
            what: "the response from outside",
            after,
        }),
        Ok(Err(error)) => Err(classify(&error, to)),
        Ok(Ok(response)) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
    }
}

fn classify(error: &hyper_util::client::legacy::Error, to: String) -> SendError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(denied) = current.downcast_ref::<Forbidden>() {
            return SendError::Denied {
                to,
                why: denied.0.into(),
            };
        }
        if let Some(unknown) = current.downcast_ref::<UnknownName>() {
            return SendError::NoSuchName(unknown.0.clone());
        }
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::ConnectionRefused {
                return SendError::Refused {
                    to,
                    why: "nobody listens there".into(),
                };
            }
            // An io::Error hides its payload from `source()`.
            if let Some(inner) = io.get_ref() {
                cause = Some(inner);
                continue;
            }
        }
        cause = current.source();
    }
    SendError::Failed {
        to,
        why: chain(error),
    }
}

fn display_host(uri: &Uri) -> String {
    uri.authority()
        .map_or_else(String::new, ToString::to_string)
}

/// The client decides the version by what the server offers; a version left over from the side that
/// the request came from would make it refuse.
fn plain_version(mut request: Request<Body>) -> Request<Body> {
    *request.version_mut() = Version::HTTP_11;
    request
}

/// Points a request to another authority and keeps the one it was meant for in `Host`.
pub(crate) fn redirect(
    mut request: Request<Body>,
    authority: &str,
) -> Result<Request<Body>, SendError> {
    let bad = |why: String| SendError::BadRequest(why);
    if !request.headers().contains_key(header::HOST)
        && let Some(authority) = request.uri().authority()
    {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|e| bad(e.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
    }
    let mut parts = Parts::default();
    parts.scheme = Some(request.uri().scheme().cloned().unwrap_or(Scheme::HTTP));
    parts.authority = Some(Authority::try_from(authority).map_err(|error| bad(error.to_string()))?);
    parts.path_and_query = Some(
        request
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
    );
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| bad(error.to_string()))?;
    Ok(request)
}

fn tls_config(extra_roots_pem: &str) -> Result<rustls::ClientConfig, TlsSetupError> {
    let mut roots = rustls::RootCertStore::empty();
    // A host without certificates can still reach plain HTTP and the cluster's own endpoints;
    // everything else then fails with "unknown issuer", which says what is missing.
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    for certificate in CertificateDer::pem_slice_iter(extra_roots_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsSetupError(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| TlsSetupError(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsSetupError(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl Clients {
    fn new(tls: rustls::ClientConfig) -> Self {
        fn client<C>(tls: &rustls::ClientConfig, connector: C) -> Client<HttpsConnector<C>, Body>
        where
            HttpsConnector<C>: hyper_util::client::legacy::connect::Connect + Clone,
        {
            let connector = hyper_rustls::HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_or_http()
                .enable_http1()
                .enable_http2()
                .wrap_connector(connector);
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .build(connector)
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut policed = HttpConnector::new_with_resolver(PolicedResolver(GaiResolver::new()));
        policed.enforce_http(false);
        policed.set_nodelay(true);
        policed.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self {
            trusted: client(&tls, http),
            policed: client(&tls, Policed(policed)),
        }
    }
}

/// Per connection attempt; a guest's own limit covers the whole exchange and may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Leaves out addresses that the policy denies, after resolving: a name that someone points to
/// 127.0.0.1 is caught here.
#[derive(Clone)]
struct PolicedResolver(GaiResolver);

impl Service<Name> for PolicedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let text = name.as_str().to_owned();
        let lookup = self.0.call(name);
        Box::pin(async move {
            let found = lookup
                .await
                .map_err(|_| std::io::Error::other(UnknownName(text)))?;
            let mut denied = None;
            let allowed: Vec<SocketAddr> = found
                .filter(|addr| match policy::outside(addr.ip()) {
                    Ok(()) => true,
                    Err(why) => {
                        denied = Some(why);
                        false
                    }
                })
                .collect();
            match denied {
                Some(why) if allowed.is_empty() => Err(std::io::Error::other(Forbidden(why))),
                _ => Ok(allowed.into_iter()),
            }
        })
    }
}

/// Refuses a connection that ended at this very host: a socket whose two ends have one address.
/// It covers every address of the host without keeping a list of its interfaces.
#[derive(Clone)]
struct Policed(HttpConnector<PolicedResolver>);

impl Service<Uri> for Policed {
    type Response = TokioIo<TcpStream>;
    type Error = crate::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let stream = connecting.await?;
            let socket = stream.inner();
            if socket.peer_addr()?.ip() == socket.local_addr()?.ip() {
                return Err(Forbidden(policy::OWN_ADDRESS).into());
            }
            Ok(stream)
        })
    }
}

#[derive(Debug)]
struct Forbidden(&'static str);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Forbidden {}

#[derive(Debug)]
struct UnknownName(String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no such host: {}", self.0)
    }
}

impl std::error::Error for UnknownName {}

/// Keeps the compiler honest about the body that hyper is to send.
const _: fn() = || {
    fn sendable<T: http_body::Body<Data = Bytes> + Send + Unpin + 'static>() {}
    sendable::<Body>();
};
