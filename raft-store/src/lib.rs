//! A replicated MVCC key-value store: what a cluster remembers.
//!
//! Keys and values are bytes. Every successful write transaction gets the next [`Revision`]; older revisions can
//! be read and watched until they are compacted. The vocabulary and the semantics of transactions, ranges and
//! compaction are those of [etcd's v3 API](https://etcd.io/docs/v3.6/learning/api/), and where this store is
//! stricter, the item's documentation says so.
//!
//! ```text
//! Store (cheap handle, any task)
//!   | proposals: bounded queue                    reads: clone of a persistent map, no queue
//!   v                                             ^
//! node: one thread owns RawNode; many proposals -> one Ready -> one fsync -> apply -> reply
//!   |- log       raft-engine, every write synced before it is acknowledged
//!   |- snapshot  a consistent clone of the state, written beside running writes
//!   `- mvcc      pure state machine: no clock, no I/O, no randomness
//!                   `- history -> watch hub -> a bounded queue per watcher, or catching up by revision
//! ```
//!
//! # What an error says about a write
//! [`Error::outcome_unknown`] is true where a write may have happened although its caller was told of a failure
//! (a timeout, a member that stopped in the middle). Every other error means that nothing was written.

mod command;
mod config;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod kv;
mod lessor;
#[doc(hidden)]
pub mod machine;
mod member;
mod mvcc;
mod node;
mod store;
mod transport;
mod txn;
mod watch;

pub use config::{Config, Start};
pub use error::{Error, OpenError, StopCause};
pub use kv::{Event, EventKind, KeyRange, KeyValue, Revision};
pub use lessor::{LEASE_TTL_MAX_SECONDS, LEASE_TTL_MIN_SECONDS, LeaseGranted, LeaseTtl};
pub use member::{Alarm, Member};
pub use mvcc::StateHash;
pub use node::{
    Backup, Leadership, NewGroup, SnapshotStatus, force_new_group, restore, snapshot_status,
};
pub use store::{Status, Store};
pub use transport::{
    Delivery, Inbox, InboxError, InboxSink, SnapshotIn, SnapshotOut, SnapshotSink, Transport,
};
pub use txn::{
    Compare, CompareOp, CompareTarget, Consistency, Op, OpResponse, RangeRequest, RangeResponse,
    TXN_DEPTH_MAX, Txn, TxnResponse,
};
pub use watch::{WatchBatch, WatchError, Watcher};
