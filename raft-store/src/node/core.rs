//! A member without its disk, its network and its clock: everything that decides.
//!
//! [`Core`] is driven from outside: it is told what time it is, what arrived and what is asked, and it writes through a
//! [`Disk`] and sends through an [`Outlet`]. The thread of a real member drives it (see [`super::driver`]), and so does a
//! simulation of many members with a seed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, HardState, Message, MessageType,
    Snapshot,
};
use raft::{LightReady, RawNode, SnapshotStatus, StateRole};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::frame::{Answer, Frame, Proposal, ProposalId, Question, Refusal};
use super::log::Position;
use super::proposals::{Pending, Proposals, Taken};
use super::reads::{Reads, Waiting};
use super::snapshot::Meta;
use super::{Reply, Room, Shared, change};
use crate::command::Command;
use crate::error::{Error, StopCause};
use crate::kv::Revision;
use crate::lessor::Lessor;
use crate::member::Member;
use crate::mvcc::{Outcome, State};

/// Compacted revisions cleared per turn, some 100 microseconds; see [`State::sweep`].
const SWEEP_REVISIONS: usize = 256;
/// Leases whose expiry is proposed per tick: each may delete many keys.
const EXPIRIES_PER_TICK: usize = 256;
/// What leases get on top when the leader changes.
const LEASE_ALLOWANCE: Duration = Duration::from_secs(1);
/// How long to wait for a leader's answer before asking again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Entries that a learner may lack and still be promoted.
const LEARNER_LAG: u64 = 1_000;

/// Where a member keeps its log. Everything else that is durable is written around the core.
pub(super) trait Disk: raft::Storage {
    /// Writes entries and the hard state. With entries, or if `sync` is set, they are durable when it returns.
    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
        sync: bool,
    ) -> Result<(), StopCause>;

    /// Notes how far the log is committed; it need not be durable before the next entries are.
    fn set_commit(&mut self, commit: u64);

    /// Notes what is applied, and who is in the group as of that.
    fn set_applied(&mut self, applied: Position, conf_state: Option<ConfState>);

    /// Begins anew behind a snapshot that came from another member and is durable.
    fn install(&mut self, snapshot: &Meta) -> Result<(), StopCause>;
}

/// Where a member's messages leave it. Nothing here waits.
pub(super) trait Outlet {
    /// Sends a frame, some time before [`Outlet::flush`] returns.
    fn frame(&mut self, to: u64, frame: Frame);

    /// Sends a snapshot; [`Core::snapshot_sent`] is to be told what became of it.
    fn snapshot(&mut self, to: u64, message: Message, meta: Meta, state: State);

    /// The group has changed.
    fn members(&mut self, members: Vec<Member>);

    /// Nothing more comes for a while.
    fn flush(&mut self);
}

/// See [`Arrived::keep`]; what it is given begins the log anew.
pub(crate) type Keep =
    Box<dyn FnOnce(&mut dyn FnMut() -> Result<(), StopCause>) -> Result<(), StopCause> + Send>;

/// A snapshot that has arrived and can be installed.
pub(crate) struct Arrived {
    pub(super) message: Message,
    pub(super) meta: Meta,
    pub(super) state: State,
    pub(super) bytes: u64,
    /// Makes it this member's snapshot for good, beginning the log anew in the middle of that.
    pub(super) keep: Keep,
}

/// Bounds and times of a core.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) history_bytes_max: usize,
    pub(super) history_revisions_max: u64,
    pub(super) seed: u64,
}

