//! Hands new changes to the watchers that are up to date.
//!
//! One task follows the applied revision and reads what is new from history, so that the thread that applies writes
//! does nothing for watchers but announce a number. Watchers of one key are found by that key; watchers of equal ranges
//! share the work of selecting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use super::{WatchBatch, select};
use crate::kv::{KeyRange, Revision};
use crate::mvcc::{Events, State};
use crate::node::Shared;

/// Batches that may wait for a live watcher. Some hundred milliseconds of a busy store; a watcher that needs longer
/// to come round is cheaper served from history.
pub(super) const QUEUE_BATCHES: usize = 256;
/// Bytes of events that may wait for a live watcher. The queue keeps them alive beyond compaction, so a watcher that
/// never comes round must not keep more than this. A single larger batch is let in.
pub(super) const QUEUE_BYTES: usize = 4 << 20;
/// Revisions handed out per hold of the lock: some ten milliseconds with a thousand watchers of everything.
const PUBLISH_REVISIONS: usize = 64;

/// What a live watcher and the hub share beside the queue.
#[derive(Debug, Default)]
pub(super) struct Lane {
    queued_bytes: AtomicUsize,
    /// Set before the hub closes the queue of a watcher that lags: the first revision it has to read from history.
    pub(super) resume_at: AtomicU64,
}

impl Lane {
    pub(super) fn taken(&self, batch: &WatchBatch) {
        self.queued_bytes
            .fetch_sub(batch_bytes(&batch.events), Ordering::AcqRel);
    }
}

/// What came of asking to go live.
pub(super) enum Registration {
    Live {
        id: u64,
        queue: mpsc::Receiver<WatchBatch>,
        lane: Arc<Lane>,
    },
    /// There is history left to read first.
    Behind,
    /// The store has stopped.
    Closed,
}

/// The live watchers.
#[derive(Default)]
pub(crate) struct Hub {
    watchers: Mutex<Watchers>,
    published: AtomicU64,
}

#[derive(Default)]
struct Watchers {
    closed: bool,
    last_id: u64,
    by_key: HashMap<Bytes, Vec<Live>>,
    by_range: HashMap<KeyRange, Vec<Live>>,
}

struct Live {
    id: u64,
    /// Earlier revisions were read from history, or are not wanted.
    next: Revision,
    queue: mpsc::Sender<WatchBatch>,
    lane: Arc<Lane>,
}

impl Hub {
    /// Everything up to this revision is in the queues of those it concerns.
    pub(super) fn published(&self) -> Revision {
        self.published.load(Ordering::Acquire)
    }

    /// Makes a watcher live that has read history up to, but without, revision `next`.
    pub(super) fn register(
        &self,
        range: &KeyRange,
        next: Revision,
        state: &RwLock<State>,
    ) -> Registration {
        let mut watchers = self.watchers.lock();
        if watchers.closed {
            return Registration::Closed;
        }
        // Under the hub's lock: what is applied from here on, the hub publishes after this watcher is in.
        if next <= state.read().revision() {
            return Registration::Behind;
        }
        watchers.last_id += 1;
        let id = watchers.last_id;
        let (sender, queue) = mpsc::channel(QUEUE_BATCHES);
        let lane = Arc::new(Lane::default());
        watchers.group(range).push(Live {
            id,
            next,
            queue: sender,
            lane: lane.clone(),
        });
        Registration::Live { id, queue, lane }
    }

    pub(super) fn unregister(&self, range: &KeyRange, id: u64) {
        self.watchers
            .lock()
            .retain_in(range, |watcher| watcher.id != id);
    }

