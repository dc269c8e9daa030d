//! The one task that carries the store's writes into the caches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use raft_store::{EventKind, KeyRange, RangeRequest, Store, WatchBatch, Watcher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cache::{ResourceCache, Snapshot};
use super::entry::Entry;
use super::{ObjectKey, ROOT};
use crate::error::Result;

/// Objects read at a time while loading.
const LOAD_PAGE: usize = 10_000;

/// How long the feed waits before it reads everything again after losing its place.
const RELOAD_PAUSE: Duration = Duration::from_millis(100);

/// Loads all caches, then keeps them fed. Returns where the feed is.
pub(super) async fn start(
    store: Store,
    caches: Vec<Arc<ResourceCache>>,
    shutdown: CancellationToken,
) -> Result<watch::Receiver<u64>> {
    let mut feed = Feed {
        by_prefix: caches
            .iter()
            .map(|c| (c.prefix().to_owned(), c.clone()))
            .collect(),
        store,
        caches,
        reached: watch::Sender::new(0),
    };
    let reached = feed.reached.subscribe();
    let watcher = feed.load().await?;
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = feed.run(watcher) => {}
        }
    });
    Ok(reached)
}

struct Feed {
    store: Store,
    caches: Vec<Arc<ResourceCache>>,
    by_prefix: HashMap<String, Arc<ResourceCache>>,
    reached: watch::Sender<u64>,
}

impl Feed {
    async fn run(&mut self, mut watcher: Watcher) {
        loop {
            match watcher.next().await {
                Ok(batch) => self.take(&batch),
                Err(error) => {
                    tracing::warn!(%error, "the watch on the store broke; reading everything again");
                    watcher = self.reload().await;
                }
            }
        }
    }

    async fn reload(&mut self) -> Watcher {
        loop {
            tokio::time::sleep(RELOAD_PAUSE).await;
            match self.load().await {
                Ok(watcher) => return watcher,
                Err(error) => tracing::error!(%error, "the store cannot be read; trying again"),
            }
        }
    }

    /// Reads every cache anew at one revision, and returns a watch from there on.
    async fn load(&mut self) -> Result<Watcher> {
        let revision = self.store.read_index().await?;
        for cache in &self.caches {
            let objects = self.read(cache, revision).await?;
            cache.reset(objects, revision);
        }
        // All keys: a write to others moves the store's revision, which the caches have to reach, as well.
        let watcher = self.store.watch(KeyRange::all(), revision + 1)?;
        self.reached.send_replace(revision);
        Ok(watcher)
    }

    async fn read(&self, cache: &ResourceCache, revision: u64) -> Result<Snapshot> {
        let mut objects = Snapshot::new();
        let mut range = KeyRange::prefix(cache.prefix().to_owned());
        loop {
            let request = RangeRequest {
                at_revision: Some(revision).filter(|&r| r > 0),
                limit: LOAD_PAGE,
                ..RangeRequest::new(range.clone())
            };
            let response = self.store.range(request).await?;
            let Some(last) = response.kvs.last() else {
                return Ok(objects);
            };
            let mut next = last.key.to_vec();
            next.push(0);
            range = super::from(range, next);
            for kv in response.kvs {
                if let Some(key) = object_key(&kv.key, cache.prefix()) {
                    let entry = Entry::new(key.clone(), kv.mod_revision, kv.value.clone());
                    objects.insert(key, Arc::new(entry));
                }
            }
            if !response.more {
                return Ok(objects);
            }
        }
    }

    fn take(&self, batch: &WatchBatch) {
        let mut writes: HashMap<&str, Vec<_>> = HashMap::new();
        for event in batch.events.iter() {
            let Some(prefix) = kind_prefix(&event.kv.key) else {
                continue;
            };
            let Some(key) = object_key(&event.kv.key, prefix) else {
                continue;
            };
            let at = event.kv.mod_revision;
            let entry = match event.kind {
                EventKind::Put => Some(Arc::new(Entry::new(
                    key.clone(),
                    at,
                    event.kv.value.clone(),
                ))),
                EventKind::Delete => None,
            };
            writes.entry(prefix).or_default().push((key, entry, at));
        }
        for (prefix, cache) in &self.by_prefix {
            cache.apply(
                writes.remove(prefix.as_str()).unwrap_or_default(),
                batch.revision,
            );
        }
        self.reached.send_replace(batch.revision);
    }
}

/// `/registry/GROUP/RESOURCE/` of a key.
fn kind_prefix(key: &[u8]) -> Option<&str> {
    let key = std::str::from_utf8(key).ok()?;
    let rest = key.strip_prefix(ROOT)?;
    let group = rest.find('/')? + 1;
    let resource = rest[group..].find('/')? + 1;
    Some(&key[..ROOT.len() + group + resource])
}

fn object_key(key: &[u8], prefix: &str) -> Option<ObjectKey> {
    let key = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    Some(ObjectKey::parse(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_kind() {
        assert_eq!(
            kind_prefix(b"/registry/core/pods/ns/a"),
            Some("/registry/core/pods/")
        );
        assert_eq!(
            kind_prefix(b"/registry/core/nodes/a"),
            Some("/registry/core/nodes/")
        );
        assert_eq!(kind_prefix(b"/registry/core"), None);
        assert_eq!(kind_prefix(b"/other/core/pods/a"), None);
    }
}
