//! Commands on their way into the log, from both ends: where they were asked for, and at the leader.
//!
//! A command is sent to the leader of a term, and taken only by the leader of that term. So when a member applies an
//! entry of a later term, every command sent under an earlier one that it has not applied yet will never be: the later
//! leader's log holds no more entries of earlier terms behind its own first one. Such commands are sent again to the
//! new leader, and a change of leader costs a client nothing but time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::frame::{Proposal, ProposalId, Refusal};
use super::{Reply, Room};

/// How long a command may be without effect under one leader before it is sent again: the frame that carried it may
/// have been lost with a connection.
const SEND_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Ids that a leader remembers, so that what is sent again is not done again: some seconds of a busy group.
const IDS_REMEMBERED: usize = 1 << 18;

/// A command that someone here waits for.
pub(super) struct Pending {
    pub(super) proposal: Proposal,
    pub(super) reply: Reply,
    pub(super) _room: Option<Room>,
    sent: Option<Sent>,
}

#[derive(Clone, Copy)]
struct Sent {
    term: u64,
    at: Duration,
    /// To that term's leader.
    times: u32,
}

/// What was asked for on this member and has not been applied here.
pub(super) struct Proposals {
    incarnation: u64,
    last: u64,
    pending: BTreeMap<u64, Pending>,
    unsent: BTreeSet<u64>,
}

impl Proposals {
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            last: 0,
            pending: BTreeMap::new(),
            unsent: BTreeSet::new(),
        }
    }

    /// Takes up a command; it is among the unsent ones then.
    pub(super) fn add(&mut self, proposal: Proposal, reply: Reply, room: Option<Room>) {
        self.last += 1;
        self.unsent.insert(self.last);
        let pending = Pending {
            proposal,
            reply,
            _room: room,
            sent: None,
        };
        self.pending.insert(self.last, pending);
    }

    /// The commands to be sent now, in the order in which they were asked for. Those that nobody waits for any more are
    /// dropped; they were never sent, or came to nothing.
    pub(super) fn take_unsent(&mut self) -> Vec<u64> {
        let mut unsent = Vec::with_capacity(self.unsent.len());
        for sequence in std::mem::take(&mut self.unsent) {
            match self.pending.get(&sequence) {
                Some(pending) if pending.reply.is_closed() => {
                    self.pending.remove(&sequence);
                }
                Some(_) => unsent.push(sequence),
                None => {}
            }
        }
        unsent
    }

    /// Whether there are commands to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) fn id(&self, sequence: u64) -> ProposalId {
        ProposalId {
            incarnation: self.incarnation,
            sequence,
        }
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Pending> {
        self.pending.get(&sequence)
    }

    /// Notes that a command was sent to the leader of `term`.
    pub(super) fn sent(&mut self, sequence: u64, term: u64, now: Duration) {
        if let Some(pending) = self.pending.get_mut(&sequence) {
            let before = pending.sent.filter(|sent| sent.term == term);
            pending.sent = Some(Sent {
                term,
                at: now,
                times: before.map_or(0, |sent| sent.times) + 1,
            });
        }
    }

    /// Notes that a command was not taken, and is to be sent again later.
    pub(super) fn unsent(&mut self, sequence: u64) {
        self.unsent.insert(sequence);
    }

    /// A leader of `term`, or who was taken for one, has not taken a command. Says whether that is final.
    ///
    /// It is not if the command was sent to another leader since. Nor if it was sent in that term more than once: who is
    /// not the leader any more when the second copy arrives may have been when the first one did.
    pub(super) fn refused(&self, id: ProposalId, term: u64, why: Refusal) -> bool {
        let sent = self
            .pending
            .get(&id.sequence)
            .and_then(|pending| pending.sent)
            .filter(|sent| id.incarnation == self.incarnation && sent.term == term);
        sent.is_some_and(|sent| sent.times == 1 || why != Refusal::Again)
    }

    /// Gives out a command that has been applied or is given up.
    pub(super) fn take(&mut self, id: ProposalId) -> Option<Pending> {
        if id.incarnation != self.incarnation {
            return None;
        }
        self.unsent.remove(&id.sequence);
        self.pending.remove(&id.sequence)
    }

    /// An entry of `term` has been applied: what was sent under earlier terms came to nothing. Says whether there
    /// is something to be sent again.
    pub(super) fn later_term(&mut self, term: u64) -> bool {
        for (sequence, pending) in &mut self.pending {
            if pending.sent.is_some_and(|sent| sent.term < term) {
                pending.sent = None;
                self.unsent.insert(*sequence);
            }
        }
        !self.unsent.is_empty()
    }

    /// A snapshot up to an entry of `term` took the place of entries: what was sent under that term or earlier ones may be
    /// in it or not.
    pub(super) fn lost_sight(&mut self, term: u64) -> Vec<Pending> {
        let lost: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.sent.is_some_and(|sent| sent.term <= term))
            .map(|(sequence, _)| *sequence)
            .collect();
        lost.into_iter()
            .filter_map(|sequence| {
                self.unsent.remove(&sequence);
                self.pending.remove(&sequence)
            })
            .collect()
    }

    /// Commands without effect for so long that the leader of `term`, who has them or not, is sent them again. Those that
    /// nobody waits for any more are forgotten; they may still take effect.
    pub(super) fn overdue(&mut self, term: u64, now: Duration) -> Vec<u64> {
        let mut overdue = Vec::new();
        self.pending.retain(|sequence, pending| {
            let due = pending
                .sent
                .filter(|sent| sent.term == term && now >= sent.at + SEND_AGAIN_AFTER);
            if due.is_some() {
                if pending.reply.is_closed() {
                    return false;
                }
                overdue.push(*sequence);
            }
            true
        });
        overdue
    }

    /// Everything, at the end.
    pub(super) fn drain(&mut self) -> Vec<Pending> {
        self.unsent.clear();
        std::mem::take(&mut self.pending).into_values().collect()
    }
}

/// What a leader remembers of the commands that other members sent it in its term.
#[derive(Default)]
pub(super) struct Taken {
    ids: HashSet<ProposalId>,
    order: VecDeque<ProposalId>,
    /// By incarnation, the highest sequence that was forgotten: what is sent again at or below it cannot be judged.
    forgotten: HashMap<u64, u64>,
}

impl Taken {
    /// Whether to take a command, noting that it was.
    pub(super) fn take(&mut self, id: ProposalId, again: bool) -> bool {
        if again && self.forgotten.get(&id.incarnation) >= Some(&id.sequence) {
            return false;
        }
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > IDS_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
            let forgotten = self.forgotten.entry(oldest.incarnation).or_default();
            *forgotten = (*forgotten).max(oldest.sequence);
        }
        true
    }

    /// A command was not taken after all.
    pub(super) fn give_back(&mut self, id: ProposalId) {
        self.ids.remove(&id);
    }
}
