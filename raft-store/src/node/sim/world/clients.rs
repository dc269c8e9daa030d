//! What clients ask, are told, and watch.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use rand::Rng;
use tokio::sync::oneshot;

use super::{Answering, Happening, KEYS, PATIENCE, REST, WORK, World};
use crate::command::Command;
use crate::kv::KeyRange;
use crate::mvcc::Outcome;
use crate::node::Reply;
use crate::node::frame::Proposal;
use crate::node::reads::Waiting;
use crate::node::sim::Planted;
use crate::node::sim::history::{Asked, Operation, Told};
use crate::txn::{Compare, CompareOp, RangeRequest, Txn};
use crate::watch::Watcher;

impl World {
    pub(super) fn client(&mut self, at: usize) {
        if at == 0 {
            self.hold_lease();
        }
        self.watch(at);
        self.hear(at);
        if self.clients[at].asked.is_none() && !self.resting {
            self.ask(at);
        }
        if !self.resting || self.clients[at].asked.is_some() || self.now < WORK + REST - 200 {
            let pause = self.random.random_range(1..30);
            self.after(pause, Happening::Client(at));
        }
    }

    fn ask(&mut self, at: usize) {
        let id = self.some_node();
        let key = format!("k{}", self.random.random_range(0..KEYS));
        self.values += 1;
        let value = format!("v{}", self.values);
        let seen = self.clients[at].seen.get(&key).copied().unwrap_or(0);
        let asked = match self.random.random_range(0..3) {
            0 => Asked::Put { key, value },
            1 => Asked::Swap { key, seen, value },
            _ => Asked::Read { key },
        };
        if !self.is_up(id) {
            return;
        }
        let life = self.nodes[&id].life;
        let mut txn = match &asked {
            Asked::Put { key, value } | Asked::Swap { key, value, .. } => {
                Some(Txn::put(key.clone(), value.clone()))
            }
            Asked::Read { .. } => None,
        };
        if let (Some(txn), Asked::Swap { key, seen, .. }) = (&mut txn, &asked) {
            txn.compare = vec![Compare::mod_revision(key.clone(), CompareOp::Equal, *seen)];
        }
        let answering = match txn {
            Some(txn) => {
                let (reply, answer) = oneshot::channel();
                let proposal = Proposal::Command(Command::Txn(txn).encode().into());
                self.drive(id, |core| {
                    core.propose(proposal, Reply(reply), None);
                    Ok(())
                });
                Answering::Write(answer)
            }
            None => {
                let (reply, answer) = oneshot::channel();
                if self.faults.is(Planted::StaleReads) {
                    let revision = self.nodes[&id]
                        .running
                        .as_ref()
                        .map_or(0, |running| *running.shared.applied.borrow());
                    drop(reply.send(Ok(revision)));
                } else {
                    self.drive(id, |core| {
                        core.read_index(Waiting { reply, _room: None });
                        Ok(())
                    });
                }
                Answering::Read(id, life, answer)
            }
        };
        self.clients[at].asked = Some((asked, self.now, answering));
    }

    pub(super) fn hear(&mut self, at: usize) {
        let Some((asked, began, mut answering)) = self.clients[at].asked.take() else {
            return;
        };
        let told = match &mut answering {
            Answering::Write(answer) => match answer.try_recv() {
                Ok(Ok(Outcome::Txn(Ok(response)))) if response.succeeded => {
                    Some(Told::Wrote(response.revision))
                }
                Ok(Ok(Outcome::Txn(Ok(response)))) => Some(Told::Differs(response.revision)),
                Ok(Err(error)) if !error.outcome_unknown() => Some(Told::Failed),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => Some(Told::Unknown),
                Ok(Ok(other)) => {
                    self.fail(format!("a write was answered with {other:?}"));
                    None
                }
                Err(oneshot::error::TryRecvError::Empty) => None,
            },
            Answering::Read(id, life, answer) => match answer.try_recv() {
                Ok(Ok(_)) => Some(self.read(*id, *life, &asked)),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => Some(Told::Unknown),
                Err(oneshot::error::TryRecvError::Empty) => None,
            },
        };
        let told = told.or_else(|| (self.now - began > PATIENCE).then_some(Told::Unknown));
        let Some(told) = told else {
            self.clients[at].asked = Some((asked, began, answering));
            return;
        };
        if let (Asked::Read { key }, Told::Found(found, _)) = (&asked, &told) {
            let revision = found.as_ref().map_or(0, |(_, revision)| *revision);
            self.clients[at].seen.insert(key.clone(), revision);
        }
        self.operations.push(Operation {
            began,
            ended: self.now,
            asked,
            told,
        });
    }

    /// Reads what a member has, once it has said that it may be read.
    fn read(&self, id: u64, life: u64, asked: &Asked) -> Told {
        let Asked::Read { key } = asked else {
            return Told::Unknown;
        };
        let Some(running) = self
            .nodes
            .get(&id)
            .filter(|node| node.life == life)
            .and_then(|node| node.running.as_ref())
        else {
            return Told::Unknown;
        };
        let request = RangeRequest::new(KeyRange::key(key.clone()));
        match running.shared.state.read().range(&request) {
            Ok(response) => {
                let found = response.kvs.first().map(|kv| {
                    (
                        String::from_utf8_lossy(&kv.value).into_owned(),
                        kv.mod_revision,
                    )
                });
                Told::Found(found, response.revision)
            }
            Err(_) => Told::Unknown,
        }
    }

    /// Takes what a client's watch has to show, on another member if its own is gone.
    fn watch(&mut self, at: usize) {
        let gone = match &self.clients[at].watch {
            Some((id, life, _)) => {
                !self.is_up(*id) || self.nodes.get(id).is_none_or(|node| node.life != *life)
            }
            None => true,
        };
        if gone {
            let id = self.some_node();
            self.watch_on(at, id);
        }
        self.show(at);
    }

    pub(super) fn watch_on(&mut self, at: usize, id: u64) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let Some(running) = &node.running else { return };
        let next = self.clients[at].watch_next;
        match Watcher::new(running.shared.clone(), KeyRange::all(), next) {
            Ok(watcher) => self.clients[at].watch = Some((id, node.life, watcher)),
            Err(error) => self.fail(format!("a watch from {next} on: {error}")),
        }
    }

    pub(super) fn show(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((_, _, watcher)) = &mut client.watch else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut idle = 0;
        let mut over = false;
        // Each poll that is pending may only have given way.
        while idle < 3 && !over {
            let polled = std::pin::pin!(watcher.next()).poll(&mut context);
            match polled {
                Poll::Ready(Ok(batch)) => {
                    idle = 0;
                    client.watch_next = batch.revision + 1;
                    if self.faults.is(Planted::LostEvents) && batch.revision.is_multiple_of(100) {
                        continue;
                    }
                    client.shown.push((batch.revision, batch.events.to_vec()));
                }
                Poll::Ready(Err(_)) => over = true,
                Poll::Pending => idle += 1,
            }
        }
        if over {
            client.watch = None;
        }
    }
}