/// See the module.
pub(super) struct Core<D: Disk, O: Outlet> {
    raft: RawNode<D>,
    cluster_id: u64,
    shared: Arc<Shared>,
    outlet: O,
    options: Options,
    random: StdRng,
    /// Since some moment before the start.
    now: Duration,
    /// The last entry whose effect is in the state.
    applied: Position,
    proposals: Proposals,
    /// What other members sent here; kept while this one leads.
    taken: Taken,
    reads: Reads,
    read_salt: u64,
    questions: BTreeMap<u64, Asked>,
    last_question: u64,
    lessor: Lessor,
    /// What was last seen of Raft's role, to notice changes.
    role: Role,
    /// Ticks without a leader's word before an election, redrawn whenever role or term change.
    election_ticks: usize,
    arrived: Option<Arrived>,
    /// Unsent proposals and reads are worth another try.
    retry: bool,
    sweeping: bool,
    /// The point of the last compaction that was proposed unasked.
    compacting_to: Revision,
    told_removed_by: HashSet<u64>,
    removed: bool,
}

#[derive(Clone, Copy, PartialEq)]
struct Role {
    state: StateRole,
    leader: u64,
    term: u64,
}

struct Asked {
    question: Question,
    reply: oneshot::Sender<Result<Answer, Error>>,
    sent: Option<Duration>,
}

