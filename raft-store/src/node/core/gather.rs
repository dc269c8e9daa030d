//! Proposals that wait for company.
//!
//! What a batch of proposals costs a group hardly depends on how many they are: a write and a sync on each member, two
//! messages, and a dozen times that a thread is woken. So while a leader has proposed what is not applied yet, it lets
//! others gather, and proposes all of them at once when it is. Where members are so far apart or so slow that this would
//! take longer than [`COMPANY`], it does not wait for it, and several batches are under way at a time.

use std::time::Duration;

use crate::node::frame::{Proposal, ProposalId};

/// How long a proposal waits for company at most: some times what a group takes whose disks are good and whose
/// members are near, and little of what it takes elsewhere.
pub(in crate::node) const COMPANY: Duration = Duration::from_millis(3);

/// A proposal that another member sent here.
pub(super) struct Forwarded {
    pub(super) from: u64,
    pub(super) id: ProposalId,
    pub(super) term: u64,
    pub(super) again: bool,
    pub(super) proposal: Proposal,
}

/// See the module.
#[derive(Default)]
pub(super) struct Gathering {
    /// In the order of their arrival. As many as other members let wait for their answers at a time.
    forwarded: Vec<Forwarded>,
    /// The last entry that was proposed, and when.
    under_way: Option<(u64, Duration)>,
}

impl Gathering {
    pub(super) fn add(&mut self, forwarded: Forwarded) {
        self.forwarded.push(forwarded);
    }

    pub(super) fn take(&mut self) -> Vec<Forwarded> {
        std::mem::take(&mut self.forwarded)
    }

    /// Whether what waits is to be proposed now.
    pub(super) fn is_over(&self, applied: u64, now: Duration) -> bool {
        self.under_way
            .is_none_or(|(last, since)| last <= applied || now >= since + COMPANY)
    }

    /// When it is over, unless what is under way has been applied before.
    pub(super) fn until(&self) -> Option<Duration> {
        self.under_way.map(|(_, since)| since + COMPANY)
    }

    /// Whether other members' proposals wait.
    pub(super) fn holds_any(&self) -> bool {
        !self.forwarded.is_empty()
    }

    /// What waited is being proposed. What cannot be is tried again with the next tick, not at once.
    pub(super) fn end(&mut self) {
        self.under_way = None;
    }

    /// All that waited has been proposed; the log ends at entry `last` now.
    pub(super) fn begin(&mut self, last: u64, now: Duration) {
        self.under_way = Some((last, now));
    }
}
