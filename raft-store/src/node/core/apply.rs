//! What the group has decided, done: commands, changes of the group, snapshots; and what a leader proposes by itself.

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeType, ConfChangeV2, ConfState, Entry, Snapshot};

use super::{Core, Disk, EXPIRIES_PER_TICK, Outlet, SWEEP_REVISIONS, broken, change, is_change};
use crate::command::Command;
use crate::error::{Error, StopCause};
use crate::mvcc::Outcome;
use crate::node::frame::ProposalId;
use crate::node::log::Position;

impl<D: Disk, O: Outlet> Core<D, O> {
    /// Puts a snapshot that arrived into the place of log and state.
    pub(super) fn install(&mut self, snapshot: &Snapshot) -> Result<(), StopCause> {
        let metadata = snapshot.get_metadata();
        let position = Position {
            index: metadata.index,
            term: metadata.term,
        };
        let arrived = self
            .arrived
            .take()
            .filter(|arrived| arrived.meta.position == position)
            .ok_or_else(|| {
                broken(format!(
                    "Raft installs a snapshot at entry {} that has not arrived",
                    position.index
                ))
            })?;
        let log = self.raft.mut_store();
        (arrived.keep)(&mut || log.install(&arrived.meta))?;
        tracing::info!(
            index = position.index,
            revision = arrived.state.revision(),
            "took over a snapshot from another member"
        );
        let revision = arrived.state.revision();
        *self.shared.state.write() = arrived.state;
        self.applied = position;
        self.raft
            .mut_store()
            .set_applied(position, Some(arrived.meta.conf_state));
        self.shared
            .applied
            .send_modify(|applied| *applied = revision);
        for lost in self.proposals.lost_sight(position.term) {
            lost.reply.fail(Error::NotLeader {
                leader: self.leader(),
                outcome_unknown: true,
            });
        }
        self.answer_reads();
        self.announce_members();
        Ok(())
    }

    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), StopCause> {
        let Some(last) = entries.last().map(|entry| Position {
            index: entry.index,
            term: entry.term,
        }) else {
            return Ok(());
        };
        let mut answers = Vec::new();
        let mut conf_state = None;
        for entry in &entries {
            let pending = ProposalId::decode(&entry.context).and_then(|id| self.proposals.take(id));
            let outcome = if is_change(entry) {
                let (group, outcome) = self.apply_change(entry)?;
                conf_state = Some(group);
                Some(outcome)
            } else {
                self.apply_command(entry)?
            };
            if let (Some(pending), Some(outcome)) = (pending, outcome) {
                answers.push((pending, outcome));
            }
        }
        let later_term = last.term > self.applied.term;
        self.applied = last;
        let changed = conf_state.is_some();
        self.raft.mut_store().set_applied(last, conf_state);
        let revision = self.shared.state.read().revision();
        self.shared.applied.send_if_modified(|applied| {
            let moved = *applied != revision;
            *applied = revision;
            moved
        });
        // Only now: who has its answer must find its write in whatever it asks next.
        for (pending, outcome) in answers {
            pending.reply.answer(Ok(outcome));
        }
        if later_term && self.proposals.later_term(last.term) {
            self.retry = true;
        }
        // Proposals that gathered meanwhile are next.
        self.retry |= self.is_leader();
        if changed {
            self.announce_members();
        }
        self.answer_reads();
        Ok(())
    }

    fn apply_command(&mut self, entry: &Entry) -> Result<Option<Outcome>, StopCause> {
        if entry.data.is_empty() {
            return Ok(None);
        }
        let command = Command::decode(&entry.data)
            .map_err(|error| broken(format!("entry {}: {error}", entry.index)))?;
        let outcome = self.shared.state.write().apply_command(&command);
        self.sweeping |= matches!(command, Command::Compact(_));
        if self.is_leader() {
            self.watch_lease(&command);
        }
        if let Command::SetMember(_) = command {
            self.announce_members();
        }
        Ok(Some(outcome))
    }

    /// Keeps a leader's deadlines in step with the leases that there are.
    fn watch_lease(&mut self, command: &Command) {
        match command {
            Command::LeaseGrant { id, .. } => {
                let ttl = self.shared.state.read().lease_ttl(*id);
                if let Some(ttl) = ttl {
                    self.lessor.grant(self.now, *id, ttl);
                }
            }
            Command::LeaseRevoke { id } => self.lessor.revoke(*id),
            _ => {}
        }
    }

    fn apply_change(&mut self, entry: &Entry) -> Result<(ConfState, Outcome), StopCause> {
        let unreadable = |what: String| broken(format!("entry {}: {what}", entry.index));
        let (change, outcome) = if entry.data.is_empty() {
            // Raft itself leaves a joint configuration.
            (ConfChangeV2::default(), Ok(()))
        } else {
            let change = ConfChangeV2::parse_from_bytes(&entry.data)
                .map_err(|error| unreadable(error.to_string()))?;
            let mut state = self.shared.state.write();
            match change::apply(&mut state, &change).map_err(unreadable)? {
                Ok(()) => (change, Ok(())),
                Err(error) => (change::nothing(), Err(error)),
            }
        };
        let conf_state = self
            .raft
            .apply_conf_change(&change)
            .map_err(|error| unreadable(error.to_string()))?;
        let me = self.raft.raft.id;
        self.removed |= change.changes.iter().any(|single| {
            single.get_change_type() == ConfChangeType::RemoveNode && single.node_id == me
        });
        Ok((conf_state, Outcome::SetMember(outcome)))
    }

    pub(super) fn announce_members(&mut self) {
        let members = self.shared.state.read().members();
        self.outlet.members(members);
    }

    /// Compaction that nobody asked for, memory that compaction left.
    pub(in crate::node) fn keep_house(&mut self) {
        if self.sweeping {
            self.sweeping = self.shared.state.write().sweep(SWEEP_REVISIONS);
        }
        if self.is_leader() {
            self.compact_if_overdue();
        }
    }

    fn compact_if_overdue(&mut self) {
        let (due, compacted) = {
            let state = self.shared.state.read();
            let due = state.overdue_compaction(
                self.options.history_bytes_max,
                self.options.history_revisions_max,
            );
            (due, state.compacted())
        };
        // Unless the last one proposed has not been applied.
        let Some(at) = due.filter(|_| self.compacting_to <= compacted) else {
            return;
        };
        tracing::info!(
            revision = at,
            "history has reached its bounds; compacting its older half"
        );
        // If it is dropped, leadership is lost, and the next leader finds the same.
        self.compacting_to = if self.propose_unasked(&Command::Compact(at)) {
            at
        } else {
            0
        };
    }

    /// Proposes what nobody waits for. Says whether Raft took it.
    fn propose_unasked(&mut self, command: &Command) -> bool {
        self.raft.propose(Vec::new(), command.encode()).is_ok()
    }

    pub(super) fn expire_leases(&mut self) {
        if !self.is_leader() {
            return;
        }
        for id in self.lessor.expired(self.now, EXPIRIES_PER_TICK) {
            // What is dropped comes up again.
            self.propose_unasked(&Command::LeaseRevoke { id });
        }
    }
}
