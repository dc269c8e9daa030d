//! Content-addressed files.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::OpenError;
use super::uploads::Scratch;
use crate::Digest;

/// The folder of blobs, one file each, named by its hexadecimal digest.
///
/// A file's time of modification says when somebody last relied on it: see [`Blobs::keep`].
pub(super) struct Blobs {
    dir: PathBuf,
    /// Held where a file is looked at and then removed, renewed or replaced, so that what was
    /// just renewed is not removed for its old time.
    order: Arc<Mutex<()>>,
}

impl Blobs {
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::at("create", dir))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            order: Arc::default(),
        })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// The blob's size, `None` if it is not here; and a promise that it stays for as long as an
    /// unused blob does, counted from now.
    pub(super) async fn keep(&self, digest: &Digest) -> io::Result<Option<u64>> {
        let (path, order) = (self.path(digest), Arc::clone(&self.order));
        blocking(move || {
            let _order = lock(&order);
            let Some(file) = present(File::options().append(true).open(path))? else {
                return Ok(None);
            };
            file.set_modified(SystemTime::now())?;
            Ok(Some(file.metadata()?.len()))
        })
        .await
    }

    /// The blob for reading, with its size; `None` if it is not here.
    pub(super) async fn open_blob(
        &self,
        digest: &Digest,
    ) -> io::Result<Option<(tokio::fs::File, u64)>> {
        let Some(file) = present(tokio::fs::File::open(self.path(digest)).await)? else {
            return Ok(None);
        };
        let size = file.metadata().await?.len();
        Ok(Some((file, size)))
    }

    /// Makes a finished file the blob `digest`. The caller has checked the content and synced the
    /// file; what this adds is that the name survives a crash.
    pub(super) async fn adopt(&self, file: Scratch, digest: Digest) -> io::Result<()> {
        let (dir, path, order) = (
            self.dir.clone(),
            self.path(&digest),
            Arc::clone(&self.order),
        );
        blocking(move || {
            {
                let _order = lock(&order);
                fs::rename(file.path(), &path)?;
            }
            File::open(dir)?.sync_all()
        })
        .await
    }

    /// Removes what nothing refers to and nobody has relied on since `cutoff`, and answers which
    /// of the `referenced` are missing. Removing is best effort: a file that stays costs disk, and
    /// the next time finds it again.
    pub(super) async fn tidy(
        &self,
        referenced: Arc<HashSet<Digest>>,
        cutoff: SystemTime,
    ) -> io::Result<Vec<Digest>> {
        let (dir, order) = (self.dir.clone(), Arc::clone(&self.order));
        blocking(move || {
            let mut missing = referenced.as_ref().clone();
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let digest = entry.file_name().to_str().and_then(Digest::from_hex);
                if !digest.is_some_and(|digest| missing.remove(&digest)) {
                    remove_unused(&entry.path(), cutoff, &order);
                }
            }
            Ok(missing.into_iter().collect())
        })
        .await
    }
}

fn remove_unused(path: &Path, cutoff: SystemTime, order: &Mutex<()>) {
    let _order = lock(order);
    let used = fs::metadata(path).and_then(|metadata| metadata.modified());
    if used.is_ok_and(|used| used < cutoff)
        && let Err(e) = fs::remove_file(path)
    {
        tracing::debug!(path = %path.display(), error = %e, "cannot remove an unused blob");
    }
}

/// It guards nothing in memory, so a panic elsewhere does not spoil it.
fn lock(order: &Mutex<()>) -> std::sync::MutexGuard<'_, ()> {
    order.lock().unwrap_or_else(PoisonError::into_inner)
}

fn present<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Runs file system calls where they may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(io::Error::other(e)),
    }
}
