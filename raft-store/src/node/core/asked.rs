//! What was asked here: on its way to the leader, judged where this member leads, answered.

use std::collections::HashSet;

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeType, ConfChangeV2};

use super::{ASK_AGAIN_AFTER, Asker, Core, Disk, Forwarded, LEARNER_LAG, Outlet};
use crate::error::Error;
use crate::node::frame::{Answer, Frame, Proposal, ProposalId, Question, Refusal};

impl<D: Disk, O: Outlet> Core<D, O> {
    pub(super) fn leader(&self) -> Option<u64> {
        let leader = self.raft.raft.leader_id;
        (leader != 0).then_some(leader)
    }

    /// Sends proposals, reads and questions that are not on their way, if there is a leader to send them to.
    pub(super) fn send_what_waits(&mut self) {
        if !std::mem::take(&mut self.retry) {
            return;
        }
        if self.leader().is_none() {
            // Whoever sent them is to look for the leader.
            self.take_up_forwarded();
            return;
        }
        if !self.is_leader() || self.gathering.is_over(self.applied.index, self.now) {
            self.gathering.end();
            let before = self.raft.raft.raft_log.last_index();
            self.take_up_forwarded();
            for sequence in self.proposals.take_unsent() {
                self.send_proposal(sequence, false);
            }
            let last = self.raft.raft.raft_log.last_index();
            if last > before {
                self.gathering.begin(last, self.now);
            }
        }
        // First: some of them need a read.
        self.send_questions();
        if let Some(round) = self.reads.begin(self.now) {
            self.raft.read_index(self.read_context(round));
        }
    }

    pub(super) fn send_proposal(&mut self, sequence: u64, again: bool) {
        let Some(proposal) = self
            .proposals
            .get(sequence)
            .map(|pending| pending.proposal.clone())
        else {
            return;
        };
        let id = self.proposals.id(sequence);
        let term = self.raft.raft.term;
        if self.is_leader() {
            match self.append(id, &proposal) {
                Ok(()) => self.proposals.sent(sequence, term, self.now),
                Err(why) => self.refuse(id, why),
            }
        } else if let Some(leader) = self.leader() {
            self.proposals.sent(sequence, term, self.now);
            let frame = Frame::Forward {
                id,
                term,
                again,
                proposal,
            };
            self.outlet.frame(leader, frame);
        }
    }

    /// A leader did not take a proposal of this member's.
    pub(super) fn refuse(&mut self, id: ProposalId, why: Refusal) {
        let error = match why {
            // With the next tick: whatever is in the way needs a moment.
            Refusal::Again => return self.proposals.unsent(id.sequence),
            Refusal::ChangeUnderWay => Error::Unavailable {
                what: "another change of the group's members is still under way",
            },
            Refusal::LearnerNotReady => Error::LearnerNotReady,
            Refusal::Unhealthy => Error::UnhealthyGroup,
        };
        if let Some(pending) = self.proposals.take(id) {
            pending.reply.fail(error);
        }
    }

    /// Appends a proposal to the log of this member, which leads.
    fn append(&mut self, id: ProposalId, proposal: &Proposal) -> Result<(), Refusal> {
        let result = match proposal {
            Proposal::Command(command) => self.raft.propose(id.encode(), command.to_vec()),
            Proposal::Change(change) => {
                let change = ConfChangeV2::parse_from_bytes(change).map_err(|error| {
                    tracing::warn!(%error, "a change of the group cannot be read");
                    Refusal::Unhealthy
                })?;
                self.check_change(&change)?;
                // From here on others may take part in decisions.
                self.shared.set_sole_voter(false);
                self.raft.propose_conf_change(id.encode(), change)
            }
        };
        result.map_err(|error| {
            tracing::debug!(%error, "Raft did not take a proposal");
            Refusal::Again
        })
    }

