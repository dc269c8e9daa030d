//! Connections from other members.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use raft_store::Inbox;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tower::Service;

use crate::config::Caller;
use crate::link::{
    CONNECTION_WINDOW, HEADER_BYTES_MAX, HTTP2_FRAME_BYTES, MESSAGE_BYTES_MAX, STREAM_WINDOW,
};
use crate::network::Network;
use crate::proto::peer_server::PeerServer;
use crate::service::PeerService;
use crate::trouble::Said;

/// Calls at one time on a connection: a member makes two.
const STREAMS_MAX: u32 = 8;
/// After accept() failed, for want of file descriptors perhaps: let some connections end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Addresses that are remembered as having failed the TLS handshake.
const TLS_SAID_MAX: usize = 64;

type Io = Either<TcpStream, TlsStream<TcpStream>>;

/// A connection, as the calls on it see it.
pub(crate) struct Connection {
    address: SocketAddr,
    certificates: Vec<CertificateDer<'static>>,
    /// A call on it was taken.
    pub(crate) admitted: AtomicBool,
}

impl Connection {
    /// Whether the certificate may speak for a member.
    pub(crate) fn may_speak_for(&self, member: u64, network: &Network) -> Result<(), String> {
        let check = network
            .config
            .tls
            .as_ref()
            .and_then(|tls| tls.check.as_ref());
        let Some(check) = check else {
            return Ok(());
        };
        check(&Caller {
            member,
            address: self.address,
            certificates: &self.certificates,
        })
    }
}

struct Server {
    network: Arc<Network>,
    acceptor: Option<TlsAcceptor>,
    service: PeerServer<PeerService>,
    tls_said: Mutex<Said<IpAddr>>,
}

/// Accepts connections until the network ends; the port is free when this returns.
pub(crate) async fn run(network: Arc<Network>, inbox: Inbox, listener: TcpListener) {
    let tls = network.config.tls.as_ref();
    let service = PeerService::new(Arc::clone(&network), inbox);
    let server = Arc::new(Server {
        acceptor: tls.map(|tls| TlsAcceptor::from(Arc::clone(&tls.server))),
        service: PeerServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
        tls_said: Mutex::new(Said::new(TLS_SAID_MAX)),
        network: Arc::clone(&network),
    });
    network
        .stop
        .run_until_cancelled(server.accept(listener))
        .await;
}

impl Server {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.network.config.connections_max));
        loop {
            // When full, connections wait in the kernel's backlog.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((tcp, address)) => {
                    let server = Arc::clone(&self);
                    self.network.spawn(async move {
                        server.connection(tcp, address).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Says nothing about the next: the connection was gone already, or resources are short.
                    tracing::debug!(%error, "a connection of another member could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(&self, tcp: TcpStream, address: SocketAddr) {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%address, %error, "a connection was gone at once");
            return;
        }
        let Some(acceptor) = &self.acceptor else {
            return self.serve(Io::Left(tcp), address, Vec::new()).await;
        };
        let limit = self.network.config.connect_timeout;
        let handshake = self
            .network
            .stop
            .run_until_cancelled(timeout(limit, acceptor.accept(tcp)));
        let stream = match handshake.await {
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(error))) => return self.tls_failed(address, &error.to_string()),
            Some(Err(_)) => return self.tls_failed(address, "it took too long"),
            None => return,
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        if certificates.is_empty() {
            return self.tls_failed(address, "the caller showed no certificate");
        }
        let certificates: Vec<_> = certificates
            .iter()
            .map(|cert| cert.clone().into_owned())
            .collect();
        self.tls_said.lock().forget(|ip| *ip == address.ip());
        self.serve(Io::Right(stream), address, certificates).await;
    }

    fn tls_failed(&self, address: SocketAddr, why: &str) {
        self.network.received.refused.add(1);
        if self.tls_said.lock().is_news(address.ip()) {
            tracing::warn!(%address, "refused a connection to the peer port: TLS: {why}");
        }
    }

    async fn serve(&self, io: Io, address: SocketAddr, certificates: Vec<CertificateDer<'static>>) {
        let config = &self.network.config;
        let connection = Arc::new(Connection {
            address,
            certificates,
            admitted: AtomicBool::new(false),
        });
        let this = Arc::clone(&connection);
        let service = service_fn(|mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&this));
            self.service.clone().call(request)
        });
        let serving = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(config.keepalive_interval)
            .keep_alive_timeout(config.keepalive_timeout)
            .serve_connection(TokioIo::new(io), service);
        let mut serving = pin!(serving);
        let mut deadline = pin!(sleep(config.connect_timeout));
        let (mut waited, mut ending) = (false, false);
        loop {
            tokio::select! {
                result = serving.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%address, %error, "a connection of another member broke");
                    }
                    return;
                }
                () = self.network.stop.cancelled(), if !ending => {
                    ending = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = deadline.as_mut(), if !waited => {
                    waited = true;
                    if !connection.admitted.load(Relaxed) {
                        tracing::debug!(%address, "a connection made no call that was taken in time");
                        return;
                    }
                }
            }
        }
    }
}
