//! The wire form of a snapshot. Tags are never reused.

use bytes::Bytes;

use crate::command::proto::{Alarm, AlarmKind, Member};
use crate::kv;
use crate::member;
use crate::mvcc;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Block {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Head(Head),
    #[prost(message, tag = "2")]
    Keys(Keys),
    #[prost(message, tag = "3")]
    Revisions(Revisions),
    #[prost(message, tag = "4")]
    End(End),
    #[prost(message, tag = "5")]
    Group(Group),
    #[prost(message, tag = "6")]
    Leases(Leases),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Head {
    #[prost(fixed64, tag = "1")]
    pub(super) cluster_id: u64,
    #[prost(uint64, tag = "2")]
    pub(super) index: u64,
    #[prost(uint64, tag = "3")]
    pub(super) term: u64,
    #[prost(fixed64, repeated, tag = "4")]
    pub(super) voters: Vec<u64>,
    #[prost(fixed64, repeated, tag = "5")]
    pub(super) learners: Vec<u64>,
    #[prost(uint64, tag = "6")]
    pub(super) compacted: u64,
    #[prost(uint64, tag = "7")]
    pub(super) revision: u64,
    /// While the group goes over from one set of voters to another, the old one.
    #[prost(fixed64, repeated, tag = "8")]
    pub(super) voters_outgoing: Vec<u64>,
    #[prost(fixed64, repeated, tag = "9")]
    pub(super) learners_next: Vec<u64>,
    #[prost(bool, tag = "10")]
    pub(super) auto_leave: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Group {
    #[prost(message, repeated, tag = "1")]
    pub(super) members: Vec<Member>,
    #[prost(fixed64, repeated, tag = "2")]
    pub(super) removed: Vec<u64>,
    /// Those that are on.
    #[prost(message, repeated, tag = "3")]
    pub(super) alarms: Vec<Alarm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Leases {
    #[prost(message, repeated, tag = "1")]
    pub(super) leases: Vec<Lease>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Lease {
    #[prost(sfixed64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl_seconds: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Keys {
    #[prost(message, repeated, tag = "1")]
    pub(super) kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Revisions {
    #[prost(message, repeated, tag = "1")]
    pub(super) revisions: Vec<Revision>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Revision {
    #[prost(message, repeated, tag = "1")]
    pub(super) changes: Vec<Change>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Change {
    #[prost(oneof = "ChangeKind", tags = "1, 2")]
    pub(super) kind: Option<ChangeKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum ChangeKind {
    #[prost(message, tag = "1")]
    Put(KeyValue),
    #[prost(bytes = "bytes", tag = "2")]
    Delete(Bytes),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    #[prost(uint64, tag = "3")]
    pub(super) create_revision: u64,
    #[prost(uint64, tag = "4")]
    pub(super) mod_revision: u64,
    #[prost(uint64, tag = "5")]
    pub(super) version: u64,
    #[prost(int64, tag = "6")]
    pub(super) lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct End {
    #[prost(uint64, tag = "1")]
    pub(super) blocks: u64,
    #[prost(uint64, tag = "2")]
    pub(super) keys: u64,
    #[prost(uint64, tag = "3")]
    pub(super) revisions: u64,
    /// The blake3 hash of the file up to this block, 32 bytes; none before format 3.
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) hash: Bytes,
}

/// An alarm, as one that is on.
pub(super) fn alarm_on((member, alarm): (u64, member::Alarm)) -> Alarm {
    Alarm {
        member,
        alarm: AlarmKind::from(alarm).into(),
        on: true,
    }
}

impl From<&kv::KeyValue> for KeyValue {
    fn from(kv: &kv::KeyValue) -> Self {
        Self {
            key: kv.key.clone(),
            value: kv.value.clone(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

impl From<KeyValue> for kv::KeyValue {
    fn from(kv: KeyValue) -> Self {
        Self {
            key: kv.key,
            value: kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

impl From<mvcc::Change> for Change {
    fn from(change: mvcc::Change) -> Self {
        Self {
            kind: Some(match change {
                mvcc::Change::Put(kv) => ChangeKind::Put((&kv).into()),
                mvcc::Change::Delete(key) => ChangeKind::Delete(key),
            }),
        }
    }
}

impl TryFrom<Change> for mvcc::Change {
    type Error = String;

    fn try_from(change: Change) -> Result<Self, String> {
        match change.kind {
            Some(ChangeKind::Put(kv)) => Ok(Self::Put(kv.into())),
            Some(ChangeKind::Delete(key)) => Ok(Self::Delete(key)),
            None => Err("a change is of no known kind".to_owned()),
        }
    }
}
