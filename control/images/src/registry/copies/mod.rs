//! This server's blobs and those of its siblings, as one: found wherever they are, and copied to
//! where they have to be.

mod arrival;
mod search;
mod spread;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

pub(super) use arrival::Incoming;
pub(super) use search::Missing;
pub(super) use spread::TooFew;

use super::Limits;
use super::blobs::Blobs;
use super::siblings::{SiblingError, Siblings};
use super::uploads::Uploads;
use crate::Digest;
use arrival::Arrival;

/// Blobs that come from other servers at one time: enough to fill a disk's queue, few enough that
/// each is fast. One more waits for as long as a client's silence is borne, then fails and is asked
/// for again.
const TRANSFERS_MAX: usize = 8;

/// See the module.
pub(super) struct Copies {
    pub(super) blobs: Blobs,
    pub(super) uploads: Uploads,
    pub(super) limits: Limits,
    siblings: Arc<dyn Siblings>,
    /// What the index referred to when it was read last: if such a blob is not found, a server
    /// that has it is down.
    referenced: RwLock<Arc<HashSet<Digest>>>,
    /// Blobs on their way here, so that none comes twice at a time.
    arriving: Mutex<HashMap<Digest, watch::Receiver<Arrival>>>,
    transfers: Semaphore,
}

impl Copies {
    pub(super) fn new(
        blobs: Blobs,
        uploads: Uploads,
        limits: Limits,
        siblings: Arc<dyn Siblings>,
    ) -> Self {
        Self {
            blobs,
            uploads,
            limits,
            siblings,
            referenced: RwLock::default(),
            arriving: Mutex::default(),
            transfers: Semaphore::new(TRANSFERS_MAX),
        }
    }

    /// Stores bytes on this server.
    pub(super) async fn store(&self, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        if self.blobs.keep(&digest).await?.is_some() {
            return Ok(());
        }
        let mut upload = self.uploads.scratch().await?;
        upload.write(bytes).await?;
        let (file, found) = upload.finish().await?;
        debug_assert_eq!(found, digest, "the caller computed it");
        self.blobs.adopt(file, found).await
    }

    /// The size of a blob, wherever it is; its holder keeps it for as long as an unused blob is kept.
    pub(super) async fn size(&self, digest: Digest) -> Result<u64, Missing> {
        match self.blobs.keep(&digest).await? {
            Some(size) => Ok(size),
            None => Ok(self.search(digest).next().await?.size),
        }
    }

    /// Notes what the index refers to.
    pub(super) fn refer(&self, referenced: Arc<HashSet<Digest>>) {
        *self
            .referenced
            .write()
            .unwrap_or_else(PoisonError::into_inner) = referenced;
    }

    fn is_referenced(&self, digest: &Digest) -> bool {
        self.referenced
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(digest)
    }

    /// Another server's answer to a question, within bounds.
    async fn answer<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, SiblingError>>,
    ) -> Result<T, SiblingError> {
        tokio::time::timeout(limit, asked)
            .await
            .unwrap_or_else(|_| Err(SiblingError::new(format!("no answer within {limit:?}"))))
    }

    /// For a whole blob to come or go: the time of slow answers, and a second for each MiB.
    fn transfer_max(&self, bytes: u64) -> Duration {
        self.limits.sibling_idle * 2 + Duration::from_secs(bytes >> 20)
    }
}

/// How many of `servers` have to have a blob.
fn majority(servers: usize) -> usize {
    servers / 2 + 1
}
