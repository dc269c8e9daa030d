//! Cases with the outcome written out, then everything against the reference.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::reference::Reference;
use super::{Change, Restore, State};
use crate::error::Error;
use crate::kv::{Event, EventKind, KeyRange, Revision};
use crate::txn::{Compare, CompareOp, Op, OpResponse, RangeRequest, Txn};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> Op {
    Op::Put {
        key: bytes(key),
        value: bytes(value),
        lease: 0,
    }
}

fn delete(range: KeyRange) -> Op {
    Op::Delete {
        range,
        prev_kv: true,
    }
}

fn read(range: KeyRange) -> Op {
    Op::Range(RangeRequest::new(range))
}

fn does(ops: Vec<Op>) -> Txn {
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

#[test]
fn writes_leave_the_versions_that_etcd_would() {
    let check = |txns: &[Vec<Op>], expect: &str| {
        assert_eq!(shown(&after(txns), None), expect, "{txns:?}");
    };
    check(&[], "");
    check(&[vec![put("a", "1")]], "a=1@2/2/1");
    check(&[vec![put("a", "1")], vec![put("a", "2")]], "a=2@2/3/2");
    check(&[vec![put("a", "1"), put("b", "1")]], "a=1@2/2/1 b=1@2/2/1");
    check(
        &[
            vec![put("a", "1")],
            vec![delete(KeyRange::key("a"))],
            vec![put("a", "3")],
        ],
        "a=3@4/4/1",
    );
    // Deleting nothing and reading make no revision.
    check(
        &[
            vec![delete(KeyRange::all())],
            vec![read(KeyRange::all())],
            vec![put("a", "1")],
        ],
        "a=1@2/2/1",
    );
    check(
        &[
            vec![put("a", "1"), put("b", "1"), put("c", "1")],
            vec![delete(KeyRange::between("a", "c")), put("d", "2")],
        ],
        "c=1@2/2/1 d=2@3/3/1",
    );
}

#[test]
fn older_revisions_stay_readable() {
    let state = after(&[
        vec![put("a", "1"), put("c", "1")],
        vec![put("b", "2")],
        vec![put("a", "3"), delete(KeyRange::key("c"))],
        vec![delete(KeyRange::all())],
        vec![put("a", "5")],
    ]);
    let check = |at, expect: &str| assert_eq!(shown(&state, Some(at)), expect, "at {at}");
    check(1, "");
    check(2, "a=1@2/2/1 c=1@2/2/1");
    check(3, "a=1@2/2/1 b=2@3/3/1 c=1@2/2/1");
    check(4, "a=3@2/4/2 b=2@3/3/1");
    check(5, "");
    check(6, "a=5@6/6/1");
}

#[test]
fn compaction_keeps_what_was_there_at_its_point() {
    let mut state = after(&[
        vec![put("a", "1"), put("b", "1")],
        vec![put("a", "2")],
        vec![delete(KeyRange::key("b"))],
        vec![put("a", "4")],
    ]);
    state.compact(3).unwrap();
    while state.sweep(1) {}
    assert_eq!(shown(&state, Some(3)), "a=2@2/3/2 b=1@2/2/1");
    assert_eq!(shown(&state, Some(4)), "a=2@2/3/2");
    assert_eq!(shown(&state, None), "a=4@2/5/3");
    let request = RangeRequest {
        at_revision: Some(2),
        ..RangeRequest::new(KeyRange::all())
    };
    assert!(matches!(
        state.range(&request),
        Err(Error::Compacted {
            requested: 2,
            compacted: 3
        })
    ));
    assert!(matches!(
        state.events_from(3, 9),
        Err(Error::Compacted { .. })
    ));
    assert_eq!(state.events_from(4, 9).unwrap().len(), 2);
    assert!(matches!(state.compact(3), Err(Error::Compacted { .. })));
    assert!(matches!(
        state.compact(6),
        Err(Error::FutureRevision { current: 5, .. })
    ));
}

#[test]
fn all_memory_of_compacted_history_is_given_back() {
    let mut state = State::new();
    for round in 0..50 {
        let key = format!("k{}", round % 7);
        let op = if round % 5 == 4 {
            delete(KeyRange::key(key))
        } else {
            put(&key, "v")
        };
        state.apply(&does(vec![op])).unwrap();
    }
    state.compact(state.revision()).unwrap();
    while state.sweep(3) {}
    assert!(state.past.is_empty() && state.log.is_empty() && state.swept_later.is_empty());
    assert_eq!(state.history_bytes, 0);
}

#[test]
fn an_overdue_compaction_is_due_in_the_middle_of_history() {
    let state = after(&vec![vec![put("a", "1")]; 10]);
    assert_eq!(state.overdue_compaction(usize::MAX, 10), None);
    assert_eq!(state.overdue_compaction(usize::MAX, 9), Some(6));
    assert_eq!(state.overdue_compaction(1, 10), Some(6));
}

#[test]
fn conditions_choose_the_branch() {
    let state = after(&[vec![put("a", "m")], vec![put("a", "m")]]);
    let check = |compare: Compare, expect: bool| {
        let txn = Txn {
            compare: vec![compare.clone()],
            success: vec![read(KeyRange::all())],
            failure: vec![],
        };
        let response = state.clone().apply(&txn).unwrap();
        assert_eq!(response.succeeded, expect, "{compare:?}");
        assert_eq!(response.responses.len(), usize::from(expect), "{compare:?}");
    };
    let [a, none] = [bytes("a"), bytes("none")];
    for (op, value, expect) in [
        (CompareOp::Equal, 3, true),
        (CompareOp::Equal, 2, false),
        (CompareOp::NotEqual, 2, true),
        (CompareOp::Greater, 2, true),
        (CompareOp::Greater, 3, false),
        (CompareOp::Less, 4, true),
        (CompareOp::Less, 3, false),
    ] {
        check(
            Compare::ModRevision {
                key: a.clone(),
                op,
                value,
            },
            expect,
        );
    }
    let op = CompareOp::Equal;
    check(
        Compare::CreateRevision {
            key: a.clone(),
            op,
            value: 2,
        },
        true,
    );
    check(
        Compare::Version {
            key: a.clone(),
            op,
            value: 2,
        },
        true,
    );
    check(
        Compare::Lease {
            key: a.clone(),
            op,
            value: 0,
        },
        true,
    );
    check(
        Compare::Value {
            key: a.clone(),
            op,
            value: bytes("m"),
        },
        true,
    );
    check(
        Compare::Value {
            key: a.clone(),
            op: CompareOp::Less,
            value: bytes("n"),
        },
        true,
    );
    check(
        Compare::Value {
            key: a,
            op: CompareOp::Greater,
            value: bytes("n"),
        },
        false,
    );
    check(
        Compare::ModRevision {
            key: none.clone(),
            op,
            value: 0,
        },
        true,
    );
    check(
        Compare::Version {
            key: none.clone(),
            op: CompareOp::Greater,
            value: 0,
        },
        false,
    );
    for op in [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Less] {
        check(
            Compare::Value {
                key: none.clone(),
                op,
                value: bytes(""),
            },
            false,
        );
    }
}

#[test]
fn a_transaction_sees_its_own_writes_in_order() {
    let mut state = after(&[vec![put("a", "1"), put("b", "1")]]);
    let response = state
        .apply(&does(vec![
            read(KeyRange::all()),
            put("c", "2"),
            delete(KeyRange::key("a")),
            read(KeyRange::all()),
            Op::Range(RangeRequest {
                at_revision: Some(2),
                ..RangeRequest::new(KeyRange::all())
            }),
        ]))
        .unwrap();
    let keys: Vec<(Revision, String)> = response
        .responses
        .iter()
        .filter_map(|response| match response {
            OpResponse::Range(range) => Some((
                range.revision,
                range
                    .kvs
                    .iter()
                    .map(|kv| kv.key.escape_ascii().to_string())
                    .collect(),
            )),
            _ => None,
        })
        .collect();
    let expect = [(2, "ab"), (3, "bc"), (3, "ab")].map(|(at, keys)| (at, keys.to_owned()));
    assert_eq!(keys, expect);
    let events = state.events_from(3, 1).unwrap();
    let kinds: Vec<EventKind> = events[0].iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Put, EventKind::Delete]);
}

