//! The semantics once more, as simple as they can be written: a full copy of the keys for every revision. Property
//! tests hold the real state machine against it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is what is looked for")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::command::Command;
use crate::kv::{Event, EventKind, KeyRange, KeyValue, Revision};
use crate::lessor::LeaseGranted;
use crate::member::{Alarm, Member};
use crate::txn::{
    Compare, CompareOp, CompareTarget, Op, OpResponse, RangeRequest, RangeResponse, Txn,
    TxnResponse,
};

type Keys = BTreeMap<Bytes, KeyValue>;

/// The name of the error of what is refused.
pub(super) type Refused = &'static str;

/// What a command came to.
#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    Txn(Result<TxnResponse, Refused>),
    Compact(Result<(), Refused>),
    LeaseGrant(Result<LeaseGranted, Refused>),
    LeaseRevoke(Result<Revision, Refused>),
    SetMember(Result<(), Refused>),
    Alarm(Vec<(u64, Alarm)>),
}

pub(super) struct Reference {
    /// The keys at revision 1, 2, ..
    pub(super) keys: Vec<Keys>,
    /// The events of revision 1 (none), 2, ..
    pub(super) events: Vec<Vec<Event>>,
    pub(super) compacted: Revision,
    pub(super) leases: BTreeMap<i64, i64>,
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) removed: BTreeSet<u64>,
    pub(super) alarms: BTreeSet<(u64, Alarm)>,
}

impl Reference {
    pub(super) fn new() -> Self {
        Self {
            keys: vec![Keys::new()],
            events: vec![Vec::new()],
            compacted: 0,
            leases: BTreeMap::new(),
            members: BTreeMap::new(),
            removed: BTreeSet::new(),
            alarms: BTreeSet::new(),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.keys.len() as u64
    }

    pub(super) fn newest(&self) -> &Keys {
        self.keys.last().unwrap()
    }

    pub(super) fn apply(&mut self, command: &Command) -> Expected {
        let full = self
            .alarms
            .iter()
            .any(|(_, alarm)| *alarm == Alarm::NoSpace);
        match command {
            Command::Txn(txn) if full && puts(txn) => Expected::Txn(Err("NoSpace")),
            Command::Txn(txn) => Expected::Txn(self.txn(txn)),
            Command::Compact(at) => Expected::Compact(self.compact(*at)),
            Command::LeaseGrant { .. } if full => Expected::LeaseGrant(Err("NoSpace")),
            Command::LeaseGrant { id, ttl_seconds } => {
                Expected::LeaseGrant(self.grant(*id, *ttl_seconds))
            }
            Command::LeaseRevoke { id } => Expected::LeaseRevoke(self.revoke(*id)),
            Command::SetMember(member) => Expected::SetMember(self.describe(member)),
            Command::Alarm { member, alarm, on } => {
                Expected::Alarm(self.alarm(*member, *alarm, *on))
            }
        }
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnResponse, Refused> {
        for ops in [&txn.success, &txn.failure] {
            let writes = writes(ops);
            if (1..writes.len()).any(|at| writes[..at].iter().any(|one| clash(one, &writes[at]))) {
                return Err("DuplicateKey");
            }
        }
        let mut run = Run {
            reference: self,
            keys: self.newest().clone(),
            events: Vec::new(),
        };
        let response = run.txn(txn)?;
        let Run { keys, events, .. } = run;
        self.record(keys, events);
        Ok(response)
    }

    fn record(&mut self, keys: Keys, events: Vec<Event>) {
        if !events.is_empty() {
            self.keys.push(keys);
            self.events.push(events);
        }
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Refused> {
        let at = request.at_revision.unwrap_or(self.revision());
        if at > self.revision() {
            return Err("FutureRevision");
        }
        if at < self.compacted {
            return Err("Compacted");
        }
        let empty = Keys::new();
        let keys = if at == 0 {
            &empty
        } else {
            &self.keys[at as usize - 1]
        };
        Ok(select(keys, request, self.revision()))
    }

    fn compact(&mut self, at: Revision) -> Result<(), Refused> {
        if at <= self.compacted {
            return Err("Compacted");
        }
        if at > self.revision() {
            return Err("FutureRevision");
        }
        self.compacted = at;
        Ok(())
    }

    fn grant(&mut self, id: i64, ttl: i64) -> Result<LeaseGranted, Refused> {
        match (id, ttl) {
            (0, _) => return Err("LeaseNotFound"),
            (_, 9_000_000_001..) => return Err("LeaseTtl"),
            (id, _) if self.leases.contains_key(&id) => return Err("LeaseExists"),
            _ => {}
        }
        self.leases.insert(id, ttl.max(2));
        Ok(LeaseGranted {
            id,
            ttl_seconds: ttl.max(2),
            revision: self.revision(),
        })
    }

    fn revoke(&mut self, id: i64) -> Result<Revision, Refused> {
        self.leases.remove(&id).ok_or("LeaseNotFound")?;
        let next = self.revision() + 1;
        let mut keys = self.newest().clone();
        let events = keys
            .extract_if(.., |_, kv| kv.lease == id)
            .map(|(_, kv)| deletion(next, kv))
            .collect();
        self.record(keys, events);
        Ok(self.revision())
    }

    pub(super) fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        let attached = self.newest().values().filter(|kv| kv.lease == id);
        attached.map(|kv| kv.key.clone()).collect()
    }

    fn describe(&mut self, told: &Member) -> Result<(), Refused> {
        if self.removed.contains(&told.id) {
            return Err("MemberNotFound");
        }
        let Some(known) = self.members.get_mut(&told.id) else {
            self.members.insert(told.id, told.clone());
            return Ok(());
        };
        let learner = known.learner;
        let old = std::mem::replace(known, told.clone());
        known.learner = learner;
        if told.name.is_empty() {
            known.name = old.name;
        }
        if told.peer_urls.is_empty() {
            known.peer_urls = old.peer_urls;
        }
        if told.client_urls.is_empty() {
            known.client_urls = old.client_urls;
        }
        Ok(())
    }

    fn alarm(&mut self, member: u64, alarm: Alarm, on: bool) -> Vec<(u64, Alarm)> {
        if on {
            self.alarms.insert((member, alarm));
            return vec![(member, alarm)];
        }
        let all = self.alarms.clone();
        self.alarms
            .retain(|(of, which)| *which != alarm || (member != 0 && *of != member));
        all.difference(&self.alarms).copied().collect()
    }
}

/// A transaction under way.
struct Run<'a> {
    reference: &'a Reference,
    keys: Keys,
    events: Vec<Event>,
}

impl Run<'_> {
    fn txn(&mut self, txn: &Txn) -> Result<TxnResponse, Refused> {
        let before = self.reference.newest();
        let succeeded = txn.compare.iter().all(|compare| holds(before, compare));
        let ops = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let responses = ops.iter().map(|op| self.op(op)).collect::<Result<_, _>>()?;
        Ok(TxnResponse {
            succeeded,
            revision: self.revision(),
            responses,
        })
    }

