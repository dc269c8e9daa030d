//! What is told of the kinds: discovery and OpenAPI, of the table as it is now.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::discovery::Discovery;
use super::documents;
use crate::openapi::OpenApi;
use crate::registry::table::{Rows, Table};

/// What is told of the table in one state.
pub struct Edition {
    generation: u64,
    /// Which kinds there are.
    pub discovery: Discovery,
    /// What their objects look like.
    pub documents: Arc<OpenApi>,
}

impl Edition {
    fn new(rows: &Rows, before: Option<&OpenApi>) -> Self {
        let docs = rows.kinds().map(|kind| documents::resource_doc(kind));
        Edition {
            generation: rows.generation(),
            discovery: Discovery::new(rows.kinds()),
            documents: Arc::new(OpenApi::new(docs.collect(), before)),
        }
    }
}

/// The newest edition. It is made when somebody asks after the table has changed, so that nothing
/// is made that nobody wants, and nobody is told of yesterday's kinds.
pub struct Published {
    table: Arc<Table>,
    newest: ArcSwap<Edition>,
    /// Held while an edition is made, so that many who ask cause one.
    making: Mutex<()>,
}

impl Published {
    /// What is told of `table`.
    pub fn new(table: Arc<Table>) -> Self {
        let first = Edition::new(&table.now(), None);
        Published {
            table,
            newest: ArcSwap::from_pointee(first),
            making: Mutex::new(()),
        }
    }

    /// The edition of the table as it is now.
    pub fn now(&self) -> Arc<Edition> {
        let current = |edition: &Edition| edition.generation == self.table.now().generation();
        let newest = self.newest.load_full();
        if current(&newest) {
            return newest;
        }
        let _alone = self.making.lock();
        let newest = self.newest.load_full();
        if current(&newest) {
            return newest;
        }
        let edition = Arc::new(Edition::new(&self.table.now(), Some(&newest.documents)));
        self.newest.store(edition.clone());
        edition
    }

    /// Frees the documents that nobody has asked for in `idle`.
    pub fn trim(&self, idle: Duration) {
        self.newest.load().documents.trim(idle);
    }
}
