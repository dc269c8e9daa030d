//! Leases, alarms, members.

use super::*;

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
