//! Taking the state apart for a snapshot, and putting it together again.
//!
//! A snapshot is the keys as they were at the compaction point (the base), then every event since. Nothing is stored
//! twice, and the loaded state is rebuilt by the very steps that built the first one.

use std::sync::Arc;

use super::{FIRST_REVISION, REVISION_MAX, State, apply};
use crate::kv::{Event, EventKind, KeyRange, KeyValue, Revision};
use crate::member::{Alarm, Member};

impl State {
    /// Visits the keys as they were at the compaction point, in order.
    pub(crate) fn visit_base(&self, visit: impl FnMut(&Arc<KeyValue>)) {
        if self.compacted > 0 {
            self.visit_at(&KeyRange::all(), self.compacted, visit);
        }
    }

    /// The events since the compaction point, one item for each revision.
    pub(crate) fn log(&self) -> impl Iterator<Item = &[Event]> {
        self.log.iter().map(|events| &events[..])
    }
}

/// A state being put together.
pub(crate) struct Restore {
    state: State,
}

/// What an event of a snapshot says; the rest follows from the state before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(KeyValue),
    Delete(bytes::Bytes),
}

impl From<&Event> for Change {
    fn from(event: &Event) -> Self {
        match event.kind {
            EventKind::Put => Self::Put(event.kv.clone()),
            EventKind::Delete => Self::Delete(event.kv.key.clone()),
        }
    }
}

impl Restore {
    /// Begins with an empty store compacted at `compacted` (0: never).
    pub(crate) fn new(compacted: Revision) -> Result<Self, String> {
        if compacted > REVISION_MAX {
            return Err(format!(
                "it is compacted at {compacted}, which no store reaches"
            ));
        }
        let mut state = State::new();
        state.compacted = compacted;
        state.revision = compacted.max(FIRST_REVISION);
        Ok(Self { state })
    }

    /// Adds a member.
    pub(crate) fn member(&mut self, member: Member) {
        self.state.set_member(member);
    }

    /// Adds the id of a member that was removed.
    pub(crate) fn removed(&mut self, id: u64) {
        self.state.remove_member(id);
    }

    /// Adds an alarm that is on.
    pub(crate) fn alarm(&mut self, member: u64, alarm: Alarm) {
        self.state.set_alarm(member, alarm, true);
    }

    /// Adds a lease.
    pub(crate) fn lease(&mut self, id: i64, ttl_seconds: i64) -> Result<(), String> {
        self.state
            .lease_grant(id, ttl_seconds)
            .map_err(|error| format!("a lease cannot be: {error}"))?;
        Ok(())
    }

    /// Adds a key of the base.
    pub(crate) fn base(&mut self, kv: KeyValue) -> Result<(), String> {
        check_numbers(&kv)?;
        if kv.mod_revision > self.state.revision {
            return Err(format!(
                "a key of the base at revision {} was written at revision {}",
                self.state.revision, kv.mod_revision
            ));
        }
        if self.state.live.contains_key(&kv.key) {
            return Err("a key of the base is there twice".to_owned());
        }
        self.state.replace(kv.mod_revision, Arc::new(kv), None);
        Ok(())
    }

    /// Adds the changes of the next revision.
    pub(crate) fn revision(&mut self, changes: Vec<Change>) -> Result<(), String> {
        let revision = self.state.revision + 1;
        if changes.is_empty() {
            return Err(format!("revision {revision} has no changes"));
        }
        let mut events = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Put(kv) if kv.mod_revision == revision => {
                    check_numbers(&kv)?;
                    let kv = Arc::new(kv);
                    let prev = self.state.live.get(&kv.key).cloned();
                    events.push(Event {
                        kind: EventKind::Put,
                        kv: (*kv).clone(),
                        prev_kv: prev.as_deref().cloned(),
                    });
                    self.state.replace(revision, kv, prev);
                }
                Change::Put(kv) => {
                    return Err(format!(
                        "revision {revision} holds a write of revision {}",
                        kv.mod_revision
                    ));
                }
                Change::Delete(key) => {
                    let Some(prev) = self.state.live.get(&key).cloned() else {
                        return Err(format!(
                            "revision {revision} deletes a key that does not exist"
                        ));
                    };
                    events.push(apply::deletion(revision, (*prev).clone()));
                    self.state.remove(revision, prev);
                }
            }
        }
        self.state.record(events.into());
        Ok(())
    }

    /// The state, complete.
    pub(crate) fn finish(self) -> Result<State, String> {
        // Not sooner: what is read first may hang on leases that ended since.
        match self.state.missing_lease() {
            Some(id) => Err(format!(
                "a key is attached to the lease {id:016x}, which does not exist"
            )),
            None => Ok(self.state),
        }
    }
}

/// Refuses a key with numbers that no history leads to; later writes count on from them.
fn check_numbers(kv: &KeyValue) -> Result<(), String> {
    let possible = !kv.key.is_empty()
        && kv.create_revision > FIRST_REVISION
        && kv.create_revision <= kv.mod_revision
        && kv.version > 0
        && kv.version - 1 <= kv.mod_revision - kv.create_revision;
    if possible {
        return Ok(());
    }
    Err(format!(
        "the key {} says that it was created at revision {} and is in its version {} at revision {}",
        kv.key.escape_ascii(),
        kv.create_revision,
        kv.version,
        kv.mod_revision
    ))
}
