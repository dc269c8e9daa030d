//! Opening a member: its identity, recovery, and the election of a group of one.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use raft::RawNode;
use raft::eraftpb::ConfState;
use tokio::sync::{oneshot, watch};

use super::chores::Chores;
use super::core::{Core, ELECTION_TICKS_MAX, ELECTION_TICKS_MIN, HEARTBEAT_TICKS, Options, broken};
use super::dir::{DataDir, Identity};
use super::driver::{Driver, Parts};
use super::fs::DiskHealth;
use super::log::{Opening, Position, RaftLog};
use super::outlet::TransportOutlet;
use super::snapshot::{self, Loaded, Meta};
use super::stage;
use super::{CoreInbox, Request, Shared, logger};
use crate::config::{Config, Start};
use crate::error::{OpenError, StopCause};
use crate::member::Member;
use crate::mvcc::State;
use crate::transport::Transport;

/// A new group begins as if its first entry had been cut off, so that a member that joins later has to begin with a
/// snapshot: the log alone does not say who the first members were.
const BEGINNING: Position = Position { index: 1, term: 1 };
/// Committed entries handed to the state machine at a time.
const APPLY_BYTES: u64 = 16 << 20;
/// Entries sent to another member in one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Messages under way to another member before the first is acknowledged.
const MESSAGES_INFLIGHT: usize = 256;

/// A member that is ready.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: Arc<CoreInbox>,
    /// Closes when the member's thread has ended and let go of the data directory.
    pub(crate) ended: watch::Receiver<()>,
    #[cfg(test)]
    pub(super) health: Arc<DiskHealth>,
}

