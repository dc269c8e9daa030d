//! Objects as the rows that kubectl prints (`meta.k8s.io/v1 Table`).
//! Follows <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>.

use bytes::Bytes;
use serde_json::json;

use super::partial;
use super::request::Query;
use crate::error::{ApiError, Result};
use crate::registry::Resource;
use crate::storage::Entry;

/// What of the object a row carries besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter.
    ///
    /// # Errors
    /// 400 for an unknown word.
    pub fn parse(query: &Query) -> Result<Self> {
        match query.get("includeObject") {
            None | Some("Metadata") => Ok(IncludeObject::Metadata),
            Some("None") => Ok(IncludeObject::None),
            Some("Object") => Ok(IncludeObject::Object),
            Some(other) => Err(ApiError::bad_request(format!(
                "includeObject: Unsupported value: {other:?}: supported values: \"None\", \"Metadata\", \"Object\""
            ))),
        }
    }
}

/// A table being written.
pub struct Writer<'a> {
    resource: Resource<'a>,
    include: IncludeObject,
    now: jiff::Timestamp,
    out: Vec<u8>,
    rows: usize,
}

impl<'a> Writer<'a> {
    /// Begins a table with the list metadata `meta` (a JSON object). Columns are
    /// left out of all but the first table of a watch.
    ///
    /// # Errors
    /// 500 if a part has no JSON form.
    pub fn new(
        resource: Resource<'a>,
        include: IncludeObject,
        meta: &serde_json::Value,
        columns: bool,
    ) -> Result<Self> {
        let definitions: Vec<_> = resource
            .kind
            .rules
            .columns()
            .iter()
            .filter(|_| columns)
            .map(|c| {
                json!({
                    "name": c.name,
                    "type": c.kind,
                    "format": c.format,
                    "description": c.description,
                    "priority": c.priority,
                })
            })
            .collect();
        let mut out = Vec::new();
        out.extend_from_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
        serde_json::to_writer(&mut out, meta).map_err(ApiError::internal)?;
        out.extend_from_slice(br#","columnDefinitions":"#);
        let definitions = if columns {
            json!(definitions)
        } else {
            json!(null)
        };
        serde_json::to_writer(&mut out, &definitions).map_err(ApiError::internal)?;
        out.extend_from_slice(br#","rows":["#);
        Ok(Writer {
            resource,
            include,
            now: jiff::Timestamp::now(),
            out,
            rows: 0,
        })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// 500 if the stored object is broken.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        let rules = &self.resource.kind.rules;
        let object = rules
            .decode_stored(&entry.value)
            .map_err(ApiError::internal)?;
        if self.rows > 0 {
            self.out.push(b',');
        }
        self.rows += 1;
        self.out.extend_from_slice(br#"{"cells":"#);
        serde_json::to_writer(&mut self.out, &rules.row(object.as_ref(), self.now))
            .map_err(ApiError::internal)?;
        match self.include {
            IncludeObject::None => {}
            IncludeObject::Metadata => {
                self.out.extend_from_slice(br#","object":"#);
                partial::write(entry, &mut self.out)?;
            }
            IncludeObject::Object => {
                self.out.extend_from_slice(br#","object":"#);
                entry.write_json(&mut self.out);
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// The finished table.
    pub fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(b"]}");
        self.out.into()
    }
}

/// A table of one object.
///
/// # Errors
/// As [`Writer`].
pub fn one(
    resource: Resource<'_>,
    entry: &Entry,
    include: IncludeObject,
    columns: bool,
) -> Result<Bytes> {
    let meta = json!({ "resourceVersion": entry.revision.to_string() });
    let mut writer = Writer::new(resource, include, &meta, columns)?;
    writer.push(entry)?;
    Ok(writer.finish())
}
