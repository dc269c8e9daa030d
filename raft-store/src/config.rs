//! How a store is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::OpenError;
use crate::member::Member;

/// How to open a store. [`Config::new`] fills in defaults; the fields say what they bound.
#[derive(Clone, Debug)]
pub struct Config {
    /// The member's name, written into a new data directory and checked when it is opened again.
    pub name: String,
    /// Where log, snapshots and identity live; created if missing. One store at a time may use it.
    pub data_dir: PathBuf,
    /// The largest transaction, in bytes of its keys and values. Default 3 MiB, what Kubernetes takes as a request.
    pub request_bytes_max: usize,
    /// The most steps and conditions in a transaction. Default 1,024; an apply must not hold up the others.
    pub txn_ops_max: usize,
    /// Bytes of requests that may wait for the log or be in it unacknowledged. Default 64 MiB: some tens of
    /// milliseconds of disk writes. When it is full, requests wait up to `request_timeout`, then get
    /// [`crate::Error::Overloaded`].
    pub queue_bytes: usize,
    /// How long a request may wait for its answer. Default 10 s.
    pub request_timeout: Duration,
    /// Memory that superseded versions and the history of changes may take before the oldest half is compacted away
    /// unasked. Default 256 MiB.
    pub history_bytes_max: usize,
    /// The same bound as a number of revisions. Default 1,000,000.
    pub history_revisions_max: u64,
    /// A snapshot is taken when the log has grown by this much since the last one, or by half the size of the
    /// last snapshot if that is more. Default 64 MiB.
    pub snapshot_log_bytes: u64,
    /// Log entries kept behind a snapshot, for members that lag a little. Default 1,000.
    pub log_entries_kept: u64,
    /// The length of a Raft tick: heartbeats are sent every second one, an election starts after 8 to 13 silent ones.
    /// Default 25 ms, which suits members in one data centre.
    pub tick: Duration,
    /// How a new data directory begins; an existing one goes on as what it is. Default [`Start::Alone`].
    pub start: Start,
    /// Bytes of keys, values and history, with what they cost around them, beyond which writes that need room are
    /// refused until keys are deleted, history compacted and the alarm turned off. 0 for no bound; default 8 GiB.
    pub db_bytes_max: u64,
}

/// How a new data directory begins.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// As a new group of this one member.
    #[default]
    Alone,
    /// As one of the first members of a new group. Each is started with the same list, from which all ids follow.
    Group {
        /// Tells apart groups that are started with the same list.
        token: String,
        /// Name and peer urls of every member, this one among them.
        members: Vec<(String, Vec<String>)>,
    },
    /// As a member of a running group that has been told of it ([`crate::Store::member_add`]).
    Join {
        /// The group.
        cluster_id: u64,
        /// The id that the group gave this member.
        member_id: u64,
        /// The members of the group, so that it can be reached.
        members: Vec<Member>,
    },
}

impl Config {
    /// The default configuration of a member called `name` with its data in `data_dir`.
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into(),
            request_bytes_max: 3 << 20,
            txn_ops_max: 1024,
            queue_bytes: 64 << 20,
            request_timeout: Duration::from_secs(10),
            history_bytes_max: 256 << 20,
            history_revisions_max: 1_000_000,
            snapshot_log_bytes: 64 << 20,
            log_entries_kept: 1_000,
            tick: Duration::from_millis(25),
            start: Start::Alone,
            db_bytes_max: 8 << 30,
        }
    }

    /// Whether the data directory is a member's already, so that [`Config::start`] does not matter any more.
    pub fn is_begun(&self) -> bool {
        self.data_dir.join(crate::node::MEMBER_FILE).exists()
    }

    /// Refuses values with which the store could not work.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let refuse = |what: String| Err(OpenError::Config { what });
        if self.name.is_empty() {
            return refuse("a store needs a name: give Config::name".to_owned());
        }
        // A log frame must stay well below the 2 GiB that raft-engine takes.
        if self.request_bytes_max == 0 || self.request_bytes_max > 256 << 20 {
            return refuse(format!(
                "request_bytes_max is {}, must be 1 to {}",
                self.request_bytes_max,
                256 << 20
            ));
        }
        if self.queue_bytes < 2 * self.request_bytes_max || self.queue_bytes > 1 << 30 {
            return refuse(format!(
                "queue_bytes is {}, must be at least twice request_bytes_max ({}) and at most {}",
                self.queue_bytes,
                self.request_bytes_max,
                1 << 30
            ));
        }
        if self.txn_ops_max == 0 || self.history_revisions_max < 2 || self.tick.is_zero() {
            return refuse(
                "txn_ops_max, history_revisions_max (at least 2) and tick must not be zero"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
