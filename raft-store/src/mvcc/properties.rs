//! Everything against the reference.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::reference::{Expected, Reference};
use super::tests::{bytes, delete, does, kind, rebuilt};
use super::{Outcome, State, history};
use crate::command::Command;
use crate::error::Error;
use crate::kv::{Event, KeyRange};
use crate::member::{Alarm, Member};
use crate::txn::{Compare, CompareOp, CompareTarget, Op, RangeRequest, Txn};

#[derive(Clone, Debug)]
enum Step {
    Apply(Command),
    /// Compacts to so many revisions before the next one.
    Compact(u64),
    Read(RangeRequest, Option<u64>),
    AddMember(Member),
    RemoveMember(u64),
    SetLearner(u64, bool),
    Rebuild,
}

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

/// Whether a command came to what the reference expects.
fn agrees(outcome: &Outcome, expected: &Expected) -> bool {
    fn same<T: PartialEq>(got: &Result<T, Error>, expected: &Result<T, &str>) -> bool {
        match (got, expected) {
            (Ok(got), Ok(expected)) => got == expected,
            (Err(got), Err(expected)) => kind(got) == *expected,
            _ => false,
        }
    }
    match (outcome, expected) {
        (Outcome::Txn(got), Expected::Txn(expected)) => same(got, expected),
        (Outcome::Compact(got), Expected::Compact(expected)) => same(got, expected),
        (Outcome::LeaseGrant(got), Expected::LeaseGrant(expected)) => same(got, expected),
        (Outcome::LeaseRevoke(got), Expected::LeaseRevoke(expected)) => same(got, expected),
        (Outcome::SetMember(got), Expected::SetMember(expected)) => same(got, expected),
        (Outcome::Alarm(got), Expected::Alarm(expected)) => got == expected,
        _ => false,
    }
}

/// Everything that can be seen of the state, against the reference.
fn check_all(state: &State, reference: &Reference) -> Result<(), TestCaseError> {
    prop_assert_eq!(state.revision(), reference.revision());
    prop_assert_eq!(state.compacted(), reference.compacted);
    let start = reference.compacted.max(1) + 1;
    let events: Vec<Vec<Event>> = state
        .events_from(start, usize::MAX)
        .unwrap()
        .iter()
        .map(|events| events.to_vec())
        .collect();
    let history = &reference.events[start as usize - 1..];
    prop_assert_eq!(&events[..], history);

    let leases: Vec<(i64, i64)> = state.leases().collect();
    let expect: Vec<(i64, i64)> = reference.leases.clone().into_iter().collect();
    prop_assert_eq!(leases, expect);
    for id in 1..4 {
        prop_assert_eq!(state.lease_keys(id), reference.lease_keys(id));
    }
    let attached = reference
        .newest()
        .values()
        .filter(|kv| kv.lease != 0)
        .count();
    prop_assert_eq!(state.attached.len(), attached);

    prop_assert!(state.members().iter().eq(reference.members.values()));
    prop_assert!(
        state
            .removed_members()
            .eq(reference.removed.iter().copied())
    );
    prop_assert!(state.alarms().iter().eq(&reference.alarms));

    let live: usize = reference.newest().values().map(history::live_bytes).sum();
    let past: usize = history
        .iter()
        .map(|events| history::events_bytes(events))
        .sum();
    prop_assert_eq!(state.db_bytes_in_use(), live + past);
    prop_assert!(state.db_bytes() >= live + past);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_as_the_reference_has_it(steps in vec(some_step(), 1..80)) {
        let mut state = State::new();
        let mut reference = Reference::new();
        // What each revision hashed to when it was the newest.
        let mut hashes = vec![state.hash(0).unwrap().hash];
        for step in steps {
            let mut command = |state: &mut State, command: Command| {
                let decoded = Command::decode(&command.encode());
                prop_assert_eq!(decoded.as_ref(), Ok(&command));
                let outcome = state.apply_command(&command);
                let expected = reference.apply(&command);
                prop_assert!(agrees(&outcome, &expected), "{:?}: {:?}, not {:?}", command, outcome, expected);
                Ok(())
            };
            match step {
                Step::Apply(given) => command(&mut state, given)?,
                Step::Compact(back) => {
                    let at = (state.revision() + 1).saturating_sub(back);
                    command(&mut state, Command::Compact(at))?;
                    // Left half done on purpose: what is not swept yet must not show.
                    state.sweep(2);
                }
                Step::Read(mut request, back) => {
                    request.at_revision =
                        back.map(|back| (reference.revision() + 1).saturating_sub(back));
                    let got = state.range(&request).map_err(|error| kind(&error));
                    prop_assert_eq!(got, reference.range(&request).map_err(str::to_owned));
                }
                Step::AddMember(member) => {
                    if !reference.removed.contains(&member.id) {
                        reference.members.insert(member.id, member.clone());
                    }
                    state.set_member(member);
                }
                Step::RemoveMember(id) => {
                    reference.members.remove(&id);
                    reference.removed.insert(id);
                    reference.alarms.retain(|(member, _)| *member != id);
                    prop_assert!(!state.is_removed(id) || state.member(id).is_none());
                    state.remove_member(id);
                }
                Step::SetLearner(id, learner) => {
                    if let Some(member) = reference.members.get_mut(&id) {
                        member.learner = learner;
                    }
                    state.set_learner(id, learner);
                }
                Step::Rebuild => {
                    let again = rebuilt(&state);
                    prop_assert_eq!(again.db_bytes(), state.db_bytes_in_use());
                    state = again;
                }
            }
            check_all(&state, &reference)?;
            hashes.extend((hashes.len() < state.revision() as usize).then(|| state.hash(0).unwrap().hash));
            for at in reference.compacted.max(1)..=reference.revision() {
                prop_assert_eq!(state.hash(at).unwrap().hash, hashes[at as usize - 1]);
            }
        }
        // Nothing but what lives is left in memory once all history is compacted, which it may be already.
        let _ = state.compact(state.revision());
        while state.sweep(3) {}
        prop_assert!(state.past.is_empty() && state.log.is_empty());
        prop_assert_eq!(state.db_bytes(), state.live_bytes);
    }
}
