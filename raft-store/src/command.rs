//! What a log entry carries: a command to the state machine, encoded.
//!
//! ```text
//! u8 format version | u32 crc32 of the rest, little endian | Command, protobuf
//! ```
//! The checksum covers a command from the task that encodes it to the thread that applies it, on whichever member
//! and after however many restarts; the log's and the network's own checksums cover only their stretch. The messages
//! are written as derives, so that no build needs a protobuf compiler; tags are never reused.

use bytes::Bytes;
use prost::Message;

use crate::kv::{KeyRange, Revision};
use crate::member;
use crate::txn::{self, CompareOp, CompareTarget, Consistency};

/// The format this program writes. It reads format 1 too, which knew no ranges in conditions, no nested transactions
/// and no commands but transactions and compactions.
const FORMAT: u8 = 2;
const FORMAT_FIRST: u8 = 1;
const HEADER_BYTES: usize = 5;

/// A change of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Txn(txn::Txn),
    Compact(Revision),
    /// Grants a lease. Who proposes it has chosen the id.
    LeaseGrant {
        id: i64,
        ttl_seconds: i64,
    },
    /// Ends a lease and deletes the keys attached to it: asked for, or because the leader found it expired.
    LeaseRevoke {
        id: i64,
    },
    /// Name and URLs of a member; see [`crate::mvcc::State::apply_command`] for what it changes.
    SetMember(member::Member),
    /// Turns an alarm on or off; off for all members if `member` is 0.
    Alarm {
        member: u64,
        alarm: member::Alarm,
        on: bool,
    },
}

/// Why a command cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("a command of {0} bytes is shorter than its header")]
    Short(usize),
    #[error("a command has format {0}, this program knows {FORMAT_FIRST} to {FORMAT}")]
    Format(u8),
    #[error("a command's checksum does not match")]
    Checksum,
    #[error("a command is not protobuf: {0}")]
    Protobuf(String),
    #[error("a command lacks {0}")]
    Missing(&'static str),
}

impl Command {
    /// Encodes the command for the log.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let message = proto::Command {
            kind: Some(match self {
                Self::Txn(txn) => proto::Kind::Txn(txn.into()),
                Self::Compact(revision) => proto::Kind::Compact(*revision),
                Self::LeaseGrant { id, ttl_seconds } => {
                    proto::Kind::LeaseGrant(proto::LeaseGrant {
                        id: *id,
                        ttl_seconds: *ttl_seconds,
                    })
                }
                Self::LeaseRevoke { id } => proto::Kind::LeaseRevoke(*id),
                Self::SetMember(member) => proto::Kind::SetMember(member.into()),
                Self::Alarm { member, alarm, on } => proto::Kind::Alarm(proto::Alarm {
                    member: *member,
                    alarm: proto::AlarmKind::from(*alarm).into(),
                    on: *on,
                }),
            }),
        };
        let mut out = Vec::with_capacity(HEADER_BYTES + message.encoded_len());
        out.extend_from_slice(&[FORMAT, 0, 0, 0, 0]);
        // A Vec grows as needed, so encoding into it cannot run out of room.
        message.encode_raw(&mut out);
        let checksum = crc32fast::hash(&out[HEADER_BYTES..]);
        out[1..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Decodes a command. Keys and values get allocations of their own: were they slices of the entry, a small value
    /// that stays would hold on to all of a large transaction.
    pub(crate) fn decode(entry: &[u8]) -> Result<Self, DecodeError> {
        let Some((&[format, a, b, c, d], body)) = entry.split_first_chunk::<HEADER_BYTES>() else {
            return Err(DecodeError::Short(entry.len()));
        };
        if !(FORMAT_FIRST..=FORMAT).contains(&format) {
            return Err(DecodeError::Format(format));
        }
        if crc32fast::hash(body) != u32::from_le_bytes([a, b, c, d]) {
            return Err(DecodeError::Checksum);
        }
        let message = proto::Command::decode(body)
            .map_err(|error| DecodeError::Protobuf(error.to_string()))?;
        match message.kind {
            Some(proto::Kind::Txn(txn)) => Ok(Self::Txn(txn.try_into()?)),
            Some(proto::Kind::Compact(revision)) => Ok(Self::Compact(revision)),
            Some(proto::Kind::LeaseGrant(grant)) => Ok(Self::LeaseGrant {
                id: grant.id,
                ttl_seconds: grant.ttl_seconds,
            }),
            Some(proto::Kind::LeaseRevoke(id)) => Ok(Self::LeaseRevoke { id }),
            Some(proto::Kind::SetMember(member)) => Ok(Self::SetMember(member.into())),
            Some(proto::Kind::Alarm(alarm)) => Ok(Self::Alarm {
                member: alarm.member,
                alarm: alarm.alarm().try_into()?,
                on: alarm.on,
            }),
            None => Err(DecodeError::Missing("a kind")),
        }
    }
}

