//! A request that is not granted, as Kubernetes' `Status` says it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::group::GroupError;

/// Why, for machines (code and reason) and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    reason: &'static str,
    pub(crate) message: String,
}

/// What every handler returns.
pub(crate) type Result<T> = std::result::Result<T, Refusal>;

/// When to come back, said with 429 and 503.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "Unauthorized", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "NotFound", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "this path does not take that method";
        Self::new(405, "MethodNotAllowed", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "Conflict", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// The cluster's own API, which this service is a client of, did not do what was needed.
    pub(crate) fn api(attempted: &str, error: &kube::Error) -> Self {
        let message = format!("cannot {attempted}: {error}");
        match error {
            kube::Error::Api(status) if matches!(status.code, 429 | 503 | 504) => {
                Self::unavailable(message)
            }
            kube::Error::Service(_) => Self::unavailable(message),
            _ => Self::internal(message),
        }
    }
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::NotFound(why) => Self::not_found(why),
            GroupError::Refused(why) => Self::conflict(why),
            GroupError::Unavailable(why) => Self::unavailable(why),
            GroupError::Unknown(why) => Self::timeout(why),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = Status {
            status: Some("Failure".to_owned()),
            message: Some(self.message),
            reason: Some(self.reason.to_owned()),
            code: Some(self.code.into()),
            ..Status::default()
        };
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, Json(status)).into_response();
        if matches!(self.code, 429 | 503) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
