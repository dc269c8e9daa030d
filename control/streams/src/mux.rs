//! What the two wires have in common: numbered streams over one connection, each with bytes in and
//! bytes out, under back-pressure.
//!
//! Whoever runs a session holds an [`Inbox`] and an [`Outbox`] per stream. Behind them stands one
//! task that owns the connection: it fills the inboxes, and sends what the outboxes give it. When
//! every outbox is gone it ends the connection in order.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::spdy::frame::Reset;
use crate::spdy::window::Windows;

/// Pieces that wait to be read from one stream. When it is full the whole connection is not read on,
/// and TCP holds the peer back: stock SPDY peers know no other way.
const INBOX_PIECES: usize = 4;
/// Pieces that wait to be sent on one connection. When it is full, those who write wait.
const OUT_PIECES: usize = 16;
/// Bytes of a piece, either way. What is longer is cut, so that streams take turns.
const PIECE_BYTES_MAX: usize = 32 << 10;

/// The stream, or the whole connection, is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

/// What is to be sent on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// A stream that the peer opened is welcome.
    Accept(u32),
    /// It is not, or no longer; with the draft's status.
    Reset(u32, Reset),
    /// Bytes of a stream.
    Data(u32, Bytes),
    /// Nothing more comes on a stream.
    Fin(u32),
    /// So many bytes of a stream were read by whom they were for.
    Consumed(u32, u32),
    /// The answer to a ping.
    Pong(u32),
}

pub(crate) fn out_queue() -> (mpsc::Sender<Out>, mpsc::Receiver<Out>) {
    mpsc::channel(OUT_PIECES)
}

/// The filling end of an [`Inbox`].
#[derive(Debug)]
pub(crate) struct Filler {
    pieces: mpsc::Sender<Bytes>,
    reset: CancellationToken,
    ended: bool,
}

impl Filler {
    /// Waits for room. What nobody reads any more is dropped.
    pub(crate) async fn fill(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES_MAX));
            if self.pieces.send(piece).await.is_err() {
                return;
            }
        }
    }

    /// The peer has said that nothing more comes.
    pub(crate) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        if !self.ended {
            self.reset.cancel();
        }
    }
}

/// What a client sends on one stream. As [`AsyncRead`] it ends where the stream does.
#[derive(Debug)]
pub struct Inbox {
    id: u32,
    pieces: mpsc::Receiver<Bytes>,
    left: Bytes,
    /// Told what was consumed, where the wire has windows.
    consumed: Option<mpsc::WeakSender<Out>>,
    untold: u32,
    reset: CancellationToken,
}

/// Bytes that are consumed before the peer is told: half of the window that peers begin with.
const TELL_AFTER: u32 = 32 << 10;

impl Inbox {
    /// The next bytes; `None` at the stream's end.
    ///
    /// # Errors
    /// [`Gone`] if the stream did not end, but was reset or lost with its connection.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Gone> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        if !self.left.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.left))));
        }
        match self.pieces.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) if self.reset.is_cancelled() => Poll::Ready(Err(Gone)),
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(bytes)) => {
                self.tell(bytes.len());
                Poll::Ready(Ok(Some(bytes)))
            }
        }
    }

    fn tell(&mut self, bytes: usize) {
        let Some(out) = &self.consumed else { return };
        self.untold = self
            .untold
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.untold >= TELL_AFTER
            && let Some(out) = out.upgrade()
            // When the queue is full it is told with the next bytes.
            && out.try_send(Out::Consumed(self.id, self.untold)).is_ok()
        {
            self.untold = 0;
        }
    }
}

impl AsyncRead for Inbox {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = match self.poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(gone)) => {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, gone)));
            }
            Poll::Ready(Ok(Some(bytes))) => bytes,
        };
        let taken = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..taken]);
        bytes.advance(taken);
        self.left = bytes;
        Poll::Ready(Ok(()))
    }
}

/// What is sent to a client on one stream. The stream ends when it is dropped or finished.
#[derive(Debug)]
pub struct Outbox {
    id: u32,
    out: mpsc::Sender<Out>,
    windows: Option<Windows>,
    reset: CancellationToken,
    finished: bool,
}

impl Outbox {
    /// Sends bytes; waits until the connection, and the client's window, take them.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn send(&self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let mut piece = bytes.len().min(PIECE_BYTES_MAX);
            if let Some(windows) = &self.windows {
                piece = tokio::select! {
                    biased;
                    () = self.reset.cancelled() => return Err(Gone),
                    () = self.out.closed() => return Err(Gone),
                    room = windows.take(self.id, piece) => room,
                };
            }
            self.put(Out::Data(self.id, bytes.split_to(piece))).await?;
        }
        Ok(())
    }

    /// Sends a message that may be empty, where the wire has messages.
    ///
    /// # Errors
    /// When the client is gone.
    pub(crate) async fn greet(&self) -> Result<(), Gone> {
        self.put(Out::Data(self.id, Bytes::new())).await
    }

    /// Ends the stream, after what was sent before.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn finish(mut self) -> Result<(), Gone> {
        self.finished = true;
        self.put(Out::Fin(self.id)).await
    }

    /// Resolves when the client reset the stream, or is gone.
    pub async fn gone(&self) {
        tokio::select! {
            () = self.reset.cancelled() => {}
            () = self.out.closed() => {}
        }
    }

    async fn put(&self, out: Out) -> Result<(), Gone> {
        if self.reset.is_cancelled() {
            return Err(Gone);
        }
        self.out.send(out).await.map_err(|_| Gone)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if let Some(windows) = &self.windows {
            windows.forget(self.id);
        }
        if self.finished || self.reset.is_cancelled() {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(fin)) = self.out.try_send(Out::Fin(self.id))
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // It must not be lost: the client would wait for the end for ever. Such a task ends
            // with the connection, and there is one per stream at most.
            let out = self.out.clone();
            runtime.spawn(async move { out.send(fin).await });
        }
    }
}

/// Makes the ends of a stream. `windows` where the wire has them.
pub(crate) fn stream(
    id: u32,
    out: &mpsc::Sender<Out>,
    windows: Option<&Windows>,
) -> (Filler, Inbox, Outbox) {
    let (filling, pieces) = mpsc::channel(INBOX_PIECES);
    let reset = CancellationToken::new();
    let filler = Filler {
        pieces: filling,
        reset: reset.clone(),
        ended: false,
    };
    let inbox = Inbox {
        id,
        pieces,
        left: Bytes::new(),
        consumed: windows.map(|_| out.downgrade()),
        untold: 0,
        reset: reset.clone(),
    };
    let outbox = Outbox {
        id,
        out: out.clone(),
        windows: windows.cloned(),
        reset,
        finished: false,
    };
    (filler, inbox, outbox)
}
