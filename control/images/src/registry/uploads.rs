//! Uploads under way: a file that grows, and the digest of what it holds so far.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::{Limits, OpenError};
use crate::Digest;

/// A file that goes away with this, unless it is moved elsewhere before.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    /// If it fails, opening the registry next time does it.
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// One upload.
pub(super) struct Upload {
    scratch: Scratch,
    file: File,
    hasher: Sha256,
    size: u64,
}

/// Why bytes were not taken.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Larger than the bound, in bytes.
    TooLarge(u64),
    /// The client stopped sending.
    Stalled(Duration),
    /// The client went away.
    Broken(axum::Error),
    Io(io::Error),
}

impl Upload {
    async fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::create_new(&path).await?;
        Ok(Self {
            scratch: Scratch(path),
            file,
            hasher: Sha256::new(),
            size: 0,
        })
    }

    /// Where the bytes are.
    pub(super) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Bytes received so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a request body, so that there are at most `bytes_max`, each piece of which is waited for for `idle`.
    /// What was written before an error stays, and is counted.
    pub(super) async fn append(
        &mut self,
        body: Body,
        bytes_max: u64,
        idle: Duration,
    ) -> Result<(), AppendError> {
        let mut stream = body.into_data_stream();
        loop {
            let chunk = match timeout(idle, stream.next()).await {
                Err(_) => return Err(AppendError::Stalled(idle)),
                Ok(None) => break,
                Ok(Some(Err(e))) => return Err(AppendError::Broken(e)),
                Ok(Some(Ok(chunk))) => chunk,
            };
            if self.size + chunk.len() as u64 > bytes_max {
                return Err(AppendError::TooLarge(bytes_max));
            }
            self.write(&chunk).await.map_err(AppendError::Io)?;
        }
        self.flush().await.map_err(AppendError::Io)
    }

    /// Appends bytes; they are in the file for others to read after a [`Upload::flush`].
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.file.flush().await
    }

    /// Syncs the file and hands it out with the digest of its content.
    pub(super) async fn finish(self) -> io::Result<(Scratch, Digest)> {
        self.file.sync_all().await?;
        Ok((self.scratch, Digest::from_hasher(self.hasher)))
    }
}

fn remove(path: &Path) {
    if let Err(e) = fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), error = %e, "cannot remove an upload");
    }
}

struct Slot {
    repository: String,
    touched: Instant,
    /// `None` once it was finished or discarded. An async lock: the body is written under it, so
    /// that two requests never mix their bytes.
    upload: Arc<tokio::sync::Mutex<Option<Upload>>>,
}

/// Every upload under way, by id.
pub(super) struct Uploads {
    dir: PathBuf,
    limits: Limits,
    slots: Mutex<HashMap<String, Slot>>,
}

impl Uploads {
    pub(super) fn open(dir: &Path, limits: Limits) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::at("create", dir))?;
        for entry in fs::read_dir(dir)
            .map_err(OpenError::at("list", dir))?
            .flatten()
        {
            remove(&entry.path());
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            limits,
            slots: Mutex::new(HashMap::new()),
        })
    }

    /// The map is never left half changed, so a panic elsewhere does not spoil it.
    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload and returns its id; `None` if too many are under way.
    pub(super) async fn begin(&self, repository: &str) -> io::Result<Option<String>> {
        let id = uuid::Uuid::new_v4().to_string();
        let path = self.dir.join(&id);
        let upload = Arc::new(tokio::sync::Mutex::new(None));
        {
            let mut slots = self.slots();
            let idle = self.limits.upload_idle;
            slots.retain(|_, slot| {
                // One whose lock is held is receiving right now.
                slot.touched.elapsed() < idle || slot.upload.try_lock().is_err()
            });
            if slots.len() >= self.limits.uploads_max {
                return Ok(None);
            }
            slots.insert(
                id.clone(),
                Slot {
                    repository: repository.to_owned(),
                    touched: Instant::now(),
                    upload: Arc::clone(&upload),
                },
            );
        }
        match Upload::create(path).await {
            Ok(created) => {
                *upload.lock().await = Some(created);
                Ok(Some(id))
            }
            Err(e) => {
                self.forget(&id);
                Err(e)
            }
        }
    }

    /// A file for bytes that arrive in one go, without an id by which a client could come back.
    pub(super) async fn scratch(&self) -> io::Result<Upload> {
        Upload::create(self.dir.join(uuid::Uuid::new_v4().to_string())).await
    }

    /// The upload `id` of `repository`, locked by whoever locks it; also marks it as in use.
    pub(super) fn get(
        &self,
        repository: &str,
        id: &str,
    ) -> Option<Arc<tokio::sync::Mutex<Option<Upload>>>> {
        let mut slots = self.slots();
        let slot = slots.get_mut(id).filter(|s| s.repository == repository)?;
        slot.touched = Instant::now();
        Some(Arc::clone(&slot.upload))
    }

    /// Frees the slot of an upload that was finished or discarded.
    pub(super) fn forget(&self, id: &str) {
        self.slots().remove(id);
    }
}
