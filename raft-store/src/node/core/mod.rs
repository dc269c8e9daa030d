//! A member without its disk, its network and its clock: everything that decides.
//!
//! [`Core`] is driven from outside: it is told what time it is, what arrived and what is asked, and it writes through a
//! [`Disk`] and sends through an [`Outlet`]. The thread of a real member drives it (see [`super::driver`]), and so does a
//! simulation of many members with a seed.

mod apply;
mod asked;
mod gather;
mod renewals;
mod seams;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};
use raft::{LightReady, RawNode, SnapshotStatus, StateRole};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::frame::{Answer, Frame, Proposal, Question};
use super::log::Position;
use super::proposals::{Pending, Proposals, Taken};
use super::reads::{Reads, Waiting};
use super::snapshot::Meta;
use super::{Reply, Room, Shared, change};
use crate::error::{Error, StopCause};
use crate::kv::Revision;
use crate::lessor::Lessor;

use gather::{Forwarded, Gathering};
use renewals::{Asker, Renewal};
pub(crate) use seams::Arrived;
pub(super) use seams::{Disk, Outlet};

/// Compacted revisions cleared per turn, some 100 microseconds; see [`crate::mvcc::State::sweep`].
const SWEEP_REVISIONS: usize = 256;
/// Leases whose expiry is proposed per tick: each may delete many keys.
const EXPIRIES_PER_TICK: usize = 256;
/// What leases get on top when the leader changes.
const LEASE_ALLOWANCE: Duration = Duration::from_secs(1);
/// How long to wait for a leader's answer before asking again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Entries that a learner may lack and still be promoted.
const LEARNER_LAG: u64 = 1_000;

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
    renewals: Vec<Renewal>,
    /// What was last seen of Raft's role, to notice changes.
    role: Role,
    /// Ticks without a leader's word before an election, redrawn whenever role or term change.
    election_ticks: usize,
    arrived: Option<Arrived>,
    /// Unsent proposals and reads are worth another try.
    retry: bool,
    /// Whether a leader lets proposals wait for company.
    gathering: Gathering,
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
    /// Its place in the queue, until it is answered.
    _room: Option<Room>,
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
            renewals: Vec::new(),
            election_ticks: 0,
            arrived: None,
            retry: false,
            gathering: Gathering::default(),
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

    /// What time it is. Told with everything that happens, since a tick may be long ago: the process may have been stopped.
    pub(super) fn at(&mut self, now: Duration) {
        self.now = now;
        self.retry |= self.gathered_at().is_some_and(|until| now >= until);
    }

    /// When there is something to do though nothing happens, as [`Core::at`] counts: proposals have gathered long enough.
    pub(super) fn gathered_at(&self) -> Option<Duration> {
        let waits = self.gathering.holds_any() || self.proposals.has_unsent();
        (waits && self.is_leader())
            .then(|| self.gathering.until())
            .flatten()
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
        room: Option<Room>,
    ) {
        self.last_question += 1;
        let asked = Asked {
            question,
            reply,
            sent: None,
            _room: room,
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
                self.gathering.add(Forwarded {
                    from,
                    id,
                    term,
                    again,
                    proposal,
                });
                self.retry = true;
            }
            Frame::Refused { id, term, why } => {
                if self.proposals.refused(id, term, why) {
                    self.refuse(id, why);
                }
            }
            Frame::Question { id, question } => {
                if let Some(answer) = self.take_question(Asker::There(from, id), question) {
                    self.outlet.frame(from, Frame::Answer { id, answer });
                }
            }
            Frame::Answer { id, answer } => {
                // Asked again at a later tick otherwise.
                if answer != Answer::NotLeader {
                    self.answered(id, answer);
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
            self.answer_renewals();
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
