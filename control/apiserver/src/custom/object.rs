//! An object that no type describes: metadata, and JSON.

use std::any::Any;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use crate::registry::object::{AnyObject, BoxObject};

/// A custom object.
#[derive(Debug, Clone)]
pub struct CustomObject {
    /// Its metadata.
    pub meta: ObjectMeta,
    /// All else, `apiVersion` and `kind` included.
    pub fields: Map<String, Value>,
}

impl CustomObject {
    /// Takes an object apart. Fields that no metadata has are told to `unknown`.
    ///
    /// # Errors
    /// If the metadata is none.
    pub fn new(
        mut fields: Map<String, Value>,
        mut unknown: impl FnMut(String),
    ) -> Result<Self, String> {
        let meta = match fields.remove("metadata") {
            None | Some(Value::Null) => ObjectMeta::default(),
            Some(meta) => {
                let mut track = serde_path_to_error::Track::new();
                let tracked = serde_path_to_error::Deserializer::new(meta, &mut track);
                let read = serde_ignored::deserialize(tracked, |path| {
                    unknown(format!("metadata.{path}"));
                });
                read.map_err(|e| format!("metadata.{}: {e}", track.path()))?
            }
        };
        Ok(CustomObject { meta, fields })
    }

    /// The object as one value.
    ///
    /// # Errors
    /// If the metadata has no JSON form, which it always has.
    pub fn whole(&self) -> serde_json::Result<Value> {
        let mut whole = self.fields.clone();
        whole.insert("metadata".to_owned(), serde_json::to_value(&self.meta)?);
        Ok(Value::Object(whole))
    }
}

impl AnyObject for CustomObject {
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.whole()?)
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
