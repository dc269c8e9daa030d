//! Cases with the outcome written out.

mod group;
mod history;
mod txns;

use bytes::Bytes;

use super::trial::{kind, rebuilt};
use super::{Outcome, Restore, State};
use crate::command::Command;
use crate::error::Error;
use crate::kv::{EventKind, KeyRange, Revision};
use crate::member::{Alarm, Member};
use crate::txn::{
    Compare, CompareOp, CompareTarget, Op, OpResponse, RangeRequest, TXN_DEPTH_MAX, Txn,
};

pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> Op {
    Op::put(bytes(key), bytes(value))
}

pub(super) fn delete(range: KeyRange) -> Op {
    Op::Delete {
        range,
        prev_kv: true,
    }
}

fn read(range: KeyRange) -> Op {
    Op::Range(RangeRequest::new(range))
}

pub(super) fn does(ops: Vec<Op>) -> Txn {
    Txn {
        success: ops,
        ..Txn::default()
    }
}

/// A store after these transactions, the first of which made revision 2.
fn after(txns: &[Vec<Op>]) -> State {
    let mut state = State::new();
    for ops in txns {
        state.apply(&does(ops.clone())).unwrap();
    }
    state
}

/// `key=value@create/mod/version ..` of all keys at a revision.
fn shown(state: &State, at: Option<Revision>) -> String {
    let request = RangeRequest {
        at_revision: at,
        ..RangeRequest::new(KeyRange::all())
    };
    let response = state.range(&request).unwrap();
    let keys = response.kvs.iter().map(|kv| {
        format!(
            "{}={}@{}/{}/{}",
            kv.key.escape_ascii(),
            kv.value.escape_ascii(),
            kv.create_revision,
            kv.mod_revision,
            kv.version
        )
    });
    keys.collect::<Vec<_>>().join(" ")
}

/// `compare`: whether the key "a" exists.
fn nested(success: Vec<Op>, failure: Vec<Op>) -> Op {
    Op::Txn(Txn {
        compare: vec![Compare::version("a", CompareOp::Greater, 0)],
        success,
        failure,
    })
}

/// A put that keeps the value, or the lease.
fn keeping(key: &str, ignore_value: bool, ignore_lease: bool) -> Op {
    Op::Put {
        key: bytes(key),
        value: bytes("new"),
        lease: if ignore_lease { 0 } else { 9 },
        ignore_value,
        ignore_lease,
    }
}

fn granted(ids: &[i64]) -> State {
    let mut state = State::new();
    for id in ids {
        state.lease_grant(*id, 60).unwrap();
    }
    state
}
