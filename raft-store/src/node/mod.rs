//! A member: the thread that owns Raft, and what it shares with the handles.

mod audit;
mod chores;
mod dir;
mod driver;
mod fs;
mod log;
mod logger;
mod snapshot;
mod start;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::error::{Error, StopCause};
use crate::kv::Revision;
use crate::mvcc::{Outcome, State};
use crate::txn::TxnResponse;
use crate::watch::Hub;

pub(crate) use start::{Opened, open};

/// A place in the request queue, given back when the request is answered.
pub(crate) type Room = OwnedSemaphorePermit;

/// What the handles ask of the thread.
pub(crate) enum Request {
    /// Append a command to the log, apply it, answer.
    Propose {
        entry: Vec<u8>,
        reply: Reply,
        _room: Room,
    },
    /// Find a revision that a linearizable read must reach, and answer when it is applied.
    ReadIndex {
        reply: oneshot::Sender<Result<Revision, Error>>,
        _room: Room,
    },
    /// Answer what is under way and end.
    Shutdown,
}

/// Where the outcome of a command goes. Nobody may be listening any more; the command is applied all the same.
pub(crate) enum Reply {
    Txn(oneshot::Sender<Result<TxnResponse, Error>>),
    Compact(oneshot::Sender<Result<(), Error>>),
}

impl Reply {
    /// Gives a command's outcome to who asked for it. Both are of the kind of the command.
    fn answer(self, outcome: Outcome) {
        match (self, outcome) {
            (Self::Txn(reply), Outcome::Txn(outcome)) => drop(reply.send(outcome)),
            (Self::Compact(reply), Outcome::Compact(outcome)) => drop(reply.send(outcome)),
            (Self::Txn(_) | Self::Compact(_), _) => {}
        }
    }

    fn fail(self, error: Error) {
        match self {
            Self::Txn(reply) => drop(reply.send(Err(error))),
            Self::Compact(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// What the thread shares with handles, watchers and the hub.
pub(crate) struct Shared {
    /// Written by the thread alone, for the time of one command; read for the time of a clone.
    pub(crate) state: RwLock<State>,
    /// The applied revision. Also touched when the member stops, to wake those who wait for it.
    pub(crate) applied: watch::Sender<Revision>,
    pub(crate) hub: Hub,
    stopped: OnceLock<StopCause>,
    sole_voter: AtomicBool,
}

impl Shared {
    fn new(state: State) -> Self {
        Self {
            applied: watch::Sender::new(state.revision()),
            state: RwLock::new(state),
            hub: Hub::default(),
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

    fn stop(&self, cause: StopCause) {
        // The first cause is the one that matters.
        let _ = self.stopped.set(cause);
        self.applied.send_modify(|_| {});
    }
}
