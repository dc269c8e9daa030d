//! Writes and transactions.

use bytes::Bytes;
use raft_store::{Compare, CompareOp, CompareTarget, Op, OpResponse, Txn, TxnResponse};
use tonic::Status;

use super::range::{self, Finish};
use super::{Refused, delete_response, key_range, put_response, range_response, wire};
use crate::etcdserverpb as pb;
use crate::etcdserverpb::compare::{CompareResult, CompareTarget as Target, Given};
use crate::etcdserverpb::request_op::Request;
use crate::etcdserverpb::response_op::Response;

/// What a step's answer needs that the store does not keep for us.
#[derive(Clone, Debug, PartialEq, Eq)]
enum After {
    /// Whether the key before is wanted.
    Put {
        prev_kv: bool,
    },
    Delete,
    Range(Option<Finish>),
    Txn(Branches),
}

/// The same for both branches of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Branches {
    success: Vec<After>,
    failure: Vec<After>,
}

pub(crate) fn put(request: pb::PutRequest) -> Result<Op, Status> {
    if request.key.is_empty() {
        return Err(Refused::EmptyKey.into());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refused::ValueProvided.into());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refused::LeaseProvided.into());
    }
    Ok(Op::Put {
        key: request.key,
        value: request.value,
        lease: request.lease,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

pub(crate) fn delete(request: pb::DeleteRangeRequest) -> Result<Op, Status> {
    Ok(Op::Delete {
        range: key_range(request.key, request.range_end)?,
        prev_kv: request.prev_kv,
    })
}

/// Translates a transaction of which no level has more than `ops_max` conditions or steps in a branch, less what the
/// levels around it have; that is how etcd counts.
pub(crate) fn txn(request: pb::TxnRequest, ops_max: usize) -> Result<(Txn, Branches), Status> {
    let ops = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let left = ops_max
        .checked_sub(ops)
        .ok_or_else(|| Status::from(Refused::TooManyOps))?;
    let compare = request
        .compare
        .into_iter()
        .map(compare)
        .collect::<Result<_, _>>()?;
    let (success, after_success) = branch(request.success, left)?;
    let (failure, after_failure) = branch(request.failure, left)?;
    Ok((
        Txn {
            compare,
            success,
            failure,
        },
        Branches {
            success: after_success,
            failure: after_failure,
        },
    ))
}

fn branch(ops: Vec<pb::RequestOp>, ops_max: usize) -> Result<(Vec<Op>, Vec<After>), Status> {
    let mut steps = Vec::with_capacity(ops.len());
    let mut after = Vec::with_capacity(ops.len());
    for op in ops {
        let (step, then) = match op.request {
            Some(Request::Put(request)) => {
                let prev_kv = request.prev_kv;
                (put(request)?, After::Put { prev_kv })
            }
            Some(Request::DeleteRange(request)) => (delete(request)?, After::Delete),
            Some(Request::Range(request)) => {
                let (read, finish) = range::range(request)?;
                (Op::Range(read), After::Range(finish))
            }
            Some(Request::Txn(request)) => {
                let (nested, branches) = txn(request, ops_max)?;
                (Op::Txn(nested), After::Txn(branches))
            }
            // What etcd says to a step that is nothing.
            None => return Err(Refused::KeyNotFound.into()),
        };
        steps.push(step);
        after.push(then);
    }
    Ok((steps, after))
}

fn compare(compare: pb::Compare) -> Result<Compare, Status> {
    let unknown =
        |what, value| Status::invalid_argument(format!("a compare has the unknown {what} {value}"));
    let target = Target::try_from(compare.target).map_err(|_| unknown("target", compare.target))?;
    let op = match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => CompareOp::Equal,
        Ok(CompareResult::NotEqual) => CompareOp::NotEqual,
        Ok(CompareResult::Greater) => CompareOp::Greater,
        Ok(CompareResult::Less) => CompareOp::Less,
        Err(_) => return Err(unknown("result", compare.result)),
    };
    // Where what is given is of another kind than what is compared, etcd takes it for 0 or empty.
    let (target, op) = match (target, compare.given) {
        (Target::Mod, Some(Given::ModRevision(given))) => {
            counted(given, op, CompareTarget::ModRevision)
        }
        (Target::Mod, _) => (CompareTarget::ModRevision(0), op),
        (Target::Create, Some(Given::CreateRevision(given))) => {
            counted(given, op, CompareTarget::CreateRevision)
        }
        (Target::Create, _) => (CompareTarget::CreateRevision(0), op),
        (Target::Version, Some(Given::Version(given))) => {
            counted(given, op, CompareTarget::Version)
        }
        (Target::Version, _) => (CompareTarget::Version(0), op),
        (Target::Value, Some(Given::Value(given))) => (CompareTarget::Value(given), op),
        (Target::Value, _) => (CompareTarget::Value(Bytes::new()), op),
        (Target::Lease, Some(Given::Lease(given))) => (CompareTarget::Lease(given), op),
        (Target::Lease, _) => (CompareTarget::Lease(0), op),
    };
    Ok(Compare {
        range: key_range(compare.key, compare.range_end)?,
        target,
        op,
    })
}

/// What is stored is never negative, so a comparison with what is has one outcome, whatever is stored.
fn counted(
    given: i64,
    op: CompareOp,
    target: impl Fn(u64) -> CompareTarget,
) -> (CompareTarget, CompareOp) {
    match u64::try_from(given) {
        Ok(given) => (target(given), op),
        Err(_) => match op {
            // Never: nothing is below 0.
            CompareOp::Equal | CompareOp::Less => (target(0), CompareOp::Less),
            // Always: no revision comes that far.
            CompareOp::NotEqual | CompareOp::Greater => (target(u64::MAX), CompareOp::NotEqual),
        },
    }
}

/// The answer to a transaction. Within each other, answers carry the revision alone, as in etcd.
pub(crate) fn txn_response(
    answer: TxnResponse,
    branches: &Branches,
    header: pb::ResponseHeader,
) -> pb::TxnResponse {
    let after = if answer.succeeded {
        &branches.success
    } else {
        &branches.failure
    };
    let inner = || pb::ResponseHeader {
        revision: wire(answer.revision),
        ..pb::ResponseHeader::default()
    };
    let responses = answer.responses.into_iter().zip(after);
    pb::TxnResponse {
        header: Some(header),
        succeeded: answer.succeeded,
        responses: responses
            .map(|(response, after)| pb::ResponseOp {
                response: Some(op_response(response, after, inner())),
            })
            .collect(),
    }
}

fn op_response(response: OpResponse, after: &After, header: pb::ResponseHeader) -> Response {
    match response {
        OpResponse::Put { prev_kv } => {
            let wanted = matches!(after, After::Put { prev_kv: true });
            Response::Put(put_response(prev_kv.filter(|_| wanted), header))
        }
        OpResponse::Delete { deleted, prev_kvs } => {
            Response::DeleteRange(delete_response(deleted, prev_kvs, header))
        }
        OpResponse::Range(mut answer) => {
            if let After::Range(Some(finish)) = after {
                finish.apply(&mut answer);
            }
            Response::Range(range_response(answer, header))
        }
        OpResponse::Txn(answer) => {
            let none = Branches::default();
            let branches = match after {
                After::Txn(branches) => branches,
                _ => &none,
            };
            let header = pb::ResponseHeader {
                revision: wire(answer.revision),
                ..header
            };
            Response::Txn(txn_response(answer, branches, header))
        }
    }
}
