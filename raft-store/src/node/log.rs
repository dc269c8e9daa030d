//! The Raft log and hard state on disk, as Raft reads them.
//!
//! raft-engine keeps them; one call of [`RaftLog::append`] is one write and at most one sync. What was written last
//! also stays in memory, since it is read again at once, to be applied and to be sent to other members.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use raft_engine::{Command, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};

use super::audit::audit;
use super::core::{Disk, snapshot_of};
use super::dir::sync_dir;
use super::floor::Floor;
use super::fs::{DiskHealth, LogFileSystem};
use super::snapshot::Meta;
use crate::command as commands;
use crate::error::{OpenError, StopCause};

/// raft-engine keeps many logs; this group's has this number.
const GROUP: u64 = 1;
const HARD_STATE_KEY: &[u8] = b"hard-state";
/// The last entry that was cut off the front, as an entry without data: Raft asks for its term.
const TRUNCATED_KEY: &[u8] = b"truncated";

/// Log files grow to about this size. Small enough that the last one is audited in some 10 ms.
const FILE_BYTES: ReadableSize = ReadableSize::mb(32);
/// Entries kept in memory once they are applied.
const CACHE_BYTES: usize = 16 << 20;
/// Entries read in one go during recovery.
const REPLAY_BYTES: usize = 8 << 20;

pub(super) type LogEngine = Engine<LogFileSystem>;

struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// Index and term of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) index: u64,
    pub(super) term: u64,
}

/// See the module.
pub(super) struct RaftLog {
    engine: Arc<LogEngine>,
    health: Arc<DiskHealth>,
    dir: Arc<Path>,
    /// The last entries, without a gap up to `last`.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    truncated: Position,
    last: Position,
    snapshot: Position,
    /// Bytes of entries written since they were last asked about.
    added_bytes: u64,
    applied: Position,
    hard_state: HardState,
    /// As of `applied`.
    conf_state: ConfState,
}

/// How a log relates to the snapshot it is opened behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It holds what followed the snapshot.
    Continue,
    /// The snapshot came from another member and takes the place of whatever is in the log.
    Anew,
}

impl RaftLog {
    /// Opens the log that continues a snapshot.
    pub(super) fn open(
        dir: &Path,
        health: Arc<DiskHealth>,
        snapshot: Position,
        conf_state: ConfState,
        opening: Opening,
    ) -> Result<Self, OpenError> {
        let floor = Floor::check(dir)?;
        audit(dir)?;
        let config = raft_engine::Config {
            dir: dir.to_string_lossy().into_owned(),
            recovery_mode: RecoveryMode::TolerateTailCorruption,
            recovery_threads: 1,
            // The audit relies on these two: no compression, and no file that holds what an earlier one held.
            batch_compression_threshold: ReadableSize(0),
            enable_log_recycle: false,
            target_file_size: FILE_BYTES,
            purge_threshold: FILE_BYTES,
            ..Default::default()
        };
        let corrupt = |what: String| OpenError::Corrupt {
            file: dir.to_owned(),
            what,
        };
        let file_system = Arc::new(LogFileSystem {
            health: health.clone(),
            floor,
        });
        let engine =
            LogEngine::open_with_file_system(config, file_system).map_err(|error| match error {
                raft_engine::Error::Io(source) => OpenError::Io {
                    what: "opening the log in",
                    path: dir.to_owned(),
                    source,
                },
                error => corrupt(error.to_string()),
            })?;
        // raft-engine does not make the first file's name durable.
        sync_dir(dir).map_err(OpenError::io("syncing", dir))?;

        let read = |error: raft_engine::Error| corrupt(error.to_string());
        let mut hard_state: HardState = engine
            .get_message(GROUP, HARD_STATE_KEY)
            .map_err(read)?
            .unwrap_or_default();
        let truncated = engine
            .get_message::<Entry>(GROUP, TRUNCATED_KEY)
            .map_err(read)?
            .map_or(snapshot, |entry| Position {
                index: entry.index,
                term: entry.term,
            });
        let last_index = engine.last_index(GROUP).unwrap_or(truncated.index);
        let first_index = engine.first_index(GROUP).unwrap_or(last_index + 1);
        if opening == Opening::Continue {
            if truncated.index > snapshot.index || first_index > truncated.index + 1 {
                return Err(corrupt(format!(
                    "entries {} to {} are missing between the snapshot and the log",
                    snapshot.index + 1,
                    first_index.max(truncated.index + 1) - 1
                )));
            }
            if last_index < snapshot.index.max(hard_state.commit) {
                return Err(corrupt(format!(
                    "the log ends at entry {last_index}, but entry {} was once committed",
                    snapshot.index.max(hard_state.commit)
                )));
            }
            hard_state.commit = hard_state.commit.max(snapshot.index);
            hard_state.term = hard_state.term.max(snapshot.term);
        }
        let mut log = Self {
            engine: Arc::new(engine),
            health,
            dir: dir.into(),
            cache: VecDeque::new(),
            cache_bytes: 0,
            truncated,
            last: truncated,
            snapshot,
            added_bytes: 0,
            applied: snapshot,
            hard_state,
            conf_state,
        };
        if opening == Opening::Anew {
            log.begin_anew(snapshot).map_err(OpenError::Stopped)?;
            return Ok(log);
        }
        log.last = Position {
            index: last_index,
            term: log
                .term(last_index)
                .map_err(|error| corrupt(format!("entry {last_index} cannot be read: {error}")))?,
        };
        Ok(log)
    }

