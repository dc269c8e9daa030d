//! What the network counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What has passed between this member and the others since the network was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By member, ordered by id.
    pub members: Vec<MemberCounters>,
    /// Bytes of frames that were delivered here.
    pub received_bytes: u64,
    /// Frames that were delivered here.
    pub received_frames: u64,
    /// Snapshots that were taken in whole.
    pub received_snapshots: u64,
    /// Calls that were refused, for whatever reason.
    pub refused: u64,
    /// Frames for members that are not in the table.
    pub dropped_frames: u64,
}

/// What has passed to one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberCounters {
    /// The member.
    pub member: u64,
    /// Whether frames can pass to it now.
    pub connected: bool,
    /// Bytes of frames that wait.
    pub queued_bytes: u64,
    /// Bytes of frames given to the connection. That they arrived is for Raft to find out.
    pub sent_bytes: u64,
    /// The same, counted in frames.
    pub sent_frames: u64,
    /// The messages that they were sent in.
    pub sent_batches: u64,
    /// Frames dropped since the queue was full or the member could not be reached.
    pub dropped_frames: u64,
    /// Connections made after the first.
    pub reconnects: u64,
    /// The time from a call to its answer, last measured; `None` before the first.
    pub round_trip: Option<Duration>,
    /// Snapshots that the member has taken whole.
    pub sent_snapshots: u64,
    /// Snapshots that it has not.
    pub failed_snapshots: u64,
}

/// A number that only grows; never used to decide anything.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Default)]
pub(crate) struct Received {
    pub(crate) bytes: Counter,
    pub(crate) frames: Counter,
    pub(crate) snapshots: Counter,
    pub(crate) refused: Counter,
    pub(crate) stray_frames: Counter,
}

#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) bytes: Counter,
    pub(crate) frames: Counter,
    pub(crate) batches: Counter,
    pub(crate) dropped: Counter,
    pub(crate) connects: Counter,
    pub(crate) snapshots: Counter,
    pub(crate) snapshots_failed: Counter,
    /// In microseconds; 0 is not measured yet.
    round_trip: AtomicU64,
}

impl Sent {
    pub(crate) fn set_round_trip(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.round_trip.store(micros.max(1), Relaxed);
    }

    pub(crate) fn counters(&self, member: u64, connected: bool, queued: usize) -> MemberCounters {
        let round_trip = self.round_trip.load(Relaxed);
        MemberCounters {
            member,
            connected,
            queued_bytes: queued as u64,
            sent_bytes: self.bytes.get(),
            sent_frames: self.frames.get(),
            sent_batches: self.batches.get(),
            dropped_frames: self.dropped.get(),
            reconnects: self.connects.get().saturating_sub(1),
            round_trip: (round_trip > 0).then(|| Duration::from_micros(round_trip)),
            sent_snapshots: self.snapshots.get(),
            failed_snapshots: self.snapshots_failed.get(),
        }
    }
}
