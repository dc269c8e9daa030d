//! CREATE, UPDATE, DELETE and DELETECOLLECTION.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use euston_api::field::{ErrorList, Path};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::header::USER_AGENT;
use http::{HeaderMap, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Status, StatusDetails};

use super::list::{self, ListOptions};
use super::negotiate::{self, Accepted, Form};
use super::request::Query;
use super::selection::Selection;
use super::table::IncludeObject;
use super::{body, respond};
use crate::error::{ApiError, Result};
use crate::registry::options::{Deletion, FieldValidation, WriteOptions, parse_dry_run};
use crate::registry::{Part, Precondition, Registry, Resource, Saved};
use crate::storage::ObjectKey;

/// Deletions under way at a time for one DELETECOLLECTION; the store groups them.
const DELETIONS_AT_ONCE: usize = 64;

/// Longest name of a field manager, in characters (Kubernetes' bound).
const MANAGER_CHARS_MAX: usize = 128;

/// Reads the options that every write takes; `kind` is what Kubernetes calls them.
///
/// # Errors
/// 400 for unknown words, 422 for a name that no manager can have.
pub fn options(headers: &HeaderMap, query: &Query, kind: &str) -> Result<WriteOptions> {
    Ok(WriteOptions {
        dry_run: parse_dry_run(query.all("dryRun"))?,
        validation: FieldValidation::parse(query.get("fieldValidation").unwrap_or_default())?,
        manager: Some(manager(headers, query, kind)?),
        subresource: "",
    })
}

/// Who owns what the write changes: who the client says it is, or else the first word of its
/// user agent.
fn manager(headers: &HeaderMap, query: &Query, kind: &str) -> Result<String> {
    let Some(name) = query.get("fieldManager") else {
        let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok());
        let agent = agent.and_then(|v| v.split('/').next()).unwrap_or_default();
        let name: String = agent.chars().take(MANAGER_CHARS_MAX).collect();
        return Ok(if name.is_empty() {
            "unknown".to_owned()
        } else {
            name
        });
    };
    let mut errors = ErrorList::new();
    if name.chars().count() > MANAGER_CHARS_MAX {
        errors.too_long(Path::new("fieldManager"), MANAGER_CHARS_MAX);
    }
    if name.chars().any(char::is_control) {
        let why = "should only contain printable characters";
        errors.invalid(Path::new("fieldManager"), name, why);
    }
    if errors.is_empty() {
        return Ok(name.to_owned());
    }
    Err(ApiError::invalid("meta.k8s.io", kind, "", &errors))
}

/// The answer to a write.
///
/// # Errors
/// 406, 400, 500.
pub fn saved(
    headers: &HeaderMap,
    query: &Query,
    resource: Resource<'_>,
    saved: &Saved,
) -> Result<Response> {
    let accepted = negotiate::accepted(headers, resource.kind)?;
    let status = if saved.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let include = IncludeObject::parse(query)?;
    let mut response = respond::object(status, resource, &saved.entry, accepted, include)?;
    respond::warn(&mut response, &saved.warnings);
    Ok(response)
}

/// POST to a collection.
///
/// # Errors
/// See [`Registry::create`].
pub async fn create(
    registry: &Registry,
    resource: Resource<'_>,
    namespace: Option<&str>,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let options = options(headers, query, "CreateOptions")?;
    negotiate::accepted(headers, resource.kind)?;
    let body = body::read_object(headers, request, resource.kind.names.gvk()).await?;
    let validation = body.validation(options.validation);
    let (object, findings) = registry.decode(resource, &body.json, validation)?;
    let mut done = registry
        .create(resource, namespace, object, &options)
        .await?;
    done.warnings.splice(0..0, findings);
    saved(headers, query, resource, &done)
}

