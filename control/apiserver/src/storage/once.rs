//! Values that the cluster makes once and keeps: keys. They are no objects and are in no cache.

use bytes::Bytes;
use raft_store::{KeyRange, Op, RangeRequest, Txn};

use super::{Storage, unchanged};
use crate::error::{ApiError, Result};

/// Every such key begins with this.
const ROOT: &str = "/euston/keys/";

impl Storage {
    /// The value kept as `name`; the first server that asks stores what it `made`, all others get that one.
    ///
    /// # Errors
    /// The store's.
    pub async fn once(&self, name: &str, made: impl FnOnce() -> Result<Vec<u8>>) -> Result<Bytes> {
        let key = format!("{ROOT}{name}");
        if let Some(value) = self.kept(&key).await? {
            return Ok(value);
        }
        let txn = Txn {
            compare: vec![unchanged(&key, 0)],
            success: vec![Op::put(key.clone(), Bytes::from(made()?))],
            failure: Vec::new(),
        };
        // Whether this write or another server's came first shows in what is kept now.
        self.store.txn(txn).await?;
        self.kept(&key)
            .await?
            .ok_or_else(|| ApiError::internal(format!("the store does not keep {key}")))
    }

    async fn kept(&self, key: &str) -> Result<Option<Bytes>> {
        let range = RangeRequest::new(KeyRange::key(key.to_owned()));
        let found = self.store.range(range).await?;
        Ok(found.kvs.first().map(|kv| kv.value.clone()))
    }
}
