//! What clients did and saw, and whether it is what a single store without faults could have shown them.
//!
//! Every write has a revision, and the revisions are the order in which the writes took effect. So linearizability needs
//! no search: the store's own history is replayed, every answer must be what it says at the answer's revision, and
//! revisions must not go back between an answer and a request made after it.

use std::collections::{BTreeMap, HashMap};

use crate::kv::{Event, EventKind, Revision};

/// What a client asked for. Values are unique.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Put {
        key: String,
        value: String,
    },
    /// Put if the key was last written at this revision.
    Swap {
        key: String,
        seen: Revision,
        value: String,
    },
    Read {
        key: String,
    },
}

/// What it was told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// It wrote, at this revision.
    Wrote(Revision),
    /// The key was not as expected, as of this revision.
    Differs(Revision),
    /// The key's value and the revision that wrote it, as of a revision.
    Found(Option<(String, Revision)>, Revision),
    /// It did not happen.
    Failed,
    /// It may have happened.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) asked: Asked,
    pub(super) told: Told,
}

/// The keys at a revision: value and the revision that wrote it.
type Keys = HashMap<String, (String, Revision)>;

/// Says what is wrong with a history, given every event of the store by revision.
pub(super) fn check(
    operations: &[Operation],
    events: &BTreeMap<Revision, Vec<Event>>,
) -> Result<(), String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut written: HashMap<String, Revision> = HashMap::new();
    for (revision, events) in events {
        for event in events.iter().filter(|event| event.kind == EventKind::Put) {
            let value = text(&event.kv.value);
            if let Some(before) = written.insert(value.clone(), *revision) {
                return Err(format!(
                    "{value} was written twice, at {before} and {revision}"
                ));
            }
        }
    }

    // What an answer says must be so at its revision.
    let mut by_revision: BTreeMap<Revision, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        match (&operation.asked, &operation.told) {
            (Asked::Put { value, .. } | Asked::Swap { value, .. }, Told::Wrote(revision))
                if written.get(value) != Some(revision) =>
            {
                return Err(format!(
                    "an acknowledged write is lost: {operation:?}; the store has it at {:?}",
                    written.get(value)
                ));
            }
            (Asked::Put { value, .. } | Asked::Swap { value, .. }, Told::Failed) => {
                if let Some(revision) = written.get(value) {
                    return Err(format!(
                        "what was said to have failed is there at {revision}: {operation:?}"
                    ));
                }
            }
            (_, Told::Differs(revision) | Told::Found(_, revision)) => {
                by_revision.entry(*revision).or_default().push(operation);
            }
            _ => {}
        }
        if let (Asked::Swap { value, .. }, Told::Differs(_)) = (&operation.asked, &operation.told)
            && let Some(revision) = written.get(value)
        {
            return Err(format!(
                "what was refused is there at {revision}: {operation:?}"
            ));
        }
    }
    let mut keys = Keys::new();
    let mut history = events.iter().peekable();
    for (revision, operations) in by_revision {
        while let Some((at, events)) = history.next_if(|(at, _)| **at <= revision) {
            for event in events {
                let key = text(&event.kv.key);
                match event.kind {
                    EventKind::Put => keys.insert(key, (text(&event.kv.value), *at)),
                    EventKind::Delete => keys.remove(&key),
                };
            }
        }
        for operation in operations {
            judge(operation, &keys)?;
        }
    }
    check_order(operations)
}

fn judge(operation: &Operation, keys: &Keys) -> Result<(), String> {
    match (&operation.asked, &operation.told) {
        (Asked::Read { key }, Told::Found(found, _)) if keys.get(key) != found.as_ref() => Err(
            format!("{operation:?}, but the key was {:?}", keys.get(key)),
        ),
        (Asked::Swap { key, seen, .. }, Told::Differs(_))
            if keys.get(key).map_or(0, |(_, revision)| *revision) == *seen =>
        {
            Err(format!("{operation:?}, but the key was as expected"))
        }
        _ => Ok(()),
    }
}

/// Revisions must not go back in time.
fn check_order(operations: &[Operation]) -> Result<(), String> {
    let revision = |operation: &Operation| match operation.told {
        Told::Wrote(revision) | Told::Differs(revision) | Told::Found(_, revision) => {
            Some(revision)
        }
        Told::Failed | Told::Unknown => None,
    };
    let mut by_end: Vec<&Operation> = operations.iter().collect();
    by_end.sort_by_key(|operation| operation.ended);
    let mut by_begin = by_end.clone();
    by_begin.sort_by_key(|operation| operation.began);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<&Operation> = None;
    for operation in by_begin {
        while let Some(before) = ended.next_if(|before| before.ended < operation.began) {
            if revision(before) > newest.and_then(revision) {
                newest = Some(before);
            }
        }
        let (Some(before), Some(now)) = (newest, revision(operation)) else {
            continue;
        };
        let wrote = matches!(operation.told, Told::Wrote(_));
        let least = revision(before).unwrap_or(0) + u64::from(wrote);
        if now < least {
            return Err(format!(
                "{operation:?} is stale: {before:?} had ended before it began"
            ));
        }
    }
    Ok(())
}
