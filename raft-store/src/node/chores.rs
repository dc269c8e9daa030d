//! Work that must not hold up the log: writing a snapshot, removing log files.
//!
//! Each runs on a thread of its own, one at a time. (Not on a pool: raft-engine keeps the block it read last per
//! thread and knows it by file number and offset alone, so a thread that has read one log must never read another.)

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::log::{LogEngine, Position};
use super::snapshot::{self, Meta};
use crate::mvcc::State;

/// What a chore came to.
pub(super) enum Outcome {
    /// A snapshot is complete and durable.
    Snapshot { position: Position, bytes: u64 },
    /// A snapshot could not be written.
    SnapshotFailed(io::Error),
    /// Log files without content were removed, or not.
    Purged(Result<(), raft_engine::Error>),
    /// The thread could not be started or panicked.
    Lost(String),
}

/// At most one piece of work under way.
#[derive(Default)]
pub(super) struct Chores {
    running: Option<JoinHandle<Outcome>>,
    cancelled: Arc<AtomicBool>,
}

impl Chores {
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// Starts writing a snapshot of a copy of the state.
    pub(super) fn snapshot(&mut self, dir: PathBuf, meta: Meta, state: State) -> Option<Outcome> {
        let cancelled = self.cancelled.clone();
        self.start("raft-snapshot", move || {
            match snapshot::write(&dir, &meta, &state, &cancelled) {
                Ok(bytes) => Outcome::Snapshot {
                    position: meta.position,
                    bytes,
                },
                Err(error) => Outcome::SnapshotFailed(error),
            }
        })
    }

    /// Starts removing log files that nothing is left in.
    pub(super) fn purge(&mut self, engine: Arc<LogEngine>) -> Option<Outcome> {
        self.start("raft-purge", move || {
            // The groups it names should be compacted; this one has just been.
            Outcome::Purged(engine.purge_expired_files().map(drop))
        })
    }

    /// What was under way, if it is done.
    pub(super) fn finished(&mut self) -> Option<Outcome> {
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            self.running.take().map(join)
        } else {
            None
        }
    }

    /// Ends what is under way, and waits for it: at most for a block of a snapshot, or the removal of some files.
    pub(super) fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            join(running);
        }
    }

    fn start(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Option<Outcome> {
        match thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(running) => {
                self.running = Some(running);
                None
            }
            Err(error) => Some(Outcome::Lost(format!("starting a thread failed: {error}"))),
        }
    }
}

fn join(running: JoinHandle<Outcome>) -> Outcome {
    running
        .join()
        .unwrap_or_else(|_| Outcome::Lost("a thread panicked".to_owned()))
}
