//! `/openapi/...`: documents that are large, so made on first use, off the
//! threads that serve.

use std::sync::Arc;

use axum::response::Response;
use http::header::{ACCEPT, ETAG, EXPIRES, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};

use super::request::Query;
use super::respond;
use crate::error::{ApiError, Result};
use crate::openapi::{Document, OpenApi, ResourceDoc, SubresourceDoc, V2_PROTOBUF};
use crate::registry::kind::{Kind, VERBS};

/// What the documents tell of a kind.
pub fn resource_doc(kind: &Kind) -> ResourceDoc {
    let own = |verbs: &[&str]| verbs.iter().map(|&v| v.to_owned()).collect::<Vec<_>>();
    let names = &kind.names;
    ResourceDoc {
        group: names.group.clone(),
        version: names.version.clone(),
        kind: names.kind.clone(),
        list_kind: names.list_kind.clone(),
        plural: names.plural.clone(),
        namespaced: names.namespaced,
        verbs: own(VERBS),
        subresources: kind
            .subresources
            .iter()
            .map(|sub| SubresourceDoc {
                name: sub.name().to_owned(),
                verbs: own(sub.verbs()),
                foreign_kind: sub
                    .foreign_kind()
                    .map(|(g, v, k)| (g.to_owned(), v.to_owned(), k.to_owned())),
            })
            .collect(),
        schema: kind.schema.clone(),
    }
}

/// Answers a path below `/openapi/`.
///
/// # Errors
/// 404.
pub async fn respond(
    documents: &Arc<OpenApi>,
    path: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response> {
    let accept = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    // kubectl asks with an @ that is no part of a media type, and wants it answered without.
    let protobuf =
        accept.contains("proto-openapi.spec.v2@v1.0+protobuf") || accept.contains(V2_PROTOBUF);
    let documents = documents.clone();
    let wanted = path.trim_end_matches('/').to_owned();
    let made = tokio::task::spawn_blocking(move || find(&documents, &wanted, protobuf))
        .await
        .map_err(ApiError::internal)?;
    let (document, content_type) = made.ok_or_else(ApiError::no_such_path)?;
    let etag = format!("\"{}\"", document.etag);
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = if known == Some(etag.as_str()) {
        respond::typed(StatusCode::NOT_MODIFIED, content_type, bytes::Bytes::new())
    } else {
        respond::typed(StatusCode::OK, content_type, document.body)
    };
    respond::header(&mut response, ETAG, &etag);
    respond::header(&mut response, http::header::VARY, "Accept");
    if query.get("hash") == Some(&*document.etag) {
        // The URL names this very content, so it may be kept: a year, as Kubernetes says.
        respond::header(
            &mut response,
            http::header::CACHE_CONTROL,
            "public, immutable",
        );
        let year = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365);
        let expires = year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        respond::header(&mut response, EXPIRES, &expires);
    }
    Ok(response)
}

fn find(documents: &OpenApi, path: &str, protobuf: bool) -> Option<(Document, &'static str)> {
    const JSON: &str = "application/json";
    match path {
        "/openapi/v2" if protobuf => return Some((documents.v2_protobuf(), V2_PROTOBUF)),
        "/openapi/v2" => return Some((documents.v2_json(), JSON)),
        "/openapi/v3" => return Some((documents.v3_index(), JSON)),
        _ => {}
    }
    let mut parts = path.strip_prefix("/openapi/v3/")?.split('/');
    let (group, version) = match parts.next()? {
        "api" => ("", parts.next()?),
        "apis" => (parts.next()?, parts.next()?),
        _ => return None,
    };
    if parts.next().is_some() {
        return None;
    }
    Some((documents.v3(group, version)?, JSON))
}
