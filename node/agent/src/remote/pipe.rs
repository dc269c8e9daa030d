//! What a guest prints, on its way to one client: bounded, in the order of both streams.

use bytes::Bytes;
use euston_sandbox::{Output, StdStream};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;

/// Bytes that wait for the client. A command that is run for the client waits when it is full; what
/// a container prints beside its attached clients is dropped then, and counted.
const PIPE_BYTES_MAX: usize = 256 << 10;
/// What each piece costs beside its bytes, so that many short ones are bounded too.
const PIECE_COST: usize = 64;

/// The pipe. Clones are its ends.
#[derive(Clone, Default)]
pub(crate) struct Pipe(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    filled: Notify,
    drained: Notify,
}

#[derive(Default)]
struct Inner {
    pieces: VecDeque<(StdStream, Bytes)>,
    cost: usize,
    dropped_bytes: u64,
    closed: bool,
}

impl Inner {
    fn room(&self) -> usize {
        if self.closed {
            // What comes now is dropped, and nobody waits.
            return usize::MAX;
        }
        PIPE_BYTES_MAX.saturating_sub(self.cost + PIECE_COST)
    }

    fn push(&mut self, stream: StdStream, bytes: Bytes) {
        if !self.closed && !bytes.is_empty() {
            self.cost += bytes.len() + PIECE_COST;
            self.pieces.push_back((stream, bytes));
        }
    }
}

impl Pipe {
    /// Puts in what fits, and otherwise counts what is lost.
    pub(crate) fn offer(&self, stream: StdStream, bytes: &[u8]) {
        let mut inner = self.0.inner.lock();
        if inner.room() < bytes.len() {
            inner.dropped_bytes += bytes.len() as u64;
        } else {
            if inner.dropped_bytes > 0 {
                let note = format!(
                    "\n[euston: {} bytes of output were dropped here; the client reads slower than the container prints]\n",
                    std::mem::take(&mut inner.dropped_bytes)
                );
                inner.push(StdStream::Stderr, note.into());
            }
            inner.push(stream, Bytes::copy_from_slice(bytes));
        }
        drop(inner);
        self.0.filled.notify_one();
    }

    /// Nothing more comes, or nothing more is wanted.
    pub(crate) fn close(&self) {
        self.0.inner.lock().closed = true;
        self.0.filled.notify_one();
        self.0.drained.notify_waiters();
    }

    /// Whether nothing that is put in would be taken out any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.inner.lock().closed
    }

    /// The next piece; `None` when the pipe was closed and is empty. For one reader.
    pub(crate) async fn next(&self) -> Option<(StdStream, Bytes)> {
        loop {
            {
                let mut inner = self.0.inner.lock();
                if let Some((stream, bytes)) = inner.pieces.pop_front() {
                    inner.cost -= bytes.len() + PIECE_COST;
                    drop(inner);
                    self.0.drained.notify_waiters();
                    return Some((stream, bytes));
                }
                if inner.closed {
                    return None;
                }
            }
            self.0.filled.notified().await;
        }
    }
}

impl Output for Pipe {
    fn write(&self, stream: StdStream, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.0.inner.lock().push(stream, bytes);
        self.0.filled.notify_one();
    }

    fn room(&self) -> usize {
        self.0.inner.lock().room()
    }

    fn ready(&self) -> BoxFuture<'static, ()> {
        let shared = self.0.clone();
        Box::pin(async move {
            loop {
                let drained = shared.drained.notified();
                tokio::pin!(drained);
                drained.as_mut().enable();
                if shared.inner.lock().room() > 0 {
                    return;
                }
                drained.await;
            }
        })
    }
}

/// The clients that are attached to one container.
#[derive(Clone, Default)]
pub(crate) struct Taps(Arc<Mutex<Vec<Pipe>>>);

/// Clients that may be attached to one container: everything it prints is copied for each.
const TAPS_MAX: usize = 16;

/// A client's place; it leaves when this is dropped.
pub(crate) struct Tap {
    pub(crate) pipe: Pipe,
    taps: Taps,
}

impl Taps {
    /// Joins from now on; `None` if there are too many.
    pub(crate) fn join(&self) -> Option<Tap> {
        let mut pipes = self.0.lock();
        if pipes.len() >= TAPS_MAX {
            return None;
        }
        let pipe = Pipe::default();
        pipes.push(pipe.clone());
        Some(Tap {
            pipe,
            taps: self.clone(),
        })
    }

    /// Offers everybody what the container printed.
    pub(crate) fn offer(&self, stream: StdStream, bytes: &[u8]) {
        for pipe in self.0.lock().iter() {
            pipe.offer(stream, bytes);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let pipes = &mut *self.taps.0.lock();
        pipes.retain(|pipe| !Arc::ptr_eq(&pipe.0, &self.pipe.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(pipe: &Pipe) -> String {
        let (stream, bytes) = pipe.next().await.unwrap();
        let name = if stream == StdStream::Stdout {
            "o"
        } else {
            "e"
        };
        format!("{name}:{}", String::from_utf8_lossy(&bytes))
    }

    #[tokio::test]
    async fn both_streams_keep_their_order_and_the_end_comes_last() {
        let pipe = Pipe::default();
        pipe.write(StdStream::Stdout, b"1");
        pipe.write(StdStream::Stderr, b"2");
        pipe.write(StdStream::Stdout, b"3");
        pipe.close();
        pipe.write(StdStream::Stdout, b"lost");
        for expect in ["o:1", "e:2", "o:3"] {
            assert_eq!(text(&pipe).await, expect);
        }
        assert!(pipe.next().await.is_none());
        assert_eq!(pipe.room(), usize::MAX);
    }

    #[tokio::test]
    async fn who_writes_waits_for_room() {
        let pipe = Pipe::default();
        while pipe.room() > 0 {
            let piece = vec![0; pipe.room().min(10_000)];
            pipe.write(StdStream::Stdout, &piece);
        }
        let mut ready = pipe.ready();
        assert!(futures::poll!(&mut ready).is_pending());
        pipe.next().await.unwrap();
        assert!(futures::poll!(&mut ready).is_ready());
        assert!(pipe.room() > 0);
        // Short pieces are bounded as well.
        let mut pieces = 0;
        while pipe.room() > 0 {
            pipe.write(StdStream::Stdout, b"x");
            pieces += 1;
        }
        assert!(pieces < PIPE_BYTES_MAX / PIECE_COST);
    }

    #[tokio::test]
    async fn slow_clients_are_told_what_they_missed() {
        let taps = Taps::default();
        let (slow, gone) = (taps.join().unwrap(), taps.join().unwrap());
        drop(gone);
        assert_eq!(taps.0.lock().len(), 1);
        let block = vec![b'x'; 100_000];
        for _ in 0..5 {
            taps.offer(StdStream::Stdout, &block);
        }
        for _ in 0..2 {
            slow.pipe.next().await.unwrap();
        }
        taps.offer(StdStream::Stdout, b"again");
        let note = text(&slow.pipe).await;
        assert!(note.contains("300000 bytes"), "{note}");
        assert_eq!(text(&slow.pipe).await, "o:again");
        let more: Vec<_> = std::iter::from_fn(|| taps.join()).collect();
        assert_eq!(more.len(), TAPS_MAX - 1);
    }
}
