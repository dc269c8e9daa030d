//! Objects whose type is known only to their kind's strategy.

use std::any::Any;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::strategy::Object;

/// A typed object behind a pointer, so that the verbs are compiled once and not per kind.
pub trait AnyObject: Send + Sync + 'static {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// As JSON, with `apiVersion` and `kind`.
    ///
    /// # Errors
    /// If a value has no JSON form, which a decoded object never holds.
    fn to_json(&self) -> serde_json::Result<Vec<u8>>;
    /// A copy.
    fn clone_box(&self) -> BoxObject;
    /// For the strategy, which knows the type.
    fn as_any(&self) -> &dyn Any;
    /// For the strategy, which knows the type.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// An owned [`AnyObject`].
pub type BoxObject = Box<dyn AnyObject>;

impl<T: Object> AnyObject for T {
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }

    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    fn clone_box(&self) -> BoxObject {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