    fn revision(&self) -> Revision {
        self.reference.revision() + u64::from(!self.events.is_empty())
    }

    fn op(&mut self, op: &Op) -> Result<OpResponse, Refused> {
        let next = self.reference.revision() + 1;
        Ok(match op {
            Op::Put {
                key,
                value,
                lease,
                ignore_value,
                ignore_lease,
            } => {
                let prev_kv = self.keys.get(key).cloned();
                let (mut value, mut lease) = (value.clone(), *lease);
                if *ignore_value {
                    value = prev_kv.as_ref().ok_or("KeyNotFound")?.value.clone();
                }
                if *ignore_lease {
                    lease = prev_kv.as_ref().ok_or("KeyNotFound")?.lease;
                }
                if lease != 0 && !self.reference.leases.contains_key(&lease) {
                    return Err("LeaseNotFound");
                }
                let kv = KeyValue {
                    key: key.clone(),
                    value,
                    create_revision: prev_kv.as_ref().map_or(next, |kv| kv.create_revision),
                    mod_revision: next,
                    version: prev_kv.as_ref().map_or(0, |kv| kv.version) + 1,
                    lease,
                };
                self.keys.insert(key.clone(), kv.clone());
                self.events.push(Event {
                    kind: EventKind::Put,
                    kv,
                    prev_kv: prev_kv.clone(),
                });
                OpResponse::Put { prev_kv }
            }
            Op::Delete { range, prev_kv } => {
                let doomed: Vec<_> = self
                    .keys
                    .extract_if(.., |key, _| range.contains(key))
                    .map(|(_, kv)| kv)
                    .collect();
                self.events
                    .extend(doomed.iter().map(|kv| deletion(next, kv.clone())));
                OpResponse::Delete {
                    deleted: doomed.len() as u64,
                    prev_kvs: if *prev_kv { doomed } else { Vec::new() },
                }
            }
            Op::Range(request) => {
                let mut response = match request.at_revision {
                    None => select(&self.keys, request, 0),
                    Some(_) => self.reference.range(request)?,
                };
                response.revision = self.revision();
                OpResponse::Range(response)
            }
            Op::Txn(txn) => OpResponse::Txn(self.txn(txn)?),
        })
    }
}

