//! Watches: every change of a range of keys, in order, once.

mod hub;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;

use crate::error::{Error, StopCause};
use crate::kv::{Event, KeyRange, Revision};
use crate::mvcc::Events;
use crate::node::Shared;
pub(crate) use hub::Hub;
use hub::{Lane, Registration};

/// Revisions that a watcher reads from history at a time while it catches up: enough to spread the cost of the
/// lock, few enough that another task gets its turn within some tens of microseconds.
const CATCH_UP_REVISIONS: usize = 256;

/// The changes that one transaction made to the watched keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The transaction's revision.
    pub revision: Revision,
    /// Its events on watched keys, at least one, in the order of the transaction's steps. Shared between watchers.
    pub events: Arc<[Event]>,
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher fell so far behind that what it has not seen was compacted. Read the range anew and watch from
    /// the revision of that answer on.
    #[error(
        "the watch wants revision {wanted}, but everything up to {compacted} has been compacted"
    )]
    Compacted {
        /// The first revision it had not seen.
        wanted: Revision,
        /// The compaction point.
        compacted: Revision,
    },
    /// The member has stopped.
    #[error("the store has stopped: {cause}")]
    Stopped {
        /// Why.
        cause: StopCause,
    },
}

/// A watch of a range of keys from [`crate::Store::watch`]. Dropping it ends it.
///
/// Changes wait in a bounded queue ([`hub::QUEUE_BATCHES`] batches or [`hub::QUEUE_BYTES`]). A watcher that lets it
/// fill up is taken off the live stream, so that it never delays a write or another watcher; it reads on in the
/// history from the revision it missed and becomes live again, which its user cannot tell but by the delay.
pub struct Watcher {
    range: KeyRange,
    shared: Arc<Shared>,
    /// The first revision that has not been queued, scanned or returned.
    next: Revision,
    /// Found while catching up and not yet returned.
    found: VecDeque<WatchBatch>,
    feed: Feed,
}

enum Feed {
    /// Reading history.
    CatchingUp,
    /// Fed by the hub.
    Live {
        id: u64,
        queue: mpsc::Receiver<WatchBatch>,
        lane: Arc<Lane>,
    },
}

impl Watcher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        range: KeyRange,
        start: Revision,
    ) -> Result<Self, Error> {
        let next = {
            let state = shared.state.read();
            let next = if start == 0 {
                state.revision() + 1
            } else {
                start
            };
            state.events_from(next, 0)?;
            next
        };
        Ok(Self {
            range,
            shared,
            next,
            found: VecDeque::new(),
            feed: Feed::CatchingUp,
        })
    }

    /// The next change, when there is one. Waits as long as it takes; dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`WatchError`]; the watch is then over.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        poll_fn(|task| self.poll_next(task)).await
    }

    /// The next change as [`Watcher::next`] returns it, for those who drive many watches by one task: pending, it has
    /// `task` woken when it is worth asking again. Only the last one who asked is woken.
    ///
    /// # Errors
    /// As [`Watcher::next`]; asked again, it fails again.
    pub fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<WatchBatch, WatchError>> {
        loop {
            if let Some(batch) = self.found.pop_front() {
                return Poll::Ready(Ok(batch));
            }
            match &mut self.feed {
                Feed::CatchingUp => {
                    if self.catch_up()? && self.found.is_empty() {
                        // There is more to read, but others get their turn.
                        task.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Feed::Live { queue, lane, .. } => match ready!(queue.poll_recv(task)) {
                    Some(batch) => {
                        lane.taken(&batch);
                        self.next = batch.revision + 1;
                        return Poll::Ready(Ok(batch));
                    }
                    // The hub closed the queue: what did not fit is to be read from history, or all is over.
                    None => match lane.resume_at.load(Ordering::Acquire) {
                        0 => return Poll::Ready(Err(self.stopped())),
                        missed => {
                            self.next = missed;
                            self.feed = Feed::CatchingUp;
                        }
                    },
                },
            }
        }
    }

    /// The revision up to which this watch has returned everything there was: what a bookmark may say.
    pub fn progress(&self) -> Revision {
        match (&self.feed, self.found.front()) {
            (_, Some(batch)) => batch.revision - 1,
            (Feed::CatchingUp, None) => self.next - 1,
            (Feed::Live { queue, .. }, None) => {
                // In this order: what was published before is in the queue by now, so an empty queue means returned.
                let published = self.shared.hub.published();
                if queue.is_empty() && !queue.is_closed() {
                    published.max(self.next - 1)
                } else {
                    self.next - 1
                }
            }
        }
    }

    /// Reads a stretch of history, or goes live where there is no more. Returns whether to go on reading.
    fn catch_up(&mut self) -> Result<bool, WatchError> {
        let stretch = self
            .shared
            .state
            .read()
            .events_from(self.next, CATCH_UP_REVISIONS);
        let stretch = stretch.map_err(|error| match error {
            Error::Compacted {
                requested,
                compacted,
            } => WatchError::Compacted {
                wanted: requested,
                compacted,
            },
            _ => self.stopped(),
        })?;
        if !stretch.is_empty() {
            for events in &stretch {
                if let Some(events) = select(&self.range, events) {
                    self.found.push_back(WatchBatch {
                        revision: self.next,
                        events,
                    });
                }
                self.next += 1;
            }
            return Ok(true);
        }
        match self
            .shared
            .hub
            .register(&self.range, self.next, &self.shared.state)
        {
            Registration::Live { id, queue, lane } => {
                self.feed = Feed::Live { id, queue, lane };
                Ok(false)
            }
            Registration::Behind => Ok(true),
            Registration::Closed => Err(self.stopped()),
        }
    }

    fn stopped(&self) -> WatchError {
        WatchError::Stopped {
            cause: self.shared.stop_cause().unwrap_or(StopCause::Shutdown),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Feed::Live { id, .. } = &self.feed {
            self.shared.hub.unregister(&self.range, *id);
        }
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("range", &self.range)
            .field("next", &self.next)
            .field("live", &matches!(self.feed, Feed::Live { .. }))
            .finish_non_exhaustive()
    }
}

/// The events of a revision that fall into a range; `None` if none does. Shared where all do.
fn select(range: &KeyRange, events: &Events) -> Option<Events> {
    let matching = events
        .iter()
        .filter(|event| range.contains(&event.kv.key))
        .count();
    if matching == 0 {
        None
    } else if matching == events.len() {
        Some(events.clone())
    } else {
        Some(
            events
                .iter()
                .filter(|event| range.contains(&event.kv.key))
                .cloned()
                .collect(),
        )
    }
}
