//! Which tags and manifests each repository has: in memory, and one file per repository on disk.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

use super::OpenError;
use super::blobs::blocking;
use crate::reference::is_name;
use crate::{Digest, Version};

/// One repository, as its file holds it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repository {
    /// The file's format.
    version: u32,
    tags: BTreeMap<String, Digest>,
    manifests: BTreeMap<Digest, Entry>,
}

/// A manifest: its bytes are the blob of the same digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) media_type: String,
    pub(super) size: u64,
    /// What it refers to, so that nothing has to be read again to know which blobs are in use.
    pub(super) references: Vec<Digest>,
}

const FORMAT: u32 = 1;

/// What putting a manifest may answer besides success.
#[derive(Debug)]
pub(super) enum PutError {
    Full,
    Io(io::Error),
}

impl From<io::Error> for PutError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

pub(super) struct Index {
    dir: PathBuf,
    manifests_max: usize,
    repositories: RwLock<BTreeMap<String, Repository>>,
}

impl Index {
    pub(super) fn open(dir: &Path, manifests_max: usize) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::at("create", dir))?;
        let mut repositories = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(OpenError::at("list", dir))? {
            let path = entry.map_err(OpenError::at("list", dir))?.path();
            let file_name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            let Some(name) = file_name.strip_suffix(".json").map(|n| n.replace('+', "/")) else {
                continue;
            };
            if !is_name(&name) {
                continue;
            }
            let text = fs::read(&path).map_err(OpenError::at("read", &path))?;
            let repository: Repository = serde_json::from_slice(&text)
                .map_err(io::Error::from)
                .map_err(OpenError::at("understand", &path))?;
            if repository.version != FORMAT {
                let found = repository.version;
                let why = format!("its format is {found} and this program knows {FORMAT}");
                return Err(OpenError::at("read", &path)(io::Error::other(why)));
            }
            repositories.insert(name, repository);
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            manifests_max,
            repositories: RwLock::new(repositories),
        })
    }

    /// All digests in use. Only while the registry opens: nothing else holds the lock then.
    pub(super) fn open_references(&self) -> HashSet<Digest> {
        self.repositories
            .try_read()
            .map(|repositories| references(&repositories))
            .unwrap_or_default()
    }

    /// Names after `last` in order, at most `limit`, and whether more follow.
    pub(super) async fn names(&self, last: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let repositories = self.repositories.read().await;
        page(repositories.keys(), last, limit)
    }

    /// Tags of a repository; `None` if there is no such repository.
    pub(super) async fn tags(
        &self,
        name: &str,
        last: Option<&str>,
        limit: usize,
    ) -> Option<(Vec<String>, bool)> {
        let repositories = self.repositories.read().await;
        Some(page(repositories.get(name)?.tags.keys(), last, limit))
    }

    pub(super) async fn has(&self, name: &str) -> bool {
        self.repositories.read().await.contains_key(name)
    }

    pub(super) async fn find(&self, name: &str, version: &Version) -> Option<(Digest, Entry)> {
        let repositories = self.repositories.read().await;
        let repository = repositories.get(name)?;
        let digest = match version {
            Version::Tag(tag) => *repository.tags.get(tag)?,
            Version::Digest(digest) => *digest,
        };
        Some((digest, repository.manifests.get(&digest)?.clone()))
    }

    /// Adds a manifest whose bytes are stored already, and points a tag to it.
    ///
    /// `present` is asked under the lock that sweeping takes too, so that a manifest never names a
    /// blob which is being swept: it answers with the first digest that is missing.
    pub(super) async fn put(
        &self,
        name: &str,
        tag: Option<&str>,
        digest: Digest,
        entry: Entry,
        present: impl AsyncFnOnce(&Entry) -> io::Result<Option<Digest>>,
    ) -> Result<Option<Digest>, PutError> {
        let mut repositories = self.repositories.write().await;
        if let Some(missing) = present(&entry).await? {
            return Ok(Some(missing));
        }
        let mut next = repositories.get(name).cloned().unwrap_or_default();
        next.version = FORMAT;
        next.manifests.insert(digest, entry);
        if next.manifests.len() > self.manifests_max {
            return Err(PutError::Full);
        }
        if let Some(tag) = tag {
            next.tags.insert(tag.to_owned(), digest);
        }
        self.write(name, &next).await?;
        repositories.insert(name.to_owned(), next);
        Ok(None)
    }

    /// Removes a tag, or a manifest with every tag that points to it. False if it was not there.
    /// `sweep` gets what is still in use, under the lock.
    pub(super) async fn delete(
        &self,
        name: &str,
        version: &Version,
        sweep: impl FnOnce(HashSet<Digest>),
    ) -> io::Result<bool> {
        let mut repositories = self.repositories.write().await;
        let Some(mut next) = repositories.get(name).cloned() else {
            return Ok(false);
        };
        let removed = match version {
            Version::Tag(tag) => next.tags.remove(tag).is_some(),
            Version::Digest(digest) => {
                next.tags.retain(|_, tagged| tagged != digest);
                next.manifests.remove(digest).is_some()
            }
        };
        if !removed {
            return Ok(false);
        }
        if next.manifests.is_empty() {
            let path = self.path(name);
            blocking(move || fs::remove_file(path)).await?;
            repositories.remove(name);
        } else {
            self.write(name, &next).await?;
            repositories.insert(name.to_owned(), next);
        }
        sweep(references(&repositories));
        Ok(true)
    }

    fn path(&self, name: &str) -> PathBuf {
        // '+' cannot occur in a name.
        self.dir.join(format!("{}.json", name.replace('/', "+")))
    }

    async fn write(&self, name: &str, repository: &Repository) -> io::Result<()> {
        let text = serde_json::to_vec(repository)?;
        let (dir, path) = (self.dir.clone(), self.path(name));
        blocking(move || {
            let temporary = path.with_extension("tmp");
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(dir)?.sync_all()
        })
        .await
    }
}

fn references(repositories: &BTreeMap<String, Repository>) -> HashSet<Digest> {
    repositories
        .values()
        .flat_map(|r| &r.manifests)
        .flat_map(|(digest, entry)| std::iter::once(digest).chain(&entry.references))
        .copied()
        .collect()
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
