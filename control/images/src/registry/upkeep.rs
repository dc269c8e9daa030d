//! What a server does on its own: fetches the blobs that it lacks, removes those that nobody
//! uses, and once takes over an index that was kept in files.
//!
//! Level-driven: each round looks at everything anew. A change of the index, a retry that is due
//! or the clock begins the next one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use tokio::time::Instant;

use super::blobs::blocking;
use super::catalog::{Catalog, Kept};
use super::copies::{Copies, Missing};
use super::error::index_sentence;
use super::index::{Index, IndexError};
use super::repository::Repository;
use crate::Digest;

/// Unused blobs become old without anybody telling, so they are looked for at least this often.
const ROUND_EVERY: Duration = Duration::from_secs(10 * 60);
/// After a round that failed as a whole, since the index could not be read.
const ROUND_AGAIN: Duration = Duration::from_secs(5);
/// Between rounds, so that a burst of pushes is one round.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// Blobs copied at one time: a new server fills up beside its other work.
const COPIES_AT_ONCE: usize = 2;
/// Blobs copied in one round, so that the next one sees what has changed meanwhile.
const COPIES_PER_ROUND: usize = 64;
/// The pause after the first failure to copy a blob; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Why one file of the old index was not taken over.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeOverError {
    #[error("{0}")]
    Index(String),
    #[error("{0}; try again when they run")]
    Spread(#[from] super::copies::TooFew),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl From<IndexError> for TakeOverError {
    fn from(e: IndexError) -> Self {
        Self::Index(index_sentence(&e))
    }
}

/// See the module.
pub(super) struct Upkeep {
    pub(super) index: Arc<Index>,
    pub(super) copies: Arc<Copies>,
    pub(super) catalog: Arc<dyn Catalog>,
    /// Files of the old index that are still to be taken over.
    pub(super) kept: Vec<Kept>,
}

