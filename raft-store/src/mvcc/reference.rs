//! The semantics once more, as simple as they can be written: a full copy of the keys for every revision. Property
//! tests hold the real state machine against it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::kv::{Event, EventKind, KeyRange, KeyValue, Revision};
use crate::txn::{
    Compare, CompareOp, Op, OpResponse, RangeRequest, RangeResponse, Txn, TxnResponse,
};

type Keys = BTreeMap<Bytes, KeyValue>;

pub(super) struct Reference {
    /// The keys at revision 1, 2, ..
    keys: Vec<Keys>,
    /// The events of revision 1 (none), 2, ..
    pub(super) events: Vec<Vec<Event>>,
    pub(super) compacted: Revision,
}

impl Reference {
    pub(super) fn new() -> Self {
        Self {
            keys: vec![Keys::new()],
            events: vec![Vec::new()],
            compacted: 0,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.keys.len() as u64
    }

    /// `None` for a transaction that is refused.
    pub(super) fn apply(&mut self, txn: &Txn) -> Option<TxnResponse> {
        if refused(&txn.success) || refused(&txn.failure) {
            return None;
        }
        let mut keys = self.keys.last().unwrap().clone();
        let succeeded = txn.compare.iter().all(|compare| holds(&keys, compare));
        let ops = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let next = self.revision() + 1;
        let mut events = Vec::new();
        let mut responses = Vec::new();
        for op in ops {
            responses.push(match op {
                Op::Put { key, value, lease } => {
                    let prev_kv = keys.get(key).cloned();
                    let kv = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: prev_kv.as_ref().map_or(next, |kv| kv.create_revision),
                        mod_revision: next,
                        version: prev_kv.as_ref().map_or(0, |kv| kv.version) + 1,
                        lease: *lease,
                    };
                    keys.insert(key.clone(), kv.clone());
                    events.push(Event {
                        kind: EventKind::Put,
                        kv,
                        prev_kv: prev_kv.clone(),
                    });
                    OpResponse::Put { prev_kv }
                }
                Op::Delete { range, prev_kv } => {
                    let doomed: Vec<_> = keys
                        .values()
                        .filter(|kv| range.contains(&kv.key))
                        .cloned()
                        .collect();
                    for kv in &doomed {
                        keys.remove(&kv.key);
                        events.push(Event {
                            kind: EventKind::Delete,
                            kv: KeyValue {
                                key: kv.key.clone(),
                                mod_revision: next,
                                ..KeyValue::default()
                            },
                            prev_kv: Some(kv.clone()),
                        });
                    }
                    OpResponse::Delete {
                        deleted: doomed.len() as u64,
                        prev_kvs: if *prev_kv { doomed } else { Vec::new() },
                    }
                }
                Op::Range(request) => {
                    let revision = if events.is_empty() { next - 1 } else { next };
                    match request.at_revision {
                        None => OpResponse::Range(select(&keys, request, revision)),
                        Some(_) => OpResponse::Range(RangeResponse {
                            revision,
                            ..self.range(request)?
                        }),
                    }
                }
            });
        }
        if !events.is_empty() {
            self.keys.push(keys);
            self.events.push(events);
        }
        Some(TxnResponse {
            succeeded,
            revision: self.revision(),
            responses,
        })
    }

    /// `None` for a revision that cannot be read.
    pub(super) fn range(&self, request: &RangeRequest) -> Option<RangeResponse> {
        let at = request.at_revision.unwrap_or(self.revision());
        if at < self.compacted || at > self.revision() {
            return None;
        }
        let empty = Keys::new();
        let keys = if at == 0 {
            &empty
        } else {
            &self.keys[at as usize - 1]
        };
        Some(select(keys, request, self.revision()))
    }

    pub(super) fn compact(&mut self, at: Revision) -> bool {
        let possible = at > self.compacted && at <= self.revision();
        if possible {
            self.compacted = at;
        }
        possible
    }
}

fn refused(ops: &[Op]) -> bool {
    let puts: Vec<&Bytes> = ops
        .iter()
        .filter_map(|op| match op {
            Op::Put { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    let twice = (1..puts.len()).any(|at| puts[..at].contains(&puts[at]));
    let deleted = |range: &KeyRange| puts.iter().any(|key| range.contains(key));
    twice
        || ops
            .iter()
            .any(|op| matches!(op, Op::Delete { range, .. } if deleted(range)))
}

fn select(keys: &Keys, request: &RangeRequest, revision: Revision) -> RangeResponse {
    let mut kvs: Vec<KeyValue> = keys
        .values()
        .filter(|kv| request.range.contains(&kv.key))
        .cloned()
        .collect();
    let count = kvs.len();
    if request.limit > 0 {
        kvs.truncate(request.limit);
    }
    let more = !request.count_only && kvs.len() < count;
    if request.count_only {
        kvs.clear();
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResponse {
        revision,
        kvs,
        count,
        more,
    }
}

fn holds(keys: &Keys, compare: &Compare) -> bool {
    let kv = keys.get(compare.key());
    let zero = KeyValue::default();
    let (op, ordering) = match compare {
        Compare::ModRevision { op, value, .. } => (op, kv.unwrap_or(&zero).mod_revision.cmp(value)),
        Compare::CreateRevision { op, value, .. } => {
            (op, kv.unwrap_or(&zero).create_revision.cmp(value))
        }
        Compare::Version { op, value, .. } => (op, kv.unwrap_or(&zero).version.cmp(value)),
        Compare::Lease { op, value, .. } => (op, kv.unwrap_or(&zero).lease.cmp(value)),
        Compare::Value { op, value, .. } => match kv {
            Some(kv) => (op, kv.value.cmp(value)),
            None => return false,
        },
    };
    match op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => !ordering.is_eq(),
        CompareOp::Greater => ordering.is_gt(),
        CompareOp::Less => ordering.is_lt(),
    }
}
