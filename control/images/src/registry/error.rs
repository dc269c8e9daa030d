//! Errors as the distribution specification spells them.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::catalog::CatalogError;
use super::copies::Missing;
use super::index::IndexError;
use super::route::RouteError;
use super::uploads::AppendError;
use crate::{Digest, Version};

/// An answer with `{"errors": [{code, message}]}` as its body.
#[derive(Debug)]
pub(super) struct OciError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl OciError {
    fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self {
            status,
            code,
            message,
        }
    }

    pub(super) fn name_unknown(name: &str) -> Self {
        let message = format!("repository {name:?} does not exist; nothing was pushed to it");
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
    }

    pub(super) fn manifest_unknown(name: &str, version: &Version) -> Self {
        let message = format!("repository {name:?} has no manifest {version}");
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
    }

    pub(super) fn blob_unknown(digest: &Digest) -> Self {
        let message = format!("there is no blob {digest}");
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", message)
    }

    pub(super) fn manifest_blob_unknown(digest: &Digest) -> Self {
        let message = format!("the manifest refers to {digest}, which was not pushed before it");
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", message)
    }

    pub(super) fn manifest_invalid(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
    }

    pub(super) fn digest_invalid(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(super) fn upload_unknown(id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        let message = format!("there is no upload {id:?}; it was finished, cancelled, or expired");
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message)
    }

    pub(super) fn range_invalid(message: String) -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "BLOB_UPLOAD_INVALID",
            message,
        )
    }

    pub(super) fn bad_page(message: String) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PAGINATION_NUMBER_INVALID",
            message,
        )
    }

    pub(super) fn too_large(message: String) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
    }

    pub(super) fn too_many(message: String) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message)
    }

    pub(super) fn denied(message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "DENIED", message)
    }

    /// Nothing is wrong with the request: another time, or another server, may do it.
    pub(super) fn unavailable(message: String) -> Self {
        let message = format!("{message}; try again in a moment");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    /// Why the blob `digest` cannot be read.
    pub(super) fn missing(digest: &Digest, missing: Missing) -> Self {
        match missing {
            Missing::Nowhere => Self::blob_unknown(digest),
            Missing::Unreachable(why) => {
                Self::unavailable(format!("the blob {digest} cannot be read now: {why}"))
            }
        }
    }

    /// What the index said about the repository `name`.
    pub(super) fn index(name: &str, error: IndexError) -> Self {
        let sentence = index_sentence(&error);
        match error {
            IndexError::Catalog(CatalogError::Disk(e)) => e.into(),
            IndexError::Catalog(CatalogError::Unavailable(_)) => Self::unavailable(sentence),
            IndexError::Catalog(CatalogError::Full(_)) | IndexError::Full(_) => {
                let message = format!("repository {name:?}: {sentence}; delete some images first");
                Self::denied(message)
            }
            IndexError::Damaged(..) => {
                tracing::error!(error = %sentence, "the image registry's index is damaged");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", sentence)
            }
        }
    }

    pub(super) fn method(method: &http::Method, path: &str) -> Self {
        let message = format!("{method} is not possible on {path}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }
}

/// An error of the index, in words.
pub(super) fn index_sentence(error: &IndexError) -> String {
    match error {
        IndexError::Catalog(CatalogError::Unavailable(why)) => {
            format!("the registry's index cannot be reached: {why}")
        }
        IndexError::Catalog(e) => e.to_string(),
        IndexError::Damaged(name, e) => {
            format!("the index of repository {name:?} cannot be understood: {e}")
        }
        IndexError::Full(max) => {
            format!("it holds {max} manifests, which is the most")
        }
    }
}

impl From<std::io::Error> for OciError {
    fn from(e: std::io::Error) -> Self {
        tracing::warn!(error = %e, "the image registry's disk failed");
        let status = match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, "UNKNOWN", format!("the registry's disk: {e}"))
    }
}

impl From<AppendError> for OciError {
    fn from(e: AppendError) -> Self {
        match e {
            AppendError::TooLarge(max) => {
                Self::too_large(format!("a blob may have at most {max} bytes"))
            }
            AppendError::Stalled(idle) => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "BLOB_UPLOAD_INVALID",
                format!("nothing was received for {idle:?}"),
            ),
            AppendError::Broken(e) => Self::new(
                StatusCode::BAD_REQUEST,
                "BLOB_UPLOAD_INVALID",
                format!("the request body broke off: {e}"),
            ),
            AppendError::Io(e) => e.into(),
        }
    }
}

impl From<RouteError> for OciError {
    fn from(e: RouteError) -> Self {
        let cut = |s: String| s.chars().take(120).collect::<String>();
        match e {
            RouteError::NoSuchPath => Self::new(
                StatusCode::NOT_FOUND,
                "UNSUPPORTED",
                "the registry has no such path".to_owned(),
            ),
            RouteError::BadName(name) => Self::new(
                StatusCode::BAD_REQUEST,
                "NAME_INVALID",
                format!(
                    "{:?} is not a repository name: lower-case letters, digits and separators",
                    cut(name)
                ),
            ),
            RouteError::BadTag(tag) => Self::new(
                StatusCode::BAD_REQUEST,
                "MANIFEST_INVALID",
                format!("{:?} is not a tag", cut(tag)),
            ),
            RouteError::BadDigest(digest) => {
                Self::digest_invalid(format!("{:?} is not a sha256 digest", cut(digest)))
            }
        }
    }
}

impl IntoResponse for OciError {
    fn into_response(self) -> Response {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]});
        (self.status, Json(body)).into_response()
    }
}
