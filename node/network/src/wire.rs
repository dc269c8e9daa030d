//! HTTP as it comes from outside on a connection, in front of the pod network.

use crate::tunnel::strip_hop_by_hop;
use crate::{Body, PodNet, Undelivered, plain};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// A connection that sends no complete request head for this long is closed, idle ones included.
/// Common clients and proxies give up idle connections earlier by themselves, so that they do not
/// find one closed just as they use it.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);
/// Requests of one HTTP/2 connection at a time; more wait in the client.
const STREAMS_PER_CONNECTION_MAX: u32 = 1000;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Serves one connection to its end, or until some time after it was asked to close. `half_close`
/// lets a client that says nothing more still have its answer, and keeps from seeing that it left.
pub(crate) async fn serve<S>(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: S,
    half_close: bool,
    close: CancellationToken,
    drain_max: Duration,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .half_close(half_close)
        .header_read_timeout(HEADER_READ_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .keep_alive_interval(HEADER_READ_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    tokio::select! {
        // A client that breaks the protocol or goes away has been told by hyper, or cannot be.
        _ = connection.as_mut() => return,
        () = close.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(drain_max, connection).await;
}

impl PodNet {
    /// Speaks HTTP on a connection to a port of a pod of this node, such as one that came by
    /// `kubectl port-forward`, until the client closes it. Dropping the future closes it at once.
    pub async fn serve_port(
        self: Arc<Self>,
        to: SocketAddr,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) {
        let service = service_fn(move |request: Request<Incoming>| {
            let net = self.clone();
            async move {
                Ok::<_, Infallible>(match inward(request, to.port(), None) {
                    Ok(request) => net.answer_at(to, request).await,
                    Err(why) => plain(StatusCode::BAD_REQUEST, why),
                })
            }
        });
        let never = CancellationToken::new();
        serve(io, service, true, never, Duration::ZERO).await;
    }

    async fn answer_at(&self, to: SocketAddr, request: Request<Body>) -> Response<Body> {
        match self.deliver_local(to, request).await {
            Ok(mut response) => {
                strip_hop_by_hop(response.headers_mut());
                response
            }
            Err(Undelivered::Refused { why, .. }) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
            Err(Undelivered::Failed(error)) => plain(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }
}

/// Makes what came from the wire into a request as pods get it: an absolute URI, no headers of the
/// connection, and who it came from where that is to be said. `port` stands in for a missing host.
pub(crate) fn inward(
    request: Request<Incoming>,
    port: u16,
    forwarded_for: Option<&HeaderValue>,
) -> Result<Request<Body>, &'static str> {
    let (mut head, body) = request.into_parts();
    if head.uri.authority().is_none() {
        let authority = match head.headers.get(header::HOST) {
            Some(host) => Authority::try_from(host.as_bytes())
                .map_err(|_| "the Host header is not a host and port")?,
            // HTTP/1.0 knows no Host header; the node port is all that is known.
            None if head.version < http::Version::HTTP_11 => {
                Authority::try_from(format!("localhost:{port}"))
                    .map_err(|_| "the node port cannot be written as a host")?
            }
            None => return Err("HTTP/1.1 requires a Host header"),
        };
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority);
        parts.path_and_query = Some(
            head.uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        );
        head.uri = Uri::from_parts(parts).map_err(|_| "the request target is not a path")?;
    }
    strip_hop_by_hop(&mut head.headers);
    if let Some(forwarded_for) = forwarded_for {
        let from = match head.headers.get(&FORWARDED_FOR) {
            None => forwarded_for.clone(),
            Some(before) => {
                let mut list = before.as_bytes().to_vec();
                list.extend_from_slice(b", ");
                list.extend_from_slice(forwarded_for.as_bytes());
                HeaderValue::try_from(list).map_err(|_| "X-Forwarded-For cannot be extended")?
            }
        };
        head.headers.insert(&FORWARDED_FOR, from);
        if !head.headers.contains_key(&FORWARDED_PROTO) {
            head.headers
                .insert(&FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
    }
    let body = body.map_err(Into::into).boxed_unsync();
    Ok(Request::from_parts(head, body))
}
