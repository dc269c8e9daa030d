//! Everything against the reference.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{bytes, delete, does};
use super::trial::{self, Step};
use crate::command::Command;
use crate::kv::KeyRange;
use crate::member::{Alarm, Member};
use crate::txn::{Compare, CompareOp, CompareTarget, Op, RangeRequest, Txn};

fn some_key() -> impl Strategy<Value = Bytes> {
    // Few enough to meet again, and keys that are prefixes of each other.
    proptest::sample::select(vec!["a", "aa", "ab", "b", "b\0", "c", "d"]).prop_map(bytes)
}

fn some_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        4 => some_key().prop_map(KeyRange::Key),
        2 => (some_key(), some_key()).prop_map(|(start, end)| KeyRange::Between { start, end }),
        1 => some_key().prop_map(KeyRange::From),
        1 => some_key().prop_map(KeyRange::prefix),
        1 => Just(KeyRange::all()),
    ]
}

fn some_request() -> impl Strategy<Value = RangeRequest> {
    (some_range(), 0..4_usize, any::<bool>(), any::<bool>()).prop_map(
        |(range, limit, keys_only, count_only)| RangeRequest {
            limit,
            keys_only,
            count_only,
            ..RangeRequest::new(range)
        },
    )
}

fn some_compare() -> impl Strategy<Value = Compare> {
    let op = proptest::sample::select(vec![
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Greater,
        CompareOp::Less,
    ]);
    let target = (0..12_u64, 0..5_u8).prop_map(|(value, target)| match target {
        0 => CompareTarget::ModRevision(value),
        1 => CompareTarget::CreateRevision(value),
        2 => CompareTarget::Version(value / 3),
        3 => CompareTarget::Lease(value as i64 / 4),
        _ => CompareTarget::Value(bytes(&value.to_string())),
    });
    (some_range(), op, target).prop_map(|(range, op, target)| Compare { range, target, op })
}

/// The leases are 1 and 2; 3 is never granted.
fn some_put() -> impl Strategy<Value = Op> {
    let lease = prop_oneof![12 => Just(0), 8 => 1..3_i64, 1 => Just(3)];
    (some_key(), 0..9_u8, lease, 0..12_u8).prop_map(|(key, value, lease, ignore)| Op::Put {
        key,
        value: bytes(&value.to_string()),
        lease,
        ignore_value: ignore % 4 == 0,
        ignore_lease: ignore % 6 == 0,
    })
}

fn some_op() -> impl Strategy<Value = Op> {
    let op = prop_oneof![
        6 => some_put(),
        3 => (some_range(), any::<bool>()).prop_map(|(range, prev_kv)| Op::Delete { range, prev_kv }),
        1 => (some_request(), proptest::option::weighted(0.3, 0..9_u64)).prop_map(
            |(request, at_revision)| Op::Range(RangeRequest { at_revision, ..request })
        ),
    ];
    op.prop_recursive(3, 12, 3, |op| some_txn(op).prop_map(Op::Txn))
}

fn some_txn(op: impl Strategy<Value = Op> + Clone) -> impl Strategy<Value = Txn> {
    (
        vec(some_compare(), 0..3),
        vec(op.clone(), 0..4),
        vec(op, 0..3),
    )
        .prop_map(|(compare, success, failure)| Txn {
            compare,
            success,
            failure,
        })
}

fn some_member() -> impl Strategy<Value = Member> {
    let urls = || vec("[a-c]", 0..2);
    (1..5_u64, "[a-c]?", urls(), urls(), any::<bool>()).prop_map(
        |(id, name, peer_urls, client_urls, learner)| Member {
            id,
            name,
            peer_urls,
            client_urls,
            learner,
        },
    )
}

fn some_command() -> impl Strategy<Value = Command> {
    let alarm = proptest::sample::select(vec![Alarm::NoSpace, Alarm::Corrupt]);
    // Puts and then deletes a key, which the others hardly ever do.
    let gap = (some_put(), some_range()).prop_map(|(put, range)| {
        let delete = delete(range);
        does(vec![Op::Txn(does(vec![put])), Op::Txn(does(vec![delete]))])
    });
    prop_oneof![
        40 => some_txn(some_op().boxed()).prop_map(Command::Txn),
        8 => some_put().prop_map(|put| Command::Txn(does(vec![put]))),
        4 => gap.prop_map(Command::Txn),
        8 => (0..3_i64, proptest::sample::select(vec![0, 60, 60, i64::MAX]))
            .prop_map(|(id, ttl_seconds)| Command::LeaseGrant { id, ttl_seconds }),
        3 => (0..3_i64).prop_map(|id| Command::LeaseRevoke { id }),
        2 => some_member().prop_map(Command::SetMember),
        // Off more often than on, or little else would happen.
        2 => (0..4_u64, alarm, proptest::bool::weighted(0.1))
            .prop_map(|(member, alarm, on)| Command::Alarm { member, alarm, on }),
    ]
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => some_command().prop_map(Step::Apply),
        2 => (0..8_u64).prop_map(Step::Compact),
        6 => (some_request(), proptest::option::of(0..12_u64))
            .prop_map(|(request, back)| Step::Read(request, back)),
        1 => some_member().prop_map(Step::AddMember),
        1 => (1..5_u64).prop_map(Step::RemoveMember),
        1 => (1..5_u64, any::<bool>()).prop_map(|(id, learner)| Step::SetLearner(id, learner)),
        2 => Just(Step::Rebuild),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_as_the_reference_has_it(steps in vec(some_step(), 1..80)) {
        trial::run(steps);
    }
}
