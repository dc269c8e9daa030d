//! A client that speaks WebSocket channels as kubectl, Python's and Rust's clients do.

use bytes::{Buf, Bytes};
use futures::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

pub struct Client {
    pub ws: WebSocketStream<DuplexStream>,
    pub got: HashMap<u8, Vec<u8>>,
    /// Messages as they came.
    pub messages: Vec<Message>,
    /// Code and reason of the server's close.
    pub closed: Option<(u16, String)>,
}

impl Client {
    pub async fn new(io: DuplexStream) -> Self {
        Self {
            ws: WebSocketStream::from_raw_socket(io, Role::Client, None).await,
            got: HashMap::new(),
            messages: Vec::new(),
            closed: None,
        }
    }

    pub async fn send(&mut self, channel: u8, bytes: &[u8]) {
        let message = [&[channel], bytes].concat();
        self.ws.send(Message::Binary(message.into())).await.unwrap();
    }

    /// Reads a message; `false` when the server closed.
    pub async fn read(&mut self) -> bool {
        match self.ws.next().await {
            Some(Ok(Message::Close(frame))) => {
                self.closed = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                false
            }
            Some(Ok(message)) => {
                if let Message::Binary(bytes) = &message
                    && let Some((channel, bytes)) = bytes.split_first()
                {
                    self.got
                        .entry(*channel)
                        .or_default()
                        .extend_from_slice(bytes);
                }
                self.messages.push(message);
                true
            }
            _ => false,
        }
    }

    pub async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        crate::within(what, async {
            while !done(self) {
                assert!(self.read().await, "the server closed before {what}");
            }
        })
        .await;
    }

    pub async fn read_to_the_end(&mut self) {
        crate::within("the end", async { while self.read().await {} }).await;
    }

    pub fn text(&self, channel: u8) -> String {
        let bytes = self.got.get(&channel).cloned().unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }
}

/// kubectl's tunnel: a byte stream in messages, from the client's side.
pub struct Tunnel {
    pub ws: WebSocketStream<DuplexStream>,
    left: Bytes,
}

impl Tunnel {
    pub async fn new(io: DuplexStream) -> Self {
        Self {
            ws: WebSocketStream::from_raw_socket(io, Role::Client, None).await,
            left: Bytes::new(),
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match self.ws.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(Message::Binary(bytes)))) => self.left = bytes,
                Poll::Ready(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.left.len().min(buf.remaining());
        buf.put_slice(&self.left[..taken]);
        self.left.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.ws.poll_ready_unpin(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(ready) => ready.map_err(io::Error::other)?,
        }
        // In small messages: frames are cut anywhere.
        let bytes = &bytes[..bytes.len().min(5)];
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        self.ws
            .start_send_unpin(message)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ws.poll_flush_unpin(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ws.poll_close_unpin(cx).map_err(io::Error::other)
    }
}
