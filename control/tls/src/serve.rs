//! Serving an axum router over TLS: bounded connections, no endless handshakes, a drain with an end.

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Router, body::Body};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::activity::Activity;
use crate::peers::{Peers, Place};
use crate::{PeerCertificate, PeerIdentity, TlsError};

/// How long an HTTP/2 peer may be silent before it is asked whether it is still there; a peer that
/// is gone without a word (power cut, dropped route) frees its connection after interval + timeout.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams per connection: Go clients multiplex every watch and request over one connection.
const H2_MAX_STREAMS: u32 = 1000;
/// The header of one request. Long selectors fit; together with the streams of a connection it
/// bounds what a peer can make us hold before any request is answered.
const H2_HEADER_BYTES_MAX: u32 = 64 << 10;
/// Frames that a stream's answer may wait in, beyond what its window takes.
const H2_SEND_BUFFER: usize = 128 << 10;
/// Streams that a peer opens and takes back before they are served. Past this it is attacking
/// (CVE-2023-44487, "rapid reset"), and its connection ends.
const H2_RESETS_MAX: usize = 64;
/// A peer that went without a word is asked after this, and again, before its connection ends.
/// HTTP/2 has its own pings; this is for HTTP/1, and for streams that were upgraded.
const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_PROBES: u32 = 3;
/// Flow control windows: a list of some megabytes goes out in few round trips, and 1000 streams
/// cannot pin more than the connection window.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 4 << 20;
/// After accept() ran out of file descriptors or memory: let some connections finish first.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections at one time; when full, accepting pauses, and new ones wait in the kernel's
    /// backlog. Default 4096: a busy cluster's agents and clients, well under usual limits on
    /// file descriptors.
    pub max_connections: usize,
    /// Of those, how many one address may hold; more are closed at once, so that no single
    /// machine can shut the others out. Default half of them.
    pub max_connections_per_peer: usize,
    /// From accept to the end of the TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// From the handshake to the first request. Default 30 s.
    pub first_request_timeout: Duration,
    /// HTTP/1: from one answer to the end of the next request's header, which is also how long a
    /// connection may idle. Default 120 s, longer than clients' usual pools keep one (90 s), so
    /// that it is the client that closes.
    pub header_read_timeout: Duration,
    /// HTTP/2: how long a connection may be without a request under way; then the peer is told
    /// to open another one when it has something to say. Default 120 s, as for HTTP/1.
    pub idle_timeout: Duration,
    /// After shutdown was asked: how long requests in flight may take to end. Default 5 s.
    pub drain_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_peer: 2048,
            handshake_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(30),
            header_read_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Serves `router` on `listener` until `shutdown` is cancelled, then lets requests in flight end
/// within [`ServeLimits::drain_timeout`] and drops the rest.
///
/// Every request carries a [`PeerIdentity`] and a [`PeerCertificate`] extension where the peer showed a
/// certificate, and `axum::extract::ConnectInfo<SocketAddr>`. HTTP/2 or HTTP/1.1 by ALPN; upgrades are allowed.
///
/// # Errors
/// When the listener breaks for good. A failing connection is that connection's matter.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: ServeLimits,
    shutdown: CancellationToken,
) -> Result<(), TlsError> {
    let server = Server {
        acceptor: TlsAcceptor::from(tls),
        router,
        limits,
        shutdown: shutdown.clone(),
    };
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let peers = Peers::new(limits.max_connections_per_peer);
    let connections = TaskTracker::new();
    let force = CancellationToken::new();
    let result = loop {
        let slot = tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            // Never closed, so this is always a permit.
            slot = Arc::clone(&slots).acquire_owned() => match slot {
                Ok(slot) => slot,
                Err(_) => break Ok(()),
            },
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = peers.enter(peer.ip()) else {
                    tracing::debug!(%peer, "closing a connection: its address has too many");
                    continue;
                };
                let connection = server.clone().connection(stream, peer, (slot, place));
                let force = force.clone();
                connections.spawn(async move { force.run_until_cancelled(connection).await });
            }
            Err(e) => match after_accept_error(&e) {
                AcceptError::OfOneConnection => {}
                AcceptError::OutOfResources => {
                    tracing::warn!(error = %e, "cannot accept a connection just now");
                    shutdown.run_until_cancelled(sleep(ACCEPT_BACKOFF)).await;
                }
                AcceptError::Fatal => {
                    break Err(TlsError::Accept {
                        address: listener
                            .local_addr()
                            .map_or_else(|_| "a closed socket".to_owned(), |a| a.to_string()),
                        source: e,
                    });
                }
            },
        }
    };
    // Refuse instead of queueing in the kernel while the rest drains.
    drop(listener);
    // Ends the connections on a fatal error too.
    server.shutdown.cancel();
    connections.close();
    if timeout(limits.drain_timeout, connections.wait())
        .await
        .is_err()
    {
        tracing::debug!(
            open = connections.len(),
            "dropping connections after the drain time"
        );
        force.cancel();
        connections.wait().await;
    }
    result
}

#[derive(Debug, PartialEq)]
enum AcceptError {
    OfOneConnection,
    OutOfResources,
    Fatal,
}

