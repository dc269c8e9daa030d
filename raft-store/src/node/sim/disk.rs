//! A simulated disk: what was synced survives a crash, what was not may, and the last write may be cut short.

use std::sync::{Arc, Mutex};

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use rand::Rng;
use rand::rngs::StdRng;

use super::super::core::{Disk, snapshot_of};
use super::super::log::Position;
use super::super::snapshot::Meta;
use super::{Faults, Planted};
use crate::error::StopCause;
use crate::mvcc::State;

/// What the disk of a member holds.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) hard_state: HardState,
    pub(super) entries: Vec<Entry>,
    pub(super) truncated: Position,
    pub(super) meta: Meta,
    pub(super) state: State,
}

impl Image {
    pub(super) fn new(meta: Meta, state: State) -> Self {
        let hard_state = HardState {
            commit: meta.position.index,
            term: meta.position.term,
            ..HardState::default()
        };
        Self {
            hard_state,
            entries: Vec::new(),
            truncated: meta.position,
            meta,
            state,
        }
    }

    fn last(&self) -> Position {
        self.entries
            .last()
            .map_or(self.truncated, |entry| Position {
                index: entry.index,
                term: entry.term,
            })
    }

    fn write(&mut self, entries: &[Entry], hard_state: Option<&HardState>) {
        if let Some(first) = entries.first() {
            let kept = first.index - self.truncated.index - 1;
            self.entries.truncate(kept as usize);
            self.entries.extend_from_slice(entries);
        }
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
    }

    /// A snapshot has been written; the log before it, but for some entries, goes.
    pub(super) fn snapshot(&mut self, meta: Meta, state: State, kept: u64) {
        let until = meta.position.index.saturating_sub(kept);
        if until > self.truncated.index {
            let dropped = (until - self.truncated.index) as usize;
            let term = self.entries[dropped - 1].term;
            self.entries.drain(..dropped);
            self.truncated = Position { index: until, term };
        }
        self.meta = meta;
        self.state = state;
    }
}

/// A disk that outlives the member that writes to it.
#[derive(Clone)]
pub(super) struct SimDisk {
    /// What the member sees.
    pub(super) seen: Arc<Mutex<Image>>,
    /// What survives a crash.
    durable: Arc<Mutex<Image>>,
    random: Arc<Mutex<StdRng>>,
    faults: Arc<Faults>,
    applied: Position,
    conf_state: ConfState,
}

impl SimDisk {
    pub(super) fn new(image: Image, random: StdRng, faults: Arc<Faults>) -> Self {
        Self {
            applied: image.meta.position,
            conf_state: image.meta.conf_state.clone(),
            seen: Arc::new(Mutex::new(image.clone())),
            durable: Arc::new(Mutex::new(image)),
            random: Arc::new(Mutex::new(random)),
            faults,
        }
    }

    /// What is there after a crash, as a new member finds it.
    pub(super) fn after_crash(&self) -> Self {
        let mut image = self.durable.lock().unwrap().clone();
        let snapshot = image.meta.position;
        image.hard_state.commit = image.hard_state.commit.max(snapshot.index);
        image.hard_state.term = image.hard_state.term.max(snapshot.term);
        Self {
            applied: snapshot,
            conf_state: image.meta.conf_state.clone(),
            seen: Arc::new(Mutex::new(image)),
            ..self.clone()
        }
    }

    pub(super) fn set_faults(&mut self, faults: Arc<Faults>) {
        self.faults = faults;
    }

    pub(super) fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// Writes a snapshot of what is applied, durably.
    pub(super) fn take_snapshot(&self, meta: &Meta, state: &State, kept: u64) {
        let mut seen = self.seen.lock().unwrap();
        seen.snapshot(meta.clone(), state.clone(), kept);
        // A real one goes on from what is in the log behind it, which was synced when it was appended.
        *self.durable.lock().unwrap() = seen.clone();
    }
}

impl Disk for SimDisk {
    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
        sync: bool,
    ) -> Result<(), StopCause> {
        let mut random = self.random.lock().unwrap();
        if !entries.is_empty() && self.faults.disk > 0.0 && random.random_bool(self.faults.disk) {
            // It fails, and may be there nevertheless. A write is one record with a checksum, so there are no halves.
            if random.random_bool(0.5) {
                self.durable.lock().unwrap().write(entries, hard_state);
            }
            return Err(StopCause::Disk {
                what: "a simulated write".to_owned(),
                error: "a simulated failure".into(),
            });
        }
        let mut seen = self.seen.lock().unwrap();
        seen.write(entries, hard_state);
        let synced = (sync || !entries.is_empty()) && !self.faults.is(Planted::SkippedSyncs);
        if synced || random.random_bool(0.3) {
            self.durable
                .lock()
                .unwrap()
                .write(entries, Some(&seen.hard_state));
        }
        Ok(())
    }

    fn set_commit(&mut self, commit: u64) {
        self.seen.lock().unwrap().hard_state.commit = commit;
    }

    fn set_applied(&mut self, applied: Position, conf_state: Option<ConfState>) {
        self.applied = applied;
        if let Some(conf_state) = conf_state {
            self.conf_state = conf_state;
        }
    }

    fn install(&mut self, _: &Meta) -> Result<(), StopCause> {
        // Done as one with keeping the snapshot; see the world.
        Ok(())
    }
}

impl Storage for SimDisk {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let seen = self.seen.lock().unwrap();
        Ok(RaftState::new(
            seen.hard_state.clone(),
            self.conf_state.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let seen = self.seen.lock().unwrap();
        if low <= seen.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        let from = (low - seen.truncated.index - 1) as usize;
        let to = (high - seen.truncated.index - 1) as usize;
        if to > seen.entries.len() {
            return Err(StorageError::Unavailable.into());
        }
        let mut entries = seen.entries[from..to].to_vec();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let seen = self.seen.lock().unwrap();
        if index == seen.truncated.index {
            return Ok(seen.truncated.term);
        }
        if index == seen.meta.position.index {
            return Ok(seen.meta.position.term);
        }
        if index < seen.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        seen.entries
            .get((index - seen.truncated.index - 1) as usize)
            .map(|entry| entry.term)
            .ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.seen.lock().unwrap().truncated.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.seen.lock().unwrap().last().index)
    }

    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        if self.applied.index == 0 {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(snapshot_of(self.applied, &self.conf_state))
    }
}

/// Puts a snapshot from another member in the place of everything.
pub(super) fn install(disk: &SimDisk, meta: &Meta, state: &State) {
    let mut seen = disk.seen.lock().unwrap();
    let hard_state = HardState {
        commit: meta.position.index,
        term: seen.hard_state.term.max(meta.position.term),
        vote: seen.hard_state.vote,
        ..HardState::default()
    };
    *seen = Image {
        hard_state,
        ..Image::new(meta.clone(), state.clone())
    };
    *disk.durable.lock().unwrap() = seen.clone();
}
