//! An OCI Distribution registry over a folder.
//!
//! ```text
//! DIR/blobs/sha256/HEX          content, shared by all repositories
//! DIR/repositories/NAME.json    tags and manifests of one repository ('/' in NAME becomes '+')
//! DIR/uploads/ID                uploads that are under way; emptied when the registry opens
//! ```
//! A blob becomes visible by a rename after an fsync, a manifest by the atomic replacement of its
//! repository's file. Source: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

mod blobs;
mod error;
mod http;
mod index;
mod route;
mod uploads;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blobs::Blobs;
use index::Index;
use uploads::Uploads;

/// Bounds of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest blob. Default 512 MiB: large for a Wasm binary, small for a disk.
    pub blob_bytes_max: u64,
    /// Largest manifest. Default 4 MiB, the least that the specification asks for.
    pub manifest_bytes_max: usize,
    /// Uploads under way at one time; one more is answered 429, and a client tries again. Default 64.
    pub uploads_max: usize,
    /// An upload that received nothing for so long is forgotten. Default 15 minutes.
    pub upload_idle: Duration,
    /// How long to wait for the next piece of a request body. Default 60 s.
    pub body_idle: Duration,
    /// Manifests per repository; one more is refused until some are deleted. Default 10,000.
    pub manifests_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_bytes_max: 512 << 20,
            manifest_bytes_max: 4 << 20,
            uploads_max: 64,
            upload_idle: Duration::from_secs(15 * 60),
            body_idle: Duration::from_secs(60),
            manifests_max: 10_000,
        }
    }
}

/// The registry's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the image registry: cannot {action} {}: {source}", path.display())]
pub struct OpenError {
    action: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl OpenError {
    fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// The built-in image registry. Cheap to clone; clones are the same registry.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    limits: Limits,
    blobs: Blobs,
    index: Index,
    uploads: Uploads,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// Opens the registry in `dir`, creating it on first use. Blocks on disk for as long as
    /// reading one small file per repository takes.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or a repository's file is damaged.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, Limits::default())
    }

    /// [`Registry::open`] with other bounds.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Self, OpenError> {
        let blobs = Blobs::open(&dir.join("blobs").join("sha256"))?;
        let index = Index::open(&dir.join("repositories"), limits.manifests_max)?;
        let uploads = Uploads::open(&dir.join("uploads"), limits)?;
        blobs.sweep(&index.open_references());
        Ok(Self {
            inner: Arc::new(Inner {
                limits,
                blobs,
                index,
                uploads,
            }),
        })
    }

    /// Everything under `/v2`, to be merged into the API server's router. Who may do what is
    /// decided in front of it.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }
}
