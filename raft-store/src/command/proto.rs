//! The wire form of commands. Tags are never reused.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Command {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Txn(Txn),
    #[prost(uint64, tag = "2")]
    Compact(u64),
    #[prost(message, tag = "3")]
    LeaseGrant(LeaseGrant),
    #[prost(sfixed64, tag = "4")]
    LeaseRevoke(i64),
    #[prost(message, tag = "5")]
    SetMember(Member),
    #[prost(message, tag = "6")]
    Alarm(Alarm),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct LeaseGrant {
    #[prost(sfixed64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl_seconds: i64,
}

/// Also in snapshots.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Member {
    #[prost(fixed64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) client_urls: Vec<String>,
    #[prost(bool, tag = "5")]
    pub(crate) learner: bool,
}

/// Also in snapshots.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Alarm {
    #[prost(fixed64, tag = "1")]
    pub(crate) member: u64,
    #[prost(enumeration = "AlarmKind", tag = "2")]
    pub(crate) alarm: i32,
    /// Always in snapshots.
    #[prost(bool, tag = "3")]
    pub(crate) on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
pub(crate) enum AlarmKind {
    Unset = 0,
    NoSpace = 1,
    Corrupt = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Txn {
    #[prost(message, repeated, tag = "1")]
    pub(super) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(super) success: Vec<Op>,
    #[prost(message, repeated, tag = "3")]
    pub(super) failure: Vec<Op>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Compare {
    /// One key, if there is no range.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(message, optional, tag = "8")]
    pub(super) range: Option<KeyRange>,
    #[prost(enumeration = "Relation", tag = "2")]
    pub(super) op: i32,
    #[prost(oneof = "Target", tags = "3, 4, 5, 6, 7")]
    pub(super) target: Option<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
pub(super) enum Relation {
    Unset = 0,
    Equal = 1,
    NotEqual = 2,
    Greater = 3,
    Less = 4,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Target {
    #[prost(uint64, tag = "3")]
    ModRevision(u64),
    #[prost(uint64, tag = "4")]
    CreateRevision(u64),
    #[prost(uint64, tag = "5")]
    Version(u64),
    #[prost(bytes = "bytes", tag = "6")]
    Value(Bytes),
    #[prost(int64, tag = "7")]
    Lease(i64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Op {
    #[prost(oneof = "OpKind", tags = "1, 2, 3, 4")]
    pub(super) kind: Option<OpKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum OpKind {
    #[prost(message, tag = "1")]
    Put(Put),
    #[prost(message, tag = "2")]
    Delete(Delete),
    #[prost(message, tag = "3")]
    Range(Range),
    /// The decoder bounds how deep this goes, and [`crate::TXN_DEPTH_MAX`] is well below its bound.
    #[prost(message, tag = "4")]
    Txn(Txn),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    #[prost(int64, tag = "3")]
    pub(super) lease: i64,
    #[prost(bool, tag = "4")]
    pub(super) ignore_value: bool,
    #[prost(bool, tag = "5")]
    pub(super) ignore_lease: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Delete {
    #[prost(message, optional, tag = "1")]
    pub(super) range: Option<KeyRange>,
    #[prost(bool, tag = "2")]
    pub(super) prev_kv: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Range {
    #[prost(message, optional, tag = "1")]
    pub(super) range: Option<KeyRange>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) at_revision: Option<u64>,
    #[prost(uint64, tag = "3")]
    pub(super) limit: u64,
    #[prost(bool, tag = "4")]
    pub(super) keys_only: bool,
    #[prost(bool, tag = "5")]
    pub(super) count_only: bool,
}

/// One key (`start` alone), `start` to `end`, or `start` and all behind it (`open`).
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyRange {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) start: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(super) end: Option<Bytes>,
    #[prost(bool, tag = "3")]
    pub(super) open: bool,
}
