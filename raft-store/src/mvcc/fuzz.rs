//! A history made of bytes, held against the reference.

use bytes::Bytes;
use fuzz_support::Choices;

use super::trial::{self, Step};
use crate::command::Command;
use crate::kv::KeyRange;
use crate::member::{Alarm, Member};
use crate::txn::{Compare, CompareOp, CompareTarget, Op, RangeRequest, Txn};

/// The reference copies all keys for every revision, and everything is looked at after every step.
const STEPS_MAX: usize = 40;
/// Transactions in transactions.
const DEPTH_MAX: usize = 3;

/// Takes the steps that the bytes say.
///
/// # Panics
/// Where state and reference differ.
pub(crate) fn history(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut steps = Vec::new();
    while !choices.is_empty() && steps.len() < STEPS_MAX {
        steps.push(step(&mut choices));
    }
    trial::run(steps);
}

fn step(choices: &mut Choices<'_>) -> Step {
    match choices.below(16) {
        0..=4 => Step::Apply(Command::Txn(txn(choices, DEPTH_MAX))),
        5 | 6 => Step::Apply(Command::Txn(Txn {
            success: vec![put(choices)],
            ..Txn::default()
        })),
        7 => Step::Apply(Command::LeaseGrant {
            id: *choices.pick(&[1, 2, 0]),
            ttl_seconds: *choices.pick(&[60, 0, -1, i64::MAX]),
        }),
        8 => Step::Apply(Command::LeaseRevoke {
            id: *choices.pick(&[1, 2, 0]),
        }),
        9 => Step::Apply(Command::SetMember(member(choices))),
        10 => Step::Apply(Command::Alarm {
            member: choices.below(4) as u64,
            alarm: *choices.pick(&[Alarm::NoSpace, Alarm::Corrupt]),
            // Off more often than on, or little else would happen.
            on: choices.below(8) == 7,
        }),
        11 => Step::Compact(choices.below(8) as u64),
        12 => Step::Read(request(choices), back(choices)),
        13 => Step::AddMember(member(choices)),
        14 => match choices.below(3) {
            0 => Step::RemoveMember(1 + choices.below(4) as u64),
            _ => Step::SetLearner(1 + choices.below(4) as u64, choices.flag()),
        },
        _ => Step::Rebuild,
    }
}

fn txn(choices: &mut Choices<'_>, depth: usize) -> Txn {
    let mut ops = |bound: usize| {
        let count = choices.below(bound);
        (0..count).map(|_| op(choices, depth)).collect()
    };
    let (success, failure) = (ops(5), ops(4));
    let count = choices.below(3);
    Txn {
        compare: (0..count).map(|_| compare(choices)).collect(),
        success,
        failure,
    }
}

fn op(choices: &mut Choices<'_>, depth: usize) -> Op {
    match choices.below(8) {
        0..=2 => put(choices),
        3 | 4 => Op::Delete {
            range: range(choices),
            prev_kv: choices.flag(),
        },
        5 => Op::Range(RangeRequest {
            at_revision: back(choices),
            ..request(choices)
        }),
        _ if depth > 0 => Op::Txn(txn(choices, depth - 1)),
        _ => put(choices),
    }
}

/// The leases are 1 and 2; 3 is never granted.
fn put(choices: &mut Choices<'_>) -> Op {
    let ignore = choices.byte();
    Op::Put {
        key: key(choices),
        value: value(choices),
        lease: *choices.pick(&[0, 0, 0, 0, 1, 2, 3]),
        ignore_value: ignore & 7 == 7,
        ignore_lease: ignore & 56 == 56,
    }
}

fn compare(choices: &mut Choices<'_>) -> Compare {
    let number = choices.below(16) as u64;
    let target = match choices.below(5) {
        0 => CompareTarget::ModRevision(number),
        1 => CompareTarget::CreateRevision(number),
        2 => CompareTarget::Version(number / 3),
        3 => CompareTarget::Lease(number as i64 / 4),
        _ => CompareTarget::Value(value(choices)),
    };
    let ops = [
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Greater,
        CompareOp::Less,
    ];
    Compare {
        range: range(choices),
        target,
        op: *choices.pick(&ops),
    }
}

fn request(choices: &mut Choices<'_>) -> RangeRequest {
    RangeRequest {
        limit: choices.below(4),
        keys_only: choices.flag(),
        count_only: choices.flag(),
        ..RangeRequest::new(range(choices))
    }
}

fn back(choices: &mut Choices<'_>) -> Option<u64> {
    choices.flag().then(|| choices.below(16) as u64)
}

fn range(choices: &mut Choices<'_>) -> KeyRange {
    match choices.below(6) {
        0 | 1 => KeyRange::Key(key(choices)),
        2 => KeyRange::Between {
            start: key(choices),
            end: key(choices),
        },
        3 => KeyRange::From(key(choices)),
        4 => KeyRange::prefix(key(choices)),
        _ => KeyRange::all(),
    }
}

/// Few enough to meet again, and keys that are prefixes of each other or at the end of all.
fn key(choices: &mut Choices<'_>) -> Bytes {
    let keys: [&'static [u8]; 9] = [
        b"a",
        b"aa",
        b"ab",
        b"b",
        b"b\0",
        b"c",
        b"\xff",
        b"\xff\xff",
        b"\0",
    ];
    Bytes::from_static(choices.pick::<&[u8]>(&keys))
}

fn value(choices: &mut Choices<'_>) -> Bytes {
    let values: [&'static [u8]; 4] = [b"", b"1", b"2", b"22"];
    Bytes::from_static(choices.pick::<&[u8]>(&values))
}

fn member(choices: &mut Choices<'_>) -> Member {
    let text = |choices: &mut Choices<'_>| (*choices.pick(&["", "a", "b"])).to_owned();
    let urls = |choices: &mut Choices<'_>| {
        let count = choices.below(3);
        (0..count).map(|_| text(choices)).collect()
    };
    Member {
        id: 1 + choices.below(4) as u64,
        name: text(choices),
        peer_urls: urls(choices),
        client_urls: urls(choices),
        learner: choices.flag(),
    }
}
