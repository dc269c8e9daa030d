//! From results to responses.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{HeaderName, StatusCode};
use serde::Serialize;

use super::negotiate::{Accepted, Encoding, Form};
use super::{partial, protobuf, table};
use crate::error::{ApiError, Result};
use crate::registry::Resource;
use crate::storage::Entry;

/// Longest text of one `Warning` header, in bytes.
const WARNING_BYTES_MAX: usize = 1024;

/// A JSON response.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    typed(status, "application/json", body)
}

/// A response of a given type.
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A response whose body comes in pieces.
pub fn streamed(content_type: &'static str, body: Body) -> Response {
    let mut response = typed(StatusCode::OK, content_type, Bytes::new());
    *response.body_mut() = body;
    response
}

/// An object or list that stands there as JSON.
///
/// # Errors
/// 500 if it cannot be written so.
pub fn encoded(
    status: StatusCode,
    encoding: Encoding,
    (api_version, kind): (&str, &str),
    body: impl Into<Bytes>,
) -> Result<Response> {
    match encoding {
        Encoding::Json => Ok(json(status, body)),
        Encoding::Protobuf => {
            let body = protobuf::body(api_version, kind, &body.into())?;
            Ok(typed(status, euston_protobuf::envelope::MEDIA_TYPE, body))
        }
    }
}

/// A typed object of a built-in kind.
///
/// # Errors
/// 500 if it cannot be written so.
pub fn serialized<T: Serialize + k8s_openapi::Resource>(
    status: StatusCode,
    encoding: Encoding,
    value: &T,
) -> Result<Response> {
    let json = serde_json::to_vec(value).map_err(ApiError::internal)?;
    encoded(status, encoding, (T::API_VERSION, T::KIND), json)
}

/// One object in the form that the client accepts.
///
/// # Errors
/// 500 if the stored object cannot be shown so.
pub fn object(
    status: StatusCode,
    resource: Resource<'_>,
    entry: &Entry,
    accepted: Accepted,
    include: table::IncludeObject,
) -> Result<Response> {
    let names = &resource.kind.names;
    match accepted.form {
        Form::Object => {
            let api_version = names.api_version();
            let gvk = (api_version.as_str(), names.kind.as_str());
            encoded(status, accepted.encoding, gvk, entry.json())
        }
        Form::Metadata => {
            let json = partial::object(entry)?;
            encoded(
                status,
                accepted.encoding,
                (partial::API_VERSION, partial::KIND),
                json,
            )
        }
        Form::Table => Ok(json(
            status,
            table::one(resource.kind, entry, include, true)?,
        )),
    }
}

/// The answer for an error.
pub fn error(error: &ApiError, encoding: Encoding) -> Response {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let status = error.status();
    // What cannot be written in one way is told in the other.
    let mut response = serialized(code, encoding, &status)
        .unwrap_or_else(|_| json(code, serde_json::to_vec(&status).unwrap_or_default()));
    if let Some(seconds) = error.details.as_ref().and_then(|d| d.retry_after_seconds) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(methods) = &error.allow {
        header(&mut response, ALLOW, methods);
    }
    response
}

/// Adds `Warning` headers as kubectl prints them.
pub fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings {
        // Header values hold visible ASCII; quotes and backslashes are escaped (RFC 7234).
        let mut text = String::with_capacity(warning.len() + 8);
        text.push_str("299 - \"");
        for c in warning.chars().take(WARNING_BYTES_MAX) {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                ' '..='~' => text.push(c),
                _ => text.push('?'),
            }
        }
        text.push('"');
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Sets a header whose value is plain ASCII.
pub fn header(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
