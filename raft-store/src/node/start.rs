//! Opening a member: recovery, and the election of a group of one.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use raft::RawNode;
use raft::eraftpb::{ConfState, EntryType};
use tokio::sync::{oneshot, watch};

use super::chores::Chores;
use super::dir::{DataDir, Member};
use super::driver::{Driver, Parts};
use super::fs::DiskHealth;
use super::log::{Position, RaftLog, entry_bytes};
use super::snapshot::{self, Loaded, Meta};
use super::{Request, Shared, logger};
use crate::command::Command;
use crate::config::Config;
use crate::error::{OpenError, StopCause};
use crate::mvcc::State;

/// A new group begins as if its first entry had been cut off, so that a member that joins later has to begin with a
/// snapshot: the log alone does not say who the first member was.
const BEGINNING: Position = Position { index: 1, term: 1 };

/// Committed entries handed to the state machine at a time.
const APPLY_BYTES: u64 = 16 << 20;
/// Entries sent to another member in one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Messages under way to another member before the first is acknowledged.
const MESSAGES_INFLIGHT: usize = 256;
/// Ticks without a word from the leader before an election.
const ELECTION_TICKS: usize = 10;

/// A member that is ready.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    /// Closes when the member's thread has ended and let go of the data directory.
    pub(crate) ended: watch::Receiver<()>,
    #[cfg(test)]
    pub(super) health: Arc<DiskHealth>,
}

/// Starts the thread of a member, which recovers and then serves `inbox`.
///
/// One thread does both, and serves one member only: see [`super::chores`] for why.
pub(crate) async fn open(
    config: Config,
    inbox: mpsc::Receiver<Request>,
) -> Result<Opened, OpenError> {
    let (report, opened) = oneshot::channel();
    let (ending, ended) = watch::channel(());
    let data_dir = config.data_dir.clone();
    thread::Builder::new()
        .name("raft-store".to_owned())
        .spawn(move || {
            // Dropped last, after the driver and with it the data directory.
            let _ending = ending;
            match recover(&config, inbox) {
                Ok(mut driver) => {
                    let opened = Opened {
                        shared: driver.shared(),
                        ended,
                        #[cfg(test)]
                        health: driver.health(),
                    };
                    // If nobody waits for it any more, the inbox is closed and the driver ends at once.
                    let _ = report.send(Ok(opened));
                    driver.run();
                }
                Err(error) => drop(report.send(Err(error))),
            }
        })
        .map_err(OpenError::io("starting a thread for", data_dir))?;
    opened.await.unwrap_or_else(|_| {
        Err(OpenError::Stopped(StopCause::Broken {
            what: "recovery panicked".into(),
        }))
    })
}

fn recover(config: &Config, inbox: mpsc::Receiver<Request>) -> Result<Driver, OpenError> {
    let dir = DataDir::take(&config.data_dir)?;
    let member = match dir.member()? {
        Some(member) if member.name == config.name => member,
        Some(member) => {
            return Err(OpenError::Config {
                what: format!(
                    "the data directory {} belongs to the member {:?}, not to {:?}",
                    config.data_dir.display(),
                    member.name,
                    config.name
                ),
            });
        }
        None => found(&dir, config)?,
    };
    let Some(Loaded {
        meta,
        mut state,
        bytes: snapshot_bytes,
    }) = snapshot::load(&dir.snapshots())?
    else {
        return Err(OpenError::Corrupt {
            file: dir.snapshots(),
            what: "a member always has a snapshot, but there is none".to_owned(),
        });
    };
    if meta.cluster_id != member.cluster_id {
        return Err(OpenError::Corrupt {
            file: dir.snapshots(),
            what: format!(
                "the snapshot is of the group {:016x}, this member of {:016x}",
                meta.cluster_id, member.cluster_id
            ),
        });
    }

    let health = Arc::new(DiskHealth::default());
    let mut log = RaftLog::open(
        &dir.log(),
        health.clone(),
        meta.position,
        meta.conf_state.clone(),
    )?;
    let committed = log.committed();
    let mut log_bytes = 0;
    log.replay(|entry| {
        log_bytes += entry_bytes(entry) as u64;
        if entry.get_entry_type() != EntryType::EntryNormal {
            return Err("it changes the group's members, which this version cannot".to_owned());
        }
        if entry.data.is_empty() {
            return Ok(());
        }
        let command = Command::decode(&entry.data).map_err(|error| error.to_string())?;
        // What is not committed yet stays with Raft, which decides about it.
        if entry.index <= committed {
            replay(&mut state, &command);
        }
        Ok(())
    })?;

    let raft_config = raft::Config {
        id: member.member_id,
        applied: committed,
        election_tick: ELECTION_TICKS,
        heartbeat_tick: 1,
        max_size_per_msg: MESSAGE_BYTES,
        max_inflight_msgs: MESSAGES_INFLIGHT,
        max_committed_size_per_ready: APPLY_BYTES,
        check_quorum: true,
        pre_vote: true,
        ..raft::Config::default()
    };
    let broken = |error: raft::Error| {
        OpenError::Stopped(StopCause::Broken {
            what: format!("Raft does not accept what was recovered: {error}").into(),
        })
    };
    let sole_voter = log.conf_state().voters == [member.member_id];
    let raft = RawNode::new(&raft_config, log, &logger::logger()).map_err(broken)?;
    let mut driver = Driver::new(Parts {
        raft,
        dir,
        cluster_id: member.cluster_id,
        shared: Arc::new(Shared::new(state)),
        chores: Chores::default(),
        config: config.clone(),
        inbox,
        health,
        applied: committed,
        log_bytes,
        snapshot_bytes,
    });
    if sole_voter {
        driver.lead_alone().map_err(OpenError::Stopped)?;
    }
    Ok(driver)
}

/// Applies a command once more. What it answered was answered the first time.
fn replay(state: &mut State, command: &Command) {
    state.apply_command(command);
    while state.sweep(usize::MAX) {}
}

/// Founds a group of one in an empty directory.
fn found(dir: &DataDir, config: &Config) -> Result<Member, OpenError> {
    let member = Member {
        cluster_id: rand::random_range(1..=u64::MAX),
        member_id: rand::random_range(1..=u64::MAX),
        name: config.name.clone(),
    };
    let conf_state = ConfState {
        voters: vec![member.member_id],
        ..ConfState::default()
    };
    let meta = Meta {
        cluster_id: member.cluster_id,
        position: BEGINNING,
        conf_state,
    };
    snapshot::write(&dir.snapshots(), &meta, &State::new(), &false.into()).map_err(
        OpenError::io("writing a first snapshot to", dir.snapshots()),
    )?;
    // Last: a directory with this file is complete.
    dir.set_member(&member)?;
    Ok(member)
}