    /// Follows the applied revision until the store stops.
    pub(crate) async fn run(
        shared: Arc<Shared>,
        mut applied: tokio::sync::watch::Receiver<Revision>,
    ) {
        let hub = &shared.hub;
        let mut next = *applied.borrow() + 1;
        hub.published.store(next - 1, Ordering::Release);
        loop {
            let target = *applied.borrow_and_update();
            while next <= target {
                let stretch = shared.state.read().events_from(next, PUBLISH_REVISIONS);
                match stretch {
                    Ok(stretch) => {
                        let mut watchers = hub.watchers.lock();
                        for events in &stretch {
                            watchers.publish(next, events);
                            next += 1;
                        }
                    }
                    Err(_) => {
                        // Compacted past what is handed out: all live watchers find out in history.
                        hub.watchers.lock().all_behind(next);
                        next = target + 1;
                    }
                }
                hub.published.store(next - 1, Ordering::Release);
                tokio::task::yield_now().await;
            }
            if shared.stop_cause().is_some() || applied.changed().await.is_err() {
                break;
            }
        }
        let mut watchers = hub.watchers.lock();
        watchers.closed = true;
        watchers.by_key.clear();
        watchers.by_range.clear();
    }
}

impl Watchers {
    fn group(&mut self, range: &KeyRange) -> &mut Vec<Live> {
        match range {
            KeyRange::Key(key) => self.by_key.entry(key.clone()).or_default(),
            range => self.by_range.entry(range.clone()).or_default(),
        }
    }

    fn retain_in(&mut self, range: &KeyRange, keep: impl FnMut(&mut Live) -> bool) {
        let group = self.group(range);
        group.retain_mut(keep);
        if group.is_empty() {
            match range {
                KeyRange::Key(key) => {
                    self.by_key.remove(key);
                }
                range => {
                    self.by_range.remove(range);
                }
            }
        }
    }

    fn publish(&mut self, revision: Revision, events: &Events) {
        if !self.by_key.is_empty() {
            // Nearly always, a transaction changes a key once, and an event is all there is for the key's watchers.
            let twice = events.iter().any(|event| event.is_second(revision));
            for event in events.iter() {
                if let Some(group) = self.by_key.get_mut(&event.kv.key) {
                    let selected: Events = if events.len() == 1 {
                        events.clone()
                    } else if twice {
                        // Who is offered them again, with the second event, takes them for old.
                        let key = &event.kv.key;
                        let of_key = events.iter().filter(|event| event.kv.key == key);
                        of_key.cloned().collect()
                    } else {
                        Arc::from([event.clone()])
                    };
                    group.retain_mut(|watcher| watcher.offer(revision, &selected));
                    if group.is_empty() {
                        self.by_key.remove(&event.kv.key);
                    }
                }
            }
        }
        self.by_range.retain(|range, group| {
            if let Some(selected) = select(range, events) {
                group.retain_mut(|watcher| watcher.offer(revision, &selected));
            }
            !group.is_empty()
        });
    }

    fn all_behind(&mut self, next: Revision) {
        let by_range = self.by_range.drain().flat_map(|(_, group)| group);
        for watcher in self
            .by_key
            .drain()
            .flat_map(|(_, group)| group)
            .chain(by_range)
        {
            watcher
                .lane
                .resume_at
                .store(watcher.next.max(next), Ordering::Release);
        }
    }
}

impl Live {
    /// Queues a batch. Returns whether the watcher stays live.
    fn offer(&mut self, revision: Revision, events: &Events) -> bool {
        if revision < self.next {
            return true;
        }
        let bytes = batch_bytes(events);
        let queued = self.lane.queued_bytes.load(Ordering::Acquire);
        let batch = WatchBatch {
            revision,
            events: events.clone(),
        };
        if queued == 0 || queued + bytes <= QUEUE_BYTES {
            // Counted before it is sent: the receiver may take it off the count at once.
            self.lane.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
            match self.queue.try_send(batch) {
                Ok(()) => {
                    self.next = revision + 1;
                    return true;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(_)) => {}
            }
        }
        self.lane.resume_at.store(revision, Ordering::Release);
        false
    }
}

fn batch_bytes(events: &Events) -> usize {
    events
        .iter()
        .map(|event| event.kv.key.len() + event.kv.value.len())
        .sum()
}
