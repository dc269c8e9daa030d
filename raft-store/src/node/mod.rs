//! A member: the thread that owns Raft, and what it shares with the handles.
//!
//! ```text
//! Store, Inbox -> Request -> driver -> core -> log, state
//!                               `---- outlet -> Transport -> other members
//! ```

mod audit;
mod change;
mod chores;
mod core;
mod dir;
mod driver;
mod floor;
mod frame;
mod fs;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod inbox;
mod log;
mod logger;
mod offline;
mod outlet;
mod proposals;
mod reads;
#[cfg(test)]
mod sim;
mod snapshot;
mod stage;
mod start;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::error::{Error, StopCause};
use crate::kv::Revision;
use crate::mvcc::{Outcome, State};
use crate::watch::Hub;

pub(crate) use change::MemberChange;
pub(crate) use dir::MEMBER_FILE;
pub(crate) use frame::{Answer, Question};
pub(crate) use inbox::CoreInbox;
pub use offline::{NewGroup, SnapshotStatus, force_new_group, restore, snapshot_status};
pub(crate) use outlet::NoTransport;
pub use snapshot::Backup;
pub(crate) use start::{Opened, open};

/// A place in a queue, given back when what it was for is done.
pub(crate) type Room = OwnedSemaphorePermit;

/// What the thread is asked.
pub(crate) enum Request {
    /// Append a command to the log, apply it, answer.
    Propose {
        entry: Vec<u8>,
        reply: Reply,
        room: Room,
    },
    /// Change the group, answer when that is done.
    Change {
        change: MemberChange,
        reply: Reply,
        room: Room,
    },
    /// Find a revision that a linearizable read must reach, and answer when it is applied.
    ReadIndex {
        reply: oneshot::Sender<Result<Revision, Error>>,
        room: Room,
    },
    /// Ask the leader.
    Ask {
        question: Question,
        reply: oneshot::Sender<Result<Answer, Error>>,
        room: Room,
    },
    /// Frames have arrived from a member.
    Frames {
        from: u64,
        frames: Vec<frame::Frame>,
        _room: Room,
    },
    /// A snapshot has arrived whole, and is durable under a name of its own.
    Snapshot {
        arrived: Box<core::Arrived>,
        done: std::sync::mpsc::SyncSender<()>,
    },
    /// A snapshot that was sent has been taken, or not.
    SnapshotSent { to: u64, taken: bool },
    /// Frames to a member are being lost.
    Unreachable(u64),
    /// A member says that this one was removed.
    ToldRemoved { by: u64 },
    /// Answer what is under way and end.
    Shutdown,
}

/// Where the outcome of a command goes. Nobody may be listening any more; the command is applied all the same.
pub(crate) struct Reply(pub(crate) oneshot::Sender<Result<Outcome, Error>>);

impl Reply {
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn answer(self, outcome: Result<Outcome, Error>) {
        drop(self.0.send(outcome));
    }

    fn fail(self, error: Error) {
        self.answer(Err(error));
    }
}

/// Where a member stands, as Raft sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RaftStatus {
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    pub(crate) last_index: u64,
    pub(crate) applied_index: u64,
}

/// Who leads the group, as a member knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader's id; `None` while there is none, or this member has stopped.
    pub leader: Option<u64>,
    /// The Raft term that this is of.
    pub term: u64,
    /// Whether this member leads. Another may have been elected in the meantime and this one not know it yet, so
    /// what is done on the strength of it must not rely on being the only one.
    pub here: bool,
}

/// What the thread shares with handles, watchers and the hub.
pub(crate) struct Shared {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    /// Written by the thread alone, for the time of one command; read for the time of a clone.
    pub(crate) state: RwLock<State>,
    /// The applied revision. Also touched when the member stops, to wake those who wait for it.
    pub(crate) applied: watch::Sender<Revision>,
    pub(crate) hub: Hub,
    status: Mutex<RaftStatus>,
    leadership: watch::Sender<Leadership>,
    stopped: OnceLock<StopCause>,
    sole_voter: AtomicBool,
}

impl Shared {
    fn new(cluster_id: u64, member_id: u64, state: State) -> Self {
        Self {
            cluster_id,
            member_id,
            applied: watch::Sender::new(state.revision()),
            state: RwLock::new(state),
            hub: Hub::default(),
            status: Mutex::default(),
            leadership: watch::Sender::new(Leadership::default()),
            stopped: OnceLock::new(),
            sole_voter: AtomicBool::new(false),
        }
    }

    /// Why the member stopped, once it has.
    pub(crate) fn stop_cause(&self) -> Option<StopCause> {
        self.stopped.get().cloned()
    }

    /// Whether this member is a group of its own, so that nothing can be acknowledged without it.
    pub(crate) fn is_sole_voter(&self) -> bool {
        self.sole_voter.load(Ordering::Acquire)
    }

    pub(crate) fn status(&self) -> RaftStatus {
        *self.status.lock()
    }

    fn set_sole_voter(&self, sole: bool) {
        self.sole_voter.store(sole, Ordering::Release);
    }

    /// Who leads, and every change of it.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    fn set_status(&self, status: RaftStatus) {
        *self.status.lock() = status;
        let now = Leadership {
            leader: status.leader,
            term: status.term,
            here: status.leader == Some(self.member_id),
        };
        // After every turn of the thread, and hardly ever different.
        self.leadership.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    fn stop(&self, cause: StopCause) {
        // The first cause is the one that matters.
        let _ = self.stopped.set(cause);
        self.leadership.send_modify(|leadership| {
            leadership.leader = None;
            leadership.here = false;
        });
        self.applied.send_modify(|_| {});
    }
}

/// The state as of now, as the bytes of a snapshot file.
pub(crate) fn backup(shared: &Shared) -> Backup {
    // Position and group are those of no log: what is restored from it begins a new group.
    let meta = snapshot::Meta::of_no_log(shared.cluster_id);
    Backup::new(meta, shared.state.read().clone())
}

/// A command, encoded, as it is proposed.
fn command(entry: Vec<u8>) -> frame::Proposal {
    frame::Proposal::Command(Bytes::from(entry))
}
