//! POST `serviceaccounts/NAME/token`: a token for the account, bound to what the request names.

use axum::body::Body;
use axum::response::Response;
use euston_access::token::request;
use http::{HeaderMap, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestStatus};

use super::request::Query;
use super::{body, negotiate, respond, write};
use crate::access::Access;
use crate::error::{ApiError, Result};
use crate::registry::decode::decode;
use crate::registry::{Registry, Resource, name_of, namespace_of};
use crate::storage::ObjectKey;

/// Makes one.
///
/// # Errors
/// 400, 403, 404, 409, 422.
pub async fn create(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
    access: &Access,
) -> Result<Response> {
    let options = write::options(headers, query, "CreateOptions")?;
    let gvk = ("authentication.k8s.io", "v1", "TokenRequest");
    let body = body::read_object(headers, request, gvk).await?;
    let (mut asked, _) = decode::<TokenRequest>(&body.json, None).map_err(|e| {
        ApiError::bad_request(format!(
            "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: {e}"
        ))
    })?;
    let spec = asked.spec.get_or_insert_default();
    request::default(spec);
    let errors = request::validate(spec);
    let name = name_of(key);
    if !errors.is_empty() {
        return Err(ApiError::invalid(gvk.0, gvk.2, name, &errors));
    }
    registry.storage().fresh().await?;
    let namespace = namespace_of(key).unwrap_or_default();
    if let Some(by) = resource.by {
        access.may_have_token(by, namespace, name, spec)?;
    }
    let (token, until) = access.tokens().make(namespace, name, spec)?;
    asked.status = Some(TokenRequestStatus {
        // A dry run shows that it would go, and gives nothing away.
        token: Some(if options.dry_run {
            String::new()
        } else {
            token
        }),
        expiration_timestamp: Some(until),
    });
    asked.metadata.name = Some(name.to_owned());
    asked.metadata.namespace = Some(namespace.to_owned());
    respond::serialized(StatusCode::CREATED, negotiate::plain(headers), &asked)
}
