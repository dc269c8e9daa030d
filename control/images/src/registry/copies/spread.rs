//! Blobs are brought to enough servers before anything refers to them.

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use tokio_util::io::ReaderStream;

use super::{Copies, majority};
use crate::Digest;
use crate::registry::http::READ_BYTES;
use crate::registry::siblings::SiblingError;

/// Too few servers have the blobs.
#[derive(Debug, thiserror::Error)]
#[error("{have} of {servers} servers have the image's content and {needed} are needed: {failed}")]
pub(in crate::registry) struct TooFew {
    have: usize,
    servers: usize,
    needed: usize,
    failed: String,
}

impl Copies {
    /// Returns once more than half of all servers have each of these blobs, and keep it for as
    /// long as an unused blob is kept. This server has them all. Takes as long as the slowest server
    /// that is needed; the caller bounds it. What is under way to others is then broken off:
    /// they fetch it when they see that it is referred to.
    pub(in crate::registry) async fn spread(&self, digests: &[Digest]) -> Result<(), TooFew> {
        let siblings = self.siblings.list();
        let servers = siblings.len() + 1;
        let needed = majority(servers);
        let mut under_way: FuturesUnordered<_> = siblings
            .iter()
            .map(|sibling| async move { (sibling, self.give(sibling, digests).await) })
            .collect();
        let (mut have, mut failed) = (1, Vec::new());
        while have < needed {
            if have + under_way.len() < needed {
                return Err(TooFew {
                    have,
                    servers,
                    needed,
                    failed: failed.join("; "),
                });
            }
            match under_way.next().await {
                Some((_, Ok(()))) => have += 1,
                Some((sibling, Err(e))) => failed.push(format!("{sibling}: {e}")),
                None => {}
            }
        }
        Ok(())
    }

    /// Sees to it that a server has all of these blobs.
    async fn give(&self, sibling: &str, digests: &[Digest]) -> Result<(), SiblingError> {
        let disk = |e| SiblingError::new(format!("a blob cannot be read here: {e}"));
        for digest in digests {
            let opened = self.blobs.open_blob(digest).await.map_err(disk)?;
            let Some((file, size)) = opened else {
                return Err(SiblingError::new(format!("{digest} is gone from here")));
            };
            let asked = self.siblings.has(sibling, *digest);
            if self.answer(self.limits.sibling_idle, asked).await? == Some(size) {
                continue;
            }
            let content = ReaderStream::with_capacity(file, READ_BYTES).map_err(disk);
            let offered = self.siblings.offer(sibling, *digest, size, content.boxed());
            self.answer(self.transfer_max(size), offered).await?;
        }
        Ok(())
    }
}