/// The wire form.
pub(crate) mod proto {
    use super::Bytes;

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
        /// The decoder bounds how deep this goes, and [`super::txn::TXN_DEPTH_MAX`] is well below its bound.
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
}

impl From<&txn::Txn> for proto::Txn {
    fn from(txn: &txn::Txn) -> Self {
        Self {
            compare: txn.compare.iter().map(Into::into).collect(),
            success: txn.success.iter().map(Into::into).collect(),
            failure: txn.failure.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Txn> for txn::Txn {
    type Error = DecodeError;

    fn try_from(txn: proto::Txn) -> Result<Self, DecodeError> {
        Ok(Self {
            compare: txn
                .compare
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            success: branch(txn.success)?,
            failure: branch(txn.failure)?,
        })
    }
}

fn branch(ops: Vec<proto::Op>) -> Result<Vec<txn::Op>, DecodeError> {
    ops.into_iter().map(TryInto::try_into).collect()
}

impl From<&txn::Compare> for proto::Compare {
    fn from(compare: &txn::Compare) -> Self {
        let target = match &compare.target {
            CompareTarget::ModRevision(value) => proto::Target::ModRevision(*value),
            CompareTarget::CreateRevision(value) => proto::Target::CreateRevision(*value),
            CompareTarget::Version(value) => proto::Target::Version(*value),
            CompareTarget::Value(value) => proto::Target::Value(value.clone()),
            CompareTarget::Lease(value) => proto::Target::Lease(*value),
        };
        let op = match compare.op {
            CompareOp::Equal => proto::Relation::Equal,
            CompareOp::NotEqual => proto::Relation::NotEqual,
            CompareOp::Greater => proto::Relation::Greater,
            CompareOp::Less => proto::Relation::Less,
        };
        let (key, range) = match &compare.range {
            KeyRange::Key(key) => (key.clone(), None),
            range => (Bytes::new(), Some(range.into())),
        };
        Self {
            key,
            range,
            op: op.into(),
            target: Some(target),
        }
    }
}

impl TryFrom<proto::Compare> for txn::Compare {
    type Error = DecodeError;

    fn try_from(compare: proto::Compare) -> Result<Self, DecodeError> {
        let op = match compare.op() {
            proto::Relation::Equal => CompareOp::Equal,
            proto::Relation::NotEqual => CompareOp::NotEqual,
            proto::Relation::Greater => CompareOp::Greater,
            proto::Relation::Less => CompareOp::Less,
            proto::Relation::Unset => {
                return Err(DecodeError::Missing("the operator of a compare"));
            }
        };
        let target = match compare.target {
            Some(proto::Target::ModRevision(value)) => CompareTarget::ModRevision(value),
            Some(proto::Target::CreateRevision(value)) => CompareTarget::CreateRevision(value),
            Some(proto::Target::Version(value)) => CompareTarget::Version(value),
            Some(proto::Target::Value(value)) => CompareTarget::Value(value),
            Some(proto::Target::Lease(value)) => CompareTarget::Lease(value),
            None => return Err(DecodeError::Missing("the target of a compare")),
        };
        let range = match compare.range {
            None => KeyRange::Key(compare.key),
            given => range(given)?,
        };
        Ok(Self { range, target, op })
    }
}

impl From<&txn::Op> for proto::Op {
    fn from(op: &txn::Op) -> Self {
        let kind = match op {
            txn::Op::Put {
                key,
                value,
                lease,
                ignore_value,
                ignore_lease,
            } => proto::OpKind::Put(proto::Put {
                key: key.clone(),
                value: value.clone(),
                lease: *lease,
                ignore_value: *ignore_value,
                ignore_lease: *ignore_lease,
            }),
            txn::Op::Delete { range, prev_kv } => proto::OpKind::Delete(proto::Delete {
                range: Some(range.into()),
                prev_kv: *prev_kv,
            }),
            txn::Op::Range(request) => proto::OpKind::Range(proto::Range {
                range: Some((&request.range).into()),
                at_revision: request.at_revision,
                limit: request.limit as u64,
                keys_only: request.keys_only,
                count_only: request.count_only,
            }),
            txn::Op::Txn(txn) => proto::OpKind::Txn(txn.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<proto::Op> for txn::Op {
    type Error = DecodeError;

    fn try_from(op: proto::Op) -> Result<Self, DecodeError> {
        Ok(match op.kind {
            Some(proto::OpKind::Put(put)) => Self::Put {
                key: put.key,
                value: put.value,
                lease: put.lease,
                ignore_value: put.ignore_value,
                ignore_lease: put.ignore_lease,
            },
            Some(proto::OpKind::Delete(delete)) => Self::Delete {
                range: range(delete.range)?,
                prev_kv: delete.prev_kv,
            },
            Some(proto::OpKind::Range(request)) => Self::Range(txn::RangeRequest {
                range: range(request.range)?,
                at_revision: request.at_revision,
                // A limit beyond the address space limits nothing.
                limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
                keys_only: request.keys_only,
                count_only: request.count_only,
                consistency: Consistency::default(),
            }),
            Some(proto::OpKind::Txn(txn)) => Self::Txn(txn.try_into()?),
            None => return Err(DecodeError::Missing("the kind of a step")),
        })
    }
}

impl From<&KeyRange> for proto::KeyRange {
    fn from(range: &KeyRange) -> Self {
        let (end, open) = match range {
            KeyRange::Key(_) => (None, false),
            KeyRange::Between { end, .. } => (Some(end.clone()), false),
            KeyRange::From(_) => (None, true),
        };
        Self {
            start: range.start().clone(),
            end,
            open,
        }
    }
}

fn range(range: Option<proto::KeyRange>) -> Result<KeyRange, DecodeError> {
    let range = range.ok_or(DecodeError::Missing("a range"))?;
    Ok(match range.end {
        Some(end) => KeyRange::Between {
            start: range.start,
            end,
        },
        None if range.open => KeyRange::From(range.start),
        None => KeyRange::Key(range.start),
    })
}

impl From<&member::Member> for proto::Member {
    fn from(member: &member::Member) -> Self {
        Self {
            id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            learner: member.learner,
        }
    }
}

impl From<proto::Member> for member::Member {
    fn from(member: proto::Member) -> Self {
        Self {
            id: member.id,
            name: member.name,
            peer_urls: member.peer_urls,
            client_urls: member.client_urls,
            learner: member.learner,
        }
    }
}

impl From<member::Alarm> for proto::AlarmKind {
    fn from(alarm: member::Alarm) -> Self {
        match alarm {
            member::Alarm::NoSpace => Self::NoSpace,
            member::Alarm::Corrupt => Self::Corrupt,
        }
    }
}

impl TryFrom<proto::AlarmKind> for member::Alarm {
    type Error = DecodeError;

    fn try_from(alarm: proto::AlarmKind) -> Result<Self, DecodeError> {
        match alarm {
            proto::AlarmKind::NoSpace => Ok(Self::NoSpace),
            proto::AlarmKind::Corrupt => Ok(Self::Corrupt),
            proto::AlarmKind::Unset => Err(DecodeError::Missing("the kind of an alarm")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::member::{Alarm, Member};
    use crate::mvcc::State;
    use crate::txn::{Compare, Op, RangeRequest, TXN_DEPTH_MAX, Txn};

    fn every_shape() -> Command {
        let key = Bytes::from_static(b"k");
        let ops = [
            CompareOp::Equal,
            CompareOp::NotEqual,
            CompareOp::Greater,
            CompareOp::Less,
        ];
        let compare = ops.into_iter().flat_map(|op| {
            let key = key.clone();
            [
                Compare::mod_revision(key.clone(), op, 7),
                Compare::create_revision(key.clone(), op, 0),
                Compare::version(key.clone(), op, u64::MAX),
                Compare::value(key.clone(), op, ""),
                Compare::lease(key, op, -1),
            ]
        });
        let mut compare: Vec<Compare> = compare.collect();
        let ranges = [
            KeyRange::key("a"),
            KeyRange::between("a", "b"),
            KeyRange::between("a", ""),
            KeyRange::from_key("a"),
            KeyRange::all(),
        ];
        compare.extend(
            ranges
                .iter()
                .map(|range| Compare::version("", CompareOp::Equal, 1).over(range.clone())),
        );
        let mut success: Vec<Op> = ranges
            .iter()
            .map(|range| Op::Delete {
                range: range.clone(),
                prev_kv: true,
            })
            .collect();
        success.extend(ranges.into_iter().map(|range| {
            Op::Range(RangeRequest {
                at_revision: Some(3),
                limit: 9,
                keys_only: true,
                count_only: true,
                ..RangeRequest::new(range)
            })
        }));
        let put = Op::Put {
            key,
            value: vec![0; 99].into(),
            lease: i64::MIN,
            ignore_value: true,
            ignore_lease: true,
        };
        let nested = Txn {
            compare: compare.clone(),
            success: vec![Op::Txn(Txn::put("a", "b"))],
            failure: vec![put.clone()],
        };
        success.push(Op::Txn(nested));
        Command::Txn(Txn {
            compare,
            success,
            failure: vec![put, Op::put("k", "v")],
        })
    }

    /// A transaction in a transaction in a transaction ..
    fn nested(depth: usize) -> Txn {
        (1..depth).fold(Txn::put("k", "v"), |inner, _| Txn {
            failure: vec![Op::Txn(inner)],
            ..Txn::default()
        })
    }

    fn every_command() -> Vec<Command> {
        let member = Member {
            id: u64::MAX,
            name: "n".to_owned(),
            peer_urls: vec!["https://127.0.0.1:1".to_owned(), String::new()],
            client_urls: vec!["https://127.0.0.1:2".to_owned()],
            learner: true,
        };
        vec![
            every_shape(),
            Command::Txn(Txn::default()),
            Command::Compact(12),
            Command::LeaseGrant {
                id: i64::MIN,
                ttl_seconds: -1,
            },
            Command::LeaseRevoke { id: 0 },
            Command::SetMember(member),
            Command::SetMember(Member::default()),
            Command::Alarm {
                member: 7,
                alarm: Alarm::NoSpace,
                on: true,
            },
            Command::Alarm {
                member: 0,
                alarm: Alarm::Corrupt,
                on: false,
            },
        ]
    }

    #[test]
    fn commands_survive_the_log() {
        for command in every_command() {
            assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(&command));
        }
    }

    #[test]
    fn the_deepest_transaction_survives_the_log_and_one_without_end_is_refused() {
        let deepest = Command::Txn(nested(TXN_DEPTH_MAX));
        assert_eq!(Command::decode(&deepest.encode()).as_ref(), Ok(&deepest));
        let hostile = Command::Txn(nested(2000));
        let decoded = Command::decode(&hostile.encode());
        assert!(
            matches!(decoded, Err(DecodeError::Protobuf(_))),
            "{decoded:?}"
        );
    }

    #[test]
    fn what_format_1_had_is_still_read() {
        let mut bytes = Command::Txn(Txn {
            compare: vec![Compare::version("k", CompareOp::Less, 3)],
            ..Txn::put("k", "v")
        })
        .encode();
        bytes[0] = 1;
        // compare { key: "k", op: LESS, version: 3 }, success { put { key: "k", value: "v" } }
        let body = b"\x0a\x13\x0a\x07\x0a\x01k\x10\x04\x28\x03\x12\x08\x0a\x06\x0a\x01k\x12\x01v";
        assert_eq!(&bytes[HEADER_BYTES..], body);
        assert!(Command::decode(&bytes).is_ok());
    }

    /// With a checksum that matches, so that it is the decoder that must cope.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut entry = vec![FORMAT];
        entry.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        entry.extend_from_slice(body);
        entry
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_bytes_the_decoder_returns(
            which in 0..9_usize,
            changes in vec((any::<Index>(), any::<u8>()), 0..6),
            cut in any::<Option<Index>>(),
            twice in any::<bool>(),
        ) {
            let mut body = every_command().swap_remove(which).encode()[HEADER_BYTES..].to_vec();
            if twice {
                body.extend_from_within(..);
            }
            // No command is encoded in no bytes.
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len() + 1));
            }
            if let Ok(command) = Command::decode(&sealed(&body)) {
                // What came in can go out again, and be applied.
                let again = Command::decode(&command.encode());
                prop_assert_eq!(again.as_ref(), Ok(&command));
                State::new().apply_command(&command);
            }
        }

        #[test]
        fn no_bytes_at_all_upset_the_decoder(body in vec(any::<u8>(), 0..64)) {
            let _ = Command::decode(&body);
            let _ = Command::decode(&sealed(&body));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = every_shape().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Command::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = every_shape().encode();
        for len in 0..bytes.len() {
            assert!(Command::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn an_unknown_format_is_refused_by_its_number() {
        let mut bytes = Command::Compact(1).encode();
        bytes[0] = 9;
        assert_eq!(Command::decode(&bytes), Err(DecodeError::Format(9)));
    }
}
