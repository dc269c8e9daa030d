//! One stored object under several names: versions of a kind, and groups that share it.
//!
//! One row of the table is of the type that is stored. The others, called versions here,
//! are of types of their own: what a client sends through one is turned into the stored
//! type before any rule looks at it, and what it gets is turned back
//! ([`Rules::present`](super::kind::Rules::present)). So there is one type, one set of rules
//! and one place in the store, and get, list, watch, patch and delete are the same for all.
//! Follows <https://kubernetes.io/docs/reference/using-api/#api-groups> and the hub of
//! `k8s.io/apimachinery/pkg/conversion`, with the stored version in its place.

use super::decode::{self, Findings};
use super::object::BoxObject;
use super::strategy::Object;
use crate::schema::ownership::Builtin;

/// How a type that clients see and the type that is stored become each other. Both
/// directions are pure and total: what one type cannot hold must be kept in another
/// place, usually an annotation, so that an update through one version loses nothing
/// that another has set.
pub trait Version: Send + Sync + 'static {
    /// What clients send and see.
    type Object: Object;
    /// What is stored: the type of the strategy.
    type Stored: Object;

    /// What is stored for what a client sent.
    fn to_stored(&self, object: Self::Object) -> Self::Stored;

    /// What a client sees of what is stored.
    fn show_stored(&self, stored: Self::Stored) -> Self::Object;

    /// The field selectors of this version, each with the strategy's name for it. `None`
    /// if they are called alike.
    fn field_labels(&self) -> Option<&'static [(&'static str, &'static str)]> {
        None
    }
}

/// A [`Version`] of a stored type `T` with its own type forgotten.
pub(super) trait Form<T>: Send + Sync {
    /// Decodes what a client sent.
    ///
    /// # Errors
    /// As [`decode::decode`].
    fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String>;

    /// Decodes what a client is shown.
    ///
    /// # Errors
    /// If it is not of the version's type.
    fn decode_shown(&self, json: &[u8]) -> serde_json::Result<BoxObject>;

    /// What a client is shown of a stored object.
    ///
    /// # Errors
    /// If it is not of the stored type.
    fn show(&self, stored: &[u8]) -> serde_json::Result<Vec<u8>>;

    /// What is known about the type that clients see.
    fn schema(&self) -> &Builtin;

    /// See [`Version::field_labels`].
    fn field_labels(&self) -> Option<&'static [(&'static str, &'static str)]>;
}

pub(super) struct TypedForm<V> {
    pub(super) version: V,
    /// The row of [`Version::Object`] in the table of types.
    pub(super) schema: Builtin,
}

impl<V: Version> Form<V::Stored> for TypedForm<V> {
    fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String> {
        let (object, findings) = decode::decode::<V::Object>(json, self.schema.0)?;
        Ok((Box::new(self.version.to_stored(object)), findings))
    }

    fn decode_shown(&self, json: &[u8]) -> serde_json::Result<BoxObject> {
        let object: V::Object = serde_json::from_slice(json)?;
        Ok(Box::new(self.version.to_stored(object)))
    }

    fn show(&self, stored: &[u8]) -> serde_json::Result<Vec<u8>> {
        let stored: V::Stored = serde_json::from_slice(stored)?;
        let shown = self.version.show_stored(stored);
        serde_json::to_vec(&shown)
    }

    fn schema(&self) -> &Builtin {
        &self.schema
    }

    fn field_labels(&self) -> Option<&'static [(&'static str, &'static str)]> {
        self.version.field_labels()
    }
}