    /// Empties the log; it goes on behind a snapshot.
    fn begin_anew(&mut self, snapshot: Position) -> Result<(), StopCause> {
        self.hard_state.commit = snapshot.index;
        self.hard_state.term = self.hard_state.term.max(snapshot.term);
        let truncated = Entry {
            index: snapshot.index,
            term: snapshot.term,
            ..Entry::default()
        };
        let mut batch = LogBatch::with_capacity(3);
        batch.add_command(GROUP, Command::Clean);
        batch
            .put_message(GROUP, HARD_STATE_KEY.to_vec(), &self.hard_state)
            .and_then(|()| batch.put_message(GROUP, TRUNCATED_KEY.to_vec(), &truncated))
            .map_err(|error| self.failed("encoding for the log in", error))?;
        self.write(&mut batch, true)?;
        self.cache.clear();
        self.cache_bytes = 0;
        self.truncated = snapshot;
        self.last = snapshot;
        self.snapshot = snapshot;
        Ok(())
    }

    /// Reads every entry behind the snapshot, in order, and checks that they follow one another. Returns their bytes.
    pub(super) fn check(&mut self) -> Result<u64, OpenError> {
        let mut before = self.snapshot;
        let mut bytes = 0;
        while before.index < self.last.index {
            let mut entries = Vec::new();
            let read = self.engine.fetch_entries_to::<Entries>(
                GROUP,
                before.index + 1,
                self.last.index + 1,
                Some(REPLAY_BYTES),
                &mut entries,
            );
            let corrupt = |what: String| OpenError::Corrupt {
                file: self.dir.to_path_buf(),
                what,
            };
            if let Err(error) = read {
                let index = before.index + 1;
                return Err(corrupt(format!(
                    "entries from {index} on cannot be read: {error}"
                )));
            }
            for entry in entries {
                if entry.index != before.index + 1 || entry.term < before.term {
                    return Err(corrupt(format!(
                        "entry {} of term {} is followed by entry {} of term {}",
                        before.index, before.term, entry.index, entry.term
                    )));
                }
                before = Position {
                    index: entry.index,
                    term: entry.term,
                };
                // Changes of the group and what Raft adds by itself are not commands.
                if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
                    commands::Command::decode(&entry.data)
                        .map_err(|error| corrupt(format!("entry {}: {error}", entry.index)))?;
                }
                bytes += entry_bytes(&entry) as u64;
            }
        }
        Ok(bytes)
    }

    /// Lets go of what was applied and need not stay in memory.
    fn forget(&mut self, applied: u64) {
        while self.cache_bytes > CACHE_BYTES
            && self
                .cache
                .front()
                .is_some_and(|entry| entry.index <= applied)
        {
            self.cache_bytes -= self.cache.pop_front().as_ref().map_or(0, entry_bytes);
        }
    }

    /// Cuts off what a snapshot covers, except for the last `kept` entries.
    pub(super) fn compact(&mut self, snapshot: Position, kept: u64) -> Result<(), StopCause> {
        let index = snapshot.index.saturating_sub(kept);
        if index > self.truncated.index {
            let term = self
                .term(index)
                .map_err(|error| self.failed("reading the log in", error))?;
            let truncated = Entry {
                index,
                term,
                ..Entry::default()
            };
            let mut batch = LogBatch::with_capacity(2);
            batch.add_command(GROUP, Command::Compact { index: index + 1 });
            batch
                .put_message(GROUP, TRUNCATED_KEY.to_vec(), &truncated)
                .map_err(|error| self.failed("encoding for the log in", error))?;
            // Need not be durable: if it is lost, there is more log than needed.
            self.write(&mut batch, false)?;
            self.truncated = Position { index, term };
            while self.cache.front().is_some_and(|entry| entry.index <= index) {
                self.cache_bytes -= self.cache.pop_front().as_ref().map_or(0, entry_bytes);
            }
        }
        self.snapshot = snapshot;
        Ok(())
    }

    /// The engine, for work beside the log: removing files that nothing is left in.
    pub(super) fn engine(&self) -> Arc<LogEngine> {
        self.engine.clone()
    }

    /// Bytes of entries written since the last call.
    pub(super) fn take_added_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.added_bytes)
    }

    pub(super) fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    pub(super) fn committed(&self) -> u64 {
        self.hard_state.commit
    }

    fn write(&self, batch: &mut LogBatch, sync: bool) -> Result<(), StopCause> {
        let written = self
            .engine
            .write(batch, sync)
            .map_err(|error| self.failed("writing to the log in", error));
        // A failed sync outweighs: it is what made the disk's content unknown.
        match self.health.failure() {
            Some(error) => Err(StopCause::Disk {
                what: format!("syncing the log in {}", self.dir.display()),
                error,
            }),
            None => written.map(drop),
        }
    }

    fn failed(&self, what: &str, error: impl std::fmt::Display) -> StopCause {
        StopCause::Disk {
            what: format!("{what} {}", self.dir.display()),
            error: error.to_string().into(),
        }
    }

    fn remember(&mut self, entry: Entry) {
        self.cache_bytes += entry_bytes(&entry);
        self.cache.push_back(entry);
    }

    fn cached(&self, index: u64) -> Option<usize> {
        let first = self.cache.front()?.index;
        usize::try_from(index.checked_sub(first)?)
            .ok()
            .filter(|at| *at < self.cache.len())
    }
}