fn deletion(revision: Revision, prev: KeyValue) -> Event {
    Event {
        kind: EventKind::Delete,
        kv: KeyValue {
            key: prev.key.clone(),
            mod_revision: revision,
            ..KeyValue::default()
        },
        prev_kv: Some(prev),
    }
}

fn puts(txn: &Txn) -> bool {
    let mut ops = txn.success.iter().chain(&txn.failure);
    ops.any(|op| matches!(op, Op::Put { .. }) || matches!(op, Op::Txn(txn) if puts(txn)))
}

/// A put or delete, and the way to it: the place of a step, and the branch of it that is taken from there.
type Write<'a> = (Vec<(usize, bool)>, usize, &'a Op);

fn writes(ops: &[Op]) -> Vec<Write<'_>> {
    let mut found = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Put { .. } | Op::Delete { .. } => found.push((Vec::new(), at, op)),
            Op::Range(_) => {}
            Op::Txn(txn) => {
                for (branch, ops) in [(true, &txn.success), (false, &txn.failure)] {
                    found.extend(writes(ops).into_iter().map(|(mut way, last, op)| {
                        way.insert(0, (at, branch));
                        (way, last, op)
                    }));
                }
            }
        }
    }
    found
}

/// Whether two writes of a branch exclude each other.
fn clash(one: &Write<'_>, other: &Write<'_>) -> bool {
    let same = one.0.iter().zip(&other.0).take_while(|(a, b)| a == b);
    let fork = same.count();
    let place = |write: &Write<'_>| write.0.get(fork).map_or(write.1, |(at, _)| *at);
    if place(one) == place(other) {
        // The two branches of one transaction.
        return false;
    }
    let nested = |write: &Write<'_>| write.0.len() > fork;
    match (one.2, other.2) {
        (Op::Put { key: one, .. }, Op::Put { key: other, .. }) => one == other,
        (Op::Put { key, .. }, Op::Delete { range, .. }) => {
            let gap = nested(one) && nested(other) && place(one) < place(other);
            range.contains(key) && !gap
        }
        (Op::Delete { .. }, Op::Put { .. }) => clash(other, one),
        _ => false,
    }
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
    let KeyRange::Key(_) = &compare.range else {
        let inside: Vec<&Bytes> = keys
            .keys()
            .filter(|key| compare.range.contains(key))
            .collect();
        if !inside.is_empty() {
            return inside.into_iter().all(|key| {
                let of_key = compare.clone().over(KeyRange::Key(key.clone()));
                holds(keys, &of_key)
            });
        }
        return holds(&Keys::new(), &compare.clone().over(KeyRange::key("none")));
    };
    let kv = keys.values().find(|kv| compare.range.contains(&kv.key));
    let zero = KeyValue::default();
    let ordering = match &compare.target {
        CompareTarget::ModRevision(value) => kv.unwrap_or(&zero).mod_revision.cmp(value),
        CompareTarget::CreateRevision(value) => kv.unwrap_or(&zero).create_revision.cmp(value),
        CompareTarget::Version(value) => kv.unwrap_or(&zero).version.cmp(value),
        CompareTarget::Lease(value) => kv.unwrap_or(&zero).lease.cmp(value),
        CompareTarget::Value(value) => match kv {
            Some(kv) => kv.value.cmp(value),
            None => return false,
        },
    };
    match compare.op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => !ordering.is_eq(),
        CompareOp::Greater => ordering.is_gt(),
        CompareOp::Less => ordering.is_lt(),
    }
}