impl Upkeep {
    /// Goes on until it is dropped.
    pub(super) async fn run(mut self) {
        let mut changes = self.catalog.changes();
        let mut backlog = Backlog::default();
        let mut complained = false;
        loop {
            // Before the round reads, so that what changes meanwhile begins another one.
            changes.borrow_and_update();
            self.take_over().await;
            let wait = match self.round(&mut backlog).await {
                Ok(wait) => {
                    complained = false;
                    wait
                }
                Err(error) => {
                    if !complained {
                        tracing::warn!(%error, "the image registry's upkeep cannot go on; trying again");
                    }
                    complained = true;
                    ROUND_AGAIN
                }
            };
            tokio::select! {
                Ok(()) = changes.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    /// Looks once. Answers how long the next look may wait.
    async fn round(&self, backlog: &mut Backlog) -> Result<Duration, String> {
        // Whoever relied on a blob since then may have referred to it since the index was read.
        let began = SystemTime::now();
        let references = self.index.references().await;
        let references = Arc::new(references.map_err(|e| index_sentence(&e))?);
        self.copies.refer(Arc::clone(&references));
        let cutoff = began
            .checked_sub(self.copies.limits.grace)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let tidied = self.copies.blobs.tidy(references, cutoff).await;
        let missing = tidied.map_err(|e| format!("the registry's disk: {e}"))?;
        let due = backlog.due(missing, Instant::now());
        let more = due.len() > COPIES_PER_ROUND;
        let mut copied = futures::stream::iter(due.into_iter().take(COPIES_PER_ROUND))
            .map(|digest| async move { (digest, self.copies.bring(digest).await) })
            .buffer_unordered(COPIES_AT_ONCE);
        while let Some((digest, outcome)) = copied.next().await {
            let failure = outcome.err().map(|missing| match missing {
                Missing::Nowhere => "no server has it".to_owned(),
                Missing::Unreachable(why) => why,
            });
            backlog.tried(digest, failure, Instant::now());
        }
        let next = backlog.wait(Instant::now()).min(ROUND_EVERY);
        Ok(if more { Duration::ZERO } else { next })
    }

    /// Takes over what is left of an index in files. What fails is tried again in the next round.
    async fn take_over(&mut self) {
        for kept in std::mem::take(&mut self.kept) {
            if let Err(error) = take_over(&self.index, &self.copies, &kept).await {
                let path = kept.path.display();
                tracing::warn!(%path, %error, "a repository cannot be moved to the shared index yet; trying again");
                self.kept.push(kept);
            }
        }
    }
}

/// Moves one repository from its file to the index, which wins where both have a tag. Manifests
/// whose blobs are gone stay behind.
pub(super) async fn take_over(
    index: &Index,
    copies: &Arc<Copies>,
    kept: &Kept,
) -> Result<(), TakeOverError> {
    let mut whole = Repository::default();
    for (digest, entry) in &kept.repository.manifests {
        let mut digests = vec![*digest];
        digests.extend(&entry.references);
        let mut gone = None;
        for digest in &digests {
            if copies.blobs.keep(digest).await?.is_none() {
                gone = Some(digest);
            }
        }
        if let Some(blob) = gone {
            let name = &kept.name;
            tracing::warn!(%name, manifest = %digest, %blob, "an image is dropped, as a blob of it is gone");
            continue;
        }
        let limit = copies.limits.push_max;
        let spread = tokio::time::timeout(limit, copies.spread(&digests)).await;
        spread.map_err(|_| io::Error::other(format!("copying took longer than {limit:?}")))??;
        whole = whole.with(None, *digest, entry);
    }
    let tags = kept.repository.tags.iter();
    let tags = tags.filter(|(_, digest)| whole.manifests.contains_key(digest));
    whole.tags = tags.map(|(tag, digest)| (tag.clone(), *digest)).collect();
    if !whole.manifests.is_empty() {
        index.join(&kept.name, &whole).await?;
    }
    let path = kept.path.clone();
    blocking(move || fs::rename(&path, path.with_extension("json.moved"))).await?;
    Ok(())
}

/// When to try which of the missing blobs again. As large as the set of those that are missing.
#[derive(Default)]
struct Backlog {
    failed: HashMap<Digest, (Instant, Duration)>,
    /// Whether it was said that something cannot be copied.
    complained: bool,
}

impl Backlog {
    /// Which of the missing blobs to copy now. Forgets those that are not missing any more.
    fn due(&mut self, missing: Vec<Digest>, now: Instant) -> Vec<Digest> {
        let mut failed = std::mem::take(&mut self.failed);
        let mut due = Vec::new();
        for digest in missing {
            match failed.remove(&digest) {
                Some((at, pause)) => {
                    self.failed.insert(digest, (at, pause));
                    if at <= now {
                        due.push(digest);
                    }
                }
                None => due.push(digest),
            }
        }
        if due.len() > COPIES_PER_ROUND {
            let blobs = due.len();
            tracing::info!(blobs, "copying images from the other servers");
        }
        if self.complained && self.failed.is_empty() && due.is_empty() {
            self.complained = false;
            tracing::info!("this server has every blob of every image again");
        }
        due
    }

    fn tried(&mut self, digest: Digest, failure: Option<String>, now: Instant) {
        let before = self.failed.remove(&digest);
        let Some(why) = failure else {
            return;
        };
        let pause = before.map_or(RETRY_MIN, |(_, pause)| (pause * 2).min(RETRY_MAX));
        self.failed.insert(digest, (now + pause, pause));
        if !self.complained {
            self.complained = true;
            tracing::warn!(%digest, %why, "a blob cannot be copied from another server yet; trying again");
        }
    }

    /// How long until something is due.
    fn wait(&self, now: Instant) -> Duration {
        let waits = self.failed.values().map(|(at, _)| at.duration_since(now));
        waits.min().unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_that_fails_is_tried_ever_more_rarely_and_the_others_at_once() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let failure = || Some("down".to_owned());
        let mut backlog = Backlog::default();
        assert_eq!(backlog.due(vec![one, two], start), [one, two]);
        backlog.tried(one, failure(), start);
        backlog.tried(two, None, start);
        assert_eq!(backlog.wait(start), Duration::from_secs(1));
        assert_eq!(backlog.due(vec![one, two], start), [two]);
        assert_eq!(backlog.due(vec![one], at(1)), [one]);
        backlog.tried(one, failure(), at(1));
        assert_eq!(backlog.wait(at(1)), Duration::from_secs(2));
        for _ in 0..9 {
            backlog.tried(one, failure(), at(1));
        }
        assert_eq!(backlog.wait(at(1)), RETRY_MAX);
        // It came by another way.
        assert!(backlog.due(Vec::new(), at(2)).is_empty());
        assert_eq!(backlog.due(vec![one], at(2)), [one]);
    }
}
