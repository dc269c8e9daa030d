//! The thread of a member: drives the [`Core`] with requests, ticks, and the outcome of chores.
//!
//! A turn takes what has queued up while the last one was waiting for the disk, proposes all of it, and has it written
//! and synced at once: the busier the store, the more requests share a sync. Then what is committed is applied, in
//! order, and answered.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use raft::Storage as _;

use super::chores::{self, Chores};
use super::core::{Core, broken};
use super::dir::DataDir;
use super::frame::Proposal;
use super::fs::DiskHealth;
use super::log::RaftLog;
use super::outlet::TransportOutlet;
use super::reads::Waiting;
use super::snapshot::Meta;
use super::{Request, Shared, command};
use crate::config::Config;
use crate::error::{Error, StopCause};

/// Bytes of commands taken up in one turn: more would let the first wait for the last.
const TURN_BYTES: usize = 16 << 20;
/// Requests taken up in one turn, for the same reason.
const TURN_REQUESTS: usize = 8192;
/// How long to let a failed snapshot be before trying again.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(30);

pub(super) type MemberCore = Core<RaftLog, TransportOutlet>;

/// What a driver is made of.
pub(super) struct Parts {
    pub(super) core: MemberCore,
    pub(super) dir: DataDir,
    pub(super) cluster_id: u64,
    pub(super) chores: Chores,
    pub(super) config: Config,
    pub(super) inbox: Receiver<Request>,
    pub(super) health: Arc<DiskHealth>,
    /// Bytes of log since the last snapshot.
    pub(super) log_bytes: u64,
    /// The size of the last snapshot.
    pub(super) snapshot_bytes: u64,
}

/// See the module.
pub(super) struct Driver {
    parts: Parts,
    began: Instant,
    next_tick: Instant,
    retry_snapshot_at: Option<Instant>,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        let began = Instant::now();
        Self {
            next_tick: began + parts.config.tick,
            began,
            parts,
            retry_snapshot_at: None,
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.parts.core.shared().clone()
    }

    #[cfg(test)]
    pub(super) fn health(&self) -> Arc<DiskHealth> {
        self.parts.health.clone()
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
        let shutdown = self.receive()?;
        let now = Instant::now();
        if now >= self.next_tick {
            self.next_tick = now + self.parts.config.tick;
            self.parts.core.tick(now - self.began);
        }
        self.parts.core.process()?;
        self.parts.log_bytes += self.parts.core.log_mut().take_added_bytes();
        self.parts.core.keep_house();
        match self.parts.chores.finished() {
            Some(outcome) => self.chore_done(outcome)?,
            None if self.parts.chores.is_idle() => self.snapshot_if_due()?,
            None => {}
        }
        if shutdown {
            return Err(StopCause::Shutdown);
        }
        Ok(())
    }

    /// Takes up requests, waiting for the first one until there is something to do without. Returns whether to stop.
    fn receive(&mut self) -> Result<bool, StopCause> {
        let wait = if self.parts.core.is_sweeping() {
            Duration::ZERO
        } else {
            let gathered = self.parts.core.gathered_at().map(|at| self.began + at);
            let next = gathered.map_or(self.next_tick, |at| at.min(self.next_tick));
            next.saturating_duration_since(Instant::now())
        };
        let mut next = match self.parts.inbox.recv_timeout(wait) {
            Ok(request) => Ok(request),
            Err(RecvTimeoutError::Timeout) => {
                self.parts.core.at(self.began.elapsed());
                return Ok(false);
            }
            // No handle is left.
            Err(RecvTimeoutError::Disconnected) => return Ok(true),
        };
        self.parts.core.at(self.began.elapsed());
        let mut bytes = 0;
        for _ in 0..TURN_REQUESTS {
            match next {
                Ok(Request::Shutdown) | Err(TryRecvError::Disconnected) => return Ok(true),
                Ok(request) => bytes += self.take_up(request)?,
                Err(TryRecvError::Empty) => break,
            }
            if bytes >= TURN_BYTES {
                break;
            }
            next = self.parts.inbox.try_recv();
        }
        Ok(false)
    }

    /// Hands a request to the core. Returns the bytes that it will write.
    fn take_up(&mut self, request: Request) -> Result<usize, StopCause> {
        let core = &mut self.parts.core;
        match request {
            Request::Propose { entry, reply, room } => {
                let bytes = entry.len();
                core.propose(command(entry), reply, Some(room));
                return Ok(bytes);
            }
            Request::Change {
                change,
                reply,
                room,
            } => {
                let change = Proposal::Change(change.encode().into());
                core.propose(change, reply, Some(room));
            }
            Request::ReadIndex { reply, room } => core.read_index(Waiting {
                reply,
                _room: Some(room),
            }),
            Request::Ask {
                question,
                reply,
                room,
            } => core.ask(question, reply, Some(room)),
            Request::Frames {
                from,
                frames,
                _room,
            } => {
                for frame in frames {
                    core.receive(from, frame)?;
                }
            }
            Request::Snapshot { arrived, done } => {
                let bytes = arrived.bytes;
                if core.snapshot_arrived(*arrived)? {
                    self.parts.snapshot_bytes = bytes;
                    self.parts.log_bytes = 0;
                }
                // Fails where the sender has stopped waiting.
                let _ = done.try_send(());
            }
            Request::SnapshotSent { to, taken } => core.snapshot_sent(to, taken),
            Request::Unreachable(member) => core.unreachable(member),
            Request::ToldRemoved { by } => core.told_removed(by),
            // Where it is taken from the queue.
            Request::Shutdown => {}
        }
        Ok(0)
    }

    fn snapshot_due_bytes(&self) -> u64 {
        self.parts
            .config
            .snapshot_log_bytes
            .max(self.parts.snapshot_bytes / 2)
    }

    fn snapshot_if_due(&mut self) -> Result<(), StopCause> {
        let wait = self.retry_snapshot_at.is_some_and(|at| Instant::now() < at);
        if self.parts.log_bytes < self.snapshot_due_bytes() || wait {
            return Ok(());
        }
        let log = self.parts.core.log();
        let group = log
            .initial_state()
            .map_err(|error| broken(format!("the log cannot say who is in the group: {error}")))?;
        let meta = Meta {
            cluster_id: self.parts.cluster_id,
            position: self.parts.core.applied(),
            conf_state: group.conf_state,
        };
        let state = self.parts.core.shared().state.read().clone();
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
                let log = self.parts.core.log_mut();
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
        self.parts.log_bytes = self.snapshot_due_bytes();
    }

    fn stop(&mut self, cause: StopCause) {
        match &cause {
            StopCause::Shutdown => tracing::debug!("the store has stopped"),
            cause => tracing::error!(%cause, "the store has stopped"),
        }
        // First: whoever asks from here on is told, and does not queue.
        self.parts.core.shared().stop(cause.clone());
        let error = Error::Stopped { cause };
        self.parts.core.fail_all(&error);
        while let Ok(request) = self.parts.inbox.try_recv() {
            match request {
                Request::Propose { reply, .. } | Request::Change { reply, .. } => {
                    reply.fail(error.clone());
                }
                Request::ReadIndex { reply, .. } => drop(reply.send(Err(error.clone()))),
                Request::Ask { reply, .. } => drop(reply.send(Err(error.clone()))),
                Request::Frames { .. }
                | Request::Snapshot { .. }
                | Request::SnapshotSent { .. }
                | Request::Unreachable(_)
                | Request::ToldRemoved { .. }
                | Request::Shutdown => {}
            }
        }
        self.parts.chores.cancel();
    }
}
