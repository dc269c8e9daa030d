//! The image registry's index in the replicated store: a key per repository.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use euston_images::{Catalog, CatalogError, Stored, Swap};
use raft_store::{
    Compare, CompareOp, Error, KeyRange, KeyValue, Op, RangeRequest, Store, Txn, WatchError,
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Every key of the index begins with this; a repository's name follows.
const ROOT: &str = "/euston/images/";

/// The index of images that all servers share. A repository's version is the revision that wrote it.
#[derive(Debug)]
pub struct ImageCatalog {
    store: Store,
    changes: watch::Sender<u64>,
    _follow: AbortOnDropHandle<()>,
}

impl ImageCatalog {
    /// The index in `store`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(store: Store) -> Self {
        let changes = watch::Sender::new(0);
        let follow = tokio::spawn(follow(store.clone(), changes.clone()));
        ImageCatalog {
            store,
            changes,
            _follow: AbortOnDropHandle::new(follow),
        }
    }
}

/// Tells of every change, and of each moment after which one may have been missed. Ends with the store.
async fn follow(store: Store, changes: watch::Sender<u64>) {
    // A watch from now on is never compacted away before it begins, so this fails only when the store has stopped.
    while let Ok(mut watcher) = store.watch(KeyRange::prefix(ROOT), 0) {
        changes.send_modify(|count| *count += 1);
        loop {
            match watcher.next().await {
                Ok(_) => changes.send_modify(|count| *count += 1),
                // Too slow: whoever listens reads everything anyway.
                Err(WatchError::Compacted { .. }) => break,
                Err(WatchError::Stopped { .. }) => return,
            }
        }
    }
}

#[async_trait]
impl Catalog for ImageCatalog {
    async fn get(&self, name: &str) -> Result<Option<Stored>, CatalogError> {
        let range = RangeRequest::new(KeyRange::key(key(name)));
        let found = self.store.range(range).await.map_err(catalog_error)?;
        Ok(found.kvs.into_iter().next().map(stored))
    }

    async fn load(&self) -> Result<BTreeMap<String, Stored>, CatalogError> {
        let range = RangeRequest::new(KeyRange::prefix(ROOT));
        // The values are shared with the store, so a large answer costs little.
        let found = self.store.range(range).await.map_err(catalog_error)?;
        let named = found.kvs.into_iter().filter_map(|kv| {
            let name = std::str::from_utf8(&kv.key).ok()?.strip_prefix(ROOT)?;
            Some((name.to_owned(), stored(kv)))
        });
        Ok(named.collect())
    }

    async fn swap(
        &self,
        name: &str,
        expected: u64,
        value: Option<Bytes>,
    ) -> Result<Swap, CatalogError> {
        let key = key(name);
        let op = match value {
            Some(value) => Op::put(key.clone(), value),
            None => Op::Delete {
                range: KeyRange::key(key.clone()),
                prev_kv: false,
            },
        };
        let txn = Txn {
            compare: vec![Compare::mod_revision(key, CompareOp::Equal, expected)],
            success: vec![op],
            failure: Vec::new(),
        };
        let answer = self.store.txn(txn).await.map_err(catalog_error)?;
        Ok(if answer.succeeded {
            Swap::Done
        } else {
            Swap::Moved
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn key(name: &str) -> String {
    format!("{ROOT}{name}")
}

fn stored(kv: KeyValue) -> Stored {
    Stored {
        version: kv.mod_revision,
        value: kv.value,
    }
}

fn catalog_error(error: Error) -> CatalogError {
    match error {
        Error::TooLarge { .. } | Error::NoSpace => CatalogError::Full(error.to_string()),
        other => CatalogError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use euston_images::{Alone, ImageClient, Registry};
    use raft_store::Config;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn open(dir: &std::path::Path) -> Store {
        Store::open(Config::new("s1", dir)).await.unwrap()
    }

    #[tokio::test]
    async fn a_swap_needs_the_version_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await;
        let catalog = ImageCatalog::new(store.clone());
        let mut changes = catalog.changes();
        let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let version = async || catalog.get("a/b").await.unwrap().map_or(0, |s| s.version);
        let swap = async |expected, value| catalog.swap("a/b", expected, value).await.unwrap();

        assert_eq!(swap(7, value("x")).await, Swap::Moved);
        assert_eq!(swap(0, value("one")).await, Swap::Done);
        let first = version().await;
        assert_eq!(swap(0, value("x")).await, Swap::Moved);
        assert_eq!(swap(first, value("two")).await, Swap::Done);
        assert_eq!(swap(first, value("x")).await, Swap::Moved);
        // Other keys are no repositories.
        store.txn(Txn::put("/euston/other", "x")).await.unwrap();
        let loaded = catalog.load().await.unwrap();
        assert_eq!(loaded.keys().collect::<Vec<_>>(), ["a/b"]);
        assert_eq!(loaded["a/b"].value, "two");
        assert_eq!(swap(version().await, None).await, Swap::Done);
        assert_eq!(version().await, 0);

        // The beginning, and three changes.
        let told = changes.wait_for(|count| *count >= 4);
        tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
        store.shutdown().await;
        let error = catalog.get("a/b").await.unwrap_err();
        assert!(matches!(error, CatalogError::Unavailable(_)), "{error}");
    }

    #[tokio::test]
    async fn an_image_outlives_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let (data, images) = (dir.path().join("store"), dir.path().join("images"));
        let mut digest = None;
        for _ in 0..2 {
            let store = open(&data).await;
            let catalog = Arc::new(ImageCatalog::new(store.clone()));
            let registry = Registry::open_shared(&images, catalog, Arc::new(Alone));
            let registry = registry.await.unwrap();
            let client = ImageClient::new(kube::Client::new(registry.router(), "default"));
            match digest {
                None => {
                    let wasm = Bytes::from_static(b"\0asm\x01\0\0\0");
                    digest = Some(client.push("team/app:v1", wasm).await.unwrap().digest);
                }
                Some(digest) => {
                    assert_eq!(client.pull("team/app:v1").await.unwrap().digest, digest);
                    client.delete("team/app:v1").await.unwrap();
                    assert!(client.list().await.unwrap().is_empty());
                }
            }
            store.shutdown().await;
        }
    }
}
