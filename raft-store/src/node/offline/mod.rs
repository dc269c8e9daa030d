//! What is done to snapshots and data directories that no running member uses: looking into a snapshot, beginning a
//! new group from one, and beginning a new group from what a single member has left.
//!
//! Everything here blocks, for as long as it takes to read or write all that a store holds.

#[cfg(test)]
mod tests;

use std::path::Path;

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, Entry, EntryType};
use raft::{GetEntriesContext, Storage as _};

use super::change;
use super::core::broken;
use super::dir::{DataDir, Identity};
use super::snapshot::{self, Loaded};
use super::stage::{self, Steps};
use super::start::{Founded, Recovered, found, read_member};
use crate::command::Command;
use crate::config::{Config, Start};
use crate::error::OpenError;
use crate::kv::{KeyRange, Revision};
use crate::member::{Alarm, Member};
use crate::mvcc::{State, StateHash};
use crate::txn::RangeRequest;

/// Bytes of log entries in memory at a time while they are replayed.
const REPLAY_BYTES: u64 = 8 << 20;

/// What is in a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotStatus {
    /// The version of its format.
    pub format: u32,
    /// Its size, without what etcd's clients add at the end.
    pub bytes: u64,
    /// The blake3 hash of its content: two files with the same hash hold the same.
    pub content_hash: [u8; 32],
    /// The group that it was taken of.
    pub cluster_id: u64,
    /// The newest revision in it.
    pub revision: Revision,
    /// Its compaction point.
    pub compacted: Revision,
    /// How many keys it has at its newest revision.
    pub keys: usize,
    /// How many leases it has.
    pub leases: usize,
    /// What [`crate::Store::hash`] says of the newest revision.
    pub hash: StateHash,
    /// Who was in the group. A restored group has members of its own.
    pub members: Vec<Member>,
    /// The alarms that were on.
    pub alarms: Vec<(u64, Alarm)>,
}

/// A group that has just begun, from the point of view of one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// The group.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// All its members.
    pub members: Vec<Member>,
    /// The revision that it begins with.
    pub revision: Revision,
    /// How many entries of the log it has kept that this member did not know to be committed.
    pub uncommitted: u64,
}

/// Reads a snapshot as [`crate::Store::backup`] wrote it, or a member's own, or as `etcdctl snapshot save` saved it, and
/// checks all of it: every checksum, the hash at its end, and that its content makes a store.
///
/// # Errors
/// [`OpenError::Corrupt`] for one that is damaged or cut off, [`OpenError::UnknownFormat`], [`OpenError::Io`].
pub fn snapshot_status(path: &Path) -> Result<SnapshotStatus, OpenError> {
    let Loaded {
        meta,
        state,
        bytes,
        format,
        hash: content_hash,
    } = snapshot::read_backup(path)?;
    // The newest revision can always be read, so neither of these fails.
    let unreadable = |error: crate::Error| OpenError::Corrupt {
        file: path.to_owned(),
        what: error.to_string(),
    };
    let count = RangeRequest {
        count_only: true,
        ..RangeRequest::new(KeyRange::all())
    };
    Ok(SnapshotStatus {
        format,
        bytes,
        content_hash,
        cluster_id: meta.cluster_id,
        revision: state.revision(),
        compacted: state.compacted(),
        keys: state.range(&count).map_err(unreadable)?.count,
        leases: state.leases().count(),
        hash: state.hash(0).map_err(unreadable)?,
        members: state.members(),
        alarms: state.alarms(),
    })
}

/// Makes an empty directory, `config.data_dir`, that of a member of a new group which begins with what is in a snapshot.
/// The group is what `config.start` says: [`Start::Alone`], or [`Start::Group`], whose members are each given the same
/// snapshot, the same list and the same `skip_revisions`, and then agree on all ids. They are told apart from those of an
/// earlier group by the token and by the content of the snapshot; give a new token for every restore, so that
/// nobody who was left over from one takes part in another.
///
/// Keys, revisions, history and leases are those of the snapshot; members and alarms are not. With `skip_revisions`, which
/// should be more than the old group can have written since the snapshot, the new group begins so many revisions later,
/// with all history compacted: clients that saw what came after the snapshot are told to look again, and never see a
/// revision twice with different content. (etcd's `--bump-revision` with `--mark-compacted`.)
///
/// When it is interrupted, the directory is either as good as empty or restored. `config` is then also what the
/// member is opened with.
///
/// # Errors
/// Those of [`snapshot_status`], and [`OpenError::Config`] for a directory that is not empty, or a start that is not a new group's.
pub fn restore(
    snapshot: &Path,
    config: &Config,
    skip_revisions: u64,
) -> Result<NewGroup, OpenError> {
    restore_in_steps(snapshot, config, skip_revisions, &stage::uninterrupted)
}

