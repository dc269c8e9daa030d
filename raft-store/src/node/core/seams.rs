//! What a core works with and does not know: its log's disk, the way to other members, a snapshot that arrived.

use raft::eraftpb::{ConfState, Entry, HardState, Message};

use super::super::frame::Frame;
use super::super::log::Position;
use super::super::snapshot::Meta;
use crate::error::StopCause;
use crate::member::Member;
use crate::mvcc::State;

/// Where a member keeps its log. Everything else that is durable is written around the core.
pub(in crate::node) trait Disk: raft::Storage {
    /// Writes entries and the hard state. With entries, or if `sync` is set, they are durable when it returns.
    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
        sync: bool,
    ) -> Result<(), StopCause>;

    /// Notes how far the log is committed; it need not be durable before the next entries are.
    fn set_commit(&mut self, commit: u64);

    /// Notes what is applied, and who is in the group as of that.
    fn set_applied(&mut self, applied: Position, conf_state: Option<ConfState>);

    /// Begins anew behind a snapshot that came from another member and is durable.
    fn install(&mut self, snapshot: &Meta) -> Result<(), StopCause>;
}

/// Where a member's messages leave it. Nothing here waits.
pub(in crate::node) trait Outlet {
    /// Sends a frame, some time before [`Outlet::flush`] returns.
    fn frame(&mut self, to: u64, frame: Frame);

    /// Sends a snapshot; [`Core::snapshot_sent`] is to be told what became of it.
    fn snapshot(&mut self, to: u64, message: Message, meta: Meta, state: State);

    /// The group has changed.
    fn members(&mut self, members: Vec<Member>);

    /// Nothing more comes for a while.
    fn flush(&mut self);
}

/// See [`Arrived::keep`]; what it is given begins the log anew.
pub(in crate::node) type Keep =
    Box<dyn FnOnce(&mut dyn FnMut() -> Result<(), StopCause>) -> Result<(), StopCause> + Send>;

/// A snapshot that has arrived and can be installed.
pub(crate) struct Arrived {
    pub(in crate::node) message: Message,
    pub(in crate::node) meta: Meta,
    pub(in crate::node) state: State,
    pub(in crate::node) bytes: u64,
    /// Makes it this member's snapshot for good, beginning the log anew in the middle of that.
    pub(in crate::node) keep: Keep,
}