/// accept(2) hands on errors of the connection it took; those say nothing about the listener.
fn after_accept_error(error: &std::io::Error) -> AcceptError {
    // Linux errno: EBADF, EINVAL, ENOTSOCK mean that this listener will never accept again.
    const NEVER_AGAIN: [i32; 3] = [9, 22, 88];
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::Interrupted => AcceptError::OfOneConnection,
        _ if error
            .raw_os_error()
            .is_some_and(|n| NEVER_AGAIN.contains(&n)) =>
        {
            AcceptError::Fatal
        }
        _ => AcceptError::OutOfResources,
    }
}

#[derive(Clone)]
struct Server {
    acceptor: TlsAcceptor,
    router: Router,
    limits: ServeLimits,
    shutdown: CancellationToken,
}

impl Server {
    async fn connection(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        places: (OwnedSemaphorePermit, Place),
    ) {
        // Small answers must not wait for the peer's delayed acknowledgement. Failing here only
        // means that the peer is gone, and the handshake will say so.
        let _ = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new()
            .with_time(TCP_KEEPALIVE_IDLE)
            .with_interval(TCP_KEEPALIVE_INTERVAL)
            .with_retries(TCP_KEEPALIVE_PROBES);
        if let Err(e) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
            tracing::debug!(%peer, error = %e, "a connection without TCP keepalive");
        }
        let handshake = self.acceptor.accept(stream);
        let stream = tokio::select! {
            () = self.shutdown.cancelled() => return,
            done = timeout(self.limits.handshake_timeout, handshake) => match done {
                Ok(Ok(stream)) => stream,
                Ok(Err(e)) => {
                    tracing::debug!(%peer, error = %e, "TLS handshake failed");
                    return;
                }
                Err(_) => {
                    tracing::debug!(%peer, "TLS handshake timed out");
                    return;
                }
            },
        };
        let session = stream.get_ref().1;
        let identity = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|leaf| {
                let peer = PeerIdentity::from_certificate(leaf)?;
                Some((peer, PeerCertificate::new(leaf)))
            });
        let is_h2 = session.alpn_protocol() == Some(b"h2");
        let activity = Arc::new(Activity::new());
        let service = {
            let (router, activity) = (self.router.clone(), Arc::clone(&activity));
            hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                let busy = activity.begin();
                let mut request = request.map(Body::new);
                let extensions = request.extensions_mut();
                extensions.insert(ConnectInfo(peer));
                if let Some((identity, certificate)) = &identity {
                    extensions.insert(identity.clone());
                    extensions.insert(certificate.clone());
                }
                let response = router.clone().call(request);
                async move {
                    match response.await {
                        Ok(response) => {
                            Ok::<_, Infallible>(response.map(|body| busy.until_sent(body)))
                        }
                        Err(never) => match never {},
                    }
                }
            })
        };
        let io = TokioIo::new(stream);
        if is_h2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(H2_MAX_STREAMS)
                .initial_stream_window_size(H2_STREAM_WINDOW)
                .initial_connection_window_size(H2_CONNECTION_WINDOW)
                .max_header_list_size(H2_HEADER_BYTES_MAX)
                .max_send_buf_size(H2_SEND_BUFFER)
                .max_pending_accept_reset_streams(H2_RESETS_MAX)
                .keep_alive_interval(H2_PING_INTERVAL)
                .keep_alive_timeout(H2_PING_TIMEOUT)
                .enable_connect_protocol();
            let connection = builder.serve_connection(io, service);
            self.drive(connection, |c| c.graceful_shutdown(), &activity, peer)
                .await;
        } else {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header_read_timeout);
            let connection = builder.serve_connection(io, service).with_upgrades();
            self.drive(connection, |c| c.graceful_shutdown(), &activity, peer)
                .await;
        }
        drop(places);
    }

    /// Runs one connection to its end; asks it to end once shutdown begins, or once it has been
    /// idle for long.
    async fn drive<C>(
        &self,
        connection: C,
        finish: impl FnOnce(Pin<&mut C>),
        activity: &Activity,
        peer: SocketAddr,
    ) where
        C: Future<Output = Result<(), hyper::Error>>,
    {
        let mut connection = pin!(connection);
        let mut look = pin!(sleep(self.limits.first_request_timeout));
        let mut finish = Some(finish);
        let ended = loop {
            let finished = tokio::select! {
                ended = &mut connection => break ended,
                () = self.shutdown.cancelled(), if finish.is_some() => true,
                () = &mut look, if finish.is_some() => {
                    let Some(idle) = activity.idle_for() else {
                        tracing::debug!(%peer, "closing a connection that sent no request");
                        return;
                    };
                    let left = self.limits.idle_timeout.saturating_sub(idle);
                    look.as_mut().reset(Instant::now() + left);
                    left.is_zero()
                }
            };
            if finished && let Some(finish) = finish.take() {
                finish(connection.as_mut());
            }
        };
        if let Err(e) = ended {
            tracing::debug!(%peer, error = %e, "connection ended with an error");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_errors_of_one_peer_do_not_stop_the_listener() {
        for (errno, expect) in [
            (103, AcceptError::OfOneConnection), // ECONNABORTED
            (4, AcceptError::OfOneConnection),   // EINTR
            (24, AcceptError::OutOfResources),   // EMFILE
            (23, AcceptError::OutOfResources),   // ENFILE
            (12, AcceptError::OutOfResources),   // ENOMEM
            (9, AcceptError::Fatal),             // EBADF
            (22, AcceptError::Fatal),            // EINVAL
        ] {
            let error = std::io::Error::from_raw_os_error(errno);
            assert_eq!(after_accept_error(&error), expect, "{error}");
        }
    }
}