/// Memory that an entry takes, about.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.data.len() + entry.context.len()
}

impl Disk for RaftLog {
    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
        sync: bool,
    ) -> Result<(), StopCause> {
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        if entries.is_empty() && hard_state.is_none() {
            return Ok(());
        }
        let mut batch = LogBatch::with_capacity(2);
        batch
            .add_entries::<Entries>(GROUP, entries)
            .and_then(|()| batch.put_message(GROUP, HARD_STATE_KEY.to_vec(), &self.hard_state))
            .map_err(|error| self.failed("encoding for the log in", error))?;
        self.write(&mut batch, sync || !entries.is_empty())?;
        if let Some(first) = entries.first() {
            while self
                .cache
                .back()
                .is_some_and(|entry| entry.index >= first.index)
            {
                self.cache_bytes -= self.cache.pop_back().as_ref().map_or(0, entry_bytes);
            }
            for entry in entries {
                self.added_bytes += entry_bytes(entry) as u64;
                self.remember(entry.clone());
                self.last = Position {
                    index: entry.index,
                    term: entry.term,
                };
            }
        }
        Ok(())
    }

    fn set_commit(&mut self, commit: u64) {
        self.hard_state.commit = commit;
    }

    fn set_applied(&mut self, applied: Position, conf_state: Option<ConfState>) {
        self.applied = applied;
        if let Some(conf_state) = conf_state {
            self.conf_state = conf_state;
        }
        self.forget(applied.index);
    }

    fn install(&mut self, snapshot: &Meta) -> Result<(), StopCause> {
        self.begin_anew(snapshot.position)
    }
}

impl Storage for RaftLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
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
        if low <= self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last.index + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let max_size = max_size.into().unwrap_or(u64::MAX);
        if let Some(at) = self.cached(low) {
            let mut size = 0;
            let wanted = (high - low) as usize;
            let entries = self.cache.range(at..).take(wanted).take_while(|entry| {
                let first = size == 0;
                size += entry_bytes(entry) as u64;
                first || size <= max_size
            });
            return Ok(entries.cloned().collect());
        }
        let mut entries = Vec::new();
        self.engine
            .fetch_entries_to::<Entries>(
                GROUP,
                low,
                high,
                Some(usize::try_from(max_size).unwrap_or(usize::MAX)),
                &mut entries,
            )
            .map_err(unreadable)?;
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        for known in [self.truncated, self.snapshot, self.last] {
            if known.index == index {
                // `last` is not known yet while the log is being opened, and then equals `truncated`.
                return Ok(known.term);
            }
        }
        if index < self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        if let Some(at) = self.cached(index) {
            return Ok(self.cache[at].term);
        }
        match self.engine.get_entry::<Entries>(GROUP, index) {
            Ok(Some(entry)) => Ok(entry.term),
            Ok(None) => Err(StorageError::Unavailable.into()),
            Err(error) => Err(unreadable(error)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.index)
    }

    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        // On behalf of a member that lags behind the log. The content is added when the message is sent.
        if self.applied.index == 0 {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(snapshot_of(self.applied, &self.conf_state))
    }
}

fn unreadable(error: raft_engine::Error) -> raft::Error {
    StorageError::Other(Box::new(error)).into()
}
