//! Between etcd's messages and the store's types: pure, and all there is to know of either side's rules.

mod error;
mod group;
mod range;
mod response;
#[cfg(test)]
mod tests;
mod txn;

use bytes::Bytes;
use raft_store::{KeyRange, Revision};
use tonic::Status;

pub(crate) use error::{Refused, status_of, watch_status};
pub(crate) use group::{alarm_of, alarms, member, members, peer_urls};
pub(crate) use range::range;
pub(crate) use response::{delete_response, event, put_response, range_response};
pub(crate) use txn::{delete, put, txn, txn_response};

/// How etcd says "and all keys behind it" in the place of a range's end.
const NO_END: &[u8] = &[0];

/// The keys that a request means by a key and the end of a range.
pub(crate) fn key_range(key: Bytes, range_end: Bytes) -> Result<KeyRange, Status> {
    if key.is_empty() {
        return Err(Refused::EmptyKey.into());
    }
    Ok(if range_end.is_empty() {
        KeyRange::Key(key)
    } else if range_end == NO_END {
        KeyRange::From(key)
    } else {
        KeyRange::Between {
            start: key,
            end: range_end,
        }
    })
}

/// The keys of a watch. Other than in a read, no key at all is the first one there can be; as in etcd.
pub(crate) fn watch_range(key: Bytes, range_end: Bytes) -> Result<KeyRange, &'static str> {
    let key = if key.is_empty() {
        Bytes::from_static(NO_END)
    } else {
        key
    };
    if !range_end.is_empty() && range_end != NO_END && range_end <= key {
        return Err("mvcc: watcher range is empty");
    }
    key_range(key, range_end).map_err(|_| "mvcc: watcher range is empty")
}

/// A revision as etcd has it on the wire. The store counts up by one for each write, so it never comes near the bound.
pub(crate) fn wire(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// A count as etcd has it on the wire.
pub(crate) fn wire_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
