//! Cases with the outcome written out.

use bytes::Bytes;

use super::{Change, Outcome, Restore, State};
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

/// The state taken apart and put together, as a snapshot does.
pub(super) fn rebuilt(state: &State) -> State {
    let mut restore = Restore::new(state.compacted()).unwrap();
    state
        .members()
        .into_iter()
        .for_each(|member| restore.member(member));
    state.removed_members().for_each(|id| restore.removed(id));
    for (member, alarm) in state.alarms() {
        restore.alarm(member, alarm);
    }
    for (id, ttl) in state.leases() {
        restore.lease(id, ttl).unwrap();
    }
    state.visit_base(|kv| restore.base((**kv).clone()).unwrap());
    for events in state.log() {
        restore
            .revision(events.iter().map(Change::from).collect())
            .unwrap();
    }
    restore.finish().unwrap()
}

/// The name of an error.
pub(super) fn kind(error: &Error) -> String {
    let name = format!("{error:?}");
    name.split([' ', '{']).next().unwrap_or_default().to_owned()
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
    for (op, value, expect) in [
        (CompareOp::Equal, 3, true),
        (CompareOp::Equal, 2, false),
        (CompareOp::NotEqual, 2, true),
        (CompareOp::Greater, 2, true),
        (CompareOp::Greater, 3, false),
        (CompareOp::Less, 4, true),
        (CompareOp::Less, 3, false),
    ] {
        check(Compare::mod_revision("a", op, value), expect);
    }
    let op = CompareOp::Equal;
    check(Compare::create_revision("a", op, 2), true);
    check(Compare::version("a", op, 2), true);
    check(Compare::lease("a", op, 0), true);
    check(Compare::value("a", op, "m"), true);
    check(Compare::value("a", CompareOp::Less, "n"), true);
    check(Compare::value("a", CompareOp::Greater, "n"), false);
    check(Compare::mod_revision("none", op, 0), true);
    check(Compare::version("none", CompareOp::Greater, 0), false);
    for op in [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Less] {
        check(Compare::value("none", op, ""), false);
    }
}