#[test]
fn a_key_written_twice_is_refused_and_nothing_done() {
    let check = |ops: Vec<Op>, refused: Option<&str>| {
        let mut state = after(&[vec![put("b", "1")]]);
        match (state.apply(&does(ops.clone())), refused) {
            (Ok(_), None) => {}
            (Err(Error::DuplicateKey { key }), Some(expect)) => {
                assert_eq!(key, bytes(expect), "{ops:?}");
                assert_eq!(
                    (state.revision(), shown(&state, None).as_str()),
                    (2, "b=1@2/2/1")
                );
            }
            (result, _) => panic!("{ops:?}: {result:?}"),
        }
    };
    check(vec![put("a", "1"), put("b", "1")], None);
    check(vec![put("a", "1"), put("a", "1")], Some("a"));
    check(vec![put("a", "1"), delete(KeyRange::key("a"))], Some("a"));
    check(vec![delete(KeyRange::all()), put("a", "1")], Some("a"));
    check(
        vec![delete(KeyRange::between("b", "d")), put("c", "1")],
        Some("c"),
    );
    check(
        vec![
            delete(KeyRange::between("b", "d")),
            put("d", "1"),
            put("a", "1"),
        ],
        None,
    );
    check(
        vec![delete(KeyRange::all()), delete(KeyRange::key("b"))],
        None,
    );
    let mut state = State::new();
    assert!(matches!(
        state.apply(&does(vec![put("", "1")])),
        Err(Error::EmptyKey { .. })
    ));
}

