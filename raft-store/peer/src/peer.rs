//! Another member, as the network sees it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::counters::{MemberCounters, Sent};
use crate::queue::Queue;

/// Processes that spoke for one id before the one that does now, as many as are remembered.
const PAST_RUNS_MAX: usize = 16;

pub(crate) struct Peer {
    pub(crate) id: u64,
    /// Whether it is in the table; otherwise it is a stranger that is heard for a while.
    pub(crate) listed: AtomicBool,
    pub(crate) urls: watch::Sender<Vec<String>>,
    pub(crate) queue: Queue,
    pub(crate) sent: Sent,
    pub(crate) connected: AtomicBool,
    /// It called while it was thought to be away: time to call it.
    pub(crate) called: Notify,
    /// Frames were dropped since the queue was full.
    pub(crate) lost: Notify,
    pub(crate) lane: Lane,
    /// A snapshot is on its way to it.
    pub(crate) snapshot: AtomicBool,
    /// It is no member any more, or the network ends.
    pub(crate) stop: CancellationToken,
    heard_at: Mutex<Instant>,
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        listed: bool,
        urls: Vec<String>,
        queue_bytes: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            id,
            listed: AtomicBool::new(listed),
            urls: watch::Sender::new(urls),
            queue: Queue::new(queue_bytes),
            sent: Sent::default(),
            connected: AtomicBool::new(false),
            called: Notify::new(),
            lost: Notify::new(),
            lane: Lane::default(),
            snapshot: AtomicBool::new(false),
            stop,
            heard_at: Mutex::new(Instant::now()),
        }
    }

    /// Queues frames; counts those that have no room, and has the core told.
    pub(crate) fn push(&self, frames: Vec<Bytes>) {
        let dropped = self.queue.push(frames);
        if dropped > 0 {
            self.sent.dropped.add(dropped);
            self.lost.notify_one();
        }
    }

    pub(crate) fn set_urls(&self, urls: &[String]) {
        self.urls.send_if_modified(|now| {
            let changed = now != urls;
            if changed {
                *now = urls.to_vec();
            }
            changed
        });
    }

    /// It is there: a call of it was taken, or it took one.
    pub(crate) fn heard(&self) {
        *self.heard_at.lock() = Instant::now();
        if !self.connected.load(Relaxed) {
            self.called.notify_one();
        }
    }

    pub(crate) fn silent_for(&self) -> Duration {
        self.heard_at.lock().elapsed()
    }

    pub(crate) fn close(&self) {
        self.stop.cancel();
        self.sent.dropped.add(self.queue.close());
    }

    pub(crate) fn counters(&self) -> MemberCounters {
        let connected = self.connected.load(Relaxed);
        self.sent.counters(self.id, connected, self.queue.bytes())
    }
}

/// Lets one stream of a member deliver at a time, the newest, so that frames stay in order when a member connects
/// again before its old connection is seen to be dead.
#[derive(Default)]
pub(crate) struct Lane {
    inner: Mutex<LaneInner>,
    busy: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct LaneInner {
    /// The process that speaks for the member; 0 before the first.
    run: u64,
    /// Those that did before. One of them coming back means that two processes use one id.
    past: VecDeque<u64>,
    turn: CancellationToken,
}

/// The right to deliver, until `over`.
pub(crate) struct Turn {
    pub(crate) over: CancellationToken,
    _busy: OwnedMutexGuard<()>,
}

impl Lane {
    /// Whether another process has begun to speak for the member after this one had.
    pub(crate) fn is_past(&self, run: u64) -> bool {
        self.inner.lock().past.contains(&run)
    }

    /// Ends the stream before and waits until it has delivered its last.
    pub(crate) async fn enter(&self, run: u64) -> Turn {
        let over = self.inner.lock().begin(run);
        Turn {
            over,
            _busy: Arc::clone(&self.busy).lock_owned().await,
        }
    }
}

impl LaneInner {
    fn begin(&mut self, run: u64) -> CancellationToken {
        if self.run != run && self.run != 0 {
            if self.past.len() == PAST_RUNS_MAX {
                self.past.pop_front();
            }
            self.past.push_back(self.run);
        }
        self.run = run;
        let over = CancellationToken::new();
        std::mem::replace(&mut self.turn, over.clone()).cancel();
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_stream_has_its_turn_and_a_replaced_process_is_known() {
        let lane = Lane::default();
        let first = lane.enter(1).await;
        assert!(!lane.is_past(1));
        let mut second = Box::pin(lane.enter(1));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(first.over.is_cancelled());
        drop(first);
        let second = second.await;
        assert!(!second.over.is_cancelled());
        drop(second);
        let third = lane.enter(2).await;
        assert!(lane.is_past(1) && !lane.is_past(2));
        drop(third);
        for run in 3..3 + PAST_RUNS_MAX as u64 {
            drop(lane.enter(run).await);
        }
        assert!(!lane.is_past(1), "only so many are remembered");
        assert!(lane.is_past(2));
    }
}
