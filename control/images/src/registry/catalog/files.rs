//! The catalogue of a registry of one server: a file per repository, all of them in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{RwLock, watch};

use super::{Catalog, CatalogError, Stored, Swap};
use crate::reference::is_name;
use crate::registry::OpenError;
use crate::registry::blobs::blocking;
use crate::registry::repository::Repository;

/// A repository's file.
pub(in crate::registry) struct Kept {
    pub(in crate::registry) name: String,
    pub(in crate::registry) path: PathBuf,
    pub(in crate::registry) repository: Repository,
    text: Bytes,
}

/// The files in `dir`, all of which can be understood.
pub(in crate::registry) fn kept(dir: &Path) -> Result<Vec<Kept>, OpenError> {
    fs::create_dir_all(dir).map_err(OpenError::at("create", dir))?;
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir).map_err(OpenError::at("list", dir))? {
        let path = entry.map_err(OpenError::at("list", dir))?.path();
        let file_name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let Some(name) = file_name.strip_suffix(".json").map(|n| n.replace('+', "/")) else {
            continue;
        };
        if !is_name(&name) {
            continue;
        }
        let text: Bytes = fs::read(&path)
            .map_err(OpenError::at("read", &path))?
            .into();
        let repository = Repository::decode(&text).map_err(OpenError::at("understand", &path))?;
        kept.push(Kept {
            name,
            path,
            repository,
            text,
        });
    }
    Ok(kept)
}

/// See the module.
pub(in crate::registry) struct Files {
    dir: PathBuf,
    /// With the last version that was given out. Its lock orders the writes.
    repositories: RwLock<(u64, BTreeMap<String, Stored>)>,
    changes: watch::Sender<u64>,
}

impl Files {
    pub(in crate::registry) fn open(dir: &Path) -> Result<Self, OpenError> {
        let mut repositories = BTreeMap::new();
        for kept in kept(dir)? {
            let stored = Stored {
                version: 1,
                value: kept.text,
            };
            repositories.insert(kept.name, stored);
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            repositories: RwLock::new((1, repositories)),
            changes: watch::Sender::new(1),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        // '+' cannot occur in a name.
        self.dir.join(format!("{}.json", name.replace('/', "+")))
    }

    async fn write(&self, name: &str, value: Option<Bytes>) -> io::Result<()> {
        let (dir, path) = (self.dir.clone(), self.path(name));
        blocking(move || {
            if let Some(value) = value {
                let temporary = path.with_extension("tmp");
                let mut file = File::create(&temporary)?;
                file.write_all(&value)?;
                file.sync_all()?;
                fs::rename(&temporary, &path)?;
            } else {
                fs::remove_file(&path)?;
            }
            File::open(dir)?.sync_all()
        })
        .await
    }
}

#[async_trait]
impl Catalog for Files {
    async fn get(&self, name: &str) -> Result<Option<Stored>, CatalogError> {
        Ok(self.repositories.read().await.1.get(name).cloned())
    }

    async fn load(&self) -> Result<BTreeMap<String, Stored>, CatalogError> {
        Ok(self.repositories.read().await.1.clone())
    }

    async fn swap(
        &self,
        name: &str,
        expected: u64,
        value: Option<Bytes>,
    ) -> Result<Swap, CatalogError> {
        let mut repositories = self.repositories.write().await;
        let (last, repositories) = &mut *repositories;
        if repositories.get(name).map_or(0, |stored| stored.version) != expected {
            return Ok(Swap::Moved);
        }
        if value.is_none() && expected == 0 {
            return Ok(Swap::Done);
        }
        self.write(name, value.clone()).await?;
        *last += 1;
        match value {
            Some(value) => {
                let version = *last;
                repositories.insert(name.to_owned(), Stored { version, value });
            }
            None => {
                repositories.remove(name);
            }
        }
        self.changes.send_replace(*last);
        Ok(Swap::Done)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_swap_from_another_version_changes_nothing_and_what_was_swapped_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let value = || Some(Repository::default().encode().unwrap());
        let files = Files::open(dir.path()).unwrap();
        let version = async || files.get("a/b").await.unwrap().map_or(0, |s| s.version);
        assert_eq!(files.swap("a/b", 7, value()).await.unwrap(), Swap::Moved);
        let changes = files.changes();
        assert_eq!(files.swap("a/b", 0, value()).await.unwrap(), Swap::Done);
        assert!(changes.has_changed().unwrap());
        let first = version().await;
        assert_eq!(files.swap("a/b", 0, value()).await.unwrap(), Swap::Moved);
        assert_eq!(files.swap("a/b", first, value()).await.unwrap(), Swap::Done);
        assert_ne!(version().await, first);
        let again = Files::open(dir.path()).unwrap();
        let loaded = again.load().await.unwrap();
        assert_eq!(loaded["a/b"].value, value().unwrap());
        let last = loaded["a/b"].version;
        assert_eq!(again.swap("a/b", last, None).await.unwrap(), Swap::Done);
        assert!(
            Files::open(dir.path())
                .unwrap()
                .load()
                .await
                .unwrap()
                .is_empty()
        );
    }
}
