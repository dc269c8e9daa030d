//! A lease that a client keeps alive: it must not end before the time that was promised.

use rand::Rng;
use tokio::sync::oneshot;

use super::{PATIENCE, World};
use crate::command::Command;
use crate::error::Error;
use crate::mvcc::Outcome;
use crate::node::Reply;
use crate::node::frame::{Answer, Proposal, Question};

/// The shortest that there is: how long it takes to find out about the end of a leader is of this order.
const TTL_SECONDS: i64 = 2;
const TTL: u64 = TTL_SECONDS as u64 * 1000;

/// The client that holds it. Every lease has a number of its own.
#[derive(Default)]
pub(super) struct Holder {
    pub(super) lease: i64,
    /// Until then it must live; `None` before it is known to have been granted.
    lives_until: Option<u64>,
    granting: Option<(u64, oneshot::Receiver<Result<Outcome, Error>>)>,
    renewing: Option<(u64, oneshot::Receiver<Result<Answer, Error>>)>,
}

impl World {
    /// Grants and renews, and takes the answers.
    pub(super) fn hold_lease(&mut self) {
        self.hear_of_grant();
        self.hear_of_renewal();
        let holder = &self.holder;
        if self.resting || holder.granting.is_some() || holder.renewing.is_some() {
            return;
        }
        let id = self.some_node();
        if !self.is_up(id) {
            return;
        }
        if self.holder.lives_until.is_none() {
            self.holder.lease += 1;
            let command = Command::LeaseGrant {
                id: self.holder.lease,
                ttl_seconds: TTL_SECONDS,
            };
            let (reply, answer) = oneshot::channel();
            self.holder.granting = Some((self.now, answer));
            self.drive(id, |core| {
                core.propose(
                    Proposal::Command(command.encode().into()),
                    Reply(reply),
                    None,
                );
                Ok(())
            });
        } else if self.random.random_bool(0.3) {
            let question = Question::KeepAlive(self.holder.lease);
            let (reply, answer) = oneshot::channel();
            self.holder.renewing = Some((self.now, answer));
            self.drive(id, |core| {
                core.ask(question, reply, None);
                Ok(())
            });
        }
    }

    fn hear_of_grant(&mut self) {
        let Some((asked, mut answer)) = self.holder.granting.take() else {
            return;
        };
        match answer.try_recv() {
            Ok(Ok(Outcome::LeaseGrant(Ok(_)))) => self.holder.lives_until = Some(asked + TTL),
            Err(oneshot::error::TryRecvError::Empty) if self.now - asked < PATIENCE => {
                self.holder.granting = Some((asked, answer));
            }
            // Another one is granted.
            _ => {}
        }
    }

    fn hear_of_renewal(&mut self) {
        let Some((asked, mut answer)) = self.holder.renewing.take() else {
            return;
        };
        match answer.try_recv() {
            Ok(Ok(Answer::Remaining(_))) => {
                // Unless it has ended while the answer was on its way.
                if let Some(until) = &mut self.holder.lives_until {
                    *until = (*until).max(asked + TTL);
                }
            }
            Ok(Ok(Answer::NotFound)) => self.lease_ended("a leader does not know it"),
            Err(oneshot::error::TryRecvError::Empty) if self.now - asked < PATIENCE => {
                self.holder.renewing = Some((asked, answer));
            }
            _ => {}
        }
    }

    /// Looks whether a member has lost the lease.
    pub(super) fn check_lease(&mut self) {
        let lease = self.holder.lease;
        let mut lost = None;
        for (id, node) in &mut self.nodes {
            let Some(running) = &mut node.running else {
                continue;
            };
            if running.shared.state.read().lease_ttl(lease).is_some() {
                running.lease = lease;
            } else if std::mem::take(&mut running.lease) == lease && lease > 0 {
                lost = Some(*id);
            }
        }
        if let Some(id) = lost {
            self.lease_ended(&format!("member {id} has revoked it"));
        }
    }

    fn lease_ended(&mut self, how: &str) {
        // Taken: the next one is another.
        let Some(until) = self.holder.lives_until.take() else {
            return;
        };
        if self.now < until {
            let lease = self.holder.lease;
            self.fail(format!(
                "lease {lease} has ended {} ms before its time: {how}",
                until - self.now
            ));
        }
    }
}
