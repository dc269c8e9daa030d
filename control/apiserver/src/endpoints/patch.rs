//! PATCH of an object, its status or its scale.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use euston_api::field::{ErrorList, Path};
use http::HeaderMap;
use serde_json::Value;

use super::request::Query;
use super::{body, negotiate, write};
use crate::error::{ApiError, Result};
use crate::patch::{PatchError, json_patch, merge_patch, strategic_merge};
use crate::registry::{Part, Precondition, Registry, Resource};
use crate::schema::{self, TypeId};
use crate::storage::ObjectKey;

const SUPPORTED: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

/// A patch of one of the three types, read and not yet applied.
pub struct Patch {
    kind: PatchKind,
    body: Bytes,
}

enum PatchKind {
    Json,
    Merge,
    Strategic(TypeId),
}

impl Patch {
    /// Reads a request's patch for objects of a kind.
    ///
    /// # Errors
    /// 415 for another type of patch, 413 and 400 as for other bodies.
    pub async fn read(
        headers: &HeaderMap,
        request: Body,
        (group, version, kind): (&str, &str, &str),
    ) -> Result<Self> {
        let content_type = negotiate::content_type(headers);
        let patch_kind = match content_type.as_str() {
            "application/json-patch+json" => PatchKind::Json,
            "application/merge-patch+json" => PatchKind::Merge,
            "application/strategic-merge-patch+json" => {
                match schema::types().lookup_gvk(group, version, kind) {
                    Some(of) => PatchKind::Strategic(of),
                    // Kinds without merge keys, such as custom resources.
                    None => {
                        let supported = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
                        return Err(ApiError::unsupported_media_type(&content_type, supported));
                    }
                }
            }
            other => return Err(ApiError::unsupported_media_type(other, SUPPORTED)),
        };
        Ok(Patch {
            kind: patch_kind,
            body: body::read(request).await?,
        })
    }

    /// True if the patch may look at or change `metadata.managedFields`. Other patches are
    /// spared them: they often outweigh the object.
    fn reaches_owners(&self) -> bool {
        let named = |text: &[u8]| self.body.windows(text.len()).any(|w| w == text);
        // A JSON patch may name all of the metadata; an escaped key may be any key.
        matches!(self.kind, PatchKind::Json) || named(b"managedFields") || named(b"\\u")
    }

    /// The patched object.
    ///
    /// # Errors
    /// 400, 413, 422 for a patch that is broken or does not fit.
    pub fn apply(&self, original: Value) -> Result<Value> {
        let patched = match self.kind {
            PatchKind::Json => json_patch(&original, &self.body),
            PatchKind::Merge => merge_patch(original, &self.body),
            PatchKind::Strategic(of) => strategic_merge(original, &self.body, of),
        };
        patched.map_err(|error| match error {
            PatchError::Malformed(message) => ApiError::bad_request(message),
            PatchError::Unprocessable(message) => ApiError::unprocessable(format!(
                "the server rejected our request due to an error in our request: {message}"
            )),
            PatchError::TooLarge(_) => ApiError::too_large(body::BODY_BYTES_MAX),
        })
    }
}

/// Only an apply takes over what others own.
///
/// # Errors
/// 422 if the client asks for it.
pub fn refuse_force(query: &Query) -> Result<()> {
    if query.get("force").is_none() {
        return Ok(());
    }
    let mut errors = ErrorList::new();
    let why = "may not be specified for non-apply patch";
    errors.forbidden(Path::new("force"), why);
    Err(ApiError::invalid(
        "meta.k8s.io",
        "PatchOptions",
        "",
        &errors,
    ))
}

/// PATCH of an object or its status.
///
/// # Errors
/// Those of [`Patch`] and of [`Registry::update`].
pub async fn patch(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    part: Part,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let options = write::options(headers, query, "PatchOptions")?;
    refuse_force(query)?;
    negotiate::accepted(headers, resource.kind)?;
    let names = &resource.kind.names;
    let patch = Patch::read(
        headers,
        request,
        (&names.group, &names.version, &names.kind),
    )
    .await?;
    let done = registry
        .update(resource, key, part, &options, |_, entry| {
            let json = if patch.reaches_owners() {
                entry.json()
            } else {
                entry.json_without_owners()
            };
            let original: Value = serde_json::from_slice(&json).map_err(ApiError::internal)?;
            let patched = patch.apply(original)?;
            let json = serde_json::to_vec(&patched).map_err(ApiError::internal)?;
            let (object, findings) = registry.decode(resource, &json, options.validation)?;
            let mut precondition = Precondition::of(object.as_ref());
            // The version that the server put in itself is no wish of the client's:
            // a patch without one is applied again to whatever is there.
            if precondition.resource_version == Some(entry.revision.to_string()) {
                precondition.resource_version = None;
            }
            Ok((object, precondition, findings))
        })
        .await?;
    write::saved(headers, query, resource, &done)
}