impl<D: Disk, O: Outlet> Core<D, O> {
    /// A member whose state is as of `applied`.
    pub(super) fn new(
        raft: RawNode<D>,
        cluster_id: u64,
        shared: Arc<Shared>,
        outlet: O,
        options: Options,
        applied: Position,
    ) -> Self {
        let mut random = StdRng::seed_from_u64(options.seed);
        let incarnation = random.random();
        let mut core = Self {
            role: Role {
                state: raft.raft.state,
                leader: raft.raft.leader_id,
                term: raft.raft.term,
            },
            raft,
            cluster_id,
            shared,
            outlet,
            options,
            now: Duration::ZERO,
            applied,
            proposals: Proposals::new(incarnation),
            taken: Taken::default(),
            reads: Reads::default(),
            read_salt: random.random(),
            questions: BTreeMap::new(),
            last_question: 0,
            lessor: Lessor::default(),
            election_ticks: 0,
            arrived: None,
            retry: false,
            sweeping: false,
            compacting_to: 0,
            told_removed_by: HashSet::new(),
            removed: false,
            random,
        };
        core.draw_election_ticks();
        core.announce_members();
        core
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn log_mut(&mut self) -> &mut D {
        self.raft.mut_store()
    }

    pub(super) fn log(&self) -> &D {
        self.raft.store()
    }

    pub(super) fn applied(&self) -> Position {
        self.applied
    }

    pub(super) fn is_leader(&self) -> bool {
        self.raft.raft.state == StateRole::Leader
    }

    #[cfg(test)]
    pub(super) fn term(&self) -> u64 {
        self.raft.raft.term
    }

    /// Whether there is memory to be cleared: the next turn should come soon.
    pub(super) fn is_sweeping(&self) -> bool {
        self.sweeping
    }

    /// Elects the only voter at once, without waiting for a timeout, and applies all that is in its log.
    pub(super) fn lead_alone(&mut self) -> Result<(), StopCause> {
        self.raft
            .campaign()
            .map_err(|error| broken(format!("the election failed: {error}")))?;
        self.process()?;
        // The group's own first entry of the new term is the last in the log; behind it, all is committed.
        let last = self.raft.raft.raft_log.last_index();
        if !self.is_leader() || self.applied.index != last {
            return Err(broken(format!(
                "the only voter is {:?} after its election, at entry {} of {last}",
                self.raft.raft.state, self.applied.index
            )));
        }
        self.shared.set_sole_voter(true);
        Ok(())
    }

    /// A tick of Raft's clock.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        if self.raft.raft.promotable() {
            self.raft
                .raft
                .set_randomized_election_timeout(self.election_ticks);
        }
        self.raft.tick();
        self.reads.give_up_old(now);
        if let Some(term) = self.leader().map(|_| self.raft.raft.term) {
            for sequence in self.proposals.overdue(term, now) {
                // What a leader proposed itself is in its log; only what was sent can have been lost.
                if !self.is_leader() {
                    self.send_proposal(sequence, true);
                }
            }
        }
        self.expire_leases();
        self.retry = true;
    }

    /// Something is asked to be appended to the log.
    pub(super) fn propose(&mut self, proposal: Proposal, reply: Reply, room: Option<Room>) {
        self.proposals.add(proposal, reply, room);
        self.retry = true;
    }

    /// Someone wants to know a revision that a linearizable read must reach.
    pub(super) fn read_index(&mut self, waiting: Waiting) {
        self.reads.add(waiting);
        self.retry = true;
    }

    /// Someone asks what only the leader knows.
    pub(super) fn ask(
        &mut self,
        question: Question,
        reply: oneshot::Sender<Result<Answer, Error>>,
    ) {
        self.last_question += 1;
        let asked = Asked {
            question,
            reply,
            sent: None,
        };
        self.questions.insert(self.last_question, asked);
        self.retry = true;
    }

    /// A frame has arrived.
    pub(super) fn receive(&mut self, from: u64, frame: Frame) -> Result<(), StopCause> {
        match frame {
            Frame::Raft(message) => self.step(from, *message)?,
            Frame::Forward {
                id,
                term,
                again,
                proposal,
            } => {
                if let Err(why) = self.take_forwarded(id, term, again, proposal) {
                    self.outlet.frame(from, Frame::Refused { id, term, why });
                }
            }
            Frame::Refused { id, term, why } => {
                if self.proposals.refused(id, term, why) {
                    self.refuse(id, why);
                }
            }
            Frame::Question { id, question } => {
                let answer = self.answer_question(question);
                self.outlet.frame(from, Frame::Answer { id, answer });
            }
            Frame::Answer { id, answer } => {
                // Asked again at a later tick otherwise.
                if answer != Answer::NotLeader
                    && let Some(asked) = self.questions.remove(&id)
                {
                    drop(asked.reply.send(Ok(answer)));
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, from: u64, message: Message) -> Result<(), StopCause> {
        if message.from != from || message.to != self.raft.raft.id {
            tracing::warn!(
                from = format_args!("{from:016x}"),
                "a message of Raft's is not from whom or not to whom it should be; dropped"
            );
            return Ok(());
        }
        // The leader says that this member has confirmed what it does not have.
        let last = self.raft.raft.raft_log.last_index();
        if message.get_msg_type() == MessageType::MsgHeartbeat
            && message.term >= self.raft.raft.term
            && message.commit > last
        {
            return Err(StopCause::LostLog {
                confirmed: message.commit,
                last,
            });
        }
        // Raft itself refuses what it cannot use: messages from those it does not know, or of terms gone by.
        if let Err(error) = self.raft.step(message) {
            tracing::debug!(%error, "Raft did not take a message");
        }
        Ok(())
    }

    /// A snapshot has arrived. Whether it was of use or not, nobody needs to hear of it again.
    /// Returns whether it took the place of log and state.
    pub(super) fn snapshot_arrived(&mut self, arrived: Arrived) -> Result<bool, StopCause> {
        let message = arrived.message.clone();
        self.arrived = Some(arrived);
        self.step(message.from, message)?;
        self.process()?;
        // Taken away by installing it.
        Ok(self.arrived.take().is_none())
    }

    /// What became of a snapshot that was sent.
    pub(super) fn snapshot_sent(&mut self, to: u64, taken: bool) {
        let status = if taken {
            SnapshotStatus::Finish
        } else {
            SnapshotStatus::Failure
        };
        self.raft.report_snapshot(to, status);
    }

    /// Frames to a member are being lost.
    pub(super) fn unreachable(&mut self, member: u64) {
        self.raft.report_unreachable(member);
    }

    /// A member says that this one has been removed. One alone may be wrong; a majority is not.
    pub(super) fn told_removed(&mut self, by: u64) {
        let members = self.shared.state.read().members();
        if members
            .iter()
            .any(|member| member.id == by && !member.learner)
        {
            self.told_removed_by.insert(by);
        }
        let voters = members.iter().filter(|member| !member.learner).count();
        if self.told_removed_by.len() > voters / 2 {
            self.removed = true;
        }
    }

    /// Does what Raft wants done, until it wants nothing more.
    pub(super) fn process(&mut self) -> Result<(), StopCause> {
        loop {
            self.send_what_waits();
            if !self.raft.has_ready() {
                break;
            }
            self.process_ready()?;
            self.note_role();
        }
        self.outlet.flush();
        self.note_status();
        if self.removed {
            return Err(StopCause::Removed);
        }
        Ok(())
    }

    fn process_ready(&mut self) -> Result<(), StopCause> {
        let mut ready = self.raft.ready();
        // A leader's messages need not wait for its own disk: the others write while it does.
        self.send(ready.take_messages());
        self.outlet.flush();
        if !ready.snapshot().is_empty() {
            self.install(ready.snapshot())?;
        }
        for state in ready.take_read_states() {
            self.read_confirmed(&state.request_ctx, state.index);
        }
        let committed = ready.take_committed_entries();
        // A change of the group changes Raft, which must not happen before it knows that `ready` is written.
        let (before, after) = if committed.iter().any(is_change) {
            (Vec::new(), committed)
        } else {
            (committed, Vec::new())
        };
        self.apply(before)?;
        self.raft
            .mut_store()
            .append(ready.entries(), ready.hs(), ready.must_sync())?;
        self.send(ready.take_persisted_messages());
        let mut light: LightReady = self.raft.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raft.mut_store().set_commit(commit);
        }
        self.send(light.take_messages());
        self.apply(after)?;
        self.apply(light.take_committed_entries())?;
        self.raft.advance_apply_to(self.applied.index);
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>) {
        for mut message in messages {
            let to = message.to;
            if message.get_msg_type() == MessageType::MsgSnapshot {
                // Raft chose it when it wrote the message; what is applied now is as good, and at hand.
                let log = self.raft.store();
                let conf_state = match log.initial_state() {
                    Ok(state) => state.conf_state,
                    Err(error) => {
                        tracing::error!(%error, "the log cannot say who is in the group");
                        continue;
                    }
                };
                let meta = Meta {
                    cluster_id: self.cluster_id,
                    position: self.applied,
                    conf_state,
                };
                message.set_snapshot(snapshot_of(meta.position, &meta.conf_state));
                let state = self.shared.state.read().clone();
                self.outlet.snapshot(to, message, meta, state);
            } else {
                self.outlet.frame(to, Frame::Raft(Box::new(message)));
            }
        }
    }

    /// Puts a snapshot that arrived into the place of log and state.
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), StopCause> {
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

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), StopCause> {
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

    fn announce_members(&mut self) {
        let members = self.shared.state.read().members();
        self.outlet.members(members);
    }

    /// Compaction that nobody asked for, memory that compaction left.
    pub(super) fn keep_house(&mut self) {
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

    fn expire_leases(&mut self) {
        if !self.is_leader() {
            return;
        }
        for id in self.lessor.expired(self.now, EXPIRIES_PER_TICK) {
            // What is dropped comes up again.
            self.propose_unasked(&Command::LeaseRevoke { id });
        }
    }

    // --- what was asked here ------------------------------------------------

    fn leader(&self) -> Option<u64> {
        let leader = self.raft.raft.leader_id;
        (leader != 0).then_some(leader)
    }

    /// Sends proposals, reads and questions that are not on their way, if there is a leader to send them to.
    fn send_what_waits(&mut self) {
        if !std::mem::take(&mut self.retry) || self.leader().is_none() {
            return;
        }
        for sequence in self.proposals.take_unsent() {
            self.send_proposal(sequence, false);
        }
        if let Some(round) = self.reads.begin(self.now) {
            self.raft.read_index(self.read_context(round));
        }
        self.send_questions();
    }

    fn send_proposal(&mut self, sequence: u64, again: bool) {
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
    fn refuse(&mut self, id: ProposalId, why: Refusal) {
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
                        && (!progress.recent_active
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

    fn read_confirmed(&mut self, context: &[u8], index: u64) {
        let Some((_, round)) = context.split_last_chunk() else {
            return;
        };
        let round = u64::from_le_bytes(*round);
        if context == self.read_context(round) {
            self.reads.confirmed(round, index);
            self.answer_reads();
        }
    }

    fn answer_reads(&mut self) {
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
            if self.is_leader() {
                let answer = self.answer_question(question);
                if let Some(asked) = self.questions.remove(&id) {
                    drop(asked.reply.send(Ok(answer)));
                }
            } else if let Some(leader) = self.leader() {
                if let Some(asked) = self.questions.get_mut(&id) {
                    asked.sent = Some(self.now);
                }
                self.outlet.frame(leader, Frame::Question { id, question });
            }
        }
    }

    fn answer_question(&mut self, question: Question) -> Answer {
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

    // --- what changed -------------------------------------------------------

    fn note_role(&mut self) {
        let raft = &self.raft.raft;
        let role = Role {
            state: raft.state,
            leader: raft.leader_id,
            term: raft.term,
        };
        if role == self.role {
            return;
        }
        let before = std::mem::replace(&mut self.role, role);
        if role.state == StateRole::Leader && before.state != StateRole::Leader {
            tracing::debug!(term = role.term, "this member leads");
            self.taken = Taken::default();
            self.compacting_to = 0;
            let state = self.shared.state.read();
            self.lessor.reset(self.now, LEASE_ALLOWANCE, state.leases());
        }
        if role.term != before.term || role.state != before.state {
            self.draw_election_ticks();
        }
        self.retry = true;
    }

    /// Raft would draw it from a random source of its own, and then no run could be repeated.
    fn draw_election_ticks(&mut self) {
        self.election_ticks = self
            .random
            .random_range(ELECTION_TICKS_MIN..ELECTION_TICKS_MAX);
    }

    fn note_status(&mut self) {
        let raft = &self.raft.raft;
        let status = super::RaftStatus {
            leader: self.leader(),
            term: raft.term,
            last_index: raft.raft_log.last_index(),
            applied_index: self.applied.index,
        };
        self.shared.set_status(status);
    }

    /// Tells everyone who waits that the member has stopped.
    pub(super) fn fail_all(&mut self, error: &Error) {
        for Pending { reply, .. } in self.proposals.drain() {
            reply.fail(error.clone());
        }
        for waiting in self.reads.drain() {
            drop(waiting.reply.send(Err(error.clone())));
        }
        for (_, asked) in std::mem::take(&mut self.questions) {
            drop(asked.reply.send(Err(error.clone())));
        }
    }
}

/// Ticks without a word from the leader before an election: at least, and below. With the default tick a leader's death
/// is noticed after 200 to 350 ms.
pub(super) const ELECTION_TICKS_MIN: usize = 8;
/// See [`ELECTION_TICKS_MIN`].
pub(super) const ELECTION_TICKS_MAX: usize = 14;
/// Ticks between a leader's heartbeats.
pub(super) const HEARTBEAT_TICKS: usize = 2;

/// A snapshot as Raft wants it: what it is of, without its content.
pub(super) fn snapshot_of(position: Position, conf_state: &ConfState) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = position.index;
    metadata.term = position.term;
    metadata.set_conf_state(conf_state.clone());
    snapshot
}

fn is_change(entry: &Entry) -> bool {
    entry.get_entry_type() != EntryType::EntryNormal
}

pub(super) fn broken(what: String) -> StopCause {
    StopCause::Broken { what: what.into() }
}
