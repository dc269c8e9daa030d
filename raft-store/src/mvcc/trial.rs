//! The state machine held against the reference, step by step: what property tests and a fuzzer do.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is what is looked for")]

use super::reference::{Expected, Reference};
use super::{Change, Outcome, Restore, State, history};
use crate::command::Command;
use crate::error::Error;
use crate::kv::Event;
use crate::member::Member;
use crate::txn::RangeRequest;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Apply(Command),
    /// Compacts to so many revisions before the next one.
    Compact(u64),
    Read(RangeRequest, Option<u64>),
    AddMember(Member),
    RemoveMember(u64),
    SetLearner(u64, bool),
    Rebuild,
}

/// Takes steps from an empty store on, and looks at everything that can be seen after each.
///
/// # Panics
/// Where state and reference differ.
pub(super) fn run(steps: impl IntoIterator<Item = Step>) {
    let mut state = State::new();
    let mut reference = Reference::new();
    // What each revision hashed to when it was the newest.
    let mut hashes = vec![state.hash(0).unwrap().hash];
    for step in steps {
        let mut command = |state: &mut State, command: Command| {
            let decoded = Command::decode(&command.encode());
            assert_eq!(decoded.as_ref(), Ok(&command));
            let outcome = state.apply_command(&command);
            let expected = reference.apply(&command);
            assert!(
                agrees(&outcome, &expected),
                "{:?}: {:?}, not {:?}",
                command,
                outcome,
                expected
            );
        };
        match step {
            Step::Apply(given) => command(&mut state, given),
            Step::Compact(back) => {
                let at = (state.revision() + 1).saturating_sub(back);
                command(&mut state, Command::Compact(at));
                // Left half done on purpose: what is not swept yet must not show.
                state.sweep(2);
            }
            Step::Read(mut request, back) => {
                request.at_revision =
                    back.map(|back| (reference.revision() + 1).saturating_sub(back));
                let got = state.range(&request).map_err(|error| kind(&error));
                assert_eq!(got, reference.range(&request).map_err(str::to_owned));
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
                assert!(!state.is_removed(id) || state.member(id).is_none());
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
                assert_eq!(again.db_bytes(), state.db_bytes_in_use());
                state = again;
            }
        }
        check_all(&state, &reference);
        hashes.extend(
            (hashes.len() < state.revision() as usize).then(|| state.hash(0).unwrap().hash),
        );
        for at in reference.compacted.max(1)..=reference.revision() {
            assert_eq!(state.hash(at).unwrap().hash, hashes[at as usize - 1]);
        }
    }
    // Nothing but what lives is left in memory once all history is compacted, which it may be already.
    let _ = state.compact(state.revision());
    while state.sweep(3) {}
    assert!(state.past.is_empty() && state.log.is_empty());
    assert_eq!(state.db_bytes(), state.live_bytes);
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
fn check_all(state: &State, reference: &Reference) {
    assert_eq!(state.revision(), reference.revision());
    assert_eq!(state.compacted(), reference.compacted);
    let start = reference.compacted.max(1) + 1;
    let events: Vec<Vec<Event>> = state
        .events_from(start, usize::MAX)
        .unwrap()
        .iter()
        .map(|events| events.to_vec())
        .collect();
    let history = &reference.events[start as usize - 1..];
    assert_eq!(&events[..], history);

    let leases: Vec<(i64, i64)> = state.leases().collect();
    let expect: Vec<(i64, i64)> = reference.leases.clone().into_iter().collect();
    assert_eq!(leases, expect);
    for id in 1..4 {
        assert_eq!(state.lease_keys(id), reference.lease_keys(id));
    }
    let attached = reference
        .newest()
        .values()
        .filter(|kv| kv.lease != 0)
        .count();
    assert_eq!(state.attached.len(), attached);

    assert!(state.members().iter().eq(reference.members.values()));
    assert!(
        state
            .removed_members()
            .eq(reference.removed.iter().copied())
    );
    assert!(state.alarms().iter().eq(&reference.alarms));

    let live: usize = reference.newest().values().map(history::live_bytes).sum();
    let past: usize = history
        .iter()
        .map(|events| history::events_bytes(events))
        .sum();
    assert_eq!(state.db_bytes_in_use(), live + past);
    assert!(state.db_bytes() >= live + past);
}

/// The state taken apart and put together, as a snapshot does.
pub(crate) fn rebuilt(state: &State) -> State {
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
pub(crate) fn kind(error: &Error) -> String {
    let name = format!("{error:?}");
    name.split([' ', '{']).next().unwrap_or_default().to_owned()
}
