//! Which tags and manifests each repository has: the catalogue, understood.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::catalog::{Catalog, CatalogError, Stored, Swap};
use super::repository::{Entry, Repository};
use crate::{Digest, Version};

/// For one answer of the catalogue: more than the replicated store takes before it gives up by itself.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// For one change, however many others change the same repository. Each time that somebody else was
/// faster one change happened, so this many seconds are thousands of pushes.
const CHANGE_MAX: Duration = Duration::from_secs(30);

/// Why the index did not answer, or did not change.
#[derive(Debug)]
pub(super) enum IndexError {
    Catalog(CatalogError),
    /// A repository's content cannot be understood.
    Damaged(String, io::Error),
    /// A repository holds as many manifests as it may: so many.
    Full(usize),
}

impl From<CatalogError> for IndexError {
    fn from(e: CatalogError) -> Self {
        Self::Catalog(e)
    }
}

pub(super) struct Index {
    catalog: Arc<dyn Catalog>,
    manifests_max: usize,
    /// What was understood last, by version. As many as there are repositories.
    understood: Mutex<HashMap<String, (u64, Arc<Repository>)>>,
}

impl Index {
    pub(super) fn new(catalog: Arc<dyn Catalog>, manifests_max: usize) -> Self {
        Self {
            catalog,
            manifests_max,
            understood: Mutex::new(HashMap::new()),
        }
    }

    /// A repository as it is now, with its version; `None` if there is no such repository.
    async fn versioned(&self, name: &str) -> Result<Option<(u64, Arc<Repository>)>, IndexError> {
        match answer("reading an entry", self.catalog.get(name)).await? {
            Some(stored) => Ok(Some((stored.version, self.understand(name, &stored)?))),
            None => {
                self.lock().remove(name);
                Ok(None)
            }
        }
    }

    /// A repository as it is now.
    pub(super) async fn repository(
        &self,
        name: &str,
    ) -> Result<Option<Arc<Repository>>, IndexError> {
        Ok(self
            .versioned(name)
            .await?
            .map(|(_, repository)| repository))
    }

    /// Names after `last` in order, at most `limit`, and whether more follow.
    pub(super) async fn names(
        &self,
        last: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), IndexError> {
        Ok(page(self.load().await?.keys(), last, limit))
    }

    /// Tags of a repository, like names; `None` if there is no such repository.
    pub(super) async fn tags(
        &self,
        name: &str,
        last: Option<&str>,
        limit: usize,
    ) -> Result<Option<(Vec<String>, bool)>, IndexError> {
        let repository = self.repository(name).await?;
        Ok(repository.map(|repository| page(repository.tags.keys(), last, limit)))
    }

    /// All digests in use.
    pub(super) async fn references(&self) -> Result<HashSet<Digest>, IndexError> {
        let loaded = self.load().await?;
        self.lock().retain(|name, _| loaded.contains_key(name));
        let mut references = HashSet::new();
        for (name, stored) in &loaded {
            references.extend(self.understand(name, stored)?.references());
        }
        Ok(references)
    }

    /// Adds a manifest whose blobs are all where they must be, and points a tag to it.
    pub(super) async fn put(
        &self,
        name: &str,
        tag: Option<&str>,
        digest: Digest,
        entry: &Entry,
    ) -> Result<(), IndexError> {
        let add = |old: &Repository| {
            let next = old.with(tag, digest, entry);
            if next.manifests.len() > self.manifests_max {
                return Err(IndexError::Full(self.manifests_max));
            }
            Ok(Some(next).filter(|next| next != old))
        };
        self.change(name, add).await.map(drop)
    }

    /// Removes a tag, or a manifest with every tag that points to it. False if it was not there.
    pub(super) async fn delete(&self, name: &str, version: &Version) -> Result<bool, IndexError> {
        self.change(name, |old| Ok(old.without(version))).await
    }

    /// Adds what only `other` has.
    pub(super) async fn join(&self, name: &str, other: &Repository) -> Result<(), IndexError> {
        let join = |old: &Repository| Ok(Some(old.joined(other)).filter(|next| next != old));
        self.change(name, join).await.map(drop)
    }

    /// Replaces a repository by what `edit` makes of it; false if that is nothing new.
    async fn change(
        &self,
        name: &str,
        edit: impl Fn(&Repository) -> Result<Option<Repository>, IndexError>,
    ) -> Result<bool, IndexError> {
        let deadline = Instant::now() + CHANGE_MAX;
        loop {
            let (version, old) = self.versioned(name).await?.unwrap_or_default();
            let Some(next) = edit(&old)? else {
                return Ok(false);
            };
            let value = if next.manifests.is_empty() {
                None
            } else {
                Some(next.encode().map_err(CatalogError::Disk)?)
            };
            match answer("a change", self.catalog.swap(name, version, value)).await? {
                Swap::Done => return Ok(true),
                Swap::Moved if Instant::now() < deadline => {}
                Swap::Moved => {
                    return Err(IndexError::Catalog(CatalogError::Unavailable(format!(
                        "others changed the repository all the time for {CHANGE_MAX:?}"
                    ))));
                }
            }
        }
    }

    async fn load(&self) -> Result<BTreeMap<String, Stored>, IndexError> {
        Ok(answer("reading all entries", self.catalog.load()).await?)
    }

    /// Decodes what was not decoded before.
    fn understand(&self, name: &str, stored: &Stored) -> Result<Arc<Repository>, IndexError> {
        if let Some((version, repository)) = self.lock().get(name)
            && *version == stored.version
        {
            return Ok(Arc::clone(repository));
        }
        let repository = Repository::decode(&stored.value)
            .map(Arc::new)
            .map_err(|e| IndexError::Damaged(name.to_owned(), e))?;
        let understood = (stored.version, Arc::clone(&repository));
        self.lock().insert(name.to_owned(), understood);
        Ok(repository)
    }

    /// The map is never left half changed, so a panic elsewhere does not spoil it.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (u64, Arc<Repository>)>> {
        self.understood
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The catalogue's answer, within bounds.
async fn answer<T>(
    what: &str,
    asked: impl Future<Output = Result<T, CatalogError>>,
) -> Result<T, CatalogError> {
    timeout(ANSWER_MAX, asked).await.unwrap_or_else(|_| {
        let why = format!("{what} was not answered within {ANSWER_MAX:?}");
        Err(CatalogError::Unavailable(why))
    })
}

fn page<'a>(
    names: impl Iterator<Item = &'a String>,
    last: Option<&str>,
    limit: usize,
) -> (Vec<String>, bool) {
    let mut rest = names.skip_while(|n| last.is_some_and(|last| n.as_str() <= last));
    let page = rest.by_ref().take(limit).cloned().collect();
    (page, rest.next().is_some())
}
