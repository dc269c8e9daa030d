//! PATCH with an apply patch: server-side apply
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>).

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use euston_api::field::{ErrorList, Path};
use euston_fields::Tree;
use http::HeaderMap;

use super::request::Query;
use super::{body, negotiate, write};
use crate::error::{ApiError, Result};
use crate::registry::object::AnyObject;
use crate::registry::options::WriteOptions;
use crate::registry::{Application, Part, Precondition, Registry, Resource, name_of};
use crate::storage::ObjectKey;

/// The media type. The body is YAML, of which JSON is a part.
pub const MEDIA_TYPE: &str = "application/apply-patch+yaml";

/// True if the request is an apply.
pub fn is_apply(headers: &HeaderMap) -> bool {
    negotiate::content_type(headers) == MEDIA_TYPE
}

/// Reads the options of an apply, and whether it takes over what others own.
///
/// # Errors
/// 422 without a `fieldManager`; 400 for unknown words.
pub fn options(headers: &HeaderMap, query: &Query) -> Result<(WriteOptions, bool)> {
    if query.get("fieldManager").is_none() {
        let mut errors = ErrorList::new();
        errors.required(Path::new("fieldManager"), "is required for apply patch");
        return Err(ApiError::invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            &errors,
        ));
    }
    let options = write::options(headers, query, "PatchOptions")?;
    Ok((options, query.flag("force")?))
}

/// Reads a configuration as JSON.
///
/// # Errors
/// 413, and 400 for what is no YAML.
pub async fn read(request: Body) -> Result<Bytes> {
    let bytes = body::read(request).await?;
    if bytes.first() == Some(&b'{')
        && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok()
    {
        return Ok(bytes);
    }
    body::yaml_to_json(&bytes)
}

/// Refuses a configuration that is for another version or kind, or that sets owners.
///
/// # Errors
/// 400.
pub fn check(
    config: &[u8],
    object: &dyn AnyObject,
    (api_version, kind): (&str, &str),
) -> Result<()> {
    let tree = Tree::parse(config)
        .map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?;
    let text = |key: &str| tree.get(key).and_then(Tree::as_str).unwrap_or_default();
    if text("apiVersion") != api_version {
        return Err(ApiError::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {api_version}",
            text("apiVersion")
        )));
    }
    if text("kind") != kind {
        return Err(ApiError::bad_request(format!(
            "Incorrect kind specified in apply patch. Specified patch kind: {}, expected: {kind}",
            text("kind")
        )));
    }
    if object.meta().managed_fields.is_some() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// An apply to an object or its status.
///
/// # Errors
/// Those of [`Registry::apply`].
#[allow(clippy::too_many_arguments)] // what a request has, and who asks
pub async fn apply(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    part: Part,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
    may_create: bool,
) -> Result<Response> {
    let (options, force) = options(headers, query)?;
    negotiate::accepted(headers, resource.kind)?;
    let config = read(request).await?;
    let (object, warnings) = registry.decode(resource, &config, options.validation)?;
    let names = &resource.kind.names;
    check(
        &config,
        object.as_ref(),
        (&names.api_version(), &names.kind),
    )?;
    let given = object.meta().name.as_deref();
    if let Some(given) = given.filter(|given| *given != name_of(key)) {
        return Err(crate::registry::name_mismatch(given, name_of(key)));
    }
    let application = Application {
        config,
        precondition: Precondition::of(object.as_ref()),
        force,
        may_create,
        warnings,
    };
    let done = registry
        .apply(resource, key, part, &options, &application)
        .await?;
    write::saved(headers, query, resource, &done)
}
