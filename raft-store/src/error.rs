//! What can go wrong, said so that a person can act on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::kv::Revision;

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for has been compacted away.
    #[error("revision {requested} has been compacted: the oldest that can be read is {compacted}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The store's compaction point: the oldest revision that can still be read. Watches start behind it.
        compacted: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("revision {requested} is in the future: the store is at revision {current}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// A transaction writes one key twice.
    #[error("a transaction may write a key once, but this one writes {} again", key.escape_ascii())]
    DuplicateKey {
        /// The key written twice.
        key: Bytes,
    },
    /// A key is empty.
    #[error("a key must not be empty ({what})")]
    EmptyKey {
        /// Where the key was given.
        what: &'static str,
    },
    /// A request is larger than the store takes.
    #[error("{what} is {size}, the store takes at most {max}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// A transaction has more conditions or steps than the store takes.
    #[error("{what} is {size}, the store takes at most {max}")]
    TooManySteps {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// A put keeps the value or the lease of a key that does not exist.
    #[error("the key {} does not exist, so there is no value or lease of it to keep", key.escape_ascii())]
    KeyNotFound {
        /// The key.
        key: Bytes,
    },
    /// There is no such lease: never granted, revoked, or expired.
    #[error("there is no lease {id:016x}; it may have expired")]
    LeaseNotFound {
        /// The lease's id.
        id: i64,
    },
    /// A lease was to be granted under an id that is taken.
    #[error("the lease {id:016x} exists already")]
    LeaseExists {
        /// The lease's id.
        id: i64,
    },
    /// A lease was to be granted for longer than the store takes.
    #[error("a lease of {ttl} s is too long: the store takes at most {max} s")]
    LeaseTtl {
        /// The seconds asked for.
        ttl: i64,
        /// The bound in seconds.
        max: i64,
    },
    /// The store outgrew its quota; what needs room is refused until the alarm is turned off.
    #[error(
        "the store outgrew its quota and takes nothing that needs room: delete keys, compact, then turn the alarm off"
    )]
    NoSpace,
    /// There is no such member in the group.
    #[error("there is no member {id:016x} in the group")]
    MemberNotFound {
        /// The member's id.
        id: u64,
    },
    /// A member was to be added whose id or peer urls are taken.
    #[error("a member with this id or one of these peer urls is or was in the group")]
    MemberExists,
    /// A member was to be promoted that votes already.
    #[error("the member {id:016x} has a vote already")]
    NotLearner {
        /// The member's id.
        id: u64,
    },
    /// A learner was to be promoted that lags behind.
    #[error("the learner has not caught up with the leader: try again when it has")]
    LearnerNotReady,
    /// The group could not go on after this change, since too few of its members are working.
    #[error(
        "after this change too few of the voting members would be working: start or remove those that are not, first"
    )]
    UnhealthyGroup,
    /// It cannot be done just now; nothing was changed.
    #[error("{what}: try again in a moment")]
    Unavailable {
        /// What is in the way.
        what: &'static str,
    },
    /// Too many requests wait for the log; nothing was written. Retry with a pause.
    #[error(
        "the store is overloaded: no place in its queue of {queue_bytes} bytes for {waited:?}; retry after a pause"
    )]
    Overloaded {
        /// The queue's bound.
        queue_bytes: usize,
        /// How long the request waited for a place.
        waited: Duration,
    },
    /// The store did not answer in time. A write may or may not have happened.
    #[error(
        "{what} was not answered within {after:?}; a write may still take effect: read before retrying"
    )]
    Timeout {
        /// What was attempted.
        what: &'static str,
        /// How long it took.
        after: Duration,
    },
    /// Another member leads, and this one could not find out what became of the write.
    #[error("this member does not lead the group{}", leader.map_or_else(String::new, |id| format!(", member {id:016x} does")))]
    NotLeader {
        /// The leader's id, if known.
        leader: Option<u64>,
        /// Whether the write may have happened nevertheless.
        outcome_unknown: bool,
    },
    /// The member has stopped and serves nothing more.
    #[error("the store has stopped: {cause}")]
    Stopped {
        /// Why.
        cause: StopCause,
    },
}

impl Error {
    /// Whether the request may have taken effect although it failed: read before doing it again.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Stopped { .. } => true,
            Self::NotLeader {
                outcome_unknown, ..
            } => *outcome_unknown,
            _ => false,
        }
    }
}

/// Why a member stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopCause {
    /// It was asked to.
    #[error("it was shut down")]
    Shutdown,
    /// Writing or syncing failed. What the disk holds is then unknown, so the member does not go on; it recovers
    /// from what is durable when it is opened again.
    #[error("{what} failed ({error}); check the disk and its free space, then restart this member")]
    Disk {
        /// What was attempted, with the path.
        what: String,
        /// The system's words.
        error: Arc<str>,
    },
    /// This member was removed from the group; its data are of no more use.
    #[error("this member was removed from the group")]
    Removed,
    /// The leader knows that this member once had more of the log than it has: its data directory was lost or replaced.
    #[error(
        "this member had confirmed the log up to entry {confirmed}, but has only {last} entries: its data were lost or replaced; remove it from the group, empty its data directory, and add it as a new member"
    )]
    LostLog {
        /// The entry it had confirmed.
        confirmed: u64,
        /// The last one it has.
        last: u64,
    },
    /// The log or the state contradicts itself.
    #[error("{what}; this is a bug or damaged memory: restart this member, which replays its log")]
    Broken {
        /// What was found.
        what: Arc<str>,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another store has the directory open.
    #[error(
        "the data directory {} is in use by another store: stop that one first, or give this one its own directory",
        dir.display()
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// A file is damaged: bits flipped, or parts missing that were once synced.
    #[error("{} is damaged: {what}; restore this member from a snapshot or another member", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// What was found, where.
        what: String,
    },
    /// A file was written by a version of this program that this one does not know.
    #[error("{} has the format version {found}, this program reads {supported}: use the program that wrote it, or a newer one", file.display())]
    UnknownFormat {
        /// The file.
        file: PathBuf,
        /// The version it carries.
        found: u32,
        /// The version understood here.
        supported: u32,
    },
    /// The configuration contradicts itself or the data directory.
    #[error("{what}")]
    Config {
        /// What is wrong.
        what: String,
    },
    /// Reading or writing failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The member stopped while it was starting.
    #[error("the store stopped while it was starting: {0}")]
    Stopped(StopCause),
}

impl OpenError {
    /// An I/O error with what was attempted, where.
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
