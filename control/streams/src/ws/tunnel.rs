//! A byte stream in WebSocket messages: what the one writes the other reads, however it is cut.
//! kubectl runs SPDY in it (KEP-4006, "tunneling").

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Bytes of a message that we send.
const WRITE_BYTES_MAX: usize = 32 << 10;

/// The byte stream.
pub(crate) struct Tunnel<IO> {
    ws: WebSocketStream<IO>,
    left: Bytes,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Tunnel<IO> {
    pub(crate) async fn over(io: IO) -> Self {
        Self {
            ws: super::over(io).await,
            left: Bytes::new(),
        }
    }
}

fn failed(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        error => io::Error::new(io::ErrorKind::ConnectionAborted, error),
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.ws).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.left = bytes,
                Some(Ok(Message::Text(text))) => self.left = text.into(),
                Some(Ok(_)) => {}
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            }
        }
        let taken = self.left.len().min(buf.remaining());
        buf.put_slice(&self.left[..taken]);
        self.left.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.ws).poll_ready(cx)).map_err(failed)?;
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.ws).start_send(message).map_err(failed)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.ws).poll_flush(cx).map_err(failed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.ws).poll_close(cx).map_err(failed)
    }
}
