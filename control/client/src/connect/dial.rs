//! One TCP and TLS connection to whichever server answers first.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use super::SERVER_NAME;
use super::address::ServerAddress;
use super::servers::Servers;

/// How long one server may take for TCP and TLS: first little, so that a dead one is passed over
/// quickly, and in a second round more, so that a slow machine gets through at all.
const ROUNDS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Dials a server of the list, whatever host the URI names.
#[derive(Clone)]
pub(super) struct Dial(pub(super) Servers);

impl Service<Uri> for Dial {
    type Response = ServerStream;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<ServerStream, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let servers = self.0.clone();
        Box::pin(async move { dial(&servers).await })
    }
}

async fn dial(servers: &Servers) -> Result<ServerStream, Error> {
    let mut failures = Vec::new();
    for limit in ROUNDS {
        failures.clear();
        for server in servers.order() {
            match tokio::time::timeout(limit, dial_one(servers, &server)).await {
                Ok(Ok(stream)) => {
                    servers.connected(&server);
                    return Ok(stream);
                }
                Ok(Err(e)) => failures.push(format!("{server}: {e}")),
                Err(_) => failures.push(format!("{server}: no connection within {limit:?}")),
            }
        }
    }
    Err(format!("no server can be reached ({})", failures.join("; ")).into())
}

async fn dial_one(servers: &Servers, server: &ServerAddress) -> Result<ServerStream, Error> {
    let tcp = TcpStream::connect((server.host(), server.port())).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(SERVER_NAME)?;
    let tls = TlsConnector::from(servers.tls()).connect(name, tcp).await?;
    Ok(ServerStream::new(tls, server.clone()))
}

/// What a response tells of the connection that it came over, in its extensions.
#[derive(Clone)]
pub(super) struct Via {
    pub(super) server: ServerAddress,
    /// Breaks the connection with all that is under way on it.
    pub(super) cut: CancellationToken,
    /// Whether that is going to happen.
    pub(super) doomed: Arc<AtomicBool>,
}

/// A connection to a server, which can be cut from outside.
pub(super) struct ServerStream {
    io: TokioIo<TlsStream<TcpStream>>,
    via: Via,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl ServerStream {
    fn new(tls: TlsStream<TcpStream>, server: ServerAddress) -> Self {
        let cut = CancellationToken::new();
        Self {
            io: TokioIo::new(tls),
            cut: Box::pin(cut.clone().cancelled_owned()),
            via: Via {
                server,
                cut,
                doomed: Arc::default(),
            },
        }
    }
}

impl Connection for ServerStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.via.clone());
        match self.io.inner().get_ref().1.alpn_protocol() {
            Some(b"h2") => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

impl Read for ServerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            let why = format!(
                "{} does not serve; going to another server",
                self.via.server
            );
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for ServerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
