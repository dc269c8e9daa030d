//! Transactions.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Events, State, history};
use crate::error::Error;
use crate::kv::{Event, EventKind, KeyRange, KeyValue, Revision};
use crate::txn::{Compare, CompareOp, Op, OpResponse, Txn, TxnResponse};

/// Refuses what no state could make valid: empty keys, and branches that write one key twice.
pub(crate) fn check_txn(txn: &Txn) -> Result<(), Error> {
    for compare in &txn.compare {
        if compare.key().is_empty() {
            return Err(Error::EmptyKey { what: "compare" });
        }
    }
    check_branch(&txn.success)?;
    check_branch(&txn.failure)
}

fn check_branch(ops: &[Op]) -> Result<(), Error> {
    let mut put = BTreeSet::new();
    let mut deleted = Vec::new();
    for op in ops {
        match op {
            Op::Put { key, .. } if key.is_empty() => return Err(Error::EmptyKey { what: "put" }),
            Op::Put { key, .. } => {
                if !put.insert(key) {
                    return Err(Error::DuplicateKey { key: key.clone() });
                }
            }
            Op::Delete { range, .. } => deleted.push(range),
            Op::Range(_) => {}
        }
    }
    for range in deleted {
        // The puts are ordered, so the first at or behind the range's start decides.
        if let Some(key) = put.range::<&Bytes, _>(range.start()..).next()
            && range.contains(key)
        {
            return Err(Error::DuplicateKey {
                key: (*key).clone(),
            });
        }
    }
    Ok(())
}

impl State {
    /// Runs a transaction. An error leaves the state as it was.
    pub(crate) fn apply(&mut self, txn: &Txn) -> Result<TxnResponse, Error> {
        check_txn(txn)?;
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        // Reads can fail (a revision that is compacted or to come); they are judged before anything is written.
        for op in ops {
            if let Op::Range(request) = op {
                self.check_readable(request)?;
            }
        }

        let revision = self.revision + 1;
        let mut events = Vec::new();
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                Op::Put { key, value, lease } => OpResponse::Put {
                    prev_kv: self.put(revision, key, value, *lease, &mut events),
                },
                Op::Delete { range, prev_kv } => {
                    let prev_kvs = self.delete(revision, range, &mut events);
                    OpResponse::Delete {
                        deleted: prev_kvs.len() as u64,
                        prev_kvs: if *prev_kv { prev_kvs } else { Vec::new() },
                    }
                }
                Op::Range(request) => {
                    let mut response = self.range_amid(request, !events.is_empty())?;
                    if !events.is_empty() {
                        response.revision = revision;
                    }
                    OpResponse::Range(response)
                }
            });
        }

        if !events.is_empty() {
            self.record(events.into());
        }
        Ok(TxnResponse {
            succeeded,
            revision: self.revision,
            responses,
        })
    }

    fn put(
        &mut self,
        revision: Revision,
        key: &Bytes,
        value: &Bytes,
        lease: i64,
        events: &mut Vec<Event>,
    ) -> Option<KeyValue> {
        let prev = self.live.get(key).cloned();
        let kv = Arc::new(match &prev {
            Some(prev) => KeyValue {
                key: prev.key.clone(),
                value: value.clone(),
                create_revision: prev.create_revision,
                mod_revision: revision,
                version: prev.version + 1,
                lease,
            },
            None => KeyValue {
                key: key.clone(),
                value: value.clone(),
                create_revision: revision,
                mod_revision: revision,
                version: 1,
                lease,
            },
        });
        let event = Event {
            kind: EventKind::Put,
            kv: (*kv).clone(),
            prev_kv: prev.as_deref().cloned(),
        };
        let prev_kv = event.prev_kv.clone();
        events.push(event);
        self.replace(revision, kv, prev);
        prev_kv
    }

    fn delete(
        &mut self,
        revision: Revision,
        range: &KeyRange,
        events: &mut Vec<Event>,
    ) -> Vec<KeyValue> {
        let doomed: Vec<Arc<KeyValue>> = self.live_in(range).cloned().collect();
        doomed
            .into_iter()
            .map(|prev| {
                let prev_kv = (*prev).clone();
                events.push(deletion(revision, prev_kv.clone()));
                self.remove(revision, prev);
                prev_kv
            })
            .collect()
    }

    /// Makes `kv` the newest version of its key and keeps the one before for reads at older revisions.
    pub(super) fn replace(
        &mut self,
        revision: Revision,
        kv: Arc<KeyValue>,
        prev: Option<Arc<KeyValue>>,
    ) {
        self.live.insert(kv.key.clone(), kv);
        if let Some(prev) = prev {
            self.retire(revision, prev);
        }
    }

    /// Removes a key and keeps its last version for reads at older revisions.
    pub(super) fn remove(&mut self, revision: Revision, prev: Arc<KeyValue>) {
        self.live.remove(&prev.key);
        self.retire(revision, prev);
    }

    fn retire(&mut self, revision: Revision, prev: Arc<KeyValue>) {
        let key = super::PastKey {
            key: prev.key.clone(),
            until: revision,
        };
        self.past.insert(key, prev);
    }

    /// Ends a revision: its events become history.
    pub(super) fn record(&mut self, events: Events) {
        self.history_bytes += history::events_bytes(&events);
        self.log.push_back(events);
        self.revision += 1;
    }

    fn holds(&self, compare: &Compare) -> bool {
        let kv = self.live.get(compare.key());
        let number = |read: fn(&KeyValue) -> u64| kv.map_or(0, |kv| read(kv));
        match compare {
            Compare::ModRevision { op, value, .. } => {
                related(*op, number(|kv| kv.mod_revision).cmp(value))
            }
            Compare::CreateRevision { op, value, .. } => {
                related(*op, number(|kv| kv.create_revision).cmp(value))
            }
            Compare::Version { op, value, .. } => related(*op, number(|kv| kv.version).cmp(value)),
            Compare::Value { op, value, .. } => {
                kv.is_some_and(|kv| related(*op, kv.value.cmp(value)))
            }
            Compare::Lease { op, value, .. } => {
                related(*op, kv.map_or(0, |kv| kv.lease).cmp(value))
            }
        }
    }
}

impl Compare {
    /// The key that the condition is on.
    pub(crate) fn key(&self) -> &Bytes {
        match self {
            Self::ModRevision { key, .. }
            | Self::CreateRevision { key, .. }
            | Self::Version { key, .. }
            | Self::Value { key, .. }
            | Self::Lease { key, .. } => key,
        }
    }
}

/// The event of a deletion: of the key afterwards, its name and the deleting revision are all there is to say.
pub(super) fn deletion(revision: Revision, prev_kv: KeyValue) -> Event {
    Event {
        kind: EventKind::Delete,
        kv: KeyValue {
            key: prev_kv.key.clone(),
            mod_revision: revision,
            ..KeyValue::default()
        },
        prev_kv: Some(prev_kv),
    }
}

fn related(op: CompareOp, stored_to_given: Ordering) -> bool {
    match op {
        CompareOp::Equal => stored_to_given.is_eq(),
        CompareOp::NotEqual => stored_to_given.is_ne(),
        CompareOp::Greater => stored_to_given.is_gt(),
        CompareOp::Less => stored_to_given.is_lt(),
    }
}
