//! Versions, compaction, hashes.

use super::*;

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
