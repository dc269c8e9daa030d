//! Reading a request's body, bounded.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::delivery;
use super::negotiate::{self, Encoding};
use super::protobuf;
use crate::error::{ApiError, Result};
use crate::registry::options::FieldValidation;

/// The largest body of a request, in bytes: kube-apiserver's bound.
pub const BODY_BYTES_MAX: usize = 3 << 20;

const READABLE: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The object that a request brought.
pub struct Object {
    /// As JSON, whatever it came in.
    pub json: Bytes,
    encoding: Encoding,
}

impl Object {
    /// How strictly it is decoded: protobuf names no fields, so there is nothing to find in it.
    pub fn validation(&self, asked: FieldValidation) -> FieldValidation {
        match self.encoding {
            Encoding::Json => asked,
            Encoding::Protobuf => FieldValidation::Ignore,
        }
    }
}

/// Reads a body to its end.
///
/// # Errors
/// 413 past [`BODY_BYTES_MAX`], 400 if it breaks off.
pub async fn read(body: Body) -> Result<Bytes> {
    // What announces that it will be too large need not be received.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(ApiError::too_large(BODY_BYTES_MAX));
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(BODY_BYTES_MAX)),
        Err(error) => Err(delivery::own_error(error.as_ref())
            .cloned()
            .unwrap_or_else(|| {
                ApiError::bad_request(format!(
                    "the body of the request could not be read to its end: {error}"
                ))
            })),
    }
}

/// Reads a body that holds an object. `expected` is the group, version and kind that it
/// has where it does not say so itself.
///
/// # Errors
/// As [`read`]; 415 for a type that cannot be read; 400 for broken YAML or protobuf.
pub async fn read_object(
    headers: &HeaderMap,
    body: Body,
    expected: (&str, &str, &str),
) -> Result<Object> {
    let (json, encoding) = match negotiate::content_type(headers).as_str() {
        "application/json" | "*/*" => (read(body).await?, Encoding::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => {
            (yaml_to_json(&read(body).await?)?, Encoding::Json)
        }
        euston_protobuf::envelope::MEDIA_TYPE => {
            let json = protobuf::to_json(&read(body).await?, expected)?;
            (json, Encoding::Protobuf)
        }
        other => return Err(ApiError::unsupported_media_type(other, READABLE)),
    };
    Ok(Object { json, encoding })
}

/// Turns one YAML document into JSON.
///
/// # Errors
/// 400 with the place where it breaks, also for alias bombs.
pub fn yaml_to_json(yaml: &[u8]) -> Result<Bytes> {
    let text = std::str::from_utf8(yaml)
        .map_err(|e| ApiError::bad_request(format!("the YAML is not UTF-8: {e}")))?;
    let value: serde_json::Value = serde_saphyr::from_str(text)
        .map_err(|e| ApiError::bad_request(format!("the YAML cannot be read: {e}")))?;
    serde_json::to_vec(&value)
        .map(Bytes::from)
        .map_err(ApiError::internal)
}
