//! Reads. The store knows ranges, revisions and limits; what etcd has on top (filters by revision, orders other than the
//! keys') is done here with what was read, as etcd does it.

use std::cmp::Ordering;

use raft_store::{Consistency, KeyValue, RangeRequest, RangeResponse};
use tonic::Status;

use super::key_range;
use crate::etcdserverpb as pb;
use crate::etcdserverpb::range_request::{SortOrder, SortTarget};

/// What is left to do with what the store read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finish {
    limit: usize,
    keys_only: bool,
    order: Option<(SortTarget, SortOrder)>,
    min_mod: i64,
    max_mod: i64,
    min_create: i64,
    max_create: i64,
}

/// Translates a read. Most leave nothing to do afterwards.
pub(crate) fn range(request: pb::RangeRequest) -> Result<(RangeRequest, Option<Finish>), Status> {
    let unknown = |what, value| {
        Status::invalid_argument(format!("a range request has the unknown {what} {value}"))
    };
    let order = SortOrder::try_from(request.sort_order)
        .map_err(|_| unknown("sort order", request.sort_order))?;
    let target = SortTarget::try_from(request.sort_target)
        .map_err(|_| unknown("sort target", request.sort_target))?;
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let mut read = RangeRequest {
        range: key_range(request.key, request.range_end)?,
        at_revision: u64::try_from(request.revision).ok().filter(|at| *at > 0),
        limit,
        keys_only: request.keys_only,
        count_only: request.count_only,
        consistency: if request.serializable {
            Consistency::Local
        } else {
            Consistency::Linearizable
        },
    };
    let order = match (target, order) {
        // The order in which the store reads.
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
        (target, SortOrder::None) => Some((target, SortOrder::Ascend)),
        sorted => Some(sorted),
    };
    let finish = Finish {
        limit,
        keys_only: request.keys_only,
        order,
        min_mod: request.min_mod_revision,
        max_mod: request.max_mod_revision,
        min_create: request.min_create_revision,
        max_create: request.max_create_revision,
    };
    if read.count_only || !(finish.order.is_some() || finish.filters()) {
        return Ok((read, None));
    }
    // What comes first, or is left, is known when all was seen; and values may be what is sorted by.
    read.limit = 0;
    read.keys_only = false;
    Ok((read, Some(finish)))
}

impl Finish {
    fn filters(&self) -> bool {
        [self.min_mod, self.max_mod, self.min_create, self.max_create] != [0; 4]
    }

    /// Filters, sorts and cuts off. The count stays that of all keys in the range, as in etcd.
    pub(crate) fn apply(&self, answer: &mut RangeResponse) {
        let kvs = &mut answer.kvs;
        if self.filters() {
            kvs.retain(|kv| {
                within(kv.mod_revision, self.min_mod, self.max_mod)
                    && within(kv.create_revision, self.min_create, self.max_create)
            });
        }
        if let Some((target, order)) = self.order {
            match order {
                SortOrder::Descend => kvs.sort_by(|a, b| compare(target, b, a)),
                SortOrder::None | SortOrder::Ascend => kvs.sort_by(|a, b| compare(target, a, b)),
            }
        }
        answer.more = self.limit > 0 && kvs.len() > self.limit;
        if answer.more {
            kvs.truncate(self.limit);
        }
        if self.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
    }
}

/// Whether a revision is within bounds, of which 0 is none.
fn within(revision: u64, min: i64, max: i64) -> bool {
    let revision = super::wire(revision);
    (min == 0 || revision >= min) && (max == 0 || revision <= max)
}

fn compare(target: SortTarget, a: &KeyValue, b: &KeyValue) -> Ordering {
    match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    }
}
