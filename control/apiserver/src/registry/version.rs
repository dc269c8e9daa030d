//! One stored object under several names: versions of a kind, and groups that share it.
//!
//! One row of the table stores the objects (the hub). The others, called versions here,
//! have no objects of their own: what a client sends is turned into the stored type
//! before anything looks at it, and what a client gets is turned back where it is
//! written down. Between the two there is one type, one cache, one set of rules, so get,
//! list, watch, patch and delete are the same for all of them. Follows
//! <https://kubernetes.io/docs/reference/using-api/#api-groups> and the hub of
//! `k8s.io/apimachinery/pkg/conversion`, with a stored version in its place.

use serde_json::Result as JsonResult;

use super::decode::{self, Findings};
use super::object::BoxObject;
use super::strategy::Object;
use crate::schema::TypeId;

/// How a type that clients see and the type that is stored become each other. Both
/// directions are pure and total: what one type cannot hold must be kept in another
/// place, usually an annotation, so that an update through one version loses nothing
/// that another has set.
pub trait Version: Send + Sync + 'static {
    /// What clients send and see.
    type Object: Object;
    /// What is stored: the type of the hub's strategy.
    type Stored: Object;

    /// What is stored for what a client sent.
    fn to_stored(&self, object: Self::Object) -> Self::Stored;

    /// What a client sees of what is stored.
    fn from_stored(&self, stored: Self::Stored) -> Self::Object;

    /// The field selectors of this version, each with the hub's name for it. `None` if
    /// they are called as in the hub.
    fn field_labels(&self) -> Option<&'static [(&'static str, &'static str)]> {
        None
    }
}

/// A [`Version`] with its types forgotten. Kinds whose types are known only at run time
/// implement it themselves.
pub trait Form: Send + Sync {
    /// Decodes what a client sent into an object of the stored type.
    ///
    /// # Errors
    /// As [`decode::decode`].
    fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String>;

    /// The JSON that a client sees of a stored object's JSON, neither with a
    /// `resourceVersion`.
    ///
    /// # Errors
    /// If the stored JSON is broken.
    fn show(&self, stored: &[u8]) -> JsonResult<Vec<u8>>;

    /// See [`Version::field_labels`].
    fn field_labels(&self) -> Option<&'static [(&'static str, &'static str)]>;
}

/// The [`Form`] of a [`Version`] of a built-in kind.
pub(super) struct TypedForm<V> {
    pub(super) version: V,
    /// The row of [`Version::Object`] in the table of types.
    pub(super) schema: Option<TypeId>,
}

impl<V: Version> Form for TypedForm<V> {
    fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String> {
        let (object, findings) = decode::decode::<V::Object>(json, self.schema)?;
        Ok((Box::new(self.version.to_stored(object)), findings))
    }

    fn show(&self, stored: &[u8]) -> JsonResult<Vec<u8>> {
        let stored: V::Stored = serde_json::from_slice(stored)?;
        serde_json::to_vec(&self.version.from_stored(stored))
    }

    fn field_labels(&self) -> Option<&'static [(&'static str, &'static str)]> {
        self.version.field_labels()
    }
}
