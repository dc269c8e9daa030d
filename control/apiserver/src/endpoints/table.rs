//! Objects as the rows that kubectl prints (`meta.k8s.io/v1 Table`).
//! Follows <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>.

use bytes::Bytes;
use serde_json::json;

use super::partial;
use super::request::Query;
use crate::error::{ApiError, Result};
use crate::registry::kind::Kind;
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

/// The beginning of a table with the list metadata `meta` (a JSON object), up to where the
/// rows begin. Columns are left out of all but the first table of a watch.
///
/// # Errors
/// 500 if a part has no JSON form.
pub fn head(kind: &Kind, meta: &serde_json::Value, columns: bool) -> Result<Vec<u8>> {
    let definitions: Vec<_> = kind
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
    Ok(out)
}

/// What closes a table behind its last row.
pub const TAIL: &[u8] = b"]}";

/// Appends a row. `now` is for ages.
///
/// # Errors
/// 500 if the stored object is broken.
pub fn row(
    kind: &Kind,
    entry: &Entry,
    include: IncludeObject,
    now: jiff::Timestamp,
    out: &mut Vec<u8>,
) -> Result<()> {
    let object = kind
        .rules
        .decode_stored(&entry.value)
        .map_err(ApiError::internal)?;
    out.extend_from_slice(br#"{"cells":"#);
    serde_json::to_writer(&mut *out, &kind.rules.row(object.as_ref(), now))
        .map_err(ApiError::internal)?;
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            out.extend_from_slice(br#","object":"#);
            partial::write(entry, out)?;
        }
        IncludeObject::Object => {
            out.extend_from_slice(br#","object":"#);
            entry.write_json(out);
        }
    }
    out.push(b'}');
    Ok(())
}

/// A table of one object.
///
/// # Errors
/// As [`row`].
pub fn one(kind: &Kind, entry: &Entry, include: IncludeObject, columns: bool) -> Result<Bytes> {
    let meta = json!({ "resourceVersion": entry.revision.to_string() });
    let mut out = head(kind, &meta, columns)?;
    row(kind, entry, include, jiff::Timestamp::now(), &mut out)?;
    out.extend_from_slice(TAIL);
    Ok(out.into())
}
