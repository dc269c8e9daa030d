//! Between commands and their wire form. What decodes refuses what no command can be.

use bytes::Bytes;

use super::{DecodeError, proto};
use crate::kv::KeyRange;
use crate::member;
use crate::txn::{self, CompareOp, CompareTarget, Consistency};

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
