//! A `kube::Client` that knows several servers and uses one: the one that it used last, and when that
//! fails, the others in turn.
//!
//! All servers are one to the caller: requests go to `https://kubernetes.default.svc`, a name that every
//! server's certificate carries, so it does not matter under which address a server is reached. A
//! server that dies silently is noticed by HTTP/2 pings within two seconds; its watches then fail,
//! and whoever watched starts again on a connection to the next one.

mod address;
mod dial;
mod servers;

use std::sync::atomic::Ordering;
use std::time::Duration;

use euston_tls::{Identity, TlsError};
use http::header::USER_AGENT;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;

pub use address::{AddressError, DEFAULT_PORT, ServerAddress};
use dial::{Dial, Via};
pub use servers::Servers;

/// The name that every server's certificate carries, whatever its address.
const SERVER_NAME: &str = "kubernetes.default.svc";

/// Whose fields are what is written without another name (`metadata.managedFields`).
const AGENT: HeaderValue = HeaderValue::from_static(concat!("euston/", env!("CARGO_PKG_VERSION")));

/// A peer that is silent for the one is asked, and given up when it is still silent after the other:
/// together under two seconds, so that a node is back at another server before it counts as lost.
const PING_INTERVAL: Duration = Duration::from_millis(750);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// To the head of the answer. The server's own limit is 60 s, and its answer says more than ours.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(65);
/// After a server said that it cannot serve, what still runs over the connection (watches, mostly) may go
/// on for this long and up to twice that, at random: long enough for an election, short enough that
/// nobody follows a server that has lost its group.
const CUT_AFTER: Duration = Duration::from_secs(3);

/// A client of the API behind `servers`, which have certificates of `ca_pem`, showing them `identity`;
/// and the handle to change both. Nothing is connected before the first request.
///
/// # Errors
/// When a certificate or key is not usable.
///
/// # Panics
/// Outside a tokio runtime.
pub fn connect(
    servers: Vec<ServerAddress>,
    ca_pem: &str,
    identity: Option<&Identity>,
) -> Result<(kube::Client, Servers), TlsError> {
    let servers = Servers::new(servers, ca_pem, identity)?;
    let http: Client<Dial, Body> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .build(Dial(servers.clone()));
    let list = servers.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (http, servers) = (http.clone(), list.clone());
        async move { send(&http, &servers, request).await }
    });
    Ok((kube::Client::new(service, "default"), servers))
}

type SendError = Box<dyn std::error::Error + Send + Sync>;

async fn send(
    http: &Client<Dial, Body>,
    servers: &Servers,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, SendError> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTPS);
    uri.authority = Some(Authority::from_static(SERVER_NAME));
    *request.uri_mut() = Uri::from_parts(uri)?;
    let headers = request.headers_mut();
    headers.entry(USER_AGENT).or_insert(AGENT);
    let connection = capture_connection(&mut request);
    let response = tokio::time::timeout(RESPONSE_TIMEOUT, http.request(request))
        .await
        .map_err(|_| format!("no answer within {RESPONSE_TIMEOUT:?}"))?
        .map_err(|e| euston_tls::chain(&e))?;
    // It is there, but without its group. The next request may have more luck elsewhere.
    if response.status() == StatusCode::SERVICE_UNAVAILABLE
        && let Some(via) = response.extensions().get::<Via>()
        && servers.give_up(&via.server)
    {
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.poison();
        }
        tracing::debug!(server = %via.server, "a server cannot serve; going to another");
        cut_later(via);
    }
    Ok(response)
}

/// Breaks a connection some time from now, unless it ends by itself before. Once for each connection,
/// however many of its requests failed.
fn cut_later(via: &Via) {
    if via.doomed.swap(true, Ordering::Relaxed) {
        return;
    }
    let cut = via.cut.clone();
    let after = CUT_AFTER.mul_f64(rand::random_range(1.0..=2.0));
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        cut.cancel();
    });
}
