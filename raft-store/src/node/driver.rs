//! The loop that owns Raft.
//!
//! A turn takes what has queued up while the last one was waiting for the disk, proposes all of it, and has it written
//! and synced at once: the busier the store, the more requests share a sync. Then what is committed is applied, in
//! order, and answered.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use raft::eraftpb::{Entry, EntryType};
use raft::{LightReady, RawNode, Ready, StateRole, Storage as _};
use tokio::sync::oneshot;

use super::chores::{self, Chores};
use super::dir::DataDir;
use super::fs::DiskHealth;
use super::log::{Position, RaftLog, entry_bytes};
use super::snapshot::Meta;
use super::{Reply, Request, Room, Shared};
use crate::command::Command;
use crate::config::Config;
use crate::error::{Error, StopCause};
use crate::kv::Revision;
use crate::mvcc::Outcome;

/// Bytes of commands taken up in one turn: more would let the first wait for the last.
const TURN_BYTES: usize = 16 << 20;
/// Requests taken up in one turn, for the same reason.
const TURN_REQUESTS: usize = 8192;
/// Compacted revisions cleared per turn, some 100 microseconds; see [`crate::mvcc::State::sweep`].
const SWEEP_REVISIONS: usize = 256;
/// How long to let a failed snapshot be before trying again.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(30);

/// What a driver is made of.
pub(super) struct Parts {
    pub(super) raft: RawNode<RaftLog>,
    pub(super) dir: DataDir,
    pub(super) cluster_id: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) chores: Chores,
    pub(super) config: Config,
    pub(super) inbox: Receiver<Request>,
    pub(super) health: Arc<DiskHealth>,
    /// The last entry whose effect is in the state.
    pub(super) applied: u64,
    /// Bytes of log since the last snapshot.
    pub(super) log_bytes: u64,
    /// The size of the last snapshot.
    pub(super) snapshot_bytes: u64,
}

/// See the module.
pub(super) struct Driver {
    parts: Parts,
    /// Commands proposed here and not yet applied, by position.
    proposed: VecDeque<Proposed>,
    reads: VecDeque<Read>,
    last_read: u64,
    next_tick: Instant,
    retry_snapshot_at: Option<Instant>,
    /// The point of the last compaction that was proposed unasked.
    compacting_to: Revision,
    sweeping: bool,
}

struct Proposed {
    position: Position,
    reply: Reply,
    _room: Room,
}

