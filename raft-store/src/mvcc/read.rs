//! Reads, at the newest revision and at older ones.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{PastKey, State, check};
use crate::error::Error;
use crate::kv::{KeyRange, KeyValue, Revision};
use crate::txn::{RangeRequest, RangeResponse};

impl State {
    /// Refuses a read of the empty key, or at a revision that is gone or to come.
    pub(super) fn check_readable(&self, request: &RangeRequest) -> Result<(), Error> {
        check::check_range(&request.range, "range")?;
        request
            .at_revision
            .map_or(Ok(()), |at| self.check_revision(at))
    }

    /// Refuses a revision that is gone or to come.
    pub(super) fn check_revision(&self, requested: Revision) -> Result<(), Error> {
        if requested > self.revision {
            return Err(Error::FutureRevision {
                requested,
                current: self.revision,
            });
        }
        if requested < self.compacted {
            return Err(Error::Compacted {
                requested,
                compacted: self.compacted,
            });
        }
        Ok(())
    }

    /// Reads a range.
    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        self.range_amid(request, false)
    }

    /// Reads a range, in the middle of a transaction that has written if `dirty`: the keys as they are now are then
    /// ahead of the newest revision.
    pub(super) fn range_amid(
        &self,
        request: &RangeRequest,
        dirty: bool,
    ) -> Result<RangeResponse, Error> {
        self.check_readable(request)?;
        let mut answer = Answer::new(request);
        match request.at_revision {
            Some(at) if dirty || at < self.revision => self.visit_at(&request.range, at, |kv| {
                answer.take(kv);
            }),
            _ => {
                let mut keys = self.live_in(&request.range);
                while !answer.is_full()
                    && let Some(kv) = keys.next()
                {
                    answer.take(kv);
                }
                // The rest is counted without looking at it, which is what a count of many keys costs: the map keeps no
                // count of a part of itself.
                if self.all_live_in(&request.range) {
                    answer.count = self.live.len();
                } else {
                    answer.count += keys.count();
                }
            }
        }
        Ok(answer.finish(self.revision))
    }

    /// The keys of a range as they are now, in order.
    pub(super) fn live_in<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> impl Iterator<Item = &'a Arc<KeyValue>> {
        self.live.range::<_, [u8]>(range.bounds()).map(|(_, kv)| kv)
    }

    /// Whether a range holds every key there is now.
    fn all_live_in(&self, range: &KeyRange) -> bool {
        [self.live.get_min(), self.live.get_max()]
            .into_iter()
            .flatten()
            .all(|(key, _)| range.contains(key))
    }

    /// Visits the keys of a range as they were at revision `at`, in order: those that have not changed since, merged
    /// with the versions that ended later.
    pub(super) fn visit_at(
        &self,
        range: &KeyRange,
        at: Revision,
        mut visit: impl FnMut(&Arc<KeyValue>),
    ) {
        let mut live = self
            .live_in(range)
            .filter(|kv| kv.mod_revision <= at)
            .peekable();
        let mut past = self.next_past(range, range.start(), at);
        loop {
            // A key is never in both: what lives unchanged since before `at` did not end after it.
            match (live.peek(), past) {
                (Some(kv), Some(old)) if kv.key < old.key => {
                    visit(kv);
                    live.next();
                }
                (_, Some(old)) => {
                    visit(old);
                    past = self.next_past(range, &successor(&old.key), at);
                }
                (Some(kv), None) => {
                    visit(kv);
                    live.next();
                }
                (None, None) => return,
            }
        }
    }

    /// The first key of a range, at or behind `from`, whose version at revision `at` has ended since.
    fn next_past(&self, range: &KeyRange, from: &Bytes, at: Revision) -> Option<&Arc<KeyValue>> {
        let mut from = PastKey {
            key: from.clone(),
            until: at + 1,
        };
        loop {
            let (found, kv) = self
                .past
                .range::<_, PastKey>((Bound::Included(&from), Bound::Unbounded))
                .next()?;
            if range.ends_before(&found.key) {
                return None;
            }
            if found.until > at && kv.mod_revision <= at {
                return Some(kv);
            }
            from = PastKey {
                // The first version of this key that ends after `at` was born after it too, or all of them ended
                // before (then the search goes on among those that end later).
                key: if found.until > at {
                    successor(&found.key)
                } else {
                    found.key.clone()
                },
                until: at + 1,
            };
        }
    }
}

/// The smallest key behind `key`.
fn successor(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// Collects what a request wants of the keys it is shown.
struct Answer<'a> {
    request: &'a RangeRequest,
    kvs: Vec<KeyValue>,
    count: usize,
}

impl<'a> Answer<'a> {
    fn new(request: &'a RangeRequest) -> Self {
        Self {
            request,
            kvs: Vec::new(),
            count: 0,
        }
    }

    /// Whether more keys are only to be counted.
    fn is_full(&self) -> bool {
        let limit = self.request.limit;
        self.request.count_only || (limit > 0 && self.kvs.len() >= limit)
    }

    fn take(&mut self, kv: &KeyValue) {
        self.count += 1;
        if self.is_full() {
            return;
        }
        let mut kv = kv.clone();
        if self.request.keys_only {
            kv.value = Bytes::new();
        }
        self.kvs.push(kv);
    }

    fn finish(self, revision: Revision) -> RangeResponse {
        RangeResponse {
            revision,
            more: !self.request.count_only && self.count > self.kvs.len(),
            count: self.count,
            kvs: self.kvs,
        }
    }
}
