//! Where it is written down which repositories there are, and what each holds.

mod files;

use std::collections::BTreeMap;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

pub(super) use files::{Files, Kept, kept};

/// A repository as the catalogue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Names this content of this repository: never 0, and never used twice for one repository.
    pub version: u64,
    /// The content, which means nothing to a catalogue.
    pub value: Bytes,
}

/// What became of a [`Catalog::swap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It happened.
    Done,
    /// The repository was not at the expected version; nothing happened.
    Moved,
}

/// Why a catalogue did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It cannot be reached, or did not answer. A [`Catalog::swap`] may still have happened, or happen.
    #[error("{0}")]
    Unavailable(String),
    /// It has no room for this.
    #[error("{0}")]
    Full(String),
    /// Its disk failed.
    #[error("the registry's disk: {0}")]
    Disk(#[from] io::Error),
}

/// The index of a registry: a value per repository. All servers of a cluster see the same one.
///
/// Every answer is linearizable: it shows each swap that was answered before the question, on whatever server.
/// Implementations need not bound their time, the registry does.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// One repository; `None` if there is no such.
    ///
    /// # Errors
    /// See [`CatalogError`].
    async fn get(&self, name: &str) -> Result<Option<Stored>, CatalogError>;

    /// All repositories at one moment, by name.
    ///
    /// # Errors
    /// See [`CatalogError`].
    async fn load(&self) -> Result<BTreeMap<String, Stored>, CatalogError>;

    /// Replaces a repository that is at version `expected`, 0 if it must not exist, or removes it.
    ///
    /// # Errors
    /// See [`CatalogError`].
    async fn swap(
        &self,
        name: &str,
        expected: u64,
        value: Option<Bytes>,
    ) -> Result<Swap, CatalogError>;

    /// Changes some time after every swap, by whichever server, and may change for no reason.
    fn changes(&self) -> watch::Receiver<u64>;
}
