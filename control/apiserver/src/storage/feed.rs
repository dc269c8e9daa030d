//! The one task that carries the store's writes into the caches, which come and go with the kinds served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use raft_store::{EventKind, KeyRange, RangeRequest, Store, WatchBatch, Watcher};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::cache::{ResourceCache, Snapshot};
use super::entry::Entry;
use super::{ObjectKey, ROOT};
use crate::error::{ApiError, Result};
use crate::registry::kind::Kind;

/// Objects read at a time while loading.
const LOAD_PAGE: usize = 10_000;

/// How long the feed waits before it reads everything again after losing its place.
const RELOAD_PAUSE: Duration = Duration::from_millis(100);

/// Orders that wait. They come from a definition that was changed, and each is carried out in
/// milliseconds; whoever sends one more waits for its place.
const ORDERS_MAX: usize = 16;

/// How long an order may take: the bound of reading a kind with a great many objects.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);

/// What the feed is told to do between two batches.
enum Order {
    /// Load caches of these kinds, and feed them.
    Attach {
        kinds: Vec<Arc<Kind>>,
        done: oneshot::Sender<Result<Vec<Arc<ResourceCache>>>>,
    },
    /// Feed these no more.
    Detach {
        caches: Vec<Arc<ResourceCache>>,
        done: oneshot::Sender<()>,
    },
}

/// The way to the feed.
pub(super) struct Handle {
    orders: mpsc::Sender<Order>,
}

impl Handle {
    /// See [`super::Storage::attach`].
    pub(super) async fn attach(&self, kinds: Vec<Arc<Kind>>) -> Result<Vec<Arc<ResourceCache>>> {
        let (done, outcome) = oneshot::channel();
        self.order(Order::Attach { kinds, done }, outcome).await?
    }

    /// See [`super::Storage::detach`].
    pub(super) async fn detach(&self, caches: Vec<Arc<ResourceCache>>) {
        let (done, outcome) = oneshot::channel();
        if let Err(error) = self.order(Order::Detach { caches, done }, outcome).await {
            // At the feed's end nothing is fed any more in any case. Where it had no time, they are fed on, unseen.
            tracing::warn!(%error, "caches are not detached");
        }
    }

    async fn order<T>(&self, order: Order, outcome: oneshot::Receiver<T>) -> Result<T> {
        let ended = || ApiError::unavailable("the API server is shutting down");
        let done = async {
            self.orders.send(order).await.map_err(|_| ended())?;
            outcome.await.map_err(|_| ended())
        };
        match tokio::time::timeout(ORDER_TIMEOUT, done).await {
            Ok(done) => done,
            Err(_) => Err(ApiError::timeout(format!(
                "the objects of a kind could not be read within {} s",
                ORDER_TIMEOUT.as_secs()
            ))),
        }
    }
}

/// Starts to follow the store. Returns the way to order caches, and where the feed is.
pub(super) async fn start(
    store: Store,
    shutdown: CancellationToken,
) -> Result<(Handle, watch::Receiver<u64>)> {
    let mut feed = Feed {
        caches: HashMap::new(),
        store,
        reached: watch::Sender::new(0),
    };
    let reached = feed.reached.subscribe();
    let watcher = feed.load().await?;
    let (orders, receiver) = mpsc::channel(ORDERS_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = feed.run(watcher, receiver) => {}
        }
    });
    Ok((Handle { orders }, reached))
}

struct Feed {
    store: Store,
    /// By the prefix of their keys: a kind that is served in several versions has several.
    caches: HashMap<String, Vec<Arc<ResourceCache>>>,
    reached: watch::Sender<u64>,
}

impl Feed {
    async fn run(&mut self, mut watcher: Watcher, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                batch = watcher.next() => match batch {
                    Ok(batch) => self.take(&batch),
                    Err(error) => {
                        tracing::warn!(%error, "the watch on the store broke; reading everything again");
                        watcher = self.reload().await;
                    }
                },
                Some(order) = orders.recv() => self.carry_out(order).await,
            }
        }
    }

    /// Between two batches, so that a new cache misses nothing and sees nothing twice.
    async fn carry_out(&mut self, order: Order) {
        // Whoever gave the order may have given up waiting.
        match order {
            Order::Attach { kinds, done } => {
                let attached = self.attach(kinds).await;
                if let Err(Ok(unwanted)) = done.send(attached) {
                    self.detach(&unwanted);
                }
            }
            Order::Detach { caches, done } => {
                self.detach(&caches);
                let _ = done.send(());
            }
        }
    }

    async fn attach(&mut self, kinds: Vec<Arc<Kind>>) -> Result<Vec<Arc<ResourceCache>>> {
        let revision = *self.reached.borrow();
        let mut attached: Vec<Arc<ResourceCache>> = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let cache = ResourceCache::new(kind);
            let fed = self.caches.get(cache.prefix()).and_then(|c| c.first());
            let sibling = attached.iter().find(|c| c.prefix() == cache.prefix());
            match fed.or(sibling) {
                Some(sibling) => cache.adopt(sibling),
                None => cache.reset(self.read(&cache, revision).await?, revision),
            }
            attached.push(Arc::new(cache));
        }
        for cache in &attached {
            let of = self.caches.entry(cache.prefix().to_owned()).or_default();
            of.push(cache.clone());
        }
        Ok(attached)
    }

    fn detach(&mut self, gone: &[Arc<ResourceCache>]) {
        for cache in gone {
            if let Some(of) = self.caches.get_mut(cache.prefix()) {
                of.retain(|c| !Arc::ptr_eq(c, cache));
            }
            cache.close();
        }
        self.caches.retain(|_, of| !of.is_empty());
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
        for cache in self.caches.values().flatten() {
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
                    let value = kv.value.clone();
                    let entry = Entry::of(cache.kind(), key.clone(), kv.mod_revision, value);
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
            let value = match event.kind {
                EventKind::Put => Some(event.kv.value.clone()),
                EventKind::Delete => None,
            };
            writes.entry(prefix).or_default().push((key, value, at));
        }
        for (prefix, caches) in &self.caches {
            let writes = writes.remove(prefix.as_str()).unwrap_or_default();
            for cache in caches {
                let writes = writes.iter().cloned().map(|(key, value, at)| {
                    let entry = |value| Arc::new(Entry::of(cache.kind(), key.clone(), at, value));
                    (key.clone(), value.map(entry), at)
                });
                cache.apply(writes.collect(), batch.revision);
            }
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
