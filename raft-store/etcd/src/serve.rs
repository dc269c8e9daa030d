//! Connections from clients.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::EtcdConfig;
use crate::context::Context;
use crate::route::Routes;

/// What the two protocols are called in a TLS handshake.
pub(crate) const ALPN_H2: &[u8] = b"h2";
pub(crate) const ALPN_H1: &[u8] = b"http/1.1";
/// How HTTP/2 begins on a plain connection; no method of HTTP/1 does.
const PREFACE_START: &[u8] = b"PRI ";
/// How often to look at the first bytes of a plain connection while there are not enough of them.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);
/// Bytes of a call that may be under way: the largest request at once, without waiting for a round trip.
const STREAM_WINDOW: u32 = 2 << 20;
/// The same of a connection: some of the largest requests beside each other. It is what a client can make a connection
/// hold in memory by sending faster than requests are taken up.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// HTTP/2 frames that clients may send; 16 KiB is the protocol's default, and costs a header and a wake-up each.
const HTTP2_FRAME_BYTES: u32 = 64 << 10;
/// Bytes of an answer that wait in a stream's buffer for the client to take them. A watch that lags costs this much here,
/// beside one message and its bounded queue in the store.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Bytes of headers: those of a call are some hundred, and tokens of clients some thousand.
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// After accept() failed, for want of file descriptors perhaps: let some connections end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Server {
    routes: Arc<Routes>,
    context: Arc<Context>,
    acceptor: Option<TlsAcceptor>,
    tasks: TaskTracker,
    /// What has not ended yet is dropped.
    force: CancellationToken,
}

impl Server {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let tls = context.config.tls.clone();
        Self {
            routes: Arc::new(Routes::new(Arc::clone(&context))),
            acceptor: tls.map(TlsAcceptor::from),
            context,
            tasks: TaskTracker::new(),
            force: CancellationToken::new(),
        }
    }

    /// Serves until `shutdown`, then until all calls are answered or the time for that is over.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener, shutdown: impl Future) {
        tokio::select! {
            _ = shutdown => {}
            () = Arc::clone(&self).accept(&listener) => {}
        }
        drop(listener);
        self.context.stop.cancel();
        self.tasks.close();
        let limit = self.context.config.shutdown_timeout;
        if timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!("calls of clients are not answered within {limit:?}: they are cut");
            self.force.cancel();
            self.tasks.wait().await;
        }
    }

    async fn accept(self: Arc<Self>, listener: &TcpListener) {
        let slots = Arc::new(Semaphore::new(self.context.config.connections_max));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((tcp, address)) => {
                    let server = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        let force = server.force.clone();
                        force
                            .run_until_cancelled(server.connection(tcp, address))
                            .await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Says nothing about the next: the connection was gone already, or resources are short.
                    tracing::debug!(%error, "a connection of a client could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(&self, tcp: TcpStream, address: SocketAddr) {
        // Answers are small and waited for.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%address, %error, "a connection was gone at once");
            return;
        }
        let limit = self.context.config.handshake_timeout;
        match &self.acceptor {
            None => match timeout(limit, is_http2(&tcp)).await {
                Ok(Ok(true)) => self.http2(tcp, address).await,
                Ok(Ok(false)) => self.http1(tcp, address).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "a connection broke at once"),
                Err(_) => tracing::debug!(%address, "a connection said nothing"),
            },
            Some(acceptor) => match timeout(limit, acceptor.accept(tcp)).await {
                Ok(Ok(tls)) if tls.get_ref().1.alpn_protocol() == Some(ALPN_H2) => {
                    self.http2(tls, address).await;
                }
                Ok(Ok(tls)) => self.http1(tls, address).await,
                Ok(Err(error)) => {
                    tracing::debug!(%address, "refused a connection of a client: TLS: {error}");
                }
                Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
            },
        }
    }

    async fn http2<I>(&self, io: I, address: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config: &EtcdConfig = &self.context.config;
        let service = service_fn(|request| Arc::clone(&self.routes).answer(request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_concurrent_streams(config.streams_max)
            .keep_alive_interval(config.keepalive_interval)
            .keep_alive_timeout(config.keepalive_timeout)
            .serve_connection(TokioIo::new(io), service);
        let connection = pin!(connection);
        self.drive(
            connection,
            |connection| connection.graceful_shutdown(),
            address,
        )
        .await;
    }

    async fn http1<I>(&self, io: I, address: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| Arc::clone(&self.routes).page(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.context.config.handshake_timeout)
            .serve_connection(TokioIo::new(io), service);
        let connection = pin!(connection);
        self.drive(
            connection,
            |connection| connection.graceful_shutdown(),
            address,
        )
        .await;
    }

    /// Drives a connection, and ends it in good order when the server stops.
    async fn drive<C>(
        &self,
        mut connection: Pin<&mut C>,
        end: impl Fn(Pin<&mut C>),
        address: SocketAddr,
    ) where
        C: Future<Output = hyper::Result<()>>,
    {
        let result = tokio::select! {
            result = LastInLine::new(connection.as_mut()) => result,
            () = self.context.stop.cancelled() => {
                end(connection.as_mut());
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%address, %error, "a connection of a client broke");
        }
    }
}

/// A connection that lets every task that is ready go before it.
///
/// When many calls of a connection are answered at a time, by one write of the store's or one event that many watch, the
/// first of them would wake it, and it would be polled next, and write that answer alone. At the end of the line it finds
/// all of them and writes them at once.
struct LastInLine<C> {
    connection: C,
    has_waited: bool,
}

impl<C> LastInLine<C> {
    fn new(connection: C) -> Self {
        Self {
            connection,
            has_waited: false,
        }
    }
}

impl<C: Future + Unpin> Future for LastInLine<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.has_waited = !self.has_waited;
        if self.has_waited {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll(context)
    }
}

/// Whether a plain connection begins as HTTP/2 does. Its bytes are left to be read.
async fn is_http2(tcp: &TcpStream) -> std::io::Result<bool> {
    let mut start = [0; PREFACE_START.len()];
    loop {
        let read = tcp.peek(&mut start).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if read == start.len() || !PREFACE_START.starts_with(&start[..read]) {
            return Ok(start == PREFACE_START);
        }
        // What is there is ready to be read already, so there is nothing to wait for but time.
        sleep(PREFACE_PAUSE).await;
    }
}
