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
use crate::txn::{self, CompareOp, Consistency};

/// The format this program writes and reads.
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 5;

/// A change of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Txn(txn::Txn),
    Compact(Revision),
}

/// Why a command cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("a command of {0} bytes is shorter than its header")]
    Short(usize),
    #[error("a command has format {0}, this program knows {FORMAT}")]
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
        if format != FORMAT {
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
            None => Err(DecodeError::Missing("a kind")),
        }
    }
}

/// The wire form.
mod proto {
    use super::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Command {
        #[prost(oneof = "Kind", tags = "1, 2")]
        pub(super) kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Kind {
        #[prost(message, tag = "1")]
        Txn(Txn),
        #[prost(uint64, tag = "2")]
        Compact(u64),
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
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) key: Bytes,
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
        #[prost(oneof = "OpKind", tags = "1, 2, 3")]
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
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Put {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) key: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) value: Bytes,
        #[prost(int64, tag = "3")]
        pub(super) lease: i64,
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
        use txn::Compare as C;
        let (op, target) = match compare {
            C::ModRevision { op, value, .. } => (op, proto::Target::ModRevision(*value)),
            C::CreateRevision { op, value, .. } => (op, proto::Target::CreateRevision(*value)),
            C::Version { op, value, .. } => (op, proto::Target::Version(*value)),
            C::Value { op, value, .. } => (op, proto::Target::Value(value.clone())),
            C::Lease { op, value, .. } => (op, proto::Target::Lease(*value)),
        };
        let op = match op {
            CompareOp::Equal => proto::Relation::Equal,
            CompareOp::NotEqual => proto::Relation::NotEqual,
            CompareOp::Greater => proto::Relation::Greater,
            CompareOp::Less => proto::Relation::Less,
        };
        Self {
            key: compare.key().clone(),
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
        let key = compare.key;
        Ok(match compare.target {
            Some(proto::Target::ModRevision(value)) => Self::ModRevision { key, op, value },
            Some(proto::Target::CreateRevision(value)) => Self::CreateRevision { key, op, value },
            Some(proto::Target::Version(value)) => Self::Version { key, op, value },
            Some(proto::Target::Value(value)) => Self::Value { key, op, value },
            Some(proto::Target::Lease(value)) => Self::Lease { key, op, value },
            None => return Err(DecodeError::Missing("the target of a compare")),
        })
    }
}

impl From<&txn::Op> for proto::Op {
    fn from(op: &txn::Op) -> Self {
        let kind = match op {
            txn::Op::Put { key, value, lease } => proto::OpKind::Put(proto::Put {
                key: key.clone(),
                value: value.clone(),
                lease: *lease,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::{Compare, Op, RangeRequest, Txn};

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
                Compare::ModRevision {
                    key: key.clone(),
                    op,
                    value: 7,
                },
                Compare::CreateRevision {
                    key: key.clone(),
                    op,
                    value: 0,
                },
                Compare::Version {
                    key: key.clone(),
                    op,
                    value: u64::MAX,
                },
                Compare::Value {
                    key: key.clone(),
                    op,
                    value: Bytes::from_static(b""),
                },
                Compare::Lease { key, op, value: -1 },
            ]
        });
        let ranges = [
            KeyRange::key("a"),
            KeyRange::between("a", "b"),
            KeyRange::between("a", ""),
            KeyRange::from_key("a"),
            KeyRange::all(),
        ];
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
        Command::Txn(Txn {
            compare: compare.collect(),
            success,
            failure: vec![Op::Put {
                key,
                value: vec![0; 99].into(),
                lease: i64::MIN,
            }],
        })
    }

    #[test]
    fn commands_survive_the_log() {
        for command in [
            every_shape(),
            Command::Txn(Txn::default()),
            Command::Compact(12),
        ] {
            assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(&command));
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
