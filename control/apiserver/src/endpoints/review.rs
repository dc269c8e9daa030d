//! POST of a question: answered at once, and not kept.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::request::Query;
use super::{body, negotiate, respond, write};
use crate::access::Access;
use crate::error::{ApiError, Result};
use crate::registry::{Registry, Resource};

/// Decodes, checks and answers.
///
/// # Errors
/// 400, 415, 422 with everything wrong with the question.
pub async fn answer(
    registry: &Registry,
    resource: Resource<'_>,
    namespace: Option<&str>,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
    access: &Access,
) -> Result<Response> {
    let options = write::options(headers, query, "CreateOptions")?;
    let accepted = negotiate::accepted(headers, resource.kind)?;
    let names = &resource.kind.names;
    let body = body::read_object(headers, request, names.gvk()).await?;
    let validation = body.validation(options.validation);
    let (mut object, findings) = registry.decode(resource, &body.json, validation)?;
    if object.meta().namespace.as_deref().is_none_or(str::is_empty) {
        object.meta_mut().namespace = namespace.map(str::to_owned);
    }
    let rules = &resource.kind.rules;
    rules.default(object.as_mut());
    let errors = rules.validate(object.as_ref());
    if !errors.is_empty() {
        let name = object.meta().name.as_deref().unwrap_or_default();
        return Err(ApiError::invalid(&names.group, &names.kind, name, &errors));
    }
    if let Some(by) = resource.by {
        rules.answer(object.as_mut(), by, access);
    }
    let json = object.to_json().map_err(ApiError::internal)?;
    let api_version = names.api_version();
    let gvk = (api_version.as_str(), names.kind.as_str());
    let mut response = respond::encoded(StatusCode::CREATED, accepted.encoding, gvk, json)?;
    respond::warn(&mut response, &findings);
    Ok(response)
}
