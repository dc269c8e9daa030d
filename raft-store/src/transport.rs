//! The seam between a member and the network: who carries bytes, and where they are delivered.
//!
//! ```text
//!   core -- Transport::send, send_snapshot, set_members --> network     never waits, may lose
//!   core <-- Inbox::deliver, snapshot, unreachable       -- network     waits for room
//! ```
//! What the bytes mean is the core's matter alone. The network in turn is a [`Transport`] that the core is given and
//! an [`Inbox`] that the core gives out, so that a simulation can stand in for it, and a test for the core.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::member::Member;

/// Carries bytes to other members.
///
/// No method blocks or waits, so that the thread that drives Raft can call them. What cannot be sent is dropped; Raft
/// repeats what matters.
pub trait Transport: Send + Sync + 'static {
    /// Sends frames to a member: those that arrive do so in order, each at most once. Frames to a member that
    /// [`Transport::set_members`] did not list are dropped.
    fn send(&self, to: u64, frames: Vec<Bytes>);

    /// Streams a snapshot to a member, beside the frames. `done` is told once whether the receiver has taken it whole
    /// and for good; it is called on a task or thread of the transport, never within this call, and must not block.
    ///
    /// There is at most one per member at a time: a second one is answered `false`. It is not tried again by itself.
    fn send_snapshot(&self, to: u64, snapshot: SnapshotOut, done: Box<dyn FnOnce(bool) + Send>);

    /// Who the members are, this one among them, with their peer urls: called at start and after every change.
    /// Members no longer listed are disconnected, and what waits for them is dropped.
    fn set_members(&self, members: Vec<Member>);
}

/// A snapshot on its way out.
pub struct SnapshotOut {
    /// Opaque to the network; arrives before anything else. At most 1 MiB.
    pub header: Bytes,
    /// About how many bytes the body has; 0 if not known. For people to read, nothing is decided by it.
    pub bytes_about: u64,
    /// The chunks, about 1 MiB each. Getting the next one may block: it is asked for on a thread of its own, and only as
    /// fast as the receiver takes them. After an error the snapshot is given up.
    pub body: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
}

impl std::fmt::Debug for SnapshotOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotOut")
            .field("header_bytes", &self.header.len())
            .field("bytes_about", &self.bytes_about)
            .finish_non_exhaustive()
    }
}

/// Why a member did not take what was delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// The member has stopped. Nothing more will be taken.
    #[error("this member has stopped")]
    Stopped,
    /// What was delivered does not make sense. The stream that it came on is to be closed.
    #[error("{what}")]
    Undecodable {
        /// What was found.
        what: String,
    },
    /// Another snapshot is being taken in.
    #[error("this member is taking in another snapshot")]
    Busy,
    /// Keeping a snapshot failed; the member itself goes on.
    #[error("{what}")]
    Failed {
        /// What was attempted, and the system's words.
        what: String,
    },
}

/// A delivery under way. Dropped before its end, some of its frames may have been taken, from the first on.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), InboxError>> + Send + 'a>>;

/// What stands behind an [`Inbox`]: the core, or something in its place in a test of the network.
pub trait InboxSink: Send + Sync + 'static {
    /// The group this member belongs to; never changes.
    fn cluster_id(&self) -> u64;

    /// This member's id; never changes.
    fn member_id(&self) -> u64;

    /// See [`Inbox::is_removed`].
    fn is_removed(&self, member: u64) -> bool;

    /// See [`Inbox::deliver`].
    fn deliver(&self, from: u64, frames: Vec<Bytes>) -> Delivery<'_>;

    /// See [`Inbox::unreachable`].
    fn unreachable(&self, member: u64);

    /// See [`Inbox::told_removed`].
    fn told_removed(&self, by: u64) {
        let _ = by;
    }

    /// See [`Inbox::snapshot`].
    fn snapshot(&self, from: u64, header: Bytes) -> Result<Box<dyn SnapshotSink>, InboxError>;
}

/// What stands behind a [`SnapshotIn`]. Dropped without [`SnapshotSink::finish`], it discards what it was given.
pub trait SnapshotSink: Send {
    /// See [`SnapshotIn::write`].
    fn write(&mut self, chunk: &[u8]) -> Result<(), InboxError>;

    /// See [`SnapshotIn::finish`].
    fn finish(self: Box<Self>) -> Result<(), InboxError>;
}

/// Where the network delivers what arrives for a member. Clones deliver to the same member.
#[derive(Clone)]
pub struct Inbox {
    sink: Arc<dyn InboxSink>,
}

impl Inbox {
    /// The inbox of `sink`.
    pub fn new(sink: Arc<dyn InboxSink>) -> Self {
        Self { sink }
    }

    /// The group this member belongs to.
    pub fn cluster_id(&self) -> u64 {
        self.sink.cluster_id()
    }

    /// This member's id.
    pub fn member_id(&self) -> u64 {
        self.sink.member_id()
    }

    /// Whether this member knows that another was removed from the group. Cheap: asked for every stream that begins.
    ///
    /// It is not the same as being absent from [`Transport::set_members`]. A member that was away for long may hear from
    /// those that joined meanwhile, and only from them can it learn who they are.
    pub fn is_removed(&self, member: u64) -> bool {
        self.sink.is_removed(member)
    }

    /// Delivers frames from a member, in order. Waits for room: the queue behind is bounded by bytes.
    ///
    /// # Errors
    /// [`InboxError::Stopped`], and [`InboxError::Undecodable`] for bytes that are no frame.
    pub async fn deliver(&self, from: u64, frames: Vec<Bytes>) -> Result<(), InboxError> {
        self.sink.deliver(from, frames).await
    }

    /// Tells that a member cannot be reached, or that frames to it were lost. The caller sees to it that this happens
    /// no more than some times a second for each member. Does not block.
    pub fn unreachable(&self, member: u64) {
        self.sink.unreachable(member);
    }

    /// Tells that member `by` refused this one because it was removed from the group. `by` is a member of this group,
    /// but it is alone in saying so. Told about once a second at most. Does not block.
    pub fn told_removed(&self, by: u64) {
        self.sink.told_removed(by);
    }

    /// Begins to take in a snapshot. Blocks, and so do the calls on what is returned: use a thread where that is allowed.
    ///
    /// # Errors
    /// [`InboxError::Busy`] if one is being taken in already; [`InboxError::Undecodable`] for a header that makes no
    /// sense; [`InboxError::Failed`]; [`InboxError::Stopped`].
    pub fn snapshot(&self, from: u64, header: Bytes) -> Result<SnapshotIn, InboxError> {
        let sink = self.sink.snapshot(from, header)?;
        Ok(SnapshotIn { sink })
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("cluster_id", &format_args!("{:016x}", self.cluster_id()))
            .field("member_id", &format_args!("{:016x}", self.member_id()))
            .finish()
    }
}

/// A snapshot on its way in. Dropped unfinished, what came of it is discarded.
#[must_use = "a snapshot that is not finished is discarded"]
pub struct SnapshotIn {
    sink: Box<dyn SnapshotSink>,
}

impl SnapshotIn {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// As [`Inbox::snapshot`]; the snapshot is then lost.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), InboxError> {
        self.sink.write(chunk)
    }

    /// All bytes were written: checks them and makes them last. When it returns, the sender may forget about it.
    ///
    /// # Errors
    /// As [`Inbox::snapshot`]; the snapshot is then lost.
    pub fn finish(self) -> Result<(), InboxError> {
        self.sink.finish()
    }
}

impl std::fmt::Debug for SnapshotIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotIn").finish_non_exhaustive()
    }
}
