//! What can go wrong with a request, as Kubernetes' `Status` says it.
//!
//! Agnostic of HTTP until [`crate::endpoints`] turns it into a response. Reasons
//! and codes follow `k8s.io/apimachinery/pkg/apis/meta/v1` and `api/errors`.

use euston_api::field::ErrorList;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};

/// A failed request: code, reason, message, details.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Which object, which fields.
    pub details: Option<Box<StatusDetails>>,
    /// `metadata.continue` of the Status, for an expired list that may go on.
    pub continue_token: Option<String>,
    /// The methods that a path answers, where this one is not among them (RFC 9110, 15.5.6).
    pub allow: Option<String>,
}

/// What every endpoint returns.
pub type Result<T> = std::result::Result<T, ApiError>;

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}

impl std::error::Error for ApiError {}

/// `pods` or `deployments.apps`: how messages name a resource.
pub fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_token: None,
            allow: None,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.name = Some(name.to_owned()).filter(|n| !n.is_empty());
        details.group = Some(group.to_owned()).filter(|g| !g.is_empty());
        details.kind = Some(kind.to_owned()).filter(|k| !k.is_empty());
        self
    }

    fn cause(mut self, reason: &str, message: String, field: Option<String>) -> Self {
        let details = self.details.get_or_insert_default();
        details.causes.get_or_insert_default().push(StatusCause {
            field,
            message: Some(message),
            reason: Some(reason.to_owned()),
        });
        self
    }

    /// Tells the client to try again after `seconds`.
    #[must_use]
    pub fn retry_after(mut self, seconds: i32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: nobody known asks.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: this user may not.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(resource, group);
        let message = if name.is_empty() {
            format!("{what} is forbidden: {why}")
        } else {
            format!("{what} {name:?} is forbidden: {why}")
        };
        Self::new(403, "Forbidden", message).about(group, resource, name)
    }

    /// 403: this user may not, on a path that is no resource.
    pub fn forbidden_path(why: &str) -> Self {
        Self::new(403, "Forbidden", format!("forbidden: {why}")).about("", "", "")
    }

    /// 404: no such object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(resource, group));
        Self::new(404, "NotFound", message).about(group, resource, name)
    }

    /// 404: no such path.
    pub fn no_such_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .about("", "", "")
        .cause(
            "UnexpectedServerResponse",
            "404 page not found".into(),
            None,
        )
    }

    /// 405: the resource is there, the verb is not for it.
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Self {
        let message = format!(
            "{verb} is not supported on resources of kind {:?}",
            qualified(resource, group)
        );
        Self::new(405, "MethodNotAllowed", message).about(group, resource, "")
    }

    /// Says which methods the path answers.
    #[must_use]
    pub fn allowing(mut self, methods: &[&str]) -> Self {
        self.allow = Some(methods.join(", "));
        self
    }

    /// 406: none of the accepted representations can be made.
    pub fn not_acceptable(supported: &str) -> Self {
        let message = format!("only the following media types are accepted: {supported}");
        Self::new(406, "NotAcceptable", message)
    }

    /// 409: there is one already.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(resource, group));
        Self::new(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409: every name that the server made up from this base was taken.
    pub fn no_free_name(group: &str, resource: &str, name: &str) -> Self {
        let message = format!(
            "{} {name:?} already exists, the server was not able to generate a unique name for the object",
            qualified(resource, group)
        );
        Self::new(409, "AlreadyExists", message)
            .about(group, resource, name)
            .retry_after(1)
    }

    /// 409: the object is not what the client believes.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            qualified(resource, group)
        );
        Self::new(409, "Conflict", message).about(group, resource, name)
    }

    /// 409 with the sentence that clients know for a stale resourceVersion.
    pub fn stale(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409: others own what an apply would change.
    pub fn apply_conflict(conflicts: &euston_fields::Conflicts) -> Self {
        let mut error = Self::new(409, "Conflict", conflicts.to_string());
        for conflict in &conflicts.0 {
            let field = Some(conflict.path.clone());
            error = error.cause("FieldManagerConflict", conflict.to_string(), field);
        }
        error
    }

    /// 410: the resourceVersion or continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413: the body is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415: the body's type cannot be read.
    pub fn unsupported_media_type(got: &str, supported: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format ({got}) - accepted media types include: {supported}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: the object breaks its rules; every broken one is listed.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Self {
        let message = format!("{} {name:?} is invalid: {errors}", qualified(kind, group));
        let mut error = Self::new(422, "Invalid", message).about(group, kind, name);
        for e in errors.iter() {
            error = error.cause(e.kind.reason(), e.message(), Some(e.path.to_string()));
        }
        error
    }

    /// 422: a patch that cannot be applied to this object.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// 429: too much is going on.
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message).retry_after(1)
    }

    /// 500: our fault.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
        .cause("", message.to_string(), None)
    }

    /// 500 in words of its own, where clients look for them.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// 503: not now; a retry may help.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message).retry_after(1)
    }

    /// 504: it took too long; the outcome is unknown.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// 504: the client knows a resourceVersion that this server has not reached.
    pub fn version_too_large(asked: u64, current: u64) -> Self {
        Self::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        )
        .cause(
            "ResourceVersionTooLarge",
            "Too large resource version".into(),
            None,
        )
        .retry_after(1)
    }

    /// The `Status` object that clients decode.
    pub fn status(&self) -> Status {
        Status {
            code: Some(i32::from(self.code)),
            details: self.details.as_deref().cloned(),
            message: Some(self.message.clone()),
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta {
                continue_: self.continue_token.clone(),
                ..Default::default()
            },
            reason: Some(self.reason.to_owned()),
            status: Some("Failure".to_owned()),
        }
    }
}

impl From<raft_store::Error> for ApiError {
    fn from(error: raft_store::Error) -> Self {
        crate::storage::api_error(error)
    }
}