/// PUT of an object or of its status.
///
/// # Errors
/// See [`Registry::update`].
pub async fn replace(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    part: Part,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let options = options(headers, query, "UpdateOptions")?;
    negotiate::accepted(headers, resource.kind)?;
    let body = body::read_object(headers, request, resource.kind.names.gvk()).await?;
    let validation = body.validation(options.validation);
    let (object, findings) = registry.decode(resource, &body.json, validation)?;
    let precondition = Precondition::of(object.as_ref());
    let updated = registry
        .update(resource, key, part, &options, |_, _| {
            Ok((object.clone_box(), precondition.clone(), findings.clone()))
        })
        .await;
    let done = match updated {
        Err(error) if error.code == 404 && absent_is_created(resource, part, &precondition) => {
            let namespace = crate::registry::namespace_of(key);
            registry
                .create(resource, namespace, object, &options)
                .await?
        }
        other => other?,
    };
    saved(headers, query, resource, &done)
}

fn absent_is_created(resource: Resource<'_>, part: Part, precondition: &Precondition) -> bool {
    resource.kind.create_on_update
        && part == Part::Main
        && precondition.uid.is_none()
        && precondition.resource_version.is_none()
}

/// DELETE of an object.
///
/// # Errors
/// See [`Registry::delete`].
pub async fn delete(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let accepted = negotiate::accepted(headers, resource.kind)?;
    let deletion = deletion(headers, query, request).await?;
    let deleted = registry.delete(resource, key, &deletion).await?;
    // A pod comes back as an object, since clients look at its grace; other kinds
    // that are gone are answered with a Status, as Kubernetes does.
    if !deleted.gone || resource.kind.names.plural == "pods" {
        let include = IncludeObject::parse(query)?;
        return respond::object(StatusCode::OK, resource, &deleted.entry, accepted, include);
    }
    let names = &resource.kind.names;
    let status = Status {
        status: Some("Success".to_owned()),
        details: Some(StatusDetails {
            name: Some(deleted.entry.name().to_owned()),
            group: Some(names.group.clone()).filter(|g| !g.is_empty()),
            kind: Some(names.plural.clone()),
            uid: deleted.uid,
            ..StatusDetails::default()
        }),
        ..Status::default()
    };
    respond::serialized(StatusCode::OK, accepted.encoding, &status)
}

/// DELETE of a collection: everything that the selectors match.
///
/// # Errors
/// The first that a deletion met; what is gone meanwhile is no error.
pub async fn delete_collection(
    registry: &Arc<Registry>,
    resource: Resource<'_>,
    namespace: Option<&str>,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let accepted = Accepted {
        form: Form::Object,
        ..negotiate::accepted(headers, resource.kind)?
    };
    let selection = Selection::parse(resource.kind, namespace, query)?;
    let list_options = ListOptions::parse(query)?;
    let deletion = deletion(headers, query, request).await?;
    let page = list::page(registry, resource, &selection, &list_options).await?;
    let mut waiting = page.entries.iter();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < DELETIONS_AT_ONCE {
            let Some(entry) = waiting.next() else { break };
            running.push(registry.delete(resource, &entry.key, &deletion));
        }
        match running.next().await {
            None => break,
            Some(Err(error)) if error.code != 404 => return Err(error),
            Some(_) => {}
        }
    }
    drop(running);
    list::respond(resource, &page, accepted, IncludeObject::default())
}

async fn deletion(headers: &HeaderMap, query: &Query, request: Body) -> Result<Deletion> {
    let expected = ("meta.k8s.io", "v1", "DeleteOptions");
    let json = body::read_object(headers, request, expected).await?.json;
    let mut options: DeleteOptions = if json.is_empty() {
        DeleteOptions::default()
    } else {
        serde_json::from_slice(&json)
            .map_err(|e| ApiError::bad_request(format!("the DeleteOptions cannot be read: {e}")))?
    };
    // Parameters and body say the same things; the body wins where both do.
    if options.grace_period_seconds.is_none() {
        options.grace_period_seconds = query
            .number("gracePeriodSeconds")?
            .and_then(|s| i64::try_from(s).ok());
    }
    if options.propagation_policy.is_none() && options.orphan_dependents.is_none() {
        options.propagation_policy = query.get("propagationPolicy").map(str::to_owned);
    }
    if options.dry_run.is_none() {
        options.dry_run = Some(query.all("dryRun").map(str::to_owned).collect());
    }
    Deletion::from_options(&options)
}
