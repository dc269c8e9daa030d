//! History: what watches read, and how it ends.

use imbl::Vector;

use super::{Events, PastKey, REVISION_MAX, State};
use crate::error::Error;
use crate::kv::{Event, KeyValue, Revision};

/// What an event costs beside the bytes it keeps alive: the event, its share of the log, an entry of `past`.
const EVENT_OVERHEAD_BYTES: usize = 400;

/// What a key that lives costs beside its bytes: the key-value with its two buffers, and its share of the map.
const LIVE_OVERHEAD_BYTES: usize = 256;

/// What a key that lives takes.
pub(super) fn live_bytes(kv: &KeyValue) -> usize {
    LIVE_OVERHEAD_BYTES + kv.key.len() + kv.value.len()
}

/// What compacting an event away would free: its records, and the version that it ended.
fn event_bytes(event: &Event) -> usize {
    let ended = event
        .prev_kv
        .as_ref()
        .map_or(0, |prev| prev.key.len() + prev.value.len());
    EVENT_OVERHEAD_BYTES + ended
}

/// What compacting a revision away would free.
pub(super) fn events_bytes(events: &[Event]) -> usize {
    events.iter().map(event_bytes).sum()
}

impl State {
    /// The events of up to `max` revisions from `from` on, with the revision of the first.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `from` is not in history any more. Stricter than etcd, which allows a watch from the
    /// compaction point itself and then leaves out deletions made there.
    pub(crate) fn events_from(&self, from: Revision, max: usize) -> Result<Vector<Events>, Error> {
        let start = self.log_start();
        if from < start && self.compacted > 0 {
            return Err(Error::Compacted {
                requested: from,
                compacted: self.compacted,
            });
        }
        // Cannot truncate: a log longer than the address space does not fit in memory.
        let skip = (from.max(start) - start).min(self.log.len() as u64) as usize;
        Ok(self.log.skip(skip).take(max.min(self.log.len() - skip)))
    }

    /// Forgets what ended at or before revision `at`. Keys as they were at `at`, and everything since, stay readable.
    ///
    /// # Errors
    /// [`Error::Compacted`] if this point was reached before, [`Error::FutureRevision`] if it is to come.
    pub(crate) fn compact(&mut self, at: Revision) -> Result<(), Error> {
        if at <= self.compacted {
            return Err(Error::Compacted {
                requested: at,
                compacted: self.compacted,
            });
        }
        if at > self.revision {
            return Err(Error::FutureRevision {
                requested: at,
                current: self.revision,
            });
        }
        let dropped = (at + 1).saturating_sub(self.log_start()) as usize;
        let kept = self.log.split_off(dropped);
        let dropped = std::mem::replace(&mut self.log, kept);
        self.compacted = at;
        if !dropped.is_empty() {
            let bytes: usize = dropped.iter().map(|events| events_bytes(events)).sum();
            self.history_bytes -= bytes;
            self.unswept_bytes += bytes;
            self.swept_later.push_back(dropped);
        }
        Ok(())
    }

    /// Goes on `by` revisions later, with everything before that compacted away: whoever knows a later state than this
    /// one has to look again, and finds none of the revisions in between.
    ///
    /// # Errors
    /// The largest number that would do, if this one is too large.
    pub(crate) fn skip_revisions(&mut self, by: u64) -> Result<(), u64> {
        let room = REVISION_MAX.saturating_sub(self.revision);
        if by > room {
            return Err(room);
        }
        if self.compacted < self.revision {
            // Cannot be refused: between the compaction point and now.
            drop(self.compact(self.revision));
        }
        while self.sweep(usize::MAX) {}
        self.revision += by;
        self.compacted = self.revision;
        Ok(())
    }

    /// The point to compact to once history outgrows its bounds: the middle of it, so that the work is done rarely.
    pub(crate) fn overdue_compaction(
        &self,
        bytes_max: usize,
        revisions_max: u64,
    ) -> Option<Revision> {
        let len = self.log.len() as u64;
        (len > 1 && (self.history_bytes > bytes_max || len > revisions_max))
            .then(|| self.revision - len / 2)
    }

    /// Clears the versions of up to `revisions` compacted revisions out of memory. Returns whether more are left.
    ///
    /// Changes nothing that can be seen, so members need not do it in step.
    pub(crate) fn sweep(&mut self, revisions: usize) -> bool {
        for _ in 0..revisions {
            let Some(stretch) = self.swept_later.front_mut() else {
                return false;
            };
            match stretch.pop_front() {
                Some(events) => {
                    self.unswept_bytes -= events_bytes(&events);
                    for event in events.iter().filter(|event| event.prev_kv.is_some()) {
                        self.past.remove(&PastKey {
                            key: event.kv.key.clone(),
                            until: event.kv.mod_revision,
                        });
                    }
                }
                None => {
                    self.swept_later.pop_front();
                }
            }
        }
        !self.swept_later.is_empty()
    }

    /// What keys, values and history take in memory, estimated, with what is compacted but not swept yet. The latter
    /// differs between members for a while.
    pub(crate) fn db_bytes(&self) -> usize {
        self.db_bytes_in_use() + self.unswept_bytes
    }

    /// What keys, values and history take that can be read. The same on all members.
    pub(crate) fn db_bytes_in_use(&self) -> usize {
        self.live_bytes + self.history_bytes
    }
}
