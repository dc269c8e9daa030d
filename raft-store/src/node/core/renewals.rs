//! Renewals of leases, which a leader answers only once the group has confirmed that it leads.
//!
//! A leader that was stopped for a while does not know what happened since. Were it to renew a lease at once, it would
//! promise time that the next leader, elected long ago, does not give. A round of confirmation that begins after the question
//! came shows that no other leader had begun to count by then.

use tokio::sync::oneshot;

use super::{Core, Disk, Outlet};
use crate::error::Error;
use crate::kv::Revision;
use crate::node::frame::{Answer, Frame, Question};
use crate::node::reads::Waiting;

/// Renewals that wait for a round, a few milliseconds each: as many as there are leases that a busy group renews in
/// that time, and many more. What comes beyond is dropped and asked again by whoever asked.
const RENEWALS_MAX: usize = 100_000;

/// Who asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// This member, with a question of this number.
    Here(u64),
    /// Another member, with a question of this number of its own.
    There(u64, u64),
}

/// One that waits to be confirmed.
pub(super) struct Renewal {
    asker: Asker,
    lease: i64,
    term: u64,
    confirmed: oneshot::Receiver<Result<Revision, Error>>,
}

impl<D: Disk, O: Outlet> Core<D, O> {
    /// Answers a question, unless the answer has to wait.
    pub(super) fn take_question(&mut self, asker: Asker, question: Question) -> Option<Answer> {
        let Question::KeepAlive(lease) = question else {
            return Some(self.answer_question(question));
        };
        if !self.is_leader() {
            return Some(Answer::NotLeader);
        }
        let waits = self.renewals.iter().any(|waiting| waiting.asker == asker);
        if !waits && self.renewals.len() < RENEWALS_MAX {
            let (reply, confirmed) = oneshot::channel();
            self.read_index(Waiting { reply, _room: None });
            self.renewals.push(Renewal {
                asker,
                lease,
                term: self.raft.raft.term,
                confirmed,
            });
        }
        None
    }

    /// Answers the renewals that the group has confirmed.
    pub(super) fn answer_renewals(&mut self) {
        if self.renewals.is_empty() {
            return;
        }
        let leads = self.is_leader();
        let term = self.raft.raft.term;
        for mut renewal in std::mem::take(&mut self.renewals) {
            // Whoever asked asks the next leader.
            if !leads || renewal.term != term {
                continue;
            }
            match renewal.confirmed.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => self.renewals.push(renewal),
                Err(oneshot::error::TryRecvError::Closed) | Ok(Err(_)) => {}
                Ok(Ok(_)) => {
                    let answer = self.answer_question(Question::KeepAlive(renewal.lease));
                    match renewal.asker {
                        Asker::Here(id) => self.answered(id, answer),
                        Asker::There(member, id) => {
                            self.outlet.frame(member, Frame::Answer { id, answer });
                        }
                    }
                }
            }
        }
    }
}
