//! Which representation a client accepts, and which one it sent.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::error::{ApiError, Result};

/// What we can make.
const SUPPORTED: &str = "application/json, application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

/// How an object is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Whole.
    Object,
    /// As the rows that kubectl prints.
    Table,
    /// Its metadata alone.
    Metadata,
}

/// The first acceptable form that this server can make.
///
/// # Errors
/// 406 if there is none, for example for protobuf without an alternative.
pub fn form(headers: &HeaderMap) -> Result<Form> {
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    if accept.is_empty() {
        return Ok(Form::Object);
    }
    for clause in accept.iter().flat_map(|v| v.split(',')) {
        let mut parts = clause.split(';').map(str::trim);
        let mime = parts.next().unwrap_or_default();
        if !matches!(mime, "application/json" | "application/*" | "*/*" | "") {
            continue;
        }
        let (mut kind, mut version, mut group) = (None, None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => kind = Some(value),
                Some(("v", value)) => version = Some(value),
                Some(("g", value)) => group = Some(value),
                _ => {}
            }
        }
        let ours = version == Some("v1") && group == Some("meta.k8s.io");
        match kind {
            None => return Ok(Form::Object),
            Some("Table") if ours => return Ok(Form::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if ours => {
                return Ok(Form::Metadata);
            }
            Some(_) => {}
        }
    }
    Err(ApiError::not_acceptable(SUPPORTED))
}

/// The media type of a request's body, without parameters; JSON if none is given.
pub fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .map(|v| v.trim().to_ascii_lowercase())
        .filter(|v| !v.is_empty())
        .unwrap_or_else(|| "application/json".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expect: Option<Form>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        assert_eq!(form(&headers).ok(), expect, "{accept}");
    }

    #[test]
    fn the_first_form_that_can_be_made_wins() {
        assert_eq!(form(&HeaderMap::new()).ok(), Some(Form::Object));
        check("application/json", Some(Form::Object));
        check("application/json, */*", Some(Form::Object));
        check(
            "application/vnd.kubernetes.protobuf, application/json",
            Some(Form::Object),
        );
        check(
            "application/vnd.kubernetes.protobuf, */*",
            Some(Form::Object),
        );
        check("application/vnd.kubernetes.protobuf", None);
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some(Form::Table),
        );
        check(
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some(Form::Object),
        );
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Some(Form::Metadata),
        );
        check("text/html", None);
    }
}