fn restore_in_steps(
    snapshot: &Path,
    config: &Config,
    skip_revisions: u64,
    steps: Steps<'_>,
) -> Result<NewGroup, OpenError> {
    let refuse = |what: String| Err(OpenError::Config { what });
    config.check()?;
    if let Start::Join { .. } = config.start {
        return refuse(
            "a snapshot begins a new group, so the member that is restored from it cannot join one"
                .to_owned(),
        );
    }
    // Before anything is created in a directory that was given by mistake.
    check_unused(&config.data_dir)?;
    let loaded = snapshot::read_backup(snapshot)?;
    let dir = DataDir::take(&config.data_dir)?;
    // Now that nobody else uses it.
    check_unused(&config.data_dir)?;

    let mut state = loaded.state;
    if skip_revisions > 0
        && let Err(room) = state.skip_revisions(skip_revisions)
    {
        return refuse(format!(
            "the snapshot {} is at revision {}, from which at most {room} can be skipped, not {skip_revisions}",
            snapshot.display(),
            state.revision()
        ));
    }
    let hash: String = loaded.hash.map(|byte| format!("{byte:02x}")).concat();
    let founded = found(config, &format!(" from {hash}+{skip_revisions}"))?;
    begin(&dir, founded, state, 0, steps)
}

/// Makes what a member has left the beginning of a new group with this member alone, which others then join as new
/// members: the way out when most members of a group are lost for good. (etcd's `--force-new-cluster`.)
///
/// The member keeps all that is in its log. Some of that it may not know to be committed: it may have been acknowledged
/// all the same, so it is kept. (etcd drops it.) What the lost members alone had is lost. The group and the member get new ids:
/// members of the old group that come back are refused, and their directories are of no more use. Copy the directory first
/// if there may be a way back.
///
/// When it is interrupted, the directory is either what it was or the new group's.
///
/// # Errors
/// [`OpenError::Config`] for a directory without a member, or with one that has nothing yet; all those of opening a member.
pub fn force_new_group(data_dir: &Path) -> Result<NewGroup, OpenError> {
    force_in_steps(data_dir, &stage::uninterrupted)
}

fn force_in_steps(data_dir: &Path, steps: Steps<'_>) -> Result<NewGroup, OpenError> {
    let nobody = || OpenError::Config {
        what: format!(
            "{} is no member's data directory, so no group can go on from it",
            data_dir.display()
        ),
    };
    if !data_dir.is_dir() {
        return Err(nobody());
    }
    let dir = DataDir::take(data_dir)?;
    let identity = dir.identity()?.ok_or_else(nobody)?;
    let Recovered {
        meta,
        mut state,
        log,
        ..
    } = read_member(&dir, &identity)?;
    let unreadable = |error: raft::Error| OpenError::Corrupt {
        file: dir.log(),
        what: error.to_string(),
    };
    let last = log.last_index().map_err(unreadable)?;
    if last == 0 {
        return Err(OpenError::Config {
            what: format!(
                "the member {:?} in {} joined a group and has not received anything from it yet",
                identity.name,
                data_dir.display()
            ),
        });
    }
    let mut next = meta.position.index + 1;
    while next <= last {
        let entries = log
            .entries(
                next,
                last + 1,
                REPLAY_BYTES,
                GetEntriesContext::empty(false),
            )
            .map_err(unreadable)?;
        for entry in &entries {
            replay(&mut state, entry).map_err(|what| OpenError::Corrupt {
                file: dir.log(),
                what: format!("entry {}: {what}", entry.index),
            })?;
        }
        next = entries
            .last()
            .map(|entry| entry.index + 1)
            .ok_or_else(|| OpenError::Stopped(broken(format!("entry {next} is not in the log"))))?;
    }
    let uncommitted = last - log.committed().min(last);
    // It holds files that are about to be replaced.
    drop(log);

    let founded = sole(&identity, &state);
    begin(&dir, founded, state, uncommitted, steps)
}

/// The group of one that goes on from a member.
fn sole(identity: &Identity, state: &State) -> Founded {
    let me = Member {
        id: rand::random_range(1..=u64::MAX),
        learner: false,
        ..state
            .member(identity.member_id)
            .cloned()
            .unwrap_or_default()
    };
    let me = Member {
        name: identity.name.clone(),
        ..me
    };
    let cluster_id = rand::random_range(1..=u64::MAX);
    Founded::new(cluster_id, me.id, &identity.name, vec![me])
}

/// Applies an entry as a member does, committed or not.
pub(super) fn replay(state: &mut State, entry: &Entry) -> Result<(), String> {
    if entry.data.is_empty() {
        return Ok(());
    }
    if entry.get_entry_type() == EntryType::EntryNormal {
        let command = Command::decode(&entry.data).map_err(|error| error.to_string())?;
        state.apply_command(&command);
    } else {
        let change =
            ConfChangeV2::parse_from_bytes(&entry.data).map_err(|error| error.to_string())?;
        // One that had become impossible changes nothing, here as elsewhere.
        drop(change::apply(state, &change)?);
    }
    Ok(())
}

/// Puts a new group's beginning into a directory.
fn begin(
    dir: &DataDir,
    founded: Founded,
    mut state: State,
    uncommitted: u64,
    steps: Steps<'_>,
) -> Result<NewGroup, OpenError> {
    state.begin_group(founded.members.clone());
    stage::replace(dir, &founded.identity, &founded.meta, &state, steps)?;
    Ok(NewGroup {
        cluster_id: founded.identity.cluster_id,
        member_id: founded.identity.member_id,
        members: founded.members,
        revision: state.revision(),
        uncommitted,
    })
}

fn check_unused(data_dir: &Path) -> Result<(), OpenError> {
    match DataDir::occupied_by(data_dir)? {
        None => Ok(()),
        Some(found) => Err(OpenError::Config {
            what: format!(
                "the directory {} is not empty, it has {}: give an empty or a new one to restore into",
                data_dir.display(),
                found.display()
            ),
        }),
    }
}
