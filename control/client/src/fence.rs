//! Never plan on a cache that has not yet seen one's own last writes.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use ahash::RandomState;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::key::revision_of;

/// How long to wait for a write to come back through the watch before planning without it. Reached
/// only if the object was created and deleted again while the watch was broken.
const WAIT_MOST: Duration = Duration::from_secs(5);

/// Remembers, per key, the newest resourceVersion written, so that a reconciler can hold back until
/// its informer has caught up. The answer to the question that client-go's expectations ask, but
/// exact: revisions compare, so nothing is counted and nothing can be miscounted.
///
/// Holds an entry only from a write until the cache has seen it, so it is bounded by the number of
/// keys with writes in flight.
pub struct WriteFence<Key> {
    written: Mutex<HashMap<Key, (u64, Instant), RandomState>>,
}

impl<Key> Default for WriteFence<Key> {
    fn default() -> Self {
        Self {
            written: Mutex::default(),
        }
    }
}

impl<Key: Hash + Eq> WriteFence<Key> {
    /// Notes that `meta` is what the server answered to a write made for `key`.
    pub fn wrote(&self, key: Key, meta: &ObjectMeta) {
        if let Some(revision) = revision_of(meta) {
            let mut written = self.written.lock();
            let entry = written.entry(key).or_insert((0, Instant::now()));
            *entry = (entry.0.max(revision), Instant::now());
        }
    }

    /// `None` if a cache that has seen everything up to `seen` contains all writes made for `key`;
    /// otherwise how long to wait at most (the informer's next event is what normally ends the wait).
    pub fn behind(&self, key: &Key, seen: u64) -> Option<Duration> {
        let mut written = self.written.lock();
        let &(revision, since) = written.get(key)?;
        let left = WAIT_MOST.saturating_sub(since.elapsed());
        if seen >= revision || left.is_zero() {
            written.remove(key);
            return None;
        }
        Some(left)
    }

    /// Drops what is known about `key`, which no longer exists.
    pub fn forget(&self, key: &Key) {
        self.written.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: &str) -> ObjectMeta {
        ObjectMeta {
            resource_version: Some(revision.into()),
            ..ObjectMeta::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn holds_back_until_the_newest_write_is_seen() {
        let fence = WriteFence::default();
        assert_eq!(fence.behind(&"a", 0), None);
        fence.wrote("a", &at("7"));
        fence.wrote("a", &at("5"));
        assert!(fence.behind(&"a", 6).is_some());
        assert_eq!(fence.behind(&"b", 0), None, "other keys are free");
        assert_eq!(fence.behind(&"a", 7), None);
        assert_eq!(fence.behind(&"a", 0), None, "once seen, the fence is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_a_while() {
        let fence = WriteFence::default();
        fence.wrote("a", &at("7"));
        tokio::time::advance(WAIT_MOST).await;
        assert_eq!(fence.behind(&"a", 1), None);
    }
}
