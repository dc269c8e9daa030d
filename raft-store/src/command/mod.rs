//! What a log entry carries: a command to the state machine, encoded.
//!
//! ```text
//! u8 format version | u32 crc32 of the rest, little endian | Command, protobuf
//! ```
//! The checksum covers a command from the task that encodes it to the thread that applies it, on whichever member
//! and after however many restarts; the log's and the network's own checksums cover only their stretch. The messages
//! are written as derives, so that no build needs a protobuf compiler; tags are never reused.

mod convert;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub(crate) mod proto;
#[cfg(test)]
mod tests;

use prost::Message;
#[cfg(test)]
pub(crate) use tests::{bodies, seeds};

use crate::kv::Revision;
use crate::member;
use crate::txn;

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
