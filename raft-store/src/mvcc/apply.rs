//! Transactions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Events, State, check_txn, history};
use crate::error::Error;
use crate::kv::{Event, EventKind, KeyRange, KeyValue, Revision};
use crate::txn::{Compare, CompareOp, CompareTarget, Op, OpResponse, Txn, TxnResponse};

impl State {
    /// Runs a transaction. An error leaves the state as it was.
    pub(crate) fn apply(&mut self, txn: &Txn) -> Result<TxnResponse, Error> {
        check_txn(txn)?;
        // All conditions are judged, and all steps that can fail are looked at, before anything is written.
        let mut path = Vec::with_capacity(1);
        self.choose(txn, &mut path)?;
        let mut events = Vec::new();
        let response = self.run(txn, &mut path.into_iter(), &mut events)?;
        if !events.is_empty() {
            self.record(events.into());
        }
        Ok(response)
    }

    /// Notes which branch runs, of this transaction and of those nested in the branch, in the order in which they run.
    fn choose(&self, txn: &Txn, path: &mut Vec<bool>) -> Result<(), Error> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        path.push(succeeded);
        for op in branch(txn, succeeded) {
            match op {
                Op::Put {
                    key,
                    lease,
                    ignore_value,
                    ignore_lease,
                    ..
                } => {
                    if (*ignore_value || *ignore_lease) && !self.live.contains_key(key) {
                        return Err(Error::KeyNotFound { key: key.clone() });
                    }
                    if !ignore_lease {
                        self.check_lease(*lease)?;
                    }
                }
                Op::Delete { .. } => {}
                Op::Range(request) => self.check_readable(request)?,
                Op::Txn(txn) => self.choose(txn, path)?,
            }
        }
        Ok(())
    }

    /// Runs the branches that were chosen.
    fn run(
        &mut self,
        txn: &Txn,
        path: &mut impl Iterator<Item = bool>,
        events: &mut Vec<Event>,
    ) -> Result<TxnResponse, Error> {
        // One for each transaction that runs, so there is always a next one.
        let succeeded = path.next().unwrap_or_default();
        let ops = branch(txn, succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                Op::Put { .. } => OpResponse::Put {
                    prev_kv: self.put(op, events),
                },
                Op::Delete { range, prev_kv } => {
                    let prev_kvs = self.delete(range, events);
                    OpResponse::Delete {
                        deleted: prev_kvs.len() as u64,
                        prev_kvs: if *prev_kv { prev_kvs } else { Vec::new() },
                    }
                }
                Op::Range(request) => {
                    let mut response = self.range_amid(request, !events.is_empty())?;
                    response.revision = self.revision_amid(events);
                    OpResponse::Range(response)
                }
                Op::Txn(txn) => OpResponse::Txn(self.run(txn, path, events)?),
            });
        }
        Ok(TxnResponse {
            succeeded,
            revision: self.revision_amid(events),
            responses,
        })
    }

    /// The newest revision, in the middle of a transaction that has led to these events.
    fn revision_amid(&self, events: &[Event]) -> Revision {
        self.revision + u64::from(!events.is_empty())
    }

    /// Writes a key as `op`, a put, says. That what it keeps of the key is there, was seen before.
    fn put(&mut self, op: &Op, events: &mut Vec<Event>) -> Option<KeyValue> {
        let Op::Put {
            key,
            value,
            lease,
            ignore_value,
            ignore_lease,
        } = op
        else {
            return None;
        };
        let revision = self.revision + 1;
        let prev = self.live.get(key).cloned();
        let mut kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: *lease,
        };
        if let Some(prev) = &prev {
            kv.key = prev.key.clone();
            kv.create_revision = prev.create_revision;
            kv.version = prev.version + 1;
            if *ignore_value {
                kv.value = prev.value.clone();
            }
            if *ignore_lease {
                kv.lease = prev.lease;
            }
        }
        let prev_kv = prev.as_deref().cloned();
        events.push(Event {
            kind: EventKind::Put,
            kv: kv.clone(),
            prev_kv: prev_kv.clone(),
        });
        self.replace(revision, Arc::new(kv), prev);
        prev_kv
    }

    fn delete(&mut self, range: &KeyRange, events: &mut Vec<Event>) -> Vec<KeyValue> {
        let doomed: Vec<Arc<KeyValue>> = self.live_in(range).cloned().collect();
        doomed
            .into_iter()
            .map(|prev| {
                let prev_kv = (*prev).clone();
                events.push(deletion(self.revision + 1, prev_kv.clone()));
                self.remove(self.revision + 1, prev);
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
        let lease_before = prev.as_ref().map_or(0, |prev| prev.lease);
        self.attach(&kv.key, lease_before, kv.lease);
        self.live_bytes += history::live_bytes(&kv);
        self.live.insert(kv.key.clone(), kv);
        if let Some(prev) = prev {
            self.retire(revision, prev);
        }
    }

    /// Removes a key and keeps its last version for reads at older revisions.
    pub(super) fn remove(&mut self, revision: Revision, prev: Arc<KeyValue>) {
        self.live.remove(&prev.key);
        self.attach(&prev.key, prev.lease, 0);
        self.retire(revision, prev);
    }

    fn retire(&mut self, revision: Revision, prev: Arc<KeyValue>) {
        self.live_bytes -= history::live_bytes(&prev);
        // Put and deleted by one transaction: no revision shows it, and its place in `past` is that of the version
        // before it.
        if prev.mod_revision == revision {
            return;
        }
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
        if let KeyRange::Key(key) = &compare.range {
            return match self.live.get(key) {
                Some(kv) => holds_of(compare, kv),
                None => holds_of_none(compare),
            };
        }
        let mut keys = self.live_in(&compare.range).peekable();
        if keys.peek().is_none() {
            return holds_of_none(compare);
        }
        keys.all(|kv| holds_of(compare, kv))
    }
}

/// The steps that run.
fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded {
        &txn.success
    } else {
        &txn.failure
    }
}

fn holds_of_none(compare: &Compare) -> bool {
    !matches!(compare.target, CompareTarget::Value(_)) && holds_of(compare, &KeyValue::default())
}

fn holds_of(compare: &Compare, kv: &KeyValue) -> bool {
    let stored_to_given = match &compare.target {
        CompareTarget::ModRevision(given) => kv.mod_revision.cmp(given),
        CompareTarget::CreateRevision(given) => kv.create_revision.cmp(given),
        CompareTarget::Version(given) => kv.version.cmp(given),
        CompareTarget::Value(given) => kv.value.cmp(given),
        CompareTarget::Lease(given) => kv.lease.cmp(given),
    };
    related(compare.op, stored_to_given)
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
