//! The calling end: one pool of TLS connections, HTTP/2 where the server offers it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::{BoxError, Service};

use crate::config::client_config;
use crate::error::chain;
use crate::{Identity, TlsError};

/// A request body: any stream of bytes.
pub type ClientBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// TCP connect and TLS handshake together. A peer inside one cluster answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Under the server's idle limit, so that the client closes first and no request meets a closing
/// connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A bound per peer for HTTP/1; HTTP/2 needs one connection.
const IDLE_PER_HOST: usize = 32;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A pooled HTTPS client that trusts one CA and shows one certificate. Cheap to clone; clones
/// share the pool.
#[derive(Clone)]
pub struct HttpsClient {
    inner: Client<BoundedConnect, ClientBody>,
    /// Upgrades take a connection of HTTP/1.1 for themselves, so this one keeps no pool.
    upgrading: Client<BoundedConnect, ClientBody>,
}

impl std::fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpsClient").finish_non_exhaustive()
    }
}

/// A connector whose whole work, TLS included, ends within [`CONNECT_TIMEOUT`]: a peer that accepts
/// and then says nothing must not hold a request for ever.
#[derive(Clone)]
struct BoundedConnect(HttpsConnector<HttpConnector>);

impl Service<Uri> for BoundedConnect {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            tokio::time::timeout(CONNECT_TIMEOUT, connecting)
                .await
                .map_err(|_| format!("no connection within {CONNECT_TIMEOUT:?}"))?
        })
    }
}

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot {method} {uri}: {}", chain(source))]
pub struct SendError {
    method: http::Method,
    uri: String,
    source: hyper_util::client::legacy::Error,
}

impl SendError {
    /// Whether no connection could be made, so that the server certainly saw nothing.
    pub fn is_connect(&self) -> bool {
        self.source.is_connect()
    }
}

impl HttpsClient {
    /// A client that trusts servers signed by `ca_pem` and shows `identity` where one is asked.
    ///
    /// # Errors
    /// When a PEM text is not usable.
    pub fn new(ca_pem: &str, identity: Option<&Identity>) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(PING_INTERVAL));
        let config = client_config(ca_pem, identity)?;
        let first_version = HttpsConnectorBuilder::new()
            .with_tls_config(config.clone())
            .https_only()
            .enable_http1()
            .wrap_connector(tcp.clone());
        let upgrading = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_max_idle_per_host(0)
            .build(BoundedConnect(first_version));
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_all_versions()
            .wrap_connector(tcp);
        let inner = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_adaptive_window(true)
            .build(BoundedConnect(tls));
        Ok(Self { inner, upgrading })
    }

    /// Sends a request whose URI is absolute (`https://...`). Connecting is bounded by 10 s;
    /// how long the answer may take is for the caller to bound.
    ///
    /// # Errors
    /// When there is no connection, or it breaks before the answer's head.
    pub async fn send(
        &self,
        request: Request<ClientBody>,
    ) -> Result<Response<Incoming>, SendError> {
        send(&self.inner, request).await
    }

    /// Sends a request that asks for an upgrade, on a connection of its own. After a response 101
    /// `hyper::upgrade::on` gives the connection. Bounds and errors as for [`HttpsClient::send`].
    ///
    /// # Errors
    /// When there is no connection, or it breaks before the answer's head.
    pub async fn upgrade(
        &self,
        request: Request<ClientBody>,
    ) -> Result<Response<Incoming>, SendError> {
        send(&self.upgrading, request).await
    }
}

async fn send(
    client: &Client<BoundedConnect, ClientBody>,
    request: Request<ClientBody>,
) -> Result<Response<Incoming>, SendError> {
    let (method, uri) = (request.method().clone(), request.uri().to_string());
    client.request(request).await.map_err(|source| SendError {
        method,
        uri,
        source,
    })
}
