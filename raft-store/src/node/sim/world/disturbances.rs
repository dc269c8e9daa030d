//! What befalls members: crashes, pauses, partitions, snapshots, changes of the group.

use raft::eraftpb::ConfState;
use rand::Rng;
use tokio::sync::oneshot;

use super::{CLUSTER, Happening, Image, World};
use crate::command::Command;
use crate::member::Member;
use crate::mvcc::State;
use crate::node::frame::Proposal;
use crate::node::log::Position;
use crate::node::sim::Planted;
use crate::node::snapshot::Meta;
use crate::node::{MemberChange, Reply};
use crate::txn::Txn;

impl World {
    pub(super) fn snapshot(&mut self, id: u64) {
        let kept = self.random.random_range(0..20);
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let Some(running) = &node.running else { return };
        let position = running.core.applied();
        if position.index <= node.disk.seen.lock().unwrap().meta.position.index {
            return;
        }
        let meta = Meta {
            cluster_id: CLUSTER,
            position,
            conf_state: running.core.log().conf_state().clone(),
        };
        let state = running.shared.state.read().clone();
        node.disk.take_snapshot(&meta, &state, kept);
    }

    pub(super) fn crash(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.running = None;
            node.paused_until = 0;
        }
        let down = self.random.random_range(20..1500);
        self.after(down, Happening::Restart(id));
    }

    pub(super) fn some_node(&mut self) -> u64 {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        ids[self.random.random_range(0..ids.len())]
    }

    pub(super) fn disturb(&mut self) {
        if self.resting {
            return;
        }
        let id = self.some_node();
        if self.faults.is(Planted::StrayWrites)
            && let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref())
        {
            let mut state = running.shared.state.write();
            state.apply_command(&Command::Txn(Txn::put("stray", id.to_string())));
        }
        match self.random.random_range(0..6) {
            0 | 1 => {
                if self.is_up(id) {
                    self.crash(id);
                }
            }
            2 => {
                let wait = self.random.random_range(100..1500);
                let until = self.now + wait;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.paused_until = until;
                }
            }
            3 | 4 => {
                // One way or both.
                let both = self.random.random_bool(0.7);
                for other in self.nodes.keys().copied().collect::<Vec<_>>() {
                    if other != id && self.random.random_bool(0.8) {
                        self.cut.insert((id, other));
                        if both {
                            self.cut.insert((other, id));
                        }
                    }
                }
                let wait = self.random.random_range(200..1500);
                self.after(wait, Happening::Heal);
            }
            _ => self.change_group(id),
        }
        let every = self.faults.disturbance_every;
        let wait = self.random.random_range(every / 2..every * 2);
        self.after(wait, Happening::Disturb);
    }

    /// Adds, promotes or removes a member, through member `id`.
    fn change_group(&mut self, id: u64) {
        let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else {
            return;
        };
        let members = running.shared.state.read().members();
        let learner = members.iter().find(|member| member.learner);
        let change = match learner {
            Some(member) => MemberChange::Promote(member.id),
            None if members.len() > 3 => {
                let gone = self.random.random_range(0..members.len());
                MemberChange::Remove(members[gone].id)
            }
            None => {
                let new = 100 + self.now;
                let member = Member {
                    id: new,
                    peer_urls: vec![new.to_string()],
                    learner: self.random.random_bool(0.7),
                    ..Member::default()
                };
                let meta = Meta {
                    cluster_id: CLUSTER,
                    position: Position { index: 0, term: 0 },
                    conf_state: ConfState::default(),
                };
                let mut random = self.random.clone();
                self.add_node(new, Image::new(meta, State::new()), &mut random);
                MemberChange::Add(member)
            }
        };
        let (reply, answer) = oneshot::channel();
        self.change = Some(answer);
        let proposal = Proposal::Change(change.encode().into());
        self.drive(id, |core| {
            core.propose(proposal, Reply(reply), None);
            Ok(())
        });
    }
}
