//! Conditions, branches, what is refused.

use super::*;

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
