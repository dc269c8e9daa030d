//! One generic store over all kinds, and a small strategy per kind.
//!
//! A verb here knows no HTTP. It takes a row of the table, a key and a decoded
//! object, and follows the same steps for every kind: defaults, admission, the
//! strategy's rules, a write with the precondition that nothing moved meanwhile.

pub mod decode;
pub mod kind;
mod locate;
mod metadata;
pub mod object;
pub mod options;
pub mod strategy;
pub mod table;
pub mod version;

mod apply;
mod create;
mod delete;
mod ownership;
mod scan;
mod update;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use euston_access::User;

use crate::admission::Admission;
use crate::error::{ApiError, Result};
use crate::storage::{Entry, ObjectKey, Parts, ResourceCache, Storage, join};
use kind::Kind;
use object::BoxObject;
use options::FieldValidation;
use table::{Row, Table};

pub use apply::Application;
pub(crate) use metadata::generated_name;
pub use update::{Part, Precondition, name_mismatch};

/// The largest object that is stored, in bytes of JSON: etcd's and so Kubernetes' bound.
pub const OBJECT_BYTES_MAX: usize = 3 << 19;

/// Tries of a write that others keep overtaking, before the client is told to retry.
/// Several servers that write under one quota take turns at random.
const ATTEMPTS_MAX: usize = 64;

/// How long a write waits for this server's own cache, which trails the store by less than a millisecond.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which kind a request is about: its row, and what hangs off it; and who asks.
#[derive(Clone, Copy)]
pub struct Resource<'a> {
    /// The kind.
    pub kind: &'a Arc<Kind>,
    /// Its objects.
    pub cache: &'a Arc<ResourceCache>,
    /// On whose behalf; `None` for this server's own.
    pub by: Option<&'a User>,
}

impl<'a> Resource<'a> {
    /// The same, on behalf of `user`.
    #[must_use]
    pub fn asked_by(self, user: &'a User) -> Self {
        Resource {
            by: Some(user),
            ..self
        }
    }
}

impl Resource<'_> {
    /// 404 for an object of this kind.
    pub fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.kind.names.group, &self.kind.names.plural, name)
    }

    pub(crate) fn stale(&self, name: &str) -> ApiError {
        ApiError::stale(&self.kind.names.group, &self.kind.names.plural, name)
    }

    pub(crate) fn conflict(&self, name: &str, why: &str) -> ApiError {
        ApiError::conflict(&self.kind.names.group, &self.kind.names.plural, name, why)
    }

    /// The object as it is stored, without owners.
    fn encode(&self, object: &BoxObject) -> Result<Vec<u8>> {
        let json = self.kind.rules.encode(object.as_ref());
        json.map_err(ApiError::internal)
    }

    /// The bytes to store: an encoded object and the JSON of its owners.
    fn seal(&self, lean: Vec<u8>, owners: Option<&[u8]>) -> Result<Bytes> {
        let json = join(lean, owners);
        if json.len() > OBJECT_BYTES_MAX {
            return Err(ApiError::too_large(OBJECT_BYTES_MAX));
        }
        Ok(json.into())
    }

    /// What clients see of stored bytes.
    fn entry(&self, key: &ObjectKey, revision: u64, stored: Bytes) -> Arc<Entry> {
        Arc::new(Entry::of(self.kind, key.clone(), revision, stored))
    }

    /// The object in an entry whose [`parts`](Entry::parts) are at hand.
    fn decode_stored(&self, entry: &Entry, parts: &Parts<'_>) -> Result<BoxObject> {
        let as_stored = entry.is_as_stored();
        let json = if as_stored {
            &*parts.lean
        } else {
            &*entry.value
        };
        self.kind.rules.decode_stored(json).map_err(|e| {
            ApiError::internal(format!(
                "the stored {} {:?} cannot be decoded: {e}",
                self.kind.names.kind,
                entry.key.as_str()
            ))
        })
    }
}

/// A write that was done, or would have been in a dry run.
pub struct Saved {
    /// The object as it now is.
    pub entry: Arc<Entry>,
    /// True if it was not there before.
    pub created: bool,
    /// What the client should know.
    pub warnings: Vec<String>,
}

/// All kinds and their objects.
pub struct Registry {
    table: Arc<Table>,
    storage: Arc<Storage>,
    admission: Admission,
}

impl Registry {
    /// A registry over the table's kinds and the storage that their caches follow.
    pub fn new(table: Arc<Table>, storage: Arc<Storage>, admission: Admission) -> Self {
        Registry {
            table,
            storage,
            admission,
        }
    }

    /// The table of kinds.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// What the objects are kept in.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// What is served under a group, version and plural name, as of now.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Row> {
        self.table.find(group, version, plural)
    }

    /// The object at `key`, as of now.
    ///
    /// # Errors
    /// 404; 504 if the caches are behind for long.
    pub async fn get(&self, resource: Resource<'_>, key: &ObjectKey) -> Result<Arc<Entry>> {
        self.storage.fresh().await?;
        resource
            .cache
            .get(key)
            .ok_or_else(|| resource.not_found(name_of(key)))
    }

    /// Decodes a request's body as an object of this kind.
    ///
    /// # Errors
    /// 400 with the path of what cannot be read; in strict mode also for unknown
    /// and duplicate fields, which are otherwise returned as warnings.
    pub fn decode(
        &self,
        resource: Resource<'_>,
        json: &[u8],
        validation: FieldValidation,
    ) -> Result<(BoxObject, Vec<String>)> {
        let names = &resource.kind.names;
        let cannot = |why: String| {
            ApiError::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {why}",
                names.kind, names.version, names.kind
            ))
        };
        let (object, findings) = resource.kind.rules.decode(json).map_err(cannot)?;
        match validation {
            FieldValidation::Ignore => Ok((object, Vec::new())),
            FieldValidation::Strict if !findings.is_empty() => Err(cannot(format!(
                "strict decoding error: {}",
                findings.join(", ")
            ))),
            FieldValidation::Strict | FieldValidation::Warn => Ok((object, findings)),
        }
    }

    /// Waits until this server decides by a write at `revision`, if decisions are made from its kind. So whoever has
    /// an answer to a revocation in hand meets it here at once.
    async fn settled(&self, resource: Resource<'_>, revision: u64) {
        if resource.kind.decides
            && let Err(error) = self.storage.wait_for(revision, SETTLE_TIMEOUT).await
        {
            // The write stands; only this server is behind.
            tracing::warn!(%error, kind = resource.kind.names.kind, "a write is not yet decided by");
        }
    }
}

/// The name in a key.
pub(crate) fn name_of(key: &ObjectKey) -> &str {
    key.as_str().rsplit('/').next().unwrap_or_default()
}

/// The namespace in a key.
pub(crate) fn namespace_of(key: &ObjectKey) -> Option<&str> {
    key.as_str().split_once('/').map(|(namespace, _)| namespace)
}
