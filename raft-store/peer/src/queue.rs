//! Frames that wait for one member.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// Frames are put into one message up to this size; a larger frame goes in pieces of it. Large enough that what a
/// message costs by itself does not show, small enough that the other end decodes it without a stall.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// What a frame takes beside its bytes, so that empty frames are bounded too.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// A queue bounded by bytes. Putting in never waits; one stream at a time takes out.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

struct Inner {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Which stream takes out. A stream of a connection that is being torn down may be asked for more by its last
    /// owner while the next one is at work; it must get nothing.
    reader: u64,
    waker: Option<Waker>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                frames: VecDeque::new(),
                bytes: 0,
                reader: 0,
                waker: None,
                closed: false,
            }),
            bytes_max,
        }
    }

    /// Puts frames in; returns how many had no room. A frame larger than the queue has room in an empty one.
    pub(crate) fn push(&self, frames: Vec<Bytes>) -> u64 {
        let mut dropped = 0;
        let mut inner = self.inner.lock();
        for frame in frames {
            let cost = cost(&frame);
            let room = inner.frames.is_empty() || inner.bytes + cost <= self.bytes_max;
            if room && !inner.closed {
                inner.bytes += cost;
                inner.frames.push_back(frame);
            } else {
                dropped += 1;
            }
        }
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        dropped
    }

    /// Begins a new stream out of the queue, and ends the one before.
    pub(crate) fn open(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.reader += 1;
        let reader = inner.reader;
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        reader
    }

    /// Takes out as many frames as fit into a message, or one that does not fit; `None` if this stream is at its end.
    pub(crate) fn poll_take(
        &self,
        reader: u64,
        context: &mut Context<'_>,
    ) -> Poll<Option<Vec<Bytes>>> {
        let mut inner = self.inner.lock();
        if inner.closed || inner.reader != reader {
            return Poll::Ready(None);
        }
        if inner.frames.is_empty() {
            inner.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = batch_len(inner.frames.iter().map(cost));
        let batch: Vec<Bytes> = inner.frames.drain(..count).collect();
        inner.bytes -= batch.iter().map(cost).sum::<usize>();
        Poll::Ready(Some(batch))
    }

    /// Drops all that waits; returns how many frames.
    pub(crate) fn clear(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.bytes = 0;
        // Given back as a whole: it may have been much.
        let frames = std::mem::take(&mut inner.frames);
        drop(inner);
        frames.len() as u64
    }

    /// Takes no more frames, and ends its stream.
    pub(crate) fn close(&self) -> u64 {
        self.inner.lock().closed = true;
        self.open();
        self.clear()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

fn cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_OVERHEAD_BYTES
}

/// How many frames of these costs go into a message: at least one.
fn batch_len(costs: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fitting = costs.take_while(|cost| {
        bytes += cost;
        bytes <= BATCH_BYTES
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Bytes {
        Bytes::from(vec![0; len])
    }

    fn take(queue: &Queue, reader: u64) -> Poll<Option<Vec<usize>>> {
        let mut context = Context::from_waker(Waker::noop());
        let batch = queue.poll_take(reader, &mut context);
        batch.map(|batch| batch.map(|frames| frames.iter().map(Bytes::len).collect()))
    }

    #[test]
    fn what_has_no_room_is_dropped_and_counted() {
        let check = |bytes_max: usize, frames: &[usize], dropped: u64| {
            let queue = Queue::new(bytes_max);
            let frames = frames.iter().map(|len| frame(*len)).collect();
            assert_eq!(queue.push(frames), dropped);
        };
        check(1000, &[100, 100], 0);
        check(1000, &[500, 500, 0], 1);
        check(1000, &[5000], 0);
        check(1000, &[5000, 0], 1);
        check(1000, &[0; 100], 100 - 15);
    }

    #[test]
    fn frames_leave_in_batches() {
        let big = BATCH_BYTES;
        let check = |frames: &[usize], batches: &[&[usize]]| {
            let queue = Queue::new(usize::MAX);
            let reader = queue.open();
            queue.push(frames.iter().map(|len| frame(*len)).collect());
            for batch in batches {
                assert_eq!(take(&queue, reader), Poll::Ready(Some(batch.to_vec())));
            }
            assert_eq!(take(&queue, reader), Poll::Pending);
            assert_eq!(queue.bytes(), 0);
        };
        check(&[], &[]);
        check(&[1, 2, 3], &[&[1, 2, 3]]);
        check(&[1, big, 3], &[&[1], &[big], &[3]]);
        check(&[big / 2, big / 2, 3], &[&[big / 2], &[big / 2, 3]]);
    }

    #[test]
    fn an_earlier_stream_gets_nothing() {
        let queue = Queue::new(1000);
        let first = queue.open();
        let second = queue.open();
        queue.push(vec![frame(1)]);
        assert_eq!(take(&queue, first), Poll::Ready(None));
        assert_eq!(take(&queue, second), Poll::Ready(Some(vec![1])));
        assert_eq!(queue.push(vec![frame(1)]), 0);
        assert_eq!(queue.close(), 1);
        assert_eq!(take(&queue, second), Poll::Ready(None));
        assert_eq!(queue.push(vec![frame(1)]), 1);
    }
}