    /// Whether the group would still work after a change.
    fn check_change(&self, change: &ConfChangeV2) -> Result<(), Refusal> {
        let raft = &self.raft.raft;
        if raft.has_pending_conf() {
            return Err(Refusal::ChangeUnderWay);
        }
        let voters: HashSet<u64> = raft.prs().conf().voters().ids().iter().collect();
        let active =
            |id: u64| id == raft.id || raft.prs().get(id).is_some_and(|peer| peer.recent_active);
        let mut after = voters.clone();
        for single in &change.changes {
            match single.get_change_type() {
                ConfChangeType::AddNode => {
                    if let Some(progress) = raft.prs().get(single.node_id)
                        && !voters.contains(&single.node_id)
                        // Raft takes a new member for active until it has had time to say something, and while the
                        // log is short, one that never ran does not lag.
                        && (progress.matched == 0
                            || !progress.recent_active
                            || progress.matched + LEARNER_LAG < raft.raft_log.committed)
                    {
                        return Err(Refusal::LearnerNotReady);
                    }
                    after.insert(single.node_id);
                }
                ConfChangeType::RemoveNode => {
                    after.remove(&single.node_id);
                }
                ConfChangeType::AddLearnerNode => {}
            }
        }
        let working = after.iter().filter(|id| active(**id)).count();
        // The second voter cannot be active before it is one.
        let first_to_join = voters.len() == 1 && after.len() == 2;
        if after.is_empty() || (after != voters && working <= after.len() / 2 && !first_to_join) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    /// Takes up what other members sent here, in the order in which it came.
    fn take_up_forwarded(&mut self) {
        for forwarded in self.gathering.take() {
            let Forwarded {
                from,
                id,
                term,
                again,
                proposal,
            } = forwarded;
            if let Err(why) = self.take_forwarded(id, term, again, proposal) {
                self.outlet.frame(from, Frame::Refused { id, term, why });
            }
        }
    }

    fn take_forwarded(
        &mut self,
        id: ProposalId,
        term: u64,
        again: bool,
        proposal: Proposal,
    ) -> Result<(), Refusal> {
        if !self.is_leader() || self.raft.raft.term != term {
            return Err(Refusal::Again);
        }
        if !self.taken.take(id, again) {
            return Ok(());
        }
        self.append(id, &proposal)
            .inspect_err(|_| self.taken.give_back(id))
    }

    fn read_context(&self, round: u64) -> Vec<u8> {
        [self.raft.raft.id, self.read_salt, round]
            .iter()
            .flat_map(|part| part.to_le_bytes())
            .collect()
    }

    pub(super) fn read_confirmed(&mut self, context: &[u8], index: u64) {
        let Some((_, round)) = context.split_last_chunk() else {
            return;
        };
        let round = u64::from_le_bytes(*round);
        if context == self.read_context(round) {
            self.reads.confirmed(round, index);
            self.answer_reads();
        }
    }

    pub(super) fn answer_reads(&mut self) {
        let ready = self.reads.take_ready(self.applied.index);
        if ready.is_empty() {
            return;
        }
        let revision = *self.shared.applied.borrow();
        for waiting in ready {
            drop(waiting.reply.send(Ok(revision)));
        }
    }

    fn send_questions(&mut self) {
        self.questions.retain(|_, asked| !asked.reply.is_closed());
        let due: Vec<(u64, Question)> = self
            .questions
            .iter()
            .filter(|(_, asked)| {
                asked
                    .sent
                    .is_none_or(|sent| self.now >= sent + ASK_AGAIN_AFTER)
            })
            .map(|(id, asked)| (*id, asked.question))
            .collect();
        for (id, question) in due {
            if let Some(asked) = self.questions.get_mut(&id) {
                asked.sent = Some(self.now);
            }
            if self.is_leader() {
                if let Some(answer) = self.take_question(Asker::Here(id), question) {
                    self.answered(id, answer);
                }
            } else if let Some(leader) = self.leader() {
                self.outlet.frame(leader, Frame::Question { id, question });
            }
        }
    }

    /// A question of this member's has its answer.
    pub(super) fn answered(&mut self, id: u64, answer: Answer) {
        if let Some(asked) = self.questions.remove(&id) {
            drop(asked.reply.send(Ok(answer)));
        }
    }

    pub(super) fn answer_question(&mut self, question: Question) -> Answer {
        if !self.is_leader() {
            return Answer::NotLeader;
        }
        match question {
            Question::KeepAlive(lease) => match self.lessor.renew(self.now, lease) {
                Some(_) => self.answer_question(Question::TimeToLive(lease)),
                None => Answer::NotFound,
            },
            Question::TimeToLive(lease) => match self.lessor.remaining(self.now, lease) {
                Some(ttl) => Answer::Remaining(ttl),
                None => Answer::NotFound,
            },
            Question::MoveLeader(to) => {
                if self.raft.raft.prs().conf().voters().contains(to) {
                    self.raft.transfer_leader(to);
                    Answer::Done
                } else {
                    Answer::NotFound
                }
            }
        }
    }
}
