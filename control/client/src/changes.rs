//! A subscription to an informer: which keys changed, coalesced, and never silently lost.

use std::collections::HashSet;
use std::sync::Arc;

use ahash::RandomState;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::key::ObjectKey;

/// At most this many distinct changed keys wait for a slow subscriber (some 4 MB at worst). Beyond
/// it the subscriber is told to look at everything instead, which costs it time and loses nothing.
const PENDING_KEYS_MAX: usize = 65_536;

/// What happened since the last batch.
#[derive(Debug, PartialEq, Eq)]
pub enum ChangeBatch {
    /// These objects were created, changed or deleted; read their present state from the informer.
    Keys(Vec<ObjectKey>),
    /// Too much changed to list: look at everything.
    Relist,
}

#[derive(Default)]
struct Pending {
    keys: HashSet<ObjectKey, RandomState>,
    relist: bool,
    closed: bool,
}

#[derive(Default)]
pub(crate) struct Feed {
    pending: Mutex<Pending>,
    wake: Notify,
}

impl Feed {
    pub(crate) fn push(&self, key: ObjectKey) {
        let mut pending = self.pending.lock();
        if !pending.relist {
            pending.keys.insert(key);
            if pending.keys.len() > PENDING_KEYS_MAX {
                pending.keys = HashSet::default();
                pending.relist = true;
            }
        }
        drop(pending);
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.pending.lock().closed = true;
        self.wake.notify_one();
    }
}

/// The receiving end of [`crate::Informer::subscribe`].
pub struct Changes {
    pub(crate) feed: Arc<Feed>,
}

impl Changes {
    /// Waits for changes and takes all that have gathered. `None` once the informer has stopped and
    /// everything was delivered. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ChangeBatch> {
        loop {
            {
                let mut pending = self.feed.pending.lock();
                if pending.relist {
                    pending.relist = false;
                    return Some(ChangeBatch::Relist);
                }
                if !pending.keys.is_empty() {
                    return Some(ChangeBatch::Keys(
                        std::mem::take(&mut pending.keys).into_iter().collect(),
                    ));
                }
                if pending.closed {
                    return None;
                }
            }
            self.feed.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn repeats_of_a_key_become_one() {
        let mut changes = Changes {
            feed: Arc::default(),
        };
        for _ in 0..3 {
            changes.feed.push(ObjectKey::new("a", "one"));
        }
        assert_eq!(
            changes.next().await,
            Some(ChangeBatch::Keys(vec![ObjectKey::new("a", "one")]))
        );
        changes.feed.close();
        assert_eq!(changes.next().await, None);
    }

    #[tokio::test]
    async fn a_subscriber_that_lags_is_told_to_relist() {
        let mut changes = Changes {
            feed: Arc::default(),
        };
        for i in 0..=PENDING_KEYS_MAX {
            changes.feed.push(ObjectKey::new("a", &i.to_string()));
        }
        assert_eq!(changes.next().await, Some(ChangeBatch::Relist));
        changes.feed.push(ObjectKey::new("a", "after"));
        assert_eq!(
            changes.next().await,
            Some(ChangeBatch::Keys(vec![ObjectKey::new("a", "after")]))
        );
    }
}