/// Starts the thread of a member, which recovers and then serves `inbox`, whose other end is `requests`.
///
/// One thread does both, and serves one member only: see [`super::chores`] for why.
pub(crate) async fn open(
    config: Config,
    transport: Arc<dyn Transport>,
    requests: mpsc::Sender<Request>,
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
            match recover(&config, transport, &requests, inbox) {
                Ok((mut driver, inbox)) => {
                    let opened = Opened {
                        shared: driver.shared(),
                        inbox: Arc::new(inbox),
                        ended,
                        #[cfg(test)]
                        health: driver.health(),
                    };
                    drop(requests);
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

fn recover(
    config: &Config,
    transport: Arc<dyn Transport>,
    requests: &mpsc::Sender<Request>,
    inbox: mpsc::Receiver<Request>,
) -> Result<(Driver, CoreInbox), OpenError> {
    let dir = DataDir::take(&config.data_dir)?;
    let identity = match dir.identity()? {
        Some(identity) => {
            // What was to take the place of this member never became complete.
            stage::abandon(dir.path()).map_err(OpenError::io("clearing up in", dir.path()))?;
            identity
        }
        None => begin(&dir, config)?,
    };
    check_identity(&identity, config)?;
    let Recovered {
        meta,
        state,
        snapshot_bytes,
        log,
        log_bytes,
        health,
    } = read_member(&dir, &identity)?;
    let committed = log.committed();
    let sole_voter = log.conf_state().voters == [identity.member_id];
    let raft = RawNode::new(
        &raft_config(identity.member_id, meta.position.index),
        log,
        &logger::logger(),
    )
    .map_err(|error| {
        OpenError::Stopped(broken(format!(
            "Raft does not accept what was recovered: {error}"
        )))
    })?;
    let shared = Arc::new(Shared::new(identity.cluster_id, identity.member_id, state));
    let mut core = Core::new(
        raft,
        identity.cluster_id,
        shared.clone(),
        TransportOutlet::new(transport, requests.clone()),
        Options {
            history_bytes_max: config.history_bytes_max,
            history_revisions_max: config.history_revisions_max,
            seed: rand::random(),
        },
        meta.position,
    );
    // All that is known to be committed is applied before anyone can look.
    core.process().map_err(OpenError::Stopped)?;
    if core.applied().index < committed {
        return Err(OpenError::Stopped(broken(format!(
            "entry {committed} is committed, but what was applied ends at {}",
            core.applied().index
        ))));
    }
    // The configuration may have changed since the snapshot.
    let sole_voter = sole_voter && core.log().conf_state().voters == [identity.member_id];
    if sole_voter {
        core.lead_alone().map_err(OpenError::Stopped)?;
    }
    let core_inbox = CoreInbox::new(shared, requests.clone(), dir.snapshots());
    let driver = Driver::new(Parts {
        core,
        cluster_id: identity.cluster_id,
        dir,
        chores: Chores::default(),
        config: config.clone(),
        inbox,
        health,
        log_bytes,
        snapshot_bytes,
    });
    Ok((driver, core_inbox))
}

/// What a member has on its disk, checked.
pub(super) struct Recovered {
    pub(super) meta: Meta,
    pub(super) state: State,
    snapshot_bytes: u64,
    pub(super) log: RaftLog,
    log_bytes: u64,
    health: Arc<DiskHealth>,
}

/// Reads a member's snapshot and opens the log behind it, finishing the installation of a snapshot that was interrupted.
pub(super) fn read_member(dir: &DataDir, identity: &Identity) -> Result<Recovered, OpenError> {
    let (loaded, opening) = load(dir, identity)?;
    let health = Arc::new(DiskHealth::default());
    let mut log = RaftLog::open(
        &dir.log(),
        health.clone(),
        loaded.meta.position,
        loaded.meta.conf_state.clone(),
        opening,
    )?;
    if opening == Opening::Anew
        && let Some(interrupted) = snapshot::interrupted(&dir.snapshots())?
    {
        snapshot::finish_keeping(&interrupted).map_err(OpenError::Stopped)?;
    }
    Ok(Recovered {
        log_bytes: log.check()?,
        log,
        meta: loaded.meta,
        state: loaded.state,
        snapshot_bytes: loaded.bytes,
        health,
    })
}

/// How Raft is set up, in a real member and in a simulated one.
pub(super) fn raft_config(member_id: u64, applied: u64) -> raft::Config {
    raft::Config {
        id: member_id,
        applied,
        election_tick: ELECTION_TICKS_MIN,
        min_election_tick: ELECTION_TICKS_MIN,
        max_election_tick: ELECTION_TICKS_MAX,
        heartbeat_tick: HEARTBEAT_TICKS,
        max_size_per_msg: MESSAGE_BYTES,
        max_inflight_msgs: MESSAGES_INFLIGHT,
        max_committed_size_per_ready: APPLY_BYTES,
        check_quorum: true,
        pre_vote: true,
        ..raft::Config::default()
    }
}

fn check_identity(identity: &Identity, config: &Config) -> Result<(), OpenError> {
    let dir = config.data_dir.display();
    if identity.name != config.name {
        return Err(OpenError::Config {
            what: format!(
                "the data directory {dir} belongs to the member {:?}, not to {:?}",
                identity.name, config.name
            ),
        });
    }
    let expected = match &config.start {
        // What a member was once told to begin with need not be said again.
        Start::Alone => None,
        Start::Group { token, members } => {
            let (cluster_id, members) = group(token, members);
            let me = members.iter().find(|member| member.name == config.name);
            // Members that joined later are not in the list that the group began with.
            me.filter(|me| me.id == identity.member_id)
                .map(|me| (cluster_id, me.id))
        }
        Start::Join {
            cluster_id,
            member_id,
            ..
        } => Some((*cluster_id, *member_id)),
    };
    if let Some((cluster_id, member_id)) = expected
        && (cluster_id, member_id) != (identity.cluster_id, identity.member_id)
    {
        return Err(OpenError::Config {
            what: format!(
                "the data directory {dir} belongs to the member {:016x} of the group {:016x}, not to {member_id:016x} of {cluster_id:016x}",
                identity.member_id, identity.cluster_id
            ),
        });
    }
    Ok(())
}

/// The snapshot to go on from.
fn load(dir: &DataDir, identity: &Identity) -> Result<(Loaded, Opening), OpenError> {
    let snapshots = dir.snapshots();
    let (path, opening) = match snapshot::interrupted(&snapshots)? {
        Some(path) => (Some(path), Opening::Anew),
        None => (snapshot::newest(&snapshots)?, Opening::Continue),
    };
    let Some(path) = path else {
        if identity.joining {
            return Ok((Loaded::nothing(identity.cluster_id), Opening::Continue));
        }
        return Err(OpenError::Corrupt {
            file: snapshots,
            what: "a member always has a snapshot, but there is none".to_owned(),
        });
    };
    let loaded = snapshot::read(&path)?;
    if loaded.meta.cluster_id != identity.cluster_id {
        return Err(OpenError::Corrupt {
            file: path,
            what: format!(
                "the snapshot is of the group {:016x}, this member of {:016x}",
                loaded.meta.cluster_id, identity.cluster_id
            ),
        });
    }
    Ok((loaded, opening))
}

/// Makes an empty directory a member's.
fn begin(dir: &DataDir, config: &Config) -> Result<Identity, OpenError> {
    if let Start::Join {
        cluster_id,
        member_id,
        ..
    } = &config.start
    {
        let identity = Identity {
            cluster_id: *cluster_id,
            member_id: *member_id,
            name: config.name.clone(),
            joining: true,
        };
        dir.set_identity(&identity)?;
        return Ok(identity);
    }
    let founded = found(config, "")?;
    let mut state = State::new();
    state.begin_group(founded.members);
    snapshot::write(&dir.snapshots(), &founded.meta, &state, &false.into()).map_err(
        OpenError::io("writing a first snapshot to", dir.snapshots()),
    )?;
    // Last: a directory with this file is complete.
    dir.set_identity(&founded.identity)?;
    Ok(founded.identity)
}

/// A group as it begins, and who this member is in it.
pub(super) struct Founded {
    pub(super) identity: Identity,
    /// As of the beginning, with all members voting.
    pub(super) meta: Meta,
    pub(super) members: Vec<Member>,
}

/// Decides on the ids of a new group. `origin` tells apart groups that begin with different content.
pub(super) fn found(config: &Config, origin: &str) -> Result<Founded, OpenError> {
    let (cluster_id, members) = match &config.start {
        Start::Group { token, members } => group(&format!("{token}{origin}"), members),
        Start::Alone | Start::Join { .. } => {
            let me = Member {
                id: rand::random_range(1..=u64::MAX),
                name: config.name.clone(),
                ..Member::default()
            };
            (rand::random_range(1..=u64::MAX), vec![me])
        }
    };
    let me = members.iter().find(|member| member.name == config.name);
    let member_id = me.map(|me| me.id).ok_or_else(|| OpenError::Config {
        what: format!(
            "the member {:?} is not among those that the group begins with: {}",
            config.name,
            members
                .iter()
                .map(|member| member.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    })?;
    Ok(Founded::new(cluster_id, member_id, &config.name, members))
}

impl Founded {
    pub(super) fn new(cluster_id: u64, member_id: u64, name: &str, members: Vec<Member>) -> Self {
        Self {
            identity: Identity {
                cluster_id,
                member_id,
                name: name.to_owned(),
                joining: false,
            },
            meta: Meta {
                cluster_id,
                position: BEGINNING,
                conf_state: ConfState {
                    voters: members.iter().map(|member| member.id).collect(),
                    ..ConfState::default()
                },
            },
            members,
        }
    }
}

/// The ids of a group and its first members: the same wherever the list is the same, in whatever order.
fn group(token: &str, members: &[(String, Vec<String>)]) -> (u64, Vec<Member>) {
    let mut all: Vec<Member> = members
        .iter()
        .map(|(name, urls)| {
            let mut peer_urls = urls.clone();
            peer_urls.sort();
            Member {
                id: digest(&[&[token.to_owned(), name.clone()], &peer_urls[..]].concat()),
                name: name.clone(),
                peer_urls,
                ..Member::default()
            }
        })
        .collect();
    all.sort_by_key(|member| member.id);
    let ids: Vec<String> = all.iter().map(|member| member.id.to_string()).collect();
    (digest(&[&[token.to_owned()], &ids[..]].concat()), all)
}

/// 64 bits of blake3 over the parts, each with its length before it; never 0, which Raft takes for nobody.
fn digest(parts: &[String]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let bytes = hasher.finalize();
    let (first, _) = bytes
        .as_bytes()
        .split_first_chunk()
        .unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*first).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_list_makes_the_same_group() {
        let list = |names: &[&str]| -> Vec<(String, Vec<String>)> {
            names
                .iter()
                .map(|name| ((*name).to_owned(), vec![format!("http://{name}")]))
                .collect()
        };
        let one = group("t", &list(&["a", "b", "c"]));
        assert_eq!(one, group("t", &list(&["c", "a", "b"])));
        for other in [
            group("u", &list(&["a", "b", "c"])),
            group("t", &list(&["a", "b"])),
            group("t", &list(&["a", "b", "d"])),
        ] {
            assert_ne!(one.0, other.0);
        }
        assert_ne!(one.1[0].id, group("u", &list(&["a", "b", "c"])).1[0].id);
    }
}
