//! Linearizable reads: many share one round of confirmation by the group.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Room;
use crate::error::Error;
use crate::kv::Revision;

/// After so long without an answer a round is asked for once more: its messages may have been lost, or the leader
/// was too new to answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Who waits for a read.
pub(super) struct Waiting {
    pub(super) reply: oneshot::Sender<Result<Revision, Error>>,
    pub(super) _room: Option<Room>,
}

struct Round {
    id: u64,
    asked: Duration,
    /// The entry to apply first, once the group has named it.
    index: Option<u64>,
    waiting: Vec<Waiting>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Reads {
    last: u64,
    /// Not asked for yet.
    new: Vec<Waiting>,
    rounds: Vec<Round>,
}

impl Reads {
    pub(super) fn add(&mut self, waiting: Waiting) {
        self.new.push(waiting);
    }

    /// Begins a round for all reads that are not in one; `None` if there are none.
    pub(super) fn begin(&mut self, now: Duration) -> Option<u64> {
        self.new.retain(|waiting| !waiting.reply.is_closed());
        if self.new.is_empty() {
            return None;
        }
        self.last += 1;
        self.rounds.push(Round {
            id: self.last,
            asked: now,
            index: None,
            waiting: std::mem::take(&mut self.new),
        });
        Some(self.last)
    }

    /// The group has confirmed a round.
    pub(super) fn confirmed(&mut self, id: u64, index: u64) {
        // A round begun earlier is confirmed by this one as well: its readers have asked before.
        for round in &mut self.rounds {
            if round.id <= id && round.index.is_none() {
                round.index = Some(index);
            }
        }
    }

    /// Puts reads whose rounds were not answered in time back among the new ones.
    pub(super) fn give_up_old(&mut self, now: Duration) {
        let new = &mut self.new;
        self.rounds.retain_mut(|round| {
            let old = round.index.is_none() && now >= round.asked + ASK_AGAIN_AFTER;
            if old {
                new.append(&mut round.waiting);
            }
            !old
        });
    }

    /// Those whose entry is applied.
    pub(super) fn take_ready(&mut self, applied: u64) -> Vec<Waiting> {
        let mut ready = Vec::new();
        self.rounds.retain_mut(|round| {
            let done = round.index.is_some_and(|index| index <= applied);
            if done {
                ready.append(&mut round.waiting);
            }
            !done
        });
        ready
    }

    /// Everything, at the end.
    pub(super) fn drain(&mut self) -> Vec<Waiting> {
        let mut all = std::mem::take(&mut self.new);
        for round in &mut self.rounds {
            all.append(&mut round.waiting);
        }
        self.rounds.clear();
        all
    }
}
