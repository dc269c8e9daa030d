//! The scale subresource: replicas alone, as `autoscaling/v1 Scale`.

use axum::body::Body;
use axum::response::Response;
use euston_api::field::{ErrorList, Path};
use http::{HeaderMap, StatusCode};
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::patch::{Patch, refuse_force};
use super::request::Query;
use super::{apply, body, negotiate, respond, write};
use crate::error::{ApiError, Result};
use crate::registry::kind::Subresource;
use crate::registry::object::AnyObject;
use crate::registry::{
    Application, Part, Precondition, Registry, Resource, name_mismatch, name_of,
};
use crate::storage::{Entry, ObjectKey};

/// The object's scale as of `entry`.
fn view(resource: Resource<'_>, object: &dyn AnyObject, entry: &Entry) -> Result<Scale> {
    let scale = resource
        .kind
        .rules
        .scale(object)
        .ok_or_else(ApiError::no_such_path)?;
    let meta = object.meta();
    Ok(Scale {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            creation_timestamp: meta.creation_timestamp.clone(),
            resource_version: Some(entry.revision.to_string()).filter(|_| entry.revision > 0),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec {
            replicas: Some(scale.replicas),
        }),
        status: Some(ScaleStatus {
            replicas: scale.observed,
            selector: Some(scale.selector).filter(|s| !s.is_empty()),
        }),
    })
}

fn respond_with(resource: Resource<'_>, entry: &Entry, headers: &HeaderMap) -> Result<Response> {
    let object = resource
        .kind
        .rules
        .decode_stored(&entry.value)
        .map_err(ApiError::internal)?;
    let scale = view(resource, object.as_ref(), entry)?;
    respond::serialized(StatusCode::OK, negotiate::plain(headers), &scale)
}

/// GET.
///
/// # Errors
/// 404.
pub async fn get(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    headers: &HeaderMap,
) -> Result<Response> {
    respond_with(
        resource,
        registry.get(resource, key).await?.as_ref(),
        headers,
    )
}

/// PUT and PATCH.
///
/// # Errors
/// Those of [`Registry::update`]; 422 for negative replicas.
pub async fn set(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    method: &http::Method,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let kind = if method == http::Method::PATCH {
        "PatchOptions"
    } else {
        "UpdateOptions"
    };
    if method == http::Method::PATCH && apply::is_apply(headers) {
        return set_by_apply(registry, resource, key, headers, query, request).await;
    }
    let mut options = write::options(headers, query, kind)?;
    options.subresource = Subresource::Scale.name();
    let patch;
    let whole: Option<Scale>;
    if method == http::Method::PATCH {
        refuse_force(query)?;
        patch = Some(Patch::read(headers, request, ("autoscaling", "v1", "Scale")).await?);
        whole = None;
    } else {
        patch = None;
        let expected = ("autoscaling", "v1", "Scale");
        let body = body::read_object(headers, request, expected).await?;
        whole = Some(decode(&body.json)?);
    }
    let done = registry
        .update(resource, key, Part::Main, &options, |old, entry| {
            let now = view(resource, old.as_ref(), entry)?;
            let asked = match (&patch, &whole) {
                (Some(patch), _) => {
                    let original = serde_json::to_value(&now).map_err(ApiError::internal)?;
                    let patched = patch.apply(original)?;
                    decode(&serde_json::to_vec(&patched).map_err(ApiError::internal)?)?
                }
                (None, Some(whole)) => whole.clone(),
                (None, None) => now.clone(),
            };
            let mut precondition = Precondition::of(&asked);
            if precondition.resource_version == now.metadata.resource_version {
                precondition.resource_version = None;
            }
            let replicas = asked.spec.and_then(|s| s.replicas).unwrap_or(0);
            let name = now.metadata.name.as_deref().unwrap_or_default();
            check_replicas(name, replicas)?;
            let mut new = old.clone_box();
            new.meta_mut().resource_version = None;
            resource.kind.rules.set_replicas(new.as_mut(), replicas);
            Ok((new, precondition, Vec::new()))
        })
        .await?;
    respond_with(resource, &done.entry, headers)
}

/// An apply to the scale owns the replicas of the object, and nothing else.
async fn set_by_apply(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let (mut options, force) = apply::options(headers, query)?;
    options.subresource = Subresource::Scale.name();
    let config = apply::read(request).await?;
    let scale = decode(&config)?;
    apply::check(&config, &scale, ("autoscaling/v1", "Scale"))?;
    let given = scale.metadata.name.as_deref();
    if let Some(given) = given.filter(|given| *given != name_of(key)) {
        return Err(name_mismatch(given, name_of(key)));
    }
    let names = &resource.kind.names;
    let mut object = json!({"apiVersion": names.api_version(), "kind": names.kind});
    if let Some(replicas) = scale.spec.as_ref().and_then(|spec| spec.replicas) {
        check_replicas(name_of(key), replicas)?;
        let pointer = resource.kind.rules.replicas_path().split('.');
        *pointer.fold(&mut object, |at, name| &mut at[name]) = replicas.into();
    }
    let application = Application {
        config: object.to_string().into(),
        precondition: Precondition::of(&scale),
        force,
        may_create: false,
        warnings: Vec::new(),
    };
    let done = registry
        .apply(resource, key, Part::Main, &options, &application)
        .await?;
    respond_with(resource, &done.entry, headers)
}

fn check_replicas(name: &str, replicas: i32) -> Result<()> {
    if replicas >= 0 {
        return Ok(());
    }
    let mut errors = ErrorList::new();
    errors.non_negative(Path::new("spec").child("replicas"), i64::from(replicas));
    Err(ApiError::invalid("autoscaling", "Scale", name, &errors))
}

fn decode(json: &[u8]) -> Result<Scale> {
    let (scale, _) = crate::registry::decode::decode::<Scale>(json, None).map_err(|e| {
        ApiError::bad_request(format!(
            "Scale in version \"v1\" cannot be handled as a Scale: {e}"
        ))
    })?;
    Ok(scale)
}