#[test]
fn a_condition_on_a_range_must_hold_for_every_key_in_it() {
    let state = after(&[
        vec![put("a", "m"), put("b", "m")],
        vec![put("b", "m"), put("c", "n")],
    ]);
    let check = |range: KeyRange, op, target: CompareTarget, expect: bool| {
        let txn = Txn {
            compare: vec![Compare::new("", op, target).over(range)],
            ..Txn::default()
        };
        let response = state.clone().apply(&txn).unwrap();
        assert_eq!(response.succeeded, expect, "{txn:?}");
    };
    use CompareOp::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{CreateRevision, Lease, ModRevision, Value, Version};
    let all = KeyRange::all;
    check(all(), Greater, CreateRevision(1), true);
    check(all(), Greater, CreateRevision(2), false);
    check(KeyRange::between("a", "c"), Equal, CreateRevision(2), true);
    check(KeyRange::from_key("b"), Equal, ModRevision(3), true);
    check(all(), Equal, Value(bytes("m")), false);
    check(KeyRange::between("a", "c"), Equal, Value(bytes("m")), true);
    check(all(), NotEqual, Value(bytes("o")), true);
    check(all(), Less, Version(3), true);
    check(all(), Equal, Lease(0), true);
    // Of an empty range, as of a key that does not exist: all numbers are 0, and no value compares.
    for empty in [
        KeyRange::prefix("x"),
        KeyRange::between("c", "a"),
        KeyRange::between("a", "a"),
        KeyRange::between("a", ""),
    ] {
        check(empty.clone(), Equal, ModRevision(0), true);
        check(empty.clone(), Greater, CreateRevision(0), false);
        check(empty.clone(), Less, Version(1), true);
        check(empty.clone(), NotEqual, Value(bytes("m")), false);
        check(empty, Equal, Value(bytes("")), false);
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

/// `compare`: whether the key "a" exists.
fn nested(success: Vec<Op>, failure: Vec<Op>) -> Op {
    Op::Txn(Txn {
        compare: vec![Compare::version("a", CompareOp::Greater, 0)],
        success,
        failure,
    })
}

#[test]
fn nested_transactions_judge_the_state_before_and_see_what_was_done() {
    let mut state = State::new();
    let outcome = state
        .apply(&does(vec![
            put("a", "1"),
            nested(
                vec![put("then", "1")],
                vec![
                    read(KeyRange::all()),
                    put("else", "1"),
                    nested(vec![], vec![put("deep", "1")]),
                ],
            ),
            nested(vec![], vec![]),
            read(KeyRange::all()),
        ]))
        .unwrap();
    assert_eq!(
        shown(&state, None),
        "a=1@2/2/1 deep=1@2/2/1 else=1@2/2/1",
        "one revision"
    );
    let OpResponse::Txn(inner) = &outcome.responses[1] else {
        panic!("{outcome:?}");
    };
    assert!(!inner.succeeded);
    let counts = [&inner.responses[0], &outcome.responses[3]].map(|response| match response {
        OpResponse::Range(range) => (range.revision, range.count),
        response => panic!("{response:?}"),
    });
    assert_eq!(counts, [(2, 1), (2, 3)]);
    let OpResponse::Txn(deep) = &inner.responses[2] else {
        panic!("{inner:?}");
    };
    assert_eq!(deep.responses, [OpResponse::Put { prev_kv: None }]);
    assert_eq!((outcome.revision, inner.revision, deep.revision), (2, 2, 2));
}

#[test]
fn a_key_is_put_once_in_a_branch_with_all_that_is_nested_in_it() {
    let a = || put("a", "1");
    let b = || put("b", "1");
    let gone = || delete(KeyRange::key("a"));
    let check = |ops: Vec<Op>, refused: bool| {
        let mut state = after(&[vec![put("x", "1")]]);
        match state.apply(&does(ops.clone())) {
            Ok(_) => assert!(!refused, "{ops:?}"),
            Err(Error::DuplicateKey { key }) => {
                assert!(refused && key == "a", "{ops:?}");
                assert_eq!(state.revision(), 2);
            }
            Err(error) => panic!("{ops:?}: {error}"),
        }
    };
    check(vec![nested(vec![a()], vec![a()])], false);
    check(vec![nested(vec![a()], vec![gone()])], false);
    check(vec![a(), nested(vec![b()], vec![b()])], false);
    check(vec![a(), nested(vec![a()], vec![])], true);
    check(vec![a(), nested(vec![], vec![a()])], true);
    check(vec![nested(vec![a()], vec![]), a()], true);
    check(vec![nested(vec![a(), a()], vec![])], true);
    check(vec![nested(vec![a(), gone()], vec![])], true);
    check(vec![nested(vec![], vec![a()]), gone()], true);
    check(vec![nested(vec![], vec![gone()]), a()], true);
    check(vec![a(), nested(vec![], vec![gone()])], true);
    // Even where conditions make sure that only one of them runs.
    check(
        vec![nested(vec![a()], vec![]), nested(vec![], vec![a()])],
        true,
    );
    check(
        vec![nested(
            vec![nested(vec![a()], vec![])],
            vec![nested(vec![], vec![a()])],
        )],
        false,
    );
    check(
        vec![nested(vec![nested(vec![a()], vec![]), a()], vec![])],
        true,
    );
    check(
        vec![nested(vec![gone()], vec![]), nested(vec![a()], vec![])],
        true,
    );
    check(
        vec![nested(vec![gone()], vec![]), nested(vec![gone()], vec![])],
        false,
    );
    // The gap.
    check(
        vec![nested(vec![a()], vec![]), nested(vec![gone()], vec![])],
        false,
    );
}

#[test]
fn a_key_put_and_deleted_by_one_transaction_leaves_its_past_alone() {
    let put_and_delete = vec![
        Op::Txn(does(vec![put("a", "2"), put("new", "2")])),
        Op::Txn(does(vec![delete(KeyRange::all())])),
    ];
    let mut state = after(&[vec![put("a", "1")], put_and_delete]);
    assert_eq!(shown(&state, Some(2)), "a=1@2/2/1");
    assert_eq!((shown(&state, None), state.revision()), (String::new(), 3));
    let events = state.events_from(3, 9).unwrap();
    let kinds: Vec<EventKind> = events[0].iter().map(|event| event.kind).collect();
    use EventKind::{Delete, Put};
    assert_eq!(kinds, [Put, Put, Delete, Delete]);
    assert_eq!(shown(&rebuilt(&state), Some(2)), "a=1@2/2/1");
    state.compact(3).unwrap();
    while state.sweep(1) {}
    assert!(state.past.is_empty());
    assert_eq!(state.db_bytes(), 0);
}

#[test]
fn a_transaction_nested_too_deeply_is_refused() {
    let deep = |depth: usize| (1..depth).fold(does(vec![]), |txn, _| does(vec![Op::Txn(txn)]));
    let mut state = State::new();
    state.apply(&deep(TXN_DEPTH_MAX)).unwrap();
    for txn in [deep(TXN_DEPTH_MAX + 1), deep(1000)] {
        assert!(matches!(
            state.apply(&txn),
            Err(Error::TooManySteps {
                max: TXN_DEPTH_MAX,
                ..
            })
        ));
        assert!(txn.check_bounds(usize::MAX, usize::MAX).is_err());
    }
}

#[test]
fn the_bounds_count_what_is_nested() {
    let check = |txn: &Txn, ops: usize, bytes: usize| {
        assert_eq!(txn.check_bounds(ops, bytes).ok(), Some(bytes), "{txn:?}");
        let refused = txn.check_bounds(ops - 1, bytes);
        assert!(
            matches!(refused, Err(Error::TooManySteps { .. })),
            "{txn:?}"
        );
        let refused = txn.check_bounds(ops, bytes - 1);
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{txn:?}");
    };
    check(&Txn::put("key", "value"), 1, 8);
    check(
        &does(vec![put("a", "1"), delete(KeyRange::between("b", "cc"))]),
        2,
        5,
    );
    // The step itself, its condition, and the longer branch; the bytes of both.
    let inner = nested(vec![put("b", "1")], vec![put("b", "2"), put("c", "2")]);
    check(&does(vec![put("d", "1"), inner]), 5, 9);
}

#[test]
fn the_empty_key_is_refused_wherever_it_stands_alone() {
    let empty = || KeyRange::key("");
    let check = |txn: Txn| {
        let refused = |txn: &Txn| matches!(State::new().apply(txn), Err(Error::EmptyKey { .. }));
        assert!(refused(&txn), "{txn:?}");
        assert!(refused(&does(vec![Op::Txn(txn.clone())])), "{txn:?}");
    };
    check(does(vec![put("", "1")]));
    check(does(vec![delete(empty())]));
    check(does(vec![read(empty())]));
    check(Txn {
        compare: vec![Compare::version("", CompareOp::Equal, 0)],
        ..Txn::default()
    });
    let alone = State::new().range(&RangeRequest::new(empty()));
    assert!(matches!(alone, Err(Error::EmptyKey { .. })));
    State::new()
        .apply(&does(vec![read(KeyRange::all())]))
        .unwrap();
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

#[test]
fn a_put_can_keep_the_value_or_the_lease() {
    let mut state = granted(&[8, 9]);
    state
        .apply(&does(vec![Op::put_with_lease("k", "old", 8)]))
        .unwrap();
    let check = |op: Op, expect: Option<(&str, i64)>| {
        let mut state = state.clone();
        match (state.apply(&does(vec![op.clone()])), expect) {
            (Ok(_), Some((value, lease))) => {
                let kv = state.live.get(&bytes("k")).unwrap();
                assert_eq!((&kv.value, kv.lease, kv.version), (&bytes(value), lease, 2));
                assert_eq!(state.lease_keys(lease), [bytes("k")], "{op:?}");
                assert_eq!(state.attached.len(), 1, "{op:?}");
            }
            (Err(Error::KeyNotFound { key }), None) => {
                assert_eq!((key, state.revision()), (bytes("none"), 2));
            }
            (result, _) => panic!("{op:?}: {result:?}"),
        }
    };
    check(keeping("k", false, false), Some(("new", 9)));
    check(keeping("k", true, false), Some(("old", 9)));
    check(keeping("k", false, true), Some(("new", 8)));
    check(keeping("k", true, true), Some(("old", 8)));
    check(keeping("none", true, false), None);
    check(keeping("none", false, true), None);
}

#[test]
fn an_unknown_lease_fails_the_whole_transaction() {
    let mut state = granted(&[1]);
    let ops = vec![
        put("a", "1"),
        Op::put_with_lease("b", "1", 1),
        nested(vec![], vec![Op::put_with_lease("c", "1", 2)]),
    ];
    let refused = state.apply(&does(ops));
    assert!(matches!(refused, Err(Error::LeaseNotFound { id: 2 })));
    assert_eq!((shown(&state, None), state.revision()), (String::new(), 1));
    assert!(state.attached.is_empty());
    // What does not run does not matter.
    let ops = vec![nested(vec![Op::put_with_lease("c", "1", 2)], vec![])];
    state.apply(&does(ops)).unwrap();
}

#[test]
fn a_lease_takes_its_keys_with_it_in_one_revision() {
    let mut state = granted(&[1, 2]);
    let ops = ["d", "b", "a", "c"].map(|key| Op::put_with_lease(key, "1", 1));
    state.apply(&does(ops.to_vec())).unwrap();
    // One leaves for another lease, one loses its lease, and one is deleted.
    state
        .apply(&does(vec![
            Op::put_with_lease("a", "2", 2),
            put("c", "2"),
            delete(KeyRange::key("d")),
        ]))
        .unwrap();
    assert_eq!(state.lease_keys(1), [bytes("b")]);
    assert_eq!(state.lease_keys(2), [bytes("a")]);
    state
        .apply(&does(vec![Op::put_with_lease("d", "4", 1)]))
        .unwrap();
    assert_eq!(state.lease_revoke(1).unwrap(), 5);
    assert_eq!(shown(&state, None), "a=2@2/3/2 c=2@2/3/2");
    let events = state.events_from(5, 1).unwrap();
    let keys: Vec<&[u8]> = events[0].iter().map(|event| &event.kv.key[..]).collect();
    assert_eq!(keys, [b"b", b"d"]);
    assert!(matches!(
        state.lease_revoke(1),
        Err(Error::LeaseNotFound { id: 1 })
    ));
    state.apply(&does(vec![delete(KeyRange::all())])).unwrap();
    assert_eq!(state.lease_revoke(2).unwrap(), 6, "no keys, no revision");
    assert!(state.leases.is_empty() && state.attached.is_empty());
}

#[test]
fn a_lease_is_granted_once_and_within_bounds() {
    let mut state = granted(&[1]);
    let mut check = |id: i64, ttl: i64, expect: Result<i64, &str>| {
        let granted = state.lease_grant(id, ttl);
        let got = granted.map(|granted| granted.ttl_seconds);
        assert_eq!(
            got.map_err(|error| kind(&error)),
            expect.map_err(str::to_owned)
        );
    };
    check(1, 5, Err("LeaseExists"));
    check(0, 5, Err("LeaseNotFound"));
    check(2, 9_000_000_001, Err("LeaseTtl"));
    check(2, 9_000_000_000, Ok(9_000_000_000));
    check(-3, 0, Ok(2));
    check(4, -5, Ok(2));
    assert_eq!(state.lease_ttl(-3), Some(2));
    assert_eq!(state.revision(), 1);
}

#[test]
fn a_full_store_takes_only_what_needs_no_room() {
    let mut state = granted(&[1]);
    let alarm = |member, on| Command::Alarm {
        member,
        alarm: Alarm::NoSpace,
        on,
    };
    let full = |state: &mut State, txn: Txn| match state.apply_command(&Command::Txn(txn)) {
        Outcome::Txn(outcome) => matches!(outcome, Err(Error::NoSpace)),
        outcome => panic!("{outcome:?}"),
    };
    state.apply_command(&alarm(7, true));
    state.apply_command(&alarm(8, true));
    assert!(full(&mut state, Txn::put("a", "1")));
    assert!(full(
        &mut state,
        does(vec![nested(vec![], vec![put("a", "1")])])
    ));
    assert!(!full(&mut state, Txn::delete(KeyRange::all())));
    assert!(!full(&mut state, does(vec![read(KeyRange::all())])));
    let grant = Command::LeaseGrant {
        id: 2,
        ttl_seconds: 9,
    };
    assert!(matches!(
        state.apply_command(&grant),
        Outcome::LeaseGrant(Err(Error::NoSpace))
    ));
    let revoked = state.apply_command(&Command::LeaseRevoke { id: 1 });
    assert!(matches!(revoked, Outcome::LeaseRevoke(Ok(1))));
    state.apply_command(&alarm(7, false));
    assert!(full(&mut state, Txn::put("a", "1")));
    let Outcome::Alarm(off) = state.apply_command(&alarm(0, false)) else {
        panic!();
    };
    assert_eq!(off, [(8, Alarm::NoSpace)]);
    assert!(!full(&mut state, Txn::put("a", "1")));
}

#[test]
fn a_removed_member_is_remembered_and_stays_out() {
    let mut state = State::new();
    let member = |id, name: &str, peer: &str, client: &str| Member {
        id,
        name: name.to_owned(),
        peer_urls: Vec::from_iter((!peer.is_empty()).then(|| peer.to_owned())),
        client_urls: Vec::from_iter((!client.is_empty()).then(|| client.to_owned())),
        learner: false,
    };
    let one = member(1, "", "p1", "");
    state.set_member(Member {
        learner: true,
        ..one
    });
    state.set_member(member(2, "two", "p2", "c2"));
    // A member that publishes, and somebody who moves it: neither undoes the other's change, nor makes it a voter.
    state.apply_command(&Command::SetMember(member(1, "one", "", "c1")));
    state.apply_command(&Command::SetMember(member(1, "", "p9", "")));
    let mut expect = member(1, "one", "p9", "c1");
    expect.learner = true;
    assert_eq!(state.member(1), Some(&expect));
    state.set_learner(1, false);
    expect.learner = false;
    assert_eq!(state.members(), [expect, member(2, "two", "p2", "c2")]);

    state.set_alarm(2, Alarm::Corrupt, true);
    state.remove_member(2);
    assert!(state.is_removed(2) && !state.is_removed(1) && state.alarms().is_empty());
    state.set_member(member(2, "two", "p2", "c2"));
    let refused = state.apply_command(&Command::SetMember(member(2, "two", "p2", "c2")));
    assert!(matches!(
        refused,
        Outcome::SetMember(Err(Error::MemberNotFound { id: 2 }))
    ));
    assert_eq!(state.members().len(), 1);
    assert_eq!(rebuilt(&state).group, state.group);
}

#[test]
fn a_hash_tells_every_difference_and_nothing_else() {
    let base = after(&[vec![put("a", "1")], vec![put("b", "2")]]);
    let hash = base.hash(0).unwrap().hash;
    assert_eq!(base.hash(3).unwrap().hash, hash);
    let mut later = base.clone();
    later.apply(&Txn::delete(KeyRange::all())).unwrap();
    later.compact(3).unwrap();
    assert_eq!(later.hash(3).unwrap().hash, hash);
    let none = later.hash(0).unwrap();
    assert_eq!((none.revision, none.compacted), (4, 3));
    assert!(matches!(later.hash(2), Err(Error::Compacted { .. })));
    assert!(matches!(later.hash(5), Err(Error::FutureRevision { .. })));
    let mut leased = granted(&[1]);
    leased.apply(&Txn::put("a", "1")).unwrap();
    leased
        .apply(&does(vec![Op::put_with_lease("b", "2", 1)]))
        .unwrap();
    let others = [
        leased,
        later,
        after(&[vec![put("a", "1")], vec![put("b", "3")]]),
        after(&[vec![put("a", "1")], vec![put("b2", "")]]),
        after(&[vec![put("a", "1"), put("b", "2")], vec![put("b", "2")]]),
        after(&[vec![put("a", "1")], vec![put("c", "2")]]),
        after(&[vec![put("a", "1")]]),
    ];
    for other in others {
        assert_ne!(other.hash(0).unwrap().hash, hash, "{}", shown(&other, None));
    }
}

#[test]
fn what_a_damaged_snapshot_could_say_is_refused() {
    let kv = |key: &str, create_revision, mod_revision, version, lease| crate::KeyValue {
        key: bytes(key),
        value: bytes("v"),
        create_revision,
        mod_revision,
        version,
        lease,
    };
    let base = |kvs: Vec<crate::KeyValue>| {
        let mut restore = Restore::new(9)?;
        restore.lease(5, 60)?;
        for kv in kvs {
            restore.base(kv)?;
        }
        restore.finish()
    };
    let check = |kvs: Vec<crate::KeyValue>, good: bool| {
        assert_eq!(base(kvs.clone()).is_ok(), good, "{kvs:?}");
    };
    check(vec![kv("a", 2, 9, 8, 5), kv("b", 9, 9, 1, 0)], true);
    check(vec![kv("a", 2, 9, 1, 6)], false);
    check(vec![kv("a", 2, 9, 9, 0)], false);
    check(vec![kv("a", 2, 9, u64::MAX, 0)], false);
    check(vec![kv("a", 2, 9, 0, 0)], false);
    check(vec![kv("a", 3, 2, 1, 0)], false);
    check(vec![kv("a", 0, 2, 1, 0)], false);
    check(vec![kv("a", 2, 10, 1, 0)], false);
    check(vec![kv("", 2, 2, 1, 0)], false);
    check(vec![kv("a", 2, 2, 1, 0), kv("a", 2, 2, 1, 0)], false);
    assert!(Restore::new(u64::MAX).is_err());
    assert!(Restore::new(9).unwrap().lease(0, 60).is_err());
    let lease_twice = |restore: &mut Restore| restore.lease(1, 60).and(restore.lease(1, 60));
    assert!(lease_twice(&mut Restore::new(9).unwrap()).is_err());
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