/// A linearizable read on its way.
struct Read {
    id: u64,
    /// The entry to apply first, once the group has named it.
    index: Option<u64>,
    reply: oneshot::Sender<Result<Revision, Error>>,
    _room: Room,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            next_tick: Instant::now() + parts.config.tick,
            parts,
            proposed: VecDeque::new(),
            reads: VecDeque::new(),
            last_read: 0,
            retry_snapshot_at: None,
            compacting_to: 0,
            sweeping: false,
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.parts.shared.clone()
    }

    #[cfg(test)]
    pub(super) fn health(&self) -> Arc<DiskHealth> {
        self.parts.health.clone()
    }

    /// Elects the only voter at once, without waiting for a timeout, and applies all that is in its log.
    pub(super) fn lead_alone(&mut self) -> Result<(), StopCause> {
        self.parts
            .raft
            .campaign()
            .map_err(|error| broken(format!("the election failed: {error}")))?;
        self.process()?;
        // The group's own first entry of the new term is the last in the log; behind it, all is committed.
        let last = self.parts.raft.store().last_index_written();
        if self.parts.raft.raft.state != StateRole::Leader || self.parts.applied != last {
            return Err(broken(format!(
                "the only voter is {:?} after its election, at entry {} of {last}",
                self.parts.raft.raft.state, self.parts.applied
            )));
        }
        self.parts.shared.sole_voter.store(true, Ordering::Release);
        Ok(())
    }

    /// Serves until it is told to stop, or has to.
    pub(super) fn run(&mut self) {
        let cause = loop {
            // Raft and raft-engine panic where they find what cannot be; that must end this member with a word to
            // those who wait, not leave them waiting.
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => break cause,
                Err(panic) => {
                    let what = panic
                        .downcast_ref::<String>()
                        .map(String::as_str)
                        .or_else(|| panic.downcast_ref::<&str>().copied())
                        .unwrap_or("no message");
                    break broken(format!("the member panicked: {what}"));
                }
            }
        };
        self.stop(cause);
    }

    fn turn(&mut self) -> Result<(), StopCause> {
        let shutdown = self.receive();
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + self.parts.config.tick;
            self.parts.raft.tick();
        }
        self.process()?;
        self.keep_house()?;
        if shutdown {
            return Err(StopCause::Shutdown);
        }
        Ok(())
    }

    /// Takes up requests, waiting for the first one until the next tick. Returns whether to stop.
    fn receive(&mut self) -> bool {
        let wait = if self.sweeping {
            Duration::ZERO
        } else {
            self.next_tick.saturating_duration_since(Instant::now())
        };
        let mut next = match self.parts.inbox.recv_timeout(wait) {
            Ok(request) => Ok(request),
            Err(RecvTimeoutError::Timeout) => return false,
            // No handle is left.
            Err(RecvTimeoutError::Disconnected) => return true,
        };
        let mut bytes = 0;
        for _ in 0..TURN_REQUESTS {
            match next {
                Ok(Request::Propose {
                    entry,
                    reply,
                    _room,
                }) => {
                    bytes += entry.len();
                    self.propose(entry, reply, _room);
                }
                Ok(Request::ReadIndex { reply, _room }) => self.ask_read_index(reply, _room),
                Ok(Request::Shutdown) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => break,
            }
            if bytes >= TURN_BYTES {
                break;
            }
            next = self.parts.inbox.try_recv();
        }
        false
    }

    fn propose(&mut self, entry: Vec<u8>, reply: Reply, room: Room) {
        if let Err(error) = self.parts.raft.propose(Vec::new(), entry) {
            tracing::debug!(%error, "a proposal was dropped");
            reply.fail(self.not_leader(false));
            return;
        }
        let raft = &self.parts.raft.raft;
        self.proposed.push_back(Proposed {
            position: Position {
                index: raft.raft_log.last_index(),
                term: raft.term,
            },
            reply,
            _room: room,
        });
    }

    fn ask_read_index(&mut self, reply: oneshot::Sender<Result<Revision, Error>>, room: Room) {
        self.last_read += 1;
        self.reads.push_back(Read {
            id: self.last_read,
            index: None,
            reply,
            _room: room,
        });
        self.parts
            .raft
            .read_index(self.last_read.to_le_bytes().to_vec());
    }

    fn not_leader(&self, outcome_unknown: bool) -> Error {
        let leader = self.parts.raft.raft.leader_id;
        Error::NotLeader {
            leader: (leader != 0).then_some(leader),
            outcome_unknown,
        }
    }

    /// Does what Raft wants done, until it wants nothing more.
    fn process(&mut self) -> Result<(), StopCause> {
        while self.parts.raft.has_ready() {
            let mut ready = self.parts.raft.ready();
            if !ready.snapshot().is_empty() {
                return Err(broken(
                    "a snapshot arrived, but there is no other member".to_owned(),
                ));
            }
            self.note_read_states(&mut ready);
            self.apply(ready.take_committed_entries())?;
            self.write(&ready)?;
            let mut light: LightReady = self.parts.raft.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.parts.raft.mut_store().set_commit(commit);
            }
            self.apply(light.take_committed_entries())?;
            self.parts.raft.advance_apply();
        }
        Ok(())
    }

    fn write(&mut self, ready: &Ready) -> Result<(), StopCause> {
        let added: usize = ready.entries().iter().map(entry_bytes).sum();
        self.parts.log_bytes += added as u64;
        self.parts
            .raft
            .mut_store()
            .append(ready.entries(), ready.hs(), ready.must_sync())
    }

    fn note_read_states(&mut self, ready: &mut Ready) {
        for state in ready.take_read_states() {
            let id = state.request_ctx.try_into().map(u64::from_le_bytes);
            if let Some(read) = self.reads.iter_mut().find(|read| Ok(read.id) == id) {
                read.index = Some(state.index);
            }
        }
        self.answer_reads();
    }

    /// Answers the reads whose entry is applied, and those that nobody waits for.
    fn answer_reads(&mut self) {
        let applied = self.parts.applied;
        if self.reads.is_empty() {
            return;
        }
        let revision = *self.parts.shared.applied.borrow();
        let (ready, waiting): (VecDeque<_>, _) = std::mem::take(&mut self.reads)
            .into_iter()
            .filter(|read| !read.reply.is_closed())
            .partition(|read| read.index.is_some_and(|index| index <= applied));
        self.reads = waiting;
        for read in ready {
            drop(read.reply.send(Ok(revision)));
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), StopCause> {
        let Some(last) = entries.last().map(|entry| entry.index) else {
            return Ok(());
        };
        let mut answers = Vec::new();
        for entry in entries {
            let reply = self.take_reply(&entry);
            let outcome = self.apply_entry(&entry)?;
            self.parts.applied = entry.index;
            if let (Some(proposed), Some(outcome)) = (reply, outcome) {
                answers.push((proposed, outcome));
            }
        }
        let revision = self.parts.shared.state.read().revision();
        self.parts.shared.applied.send_if_modified(|applied| {
            let moved = *applied != revision;
            *applied = revision;
            moved
        });
        // Only now: who has its answer must find its write in whatever it asks next.
        for (proposed, outcome) in answers {
            proposed.reply.answer(outcome);
        }
        self.parts.raft.mut_store().forget(last);
        self.answer_reads();
        Ok(())
    }

    fn apply_entry(&mut self, entry: &Entry) -> Result<Option<Outcome>, StopCause> {
        if entry.get_entry_type() != EntryType::EntryNormal {
            return Err(broken(format!(
                "entry {} changes the group's members, which this version cannot",
                entry.index
            )));
        }
        if entry.data.is_empty() {
            return Ok(None);
        }
        let command = Command::decode(&entry.data)
            .map_err(|error| broken(format!("entry {}: {error}", entry.index)))?;
        let mut state = self.parts.shared.state.write();
        let outcome = state.apply_command(&command);
        self.sweeping |= matches!(outcome, Outcome::Compact(Ok(())));
        Ok(Some(outcome))
    }

    /// Who waits for this entry. Those whose entry was replaced by another leader's learn that it came to nothing.
    fn take_reply(&mut self, entry: &Entry) -> Option<Proposed> {
        while self
            .proposed
            .front()
            .is_some_and(|proposed| proposed.position.index <= entry.index)
        {
            let proposed = self.proposed.pop_front()?;
            if proposed.position.index == entry.index && proposed.position.term == entry.term {
                return Some(proposed);
            }
            proposed.reply.fail(self.not_leader(false));
        }
        None
    }

    /// Compaction that nobody asked for, memory that compaction left, snapshots.
    fn keep_house(&mut self) -> Result<(), StopCause> {
        if self.sweeping {
            self.sweeping = self.parts.shared.state.write().sweep(SWEEP_REVISIONS);
        }
        if self.parts.raft.raft.state == StateRole::Leader {
            self.compact_if_overdue();
        }
        match self.parts.chores.finished() {
            Some(outcome) => self.chore_done(outcome)?,
            None if self.parts.chores.is_idle() => self.snapshot_if_due()?,
            None => {}
        }
        Ok(())
    }

    fn compact_if_overdue(&mut self) {
        let config = &self.parts.config;
        let due = self
            .parts
            .shared
            .state
            .read()
            .overdue_compaction(config.history_bytes_max, config.history_revisions_max);
        let Some(at) = due.filter(|_| {
            // The last one proposed has been applied.
            self.compacting_to <= self.parts.shared.state.read().compacted()
        }) else {
            return;
        };
        tracing::info!(
            revision = at,
            "history has reached its bounds; compacting its older half"
        );
        self.compacting_to = at;
        // If it is dropped, leadership is lost, and the next leader finds the same.
        if let Err(error) = self
            .parts
            .raft
            .propose(Vec::new(), Command::Compact(at).encode())
        {
            tracing::debug!(%error, "a proposal was dropped");
            self.compacting_to = 0;
        }
    }

    fn snapshot_if_due(&mut self) -> Result<(), StopCause> {
        let due_bytes = self
            .parts
            .config
            .snapshot_log_bytes
            .max(self.parts.snapshot_bytes / 2);
        let wait = self.retry_snapshot_at.is_some_and(|at| Instant::now() < at);
        if self.parts.log_bytes < due_bytes || wait {
            return Ok(());
        }
        let index = self.parts.applied;
        let log = self.parts.raft.store();
        let term = log
            .term(index)
            .map_err(|error| broken(format!("the term of entry {index} is not known: {error}")))?;
        let meta = Meta {
            cluster_id: self.parts.cluster_id,
            position: Position { index, term },
            conf_state: log.conf_state().clone(),
        };
        let state = self.parts.shared.state.read().clone();
        self.retry_snapshot_at = None;
        self.parts.log_bytes = 0;
        match self
            .parts
            .chores
            .snapshot(self.parts.dir.snapshots(), meta, state)
        {
            Some(outcome) => self.chore_done(outcome),
            None => Ok(()),
        }
    }

    fn chore_done(&mut self, outcome: chores::Outcome) -> Result<(), StopCause> {
        match outcome {
            chores::Outcome::Snapshot { position, bytes } => {
                tracing::debug!(index = position.index, bytes, "wrote a snapshot");
                self.parts.snapshot_bytes = bytes;
                let kept = self.parts.config.log_entries_kept;
                let log = self.parts.raft.mut_store();
                log.compact(position, kept)?;
                let engine = log.engine();
                if let Some(outcome) = self.parts.chores.purge(engine) {
                    return self.chore_done(outcome);
                }
            }
            chores::Outcome::SnapshotFailed(error) => match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    tracing::error!(%error, "no room for a snapshot; the log grows until there is");
                    self.retry_snapshot();
                }
                // Anything else may be a failed sync, after which nothing the disk says can be relied on.
                _ => {
                    return Err(StopCause::Disk {
                        what: format!(
                            "writing a snapshot to {}",
                            self.parts.dir.snapshots().display()
                        ),
                        error: error.to_string().into(),
                    });
                }
            },
            chores::Outcome::Purged(result) => {
                if let Some(error) = self.parts.health.failure() {
                    return Err(StopCause::Disk {
                        what: "syncing the log".to_owned(),
                        error,
                    });
                }
                if let Err(error) = result {
                    tracing::error!(%error, "removing old log files failed; it is tried again after the next snapshot");
                }
            }
            chores::Outcome::Lost(what) => {
                tracing::error!(what, "work beside the log was lost; it is tried again");
                self.retry_snapshot();
            }
        }
        Ok(())
    }

    fn retry_snapshot(&mut self) {
        self.retry_snapshot_at = Some(Instant::now() + SNAPSHOT_RETRY);
        self.parts.log_bytes = self
            .parts
            .config
            .snapshot_log_bytes
            .max(self.parts.snapshot_bytes / 2);
    }

    fn stop(&mut self, cause: StopCause) {
        match &cause {
            StopCause::Shutdown => tracing::debug!("the store has stopped"),
            cause => tracing::error!(%cause, "the store has stopped"),
        }
        // First: whoever asks from here on is told, and does not queue.
        self.parts.shared.stop(cause.clone());
        let stopped = || Error::Stopped {
            cause: cause.clone(),
        };
        for proposed in self.proposed.drain(..) {
            proposed.reply.fail(stopped());
        }
        for read in self.reads.drain(..) {
            drop(read.reply.send(Err(stopped())));
        }
        while let Ok(request) = self.parts.inbox.try_recv() {
            match request {
                Request::Propose { reply, .. } => reply.fail(stopped()),
                Request::ReadIndex { reply, .. } => drop(reply.send(Err(stopped()))),
                Request::Shutdown => {}
            }
        }
        self.parts.chores.cancel();
    }
}

fn broken(what: String) -> StopCause {
    StopCause::Broken { what: what.into() }
}
