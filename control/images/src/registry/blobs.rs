//! Content-addressed files.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::OpenError;
use crate::Digest;

/// A blob that no manifest names yet may belong to a push that is under way; younger ones stay.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// The folder of blobs, one file each, named by its hexadecimal digest.
pub(super) struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::at("create", dir))?;
        Ok(Self {
            dir: dir.to_path_buf(),
        })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// The blob's size; `None` if it is not here.
    pub(super) async fn size(&self, digest: &Digest) -> io::Result<Option<u64>> {
        match tokio::fs::metadata(self.path(digest)).await {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The blob for reading, with its size; `None` if it is not here.
    pub(super) async fn open_blob(
        &self,
        digest: &Digest,
    ) -> io::Result<Option<(tokio::fs::File, u64)>> {
        match tokio::fs::File::open(self.path(digest)).await {
            Ok(file) => {
                let size = file.metadata().await?.len();
                Ok(Some((file, size)))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a finished file the blob `digest`. The caller has checked the content and synced the
    /// file; what this adds is that the name survives a crash.
    pub(super) async fn adopt(&self, file: PathBuf, digest: Digest) -> io::Result<()> {
        let (dir, path) = (self.dir.clone(), self.path(&digest));
        blocking(move || {
            fs::rename(&file, &path)?;
            File::open(dir)?.sync_all()
        })
        .await
    }

    /// Stores bytes whose digest the caller computed.
    pub(super) async fn put(&self, digest: Digest, bytes: bytes::Bytes) -> io::Result<()> {
        let temporary = self
            .dir
            .join(format!("{}.{}.tmp", digest.hex(), uuid::Uuid::new_v4()));
        let file = temporary.clone();
        blocking(move || {
            let mut file = File::create_new(&file)?;
            io::Write::write_all(&mut file, &bytes)?;
            file.sync_all()
        })
        .await?;
        self.adopt(temporary, digest).await
    }

    /// Removes what nothing refers to and no push can be about to refer to. Best effort: a file
    /// that stays costs disk, and the next sweep finds it again.
    pub(super) fn sweep(&self, referenced: &HashSet<Digest>) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let keep: HashSet<String> = referenced.iter().map(Digest::hex).collect();
        let now = SystemTime::now();
        for entry in entries.flatten() {
            let is_old = entry
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > GRACE));
            let is_kept = entry.file_name().to_str().is_some_and(|n| keep.contains(n));
            if is_old
                && !is_kept
                && let Err(e) = fs::remove_file(entry.path())
            {
                tracing::debug!(path = %entry.path().display(), error = %e, "cannot remove an unused blob");
            }
        }
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