#[test]
fn a_limit_counts_on() {
    let state = after(&[vec![put("a", "1"), put("b", "1"), put("c", "1")]]);
    let check = |request: RangeRequest, kvs: usize, count: usize, more: bool| {
        let response = state.range(&request).unwrap();
        assert_eq!(
            (response.kvs.len(), response.count, response.more),
            (kvs, count, more)
        );
    };
    let all = RangeRequest::new(KeyRange::all());
    check(all.clone(), 3, 3, false);
    check(
        RangeRequest {
            limit: 2,
            ..all.clone()
        },
        2,
        3,
        true,
    );
    check(
        RangeRequest {
            limit: 3,
            ..all.clone()
        },
        3,
        3,
        false,
    );
    check(
        RangeRequest {
            limit: 2,
            at_revision: Some(2),
            ..all.clone()
        },
        2,
        3,
        true,
    );
    check(
        RangeRequest {
            count_only: true,
            ..all.clone()
        },
        0,
        3,
        false,
    );
    check(RangeRequest::new(KeyRange::key("b")), 1, 1, false);
    let response = state
        .range(&RangeRequest {
            keys_only: true,
            ..all
        })
        .unwrap();
    assert!(
        response
            .kvs
            .iter()
            .all(|kv| kv.value.is_empty() && kv.version == 1)
    );
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Txn),
    Compact(u64),
    Read(RangeRequest, Option<u64>),
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
    (some_key(), op, 0..12_u64, 0..5_u8).prop_map(|(key, op, value, target)| match target {
        0 => Compare::ModRevision { key, op, value },
        1 => Compare::CreateRevision { key, op, value },
        2 => Compare::Version {
            key,
            op,
            value: value / 3,
        },
        3 => Compare::Lease {
            key,
            op,
            value: value as i64 / 4,
        },
        _ => Compare::Value {
            key,
            op,
            value: bytes(&value.to_string()),
        },
    })
}

fn some_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (some_key(), 0..9_u8, 0..3_i64).prop_map(|(key, value, lease)| Op::Put {
            key,
            value: bytes(&value.to_string()),
            lease,
        }),
        3 => (some_range(), any::<bool>()).prop_map(|(range, prev_kv)| Op::Delete { range, prev_kv }),
        1 => some_request().prop_map(Op::Range),
    ]
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (vec(some_compare(), 0..3), vec(some_op(), 0..4), vec(some_op(), 0..3)).prop_map(
            |(compare, success, failure)| Step::Apply(Txn { compare, success, failure })
        ),
        1 => (0..8_u64).prop_map(Step::Compact),
        3 => (some_request(), proptest::option::of(0..12_u64))
            .prop_map(|(request, back)| Step::Read(request, back)),
        1 => Just(Step::Rebuild),
    ]
}

/// The state taken apart and put together, as a snapshot does.
fn rebuilt(state: &State) -> State {
    let mut restore = Restore::new(state.compacted());
    state.visit_base(|kv| restore.base((**kv).clone()).unwrap());
    for events in state.log() {
        restore
            .revision(events.iter().map(Change::from).collect())
            .unwrap();
    }
    restore.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_as_the_reference_has_it(steps in vec(some_step(), 1..60)) {
        let mut state = State::new();
        let mut reference = Reference::new();
        for step in steps {
            match step {
                Step::Apply(txn) => prop_assert_eq!(state.apply(&txn).ok(), reference.apply(&txn)),
                Step::Compact(back) => {
                    let at = (reference.revision() + 1).saturating_sub(back);
                    prop_assert_eq!(state.compact(at).is_ok(), reference.compact(at));
                    // Left half done on purpose: what is not swept yet must not show.
                    state.sweep(2);
                }
                Step::Read(mut request, back) => {
                    request.at_revision =
                        back.map(|back| (reference.revision() + 1).saturating_sub(back));
                    prop_assert_eq!(state.range(&request).ok(), reference.range(&request));
                }
                Step::Rebuild => {
                    let again = rebuilt(&state);
                    prop_assert_eq!(again.revision(), state.revision());
                    prop_assert_eq!(again.history_bytes, state.history_bytes);
                    state = again;
                }
            }
            prop_assert_eq!(state.revision(), reference.revision());
            prop_assert_eq!(state.compacted(), reference.compacted);
            let start = reference.compacted.max(1) + 1;
            let events: Vec<Vec<Event>> = state
                .events_from(start, usize::MAX)
                .unwrap()
                .iter()
                .map(|events| events.to_vec())
                .collect();
            prop_assert_eq!(&events[..], &reference.events[start as usize - 1..]);
        }
    }
}
