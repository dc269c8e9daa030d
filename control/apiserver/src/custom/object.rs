//! An object that no type describes: metadata, and JSON.

use std::any::Any;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use crate::registry::decode::{Findings, decode};
use crate::registry::object::{AnyObject, BoxObject};
use crate::schema::types;

/// A custom object.
#[derive(Debug, Clone)]
pub struct CustomObject {
    /// Its metadata.
    pub meta: ObjectMeta,
    /// All else, `apiVersion` and `kind` included.
    pub fields: Map<String, Value>,
}

impl CustomObject {
    /// Takes an object apart, and lists what its metadata should not have.
    ///
    /// # Errors
    /// If the metadata is none.
    pub fn decode(mut fields: Map<String, Value>) -> Result<(Self, Findings), String> {
        let given = match fields.remove("metadata") {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(meta) => meta.to_string(),
        };
        let of = types().lookup_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        let (meta, findings) =
            decode::<ObjectMeta>(given.as_bytes(), of).map_err(|e| format!("metadata.{e}"))?;
        let findings = findings.into_iter();
        let findings = findings.map(|f| f.replacen(" field \"", " field \"metadata.", 1));
        Ok((CustomObject { meta, fields }, findings.collect()))
    }

    /// Takes an object apart that this server wrote.
    ///
    /// # Errors
    /// If the metadata is none.
    pub fn stored(mut fields: Map<String, Value>) -> serde_json::Result<Self> {
        let meta = fields.remove("metadata").unwrap_or_default();
        Ok(CustomObject {
            meta: serde_json::from_value(meta)?,
            fields,
        })
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
