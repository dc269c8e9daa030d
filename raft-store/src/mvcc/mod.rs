//! The state machine: what the store holds, as a pure function of the commands applied to it.
//!
//! No clock, no I/O, no randomness, no locks: two members that apply the same commands hold the same state. The parts:
//! - `live`: every key that exists now, a persistent ordered map, so that a consistent copy costs a reference count;
//! - `past`: versions that were superseded or deleted after the compaction point, by key and the revision that
//!   ended them, for reads at older revisions;
//! - `log`: the events of each revision after the compaction point, for watches. Every revision that wrote has exactly
//!   one entry, so the revision gives the place;
//! - `leases` and `attached`: which leases exist and what hangs on them, not when they end ([`crate::lessor`]);
//! - `group`: who the members are, and what is wrong with them.

mod apply;
mod check;
mod command;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod group;
mod hash;
mod history;
mod lease;
#[cfg(test)]
mod properties;
mod read;
#[cfg(any(test, feature = "fuzzing"))]
mod reference;
mod restore;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fuzzing"))]
mod trial;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet, Vector};

use crate::kv::{Event, KeyValue, Revision};

pub(crate) use check::check_txn;
pub(crate) use command::Outcome;
pub use hash::StateHash;
pub(crate) use restore::{Change, Restore};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use trial::rebuilt;

/// The events of one revision, shared by history and every watcher.
pub(crate) type Events = Arc<[Event]>;

/// The revision of a store that nothing was written to, as in etcd.
pub(crate) const FIRST_REVISION: Revision = 1;

/// Beyond any revision that a store reaches, and far enough from the end of the numbers to count on from.
const REVISION_MAX: Revision = 1 << 62;

/// A version of a key that is no longer the newest, found by key and the revision that ended it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PastKey {
    key: Bytes,
    until: Revision,
}

/// Everything the store holds. A clone is a consistent copy that costs some reference counts.
#[derive(Clone, Debug)]
pub(crate) struct State {
    revision: Revision,
    compacted: Revision,
    live: OrdMap<Bytes, Arc<KeyValue>>,
    past: OrdMap<PastKey, Arc<KeyValue>>,
    log: Vector<Events>,
    /// The seconds of every lease, by id.
    leases: OrdMap<i64, i64>,
    /// The keys that live, by the lease that they are attached to.
    attached: OrdSet<(i64, Bytes)>,
    /// Shared between copies: a copy is made for every read, and the group hardly ever changes.
    group: Arc<group::Group>,
    /// What the keys that live take, estimated; see [`history::live_bytes`].
    live_bytes: usize,
    /// What compaction to the newest revision would free, estimated; see [`history::event_bytes`].
    history_bytes: usize,
    /// Compacted stretches of the log whose versions still sit in `past`. No read can see them any more; they are
    /// cleared in small steps ([`State::sweep`]) so that a large compaction never holds up a write.
    swept_later: VecDeque<Vector<Events>>,
    /// What sweeping is yet to free, estimated.
    unswept_bytes: usize,
}

impl State {
    /// An empty store.
    pub(crate) fn new() -> Self {
        Self {
            revision: FIRST_REVISION,
            compacted: 0,
            live: OrdMap::new(),
            past: OrdMap::new(),
            log: Vector::new(),
            leases: OrdMap::new(),
            attached: OrdSet::new(),
            group: Arc::default(),
            live_bytes: 0,
            history_bytes: 0,
            swept_later: VecDeque::new(),
            unswept_bytes: 0,
        }
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read; 0 if nothing was ever compacted.
    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The first revision whose events are in `log`, were there one.
    fn log_start(&self) -> Revision {
        self.compacted.max(FIRST_REVISION) + 1
    }
}
