//! Objects reduced to their metadata (`PartialObjectMetadata`), for clients such as
//! garbage collectors that look at owners and labels of every kind.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{ApiError, Result};
use crate::storage::Entry;

/// `apiVersion` of such an object.
pub const API_VERSION: &str = "meta.k8s.io/v1";

/// `kind` of such an object.
pub const KIND: &str = "PartialObjectMetadata";

/// `kind` of a list of them.
pub const LIST_KIND: &str = "PartialObjectMetadataList";

#[derive(Deserialize)]
struct MetadataOnly<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// Appends the object's metadata as a `PartialObjectMetadata`.
///
/// # Errors
/// 500 if the stored object is broken.
pub fn write(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    let json = entry.json();
    let only: MetadataOnly<'_> = serde_json::from_slice(&json).map_err(ApiError::internal)?;
    out.extend_from_slice(
        br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
    );
    out.extend_from_slice(only.metadata.get().as_bytes());
    out.push(b'}');
    Ok(())
}

/// The object's metadata as a `PartialObjectMetadata`.
///
/// # Errors
/// As [`write`].
pub fn object(entry: &Entry) -> Result<Bytes> {
    let mut out = Vec::new();
    write(entry, &mut out)?;
    Ok(out.into())
}
