//! An OCI Distribution registry over a folder.
//!
//! ```text
//! DIR/blobs/sha256/HEX          content, shared by all repositories
//! DIR/repositories/NAME.json    tags and manifests of one repository ('/' in NAME becomes '+'),
//!                               where the index is not shared
//! DIR/uploads/ID                uploads that are under way; emptied when the registry opens
//! ```
//! A blob becomes visible by a rename after an fsync, a manifest by the atomic replacement of its
//! repository's entry in the index. Source: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.
//!
//! Where several servers are one registry, the index is a [`Catalog`] that they share, and each
//! has a folder of blobs. A push is answered when more than half of the [`Siblings`] and this server
//! have its blobs, and the index refers to them; the other servers fetch them afterwards (`upkeep`), or
//! earlier if they are asked for one (`copies`). Uploads stay where they began.
//!
//! ```text
//! http -> copies.bring, copies.spread   every blob on a majority, kept for the grace period
//!      -> index.put                     compare and swap; then the push is visible everywhere
//! ```

mod blobs;
mod catalog;
mod copies;
mod door;
mod error;
mod http;
mod index;
mod over_http;
mod repository;
mod route;
mod siblings;
mod upkeep;
mod uploads;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use blobs::{Blobs, blocking};
use catalog::{Files, Kept};
use copies::Copies;
use index::Index;
use upkeep::Upkeep;
use uploads::Uploads;

pub use catalog::{Catalog, CatalogError, Stored, Swap};
pub use over_http::{HttpSiblings, SiblingBody};
pub use siblings::{Alone, BlobStream, SiblingError, Siblings};

/// Bounds of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest blob. Default 512 MiB: large for a Wasm binary, small for a disk.
    pub blob_bytes_max: u64,
    /// Largest manifest. Default 4 MiB, the least that the specification asks for.
    pub manifest_bytes_max: usize,
    /// Uploads of blobs under way at one time, and as many of manifests; one more is answered 429, and a
    /// client tries again. Default 64.
    pub uploads_max: usize,
    /// An upload that received nothing for so long is forgotten. Default 15 minutes.
    pub upload_idle: Duration,
    /// How long to wait for the next piece of a request body. Default 60 s.
    pub body_idle: Duration,
    /// Manifests per repository; one more is refused until some are deleted. Default 10,000.
    pub manifests_max: usize,
    /// A blob that no manifest refers to may belong to a push that is under way; it stays for so long
    /// after somebody relied on it. Default 1 hour, far more than [`Limits::push_max`].
    pub grace: Duration,
    /// How long to wait for another server's answer, or for the next piece of a blob from it. Default 5 s.
    pub sibling_idle: Duration,
    /// How long a push may take to bring its blobs to enough servers. What was copied until then stays, so that
    /// the next try goes on from there. Default 200 s, so that clients that wait for 4 minutes learn the reason.
    pub push_max: Duration,
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
            grace: Duration::from_secs(60 * 60),
            sibling_idle: Duration::from_secs(5),
            push_max: Duration::from_secs(200),
        }
    }
}

impl Limits {
    /// The largest file among the blobs, some of which are manifests.
    fn content_bytes_max(&self) -> u64 {
        self.blob_bytes_max.max(self.manifest_bytes_max as u64)
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
    copies: Arc<Copies>,
    index: Arc<Index>,
    /// Places for manifests being pushed.
    pushes: Semaphore,
    _upkeep: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// Opens the registry of one server in `dir`, with its index in files, creating it on first use.
    /// Blocks on disk for as long as reading one small file per repository takes.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or a repository's file is damaged.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, Limits::default())
    }

    /// [`Registry::open`] with other bounds.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Self, OpenError> {
        let catalog = Arc::new(Files::open(&repositories(dir))?);
        let copies = copies(dir, limits, Arc::new(Alone))?;
        let index = Arc::new(Index::new(catalog.clone(), limits.manifests_max));
        Ok(Self::start(catalog, index, copies, Vec::new()))
    }

    /// Opens this server's part of a registry whose index is in `catalog` and whose blobs are also on
    /// `siblings`. If the folder has an index in files, it is moved into the catalogue: before this
    /// returns where there are no siblings, else in the background as soon as they can be reached.
    ///
    /// # Errors
    /// As [`Registry::open`], and when the index in files cannot be moved.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open_shared(
        dir: &Path,
        catalog: Arc<dyn Catalog>,
        siblings: Arc<dyn Siblings>,
    ) -> Result<Self, OpenError> {
        Self::open_shared_with(dir, catalog, siblings, Limits::default()).await
    }

    /// [`Registry::open_shared`] with other bounds.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub async fn open_shared_with(
        dir: &Path,
        catalog: Arc<dyn Catalog>,
        siblings: Arc<dyn Siblings>,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let alone = siblings.list().is_empty();
        let folder = dir.to_path_buf();
        let opening = move || {
            let opened = copies(&folder, limits, siblings);
            let kept = catalog::kept(&repositories(&folder));
            Ok(opened.and_then(|copies| Ok((copies, kept?))))
        };
        let opened = blocking(opening).await;
        let (copies, mut kept) = opened.map_err(OpenError::at("open", dir))??;
        let index = Arc::new(Index::new(catalog.clone(), limits.manifests_max));
        if alone {
            for kept in std::mem::take(&mut kept) {
                let moved = upkeep::take_over(&index, &copies, &kept).await;
                moved
                    .map_err(std::io::Error::other)
                    .map_err(OpenError::at("move into the shared index", &kept.path))?;
            }
        }
        Ok(Self::start(catalog, index, copies, kept))
    }

    fn start(
        catalog: Arc<dyn Catalog>,
        index: Arc<Index>,
        copies: Arc<Copies>,
        kept: Vec<Kept>,
    ) -> Self {
        let limits = copies.limits;
        let upkeep = Upkeep {
            index: index.clone(),
            copies: copies.clone(),
            catalog,
            kept,
        };
        Self {
            inner: Arc::new(Inner {
                limits,
                copies,
                index,
                pushes: Semaphore::new(limits.uploads_max),
                _upkeep: AbortOnDropHandle::new(tokio::spawn(upkeep.run())),
            }),
        }
    }

    /// Everything under `/v2`, to be merged into the API server's router. Who may do what is
    /// decided in front of it.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// Where the other servers ask for blobs and bring them (`/euston/v1/blobs/sha256/HEX`; [`HttpSiblings`] is
    /// the other end), to be merged into the API server's router. `may` says, by a request's extensions,
    /// whether it comes from a server of the cluster; others are answered 403.
    pub fn sibling_router(
        &self,
        may: impl Fn(&::http::Extensions) -> bool + Send + Sync + 'static,
    ) -> axum::Router {
        door::router(self.inner.copies.clone(), may)
    }
}

fn repositories(dir: &Path) -> PathBuf {
    dir.join("repositories")
}

fn copies(
    dir: &Path,
    limits: Limits,
    siblings: Arc<dyn Siblings>,
) -> Result<Arc<Copies>, OpenError> {
    let blobs = Blobs::open(&dir.join("blobs").join("sha256"))?;
    let uploads = Uploads::open(&dir.join("uploads"), limits)?;
    Ok(Arc::new(Copies::new(blobs, uploads, limits, siblings)))
}
