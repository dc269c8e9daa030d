//! The end of a run: all is healed, and what happened is judged.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CLIENTS, World};
use crate::mvcc::State;
use crate::node::sim::history::{self, Operation, Told};

impl World {
    fn newest(&self) -> Option<u64> {
        self.nodes
            .iter()
            .filter_map(|(id, node)| {
                Some((node.running.as_ref()?.shared.state.read().revision(), *id))
            })
            .max()
            .map(|(_, id)| id)
    }

    /// Heals everything.
    pub(super) fn rest(&mut self) {
        self.resting = true;
        self.cut.clear();
        let mut faults = (*self.faults).clone();
        faults.loss = 0.0;
        faults.disk = 0.0;
        self.faults = Arc::new(faults);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            // Started anew, so that their disks fail no more.
            if let Some(node) = self.nodes.get_mut(&id) {
                node.paused_until = 0;
                node.running = None;
                node.disk.set_faults(self.faults.clone());
            }
            self.start(id);
        }
    }

    pub(super) fn check_leaders(&mut self) {
        for (id, node) in &self.nodes {
            let Some(running) = &node.running else {
                continue;
            };
            if !running.core.is_leader() {
                continue;
            }
            let term = running.core.term();
            let first = *self.leaders.entry(term).or_insert(*id);
            if first != *id {
                self.failure
                    .get_or_insert(format!("{first} and {id} both led in term {term}"));
            }
        }
    }

    pub(super) fn judge(mut self) -> Result<(), String> {
        for client in 0..CLIENTS {
            self.hear(client);
            // What was watched last may have been a member that is not in the group any more, and not told.
            self.show(client);
            if let Some(id) = self.newest() {
                self.watch_on(client, id);
            }
            self.show(client);
            if let Some((asked, began, _)) = self.clients[client].asked.take() {
                self.operations.push(Operation {
                    began,
                    ended: u64::MAX,
                    asked,
                    told: Told::Unknown,
                });
            }
        }
        // Who was added and never made it into the group, or was removed and not told, is not of it.
        let mut states: Vec<(u64, State)> = Vec::new();
        let newest = self
            .nodes
            .values()
            .filter_map(|node| node.running.as_ref())
            .map(|running| running.shared.state.read().clone())
            .max_by_key(State::revision)
            .ok_or("no member is up")?;
        let members: Vec<u64> = newest.members().iter().map(|member| member.id).collect();
        for (id, node) in &self.nodes {
            if let Some(running) = node.running.as_ref().filter(|_| members.contains(id)) {
                states.push((*id, running.shared.state.read().clone()));
            }
        }
        let hash = newest.hash(0).map_err(|error| error.to_string())?;
        for (id, state) in &states {
            let other = state.hash(0).map_err(|error| error.to_string())?;
            if other != hash {
                return Err(format!(
                    "member {id} holds {other:?}, another {hash:?}, long after all was healed"
                ));
            }
        }
        let mut events = BTreeMap::new();
        let all = newest
            .events_from(2, usize::MAX)
            .map_err(|error| error.to_string())?;
        for (at, revision) in all.iter().enumerate() {
            events.insert(at as u64 + 2, revision.to_vec());
        }
        for (at, client) in self.clients.iter().enumerate() {
            let expect: Vec<_> = events.iter().map(|(at, events)| (*at, events)).collect();
            let shown: Vec<_> = client
                .shown
                .iter()
                .map(|(at, events)| (*at, events))
                .collect();
            if shown != expect {
                let differ = shown.iter().zip(&expect).position(|(a, b)| a != b);
                return Err(format!(
                    "the watch of client {at} showed {} revisions of {}, and differs at {differ:?}",
                    shown.len(),
                    expect.len()
                ));
            }
        }
        if events.len() < 3 {
            return Err(format!("nothing got done: {} writes", events.len()));
        }
        history::check(&self.operations, &events)?;
        tracing::debug!(
            operations = self.operations.len(),
            writes = events.len(),
            terms = self.leaders.len(),
            members = members.len(),
            "a run was right"
        );
        if std::env::var_os("EUSTON_SIM_VERBOSE").is_some() {
            eprintln!(
                "{} operations, {} writes, {} leaders, {} members",
                self.operations.len(),
                events.len(),
                self.leaders.len(),
                members.len()
            );
        }
        Ok(())
    }
}
