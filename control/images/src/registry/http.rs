//! The verbs of the registry.

use std::collections::BTreeSet;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RANGE};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::Registry;
use super::copies::{Incoming, Missing};
use super::error::OciError;
use super::repository::Entry;
use super::route::{self, Route};
use super::uploads::Upload;
use crate::layout::{INDEX, MANIFEST, Manifest};
use crate::{Digest, Version};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Names in one page of the catalogue or of a tag list, unless fewer are asked for.
const PAGE_MAX: usize = 1000;
/// Read-ahead from disk per download.
pub(super) const READ_BYTES: usize = 64 << 10;

pub(super) fn router(registry: Registry) -> Router {
    Router::new()
        .route("/v2", any(handle))
        .route("/v2/", any(handle))
        .route("/v2/{*rest}", any(handle))
        .with_state(registry)
}

async fn handle(State(registry): State<Registry>, request: Request) -> Response {
    // HEAD is answered like GET: hyper leaves the body out and keeps Content-Length.
    let mut response = match registry.dispatch(request).await {
        Ok(response) => response,
        Err(e) => e.into_response(),
    };
    let version = http::HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert(API_VERSION, version);
    response
}

/// The query's parameters that the registry knows.
#[derive(Default)]
struct Query {
    digest: Option<String>,
    mount: Option<String>,
    n: Option<String>,
    last: Option<String>,
}

impl Query {
    fn parse(query: Option<&str>) -> Self {
        let mut found = Self::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            match key.as_ref() {
                "digest" => found.digest = Some(value.into_owned()),
                "mount" => found.mount = Some(value.into_owned()),
                "n" => found.n = Some(value.into_owned()),
                "last" => found.last = Some(value.into_owned()),
                _ => {}
            }
        }
        found
    }

    fn page_size(&self) -> Result<usize, OciError> {
        match &self.n {
            None => Ok(PAGE_MAX),
            Some(n) => n
                .parse::<usize>()
                .map(|n| n.min(PAGE_MAX))
                .map_err(|_| OciError::bad_page(format!("n={n:?} is not a number"))),
        }
    }
}

fn parse_digest(text: &str) -> Result<Digest, OciError> {
    text.parse()
        .map_err(|e: crate::digest::DigestError| OciError::digest_invalid(e.to_string()))
}

impl Registry {
    async fn dispatch(&self, request: Request) -> Result<Response, OciError> {
        let (parts, body) = request.into_parts();
        let route = route::parse(parts.uri.path())?;
        let query = Query::parse(parts.uri.query());
        let headers = &parts.headers;
        let read = parts.method == Method::GET || parts.method == Method::HEAD;
        match (&parts.method, route) {
            (_, Route::Base) if read => Ok(axum::Json(json!({})).into_response()),
            (&Method::GET, Route::Catalog) => self.catalog(&query).await,
            (&Method::GET, Route::Tags { name }) => self.tags(&name, &query).await,
            (_, Route::Manifest { name, version }) if read => {
                self.get_manifest(&name, &version, parts.method == Method::HEAD)
                    .await
            }
            (&Method::PUT, Route::Manifest { name, version }) => {
                self.put_manifest(&name, &version, headers, body).await
            }
            (&Method::DELETE, Route::Manifest { name, version }) => {
                self.delete_manifest(&name, &version).await
            }
            (_, Route::Blob { digest, .. }) if read => {
                self.get_blob(digest, parts.method == Method::HEAD).await
            }
            (&Method::POST, Route::NewUpload { name }) => {
                self.begin_upload(&name, &query, body).await
            }
            (_, Route::Upload { name, id }) => match parts.method {
                Method::GET => self.upload_status(&name, &id).await,
                Method::PATCH => self.append_upload(&name, &id, headers, body).await,
                Method::PUT => self.finish_upload(&name, &id, &query, headers, body).await,
                Method::DELETE => self.cancel_upload(&name, &id).await,
                ref other => Err(OciError::method(other, parts.uri.path())),
            },
            (method, _) => Err(OciError::method(method, parts.uri.path())),
        }
    }

    async fn catalog(&self, query: &Query) -> Result<Response, OciError> {
        let n = query.page_size()?;
        let names = self.inner.index.names(query.last.as_deref(), n).await;
        let (names, more) = names.map_err(|e| OciError::index("", e))?;
        let next = next_page("/v2/_catalog", n, &names, more);
        Ok((next, axum::Json(json!({"repositories": names}))).into_response())
    }

    async fn tags(&self, name: &str, query: &Query) -> Result<Response, OciError> {
        let n = query.page_size()?;
        let tags = self.inner.index.tags(name, query.last.as_deref(), n).await;
        let tags = tags.map_err(|e| OciError::index(name, e))?;
        let (tags, more) = tags.ok_or_else(|| OciError::name_unknown(name))?;
        let next = next_page(&format!("/v2/{name}/tags/list"), n, &tags, more);
        Ok((next, axum::Json(json!({"name": name, "tags": tags}))).into_response())
    }

    async fn get_manifest(
        &self,
        name: &str,
        version: &Version,
        head: bool,
    ) -> Result<Response, OciError> {
        let repository = self.inner.index.repository(name).await;
        let repository = repository
            .map_err(|e| OciError::index(name, e))?
            .ok_or_else(|| OciError::name_unknown(name))?;
        let (digest, entry) = repository
            .find(version)
            .ok_or_else(|| OciError::manifest_unknown(name, version))?;
        self.content(digest, &entry.media_type, head).await
    }

    async fn get_blob(&self, digest: Digest, head: bool) -> Result<Response, OciError> {
        self.content(digest, "application/octet-stream", head).await
    }

    async fn content(
        &self,
        digest: Digest,
        media_type: &str,
        head: bool,
    ) -> Result<Response, OciError> {
        let copies = &self.inner.copies;
        let found = if head {
            let body = Body::empty();
            let size = copies.size(digest).await;
            size.map(|size| Incoming { size, body })
        } else {
            copies.read(digest).await
        };
        let Incoming { size, body } = found.map_err(|m| OciError::missing(&digest, m))?;
        let headers = [
            (CONTENT_TYPE, media_type.to_owned()),
            (CONTENT_LENGTH, size.to_string()),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        Ok((headers, body).into_response())
    }

    async fn put_manifest(
        &self,
        name: &str,
        version: &Version,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, OciError> {
        let _place = self.inner.pushes.try_acquire().map_err(|_| {
            OciError::too_many("too many pushes are under way; try again shortly".to_owned())
        })?;
        let bytes = self.manifest_bytes(body).await?;
        let digest = Digest::of(&bytes);
        if let Version::Digest(expected) = version
            && *expected != digest
        {
            return Err(OciError::digest_invalid(format!(
                "the manifest's digest is {digest} and not {expected}"
            )));
        }
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .map(|v| v.split(';').next().unwrap_or(v).trim());
        let entry = describe(&bytes, content_type)?;
        let tag = match version {
            Version::Tag(tag) => Some(tag.as_str()),
            Version::Digest(_) => None,
        };
        self.place(digest, &bytes, &entry).await?;
        let put = self.inner.index.put(name, tag, digest, &entry).await;
        put.map_err(|e| OciError::index(name, e))?;
        Ok(created(&format!("/v2/{name}/manifests/{digest}"), digest))
    }

    /// Sees to it that a manifest, and all that it refers to, is on this server and on most of
    /// all, and stays there until the index says that it is used.
    async fn place(&self, digest: Digest, bytes: &[u8], entry: &Entry) -> Result<(), OciError> {
        let (copies, limits) = (&self.inner.copies, &self.inner.limits);
        // By the clock that goes on while the machine sleeps, as the age of blobs does.
        let began = SystemTime::now();
        copies.store(digest, bytes).await?;
        let mut needed = BTreeSet::from([digest]);
        needed.extend(&entry.references);
        let needed: Vec<Digest> = needed.into_iter().collect();
        let work = async {
            for blob in &needed {
                copies.bring(*blob).await.map_err(|missing| match missing {
                    Missing::Nowhere => OciError::manifest_blob_unknown(blob),
                    unreachable => OciError::missing(blob, unreachable),
                })?;
            }
            let spread = copies.spread(&needed).await;
            spread.map_err(|e| OciError::unavailable(e.to_string()))
        };
        timeout(limits.push_max, work).await.map_err(|_| {
            let max = limits.push_max;
            OciError::unavailable(format!("the other servers took longer than {max:?}"))
        })??;
        // What was promised to stay must not have become old before the index refers to it.
        if began.elapsed().is_ok_and(|took| took < limits.grace / 2) {
            return Ok(());
        }
        let why = "the push took so long that its blobs may be gone";
        Err(OciError::unavailable(why.to_owned()))
    }

    async fn manifest_bytes(&self, body: Body) -> Result<Bytes, OciError> {
        let limits = &self.inner.limits;
        let max = limits.manifest_bytes_max;
        let whole = axum::body::to_bytes(body, max);
        match timeout(limits.body_idle, whole).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(e)) => Err(OciError::too_large(format!(
                "cannot read the manifest, which may have at most {max} bytes: {e}"
            ))),
            Err(_) => Err(OciError::manifest_invalid(format!(
                "the manifest did not arrive within {:?}",
                limits.body_idle
            ))),
        }
    }

    async fn delete_manifest(&self, name: &str, version: &Version) -> Result<Response, OciError> {
        // The blobs that nothing refers to any more go in the background, on every server.
        let deleted = self.inner.index.delete(name, version).await;
        let deleted = deleted.map_err(|e| OciError::index(name, e))?;
        if deleted {
            Ok(StatusCode::ACCEPTED.into_response())
        } else {
            Err(OciError::manifest_unknown(name, version))
        }
    }

    async fn begin_upload(
        &self,
        name: &str,
        query: &Query,
        body: Body,
    ) -> Result<Response, OciError> {
        // Blobs are shared by all repositories, so mounting is finding.
        if let Some(mount) = &query.mount {
            let digest = parse_digest(mount)?;
            if self.inner.copies.blobs.keep(&digest).await?.is_some() {
                return Ok(created(&format!("/v2/{name}/blobs/{digest}"), digest));
            }
        }
        let expected = query.digest.as_deref().map(parse_digest).transpose()?;
        let id = self
            .inner
            .copies
            .uploads
            .begin(name)
            .await?
            .ok_or_else(|| {
                OciError::too_many("too many uploads are under way; try again shortly".to_owned())
            })?;
        match expected {
            None => Ok(accepted(name, &id, 0)),
            Some(expected) => self.complete(name, &id, None, body, expected).await,
        }
    }

    async fn upload_status(&self, name: &str, id: &str) -> Result<Response, OciError> {
        let slot = self.slot(name, id)?;
        let upload = slot.lock().await;
        let upload = upload
            .as_ref()
            .ok_or_else(|| OciError::upload_unknown(id))?;
        let mut response = accepted(name, id, upload.size());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    async fn append_upload(
        &self,
        name: &str,
        id: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, OciError> {
        let slot = self.slot(name, id)?;
        let mut slot = slot.lock().await;
        let upload = slot.as_mut().ok_or_else(|| OciError::upload_unknown(id))?;
        check_range(upload, content_range(headers)?)?;
        let limits = &self.inner.limits;
        upload
            .append(body, limits.blob_bytes_max, limits.body_idle)
            .await?;
        Ok(accepted(name, id, upload.size()))
    }

    async fn finish_upload(
        &self,
        name: &str,
        id: &str,
        query: &Query,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, OciError> {
        let digest = query.digest.as_deref().ok_or_else(|| {
            OciError::digest_invalid("finishing an upload needs ?digest=".to_owned())
        })?;
        let expected = parse_digest(digest)?;
        let range = content_range(headers)?;
        self.complete(name, id, range, body, expected).await
    }

    async fn complete(
        &self,
        name: &str,
        id: &str,
        range: Option<(u64, u64)>,
        body: Body,
        expected: Digest,
    ) -> Result<Response, OciError> {
        let slot = self.slot(name, id)?;
        let mut slot = slot.lock().await;
        let upload = slot.as_mut().ok_or_else(|| OciError::upload_unknown(id))?;
        check_range(upload, range)?;
        let limits = &self.inner.limits;
        upload
            .append(body, limits.blob_bytes_max, limits.body_idle)
            .await?;
        let Some(upload) = slot.take() else {
            return Err(OciError::upload_unknown(id));
        };
        self.inner.copies.uploads.forget(id);
        let (file, digest) = upload.finish().await?;
        if digest != expected {
            return Err(OciError::digest_invalid(format!(
                "the uploaded bytes have the digest {digest} and not {expected}"
            )));
        }
        self.inner.copies.blobs.adopt(file, digest).await?;
        Ok(created(&format!("/v2/{name}/blobs/{digest}"), digest))
    }

    async fn cancel_upload(&self, name: &str, id: &str) -> Result<Response, OciError> {
        let slot = self.slot(name, id)?;
        drop(slot.lock().await.take());
        self.inner.copies.uploads.forget(id);
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn slot(
        &self,
        name: &str,
        id: &str,
    ) -> Result<std::sync::Arc<tokio::sync::Mutex<Option<Upload>>>, OciError> {
        let slot = self.inner.copies.uploads.get(name, id);
        slot.ok_or_else(|| OciError::upload_unknown(id))
    }
}

/// Reads a manifest far enough to know its type and what it needs.
fn describe(bytes: &[u8], content_type: Option<&str>) -> Result<Entry, OciError> {
    let manifest: Manifest = serde_json::from_slice(bytes)
        .map_err(|e| OciError::manifest_invalid(format!("the manifest cannot be read: {e}")))?;
    if manifest.schema_version != 2 {
        return Err(OciError::manifest_invalid(format!(
            "schemaVersion is {} and 2 is expected",
            manifest.schema_version
        )));
    }
    let named = manifest.media_type.as_deref();
    let given = content_type.filter(|t| *t != "application/json");
    if let (Some(named), Some(given)) = (named, given)
        && named != given
    {
        return Err(OciError::manifest_invalid(format!(
            "mediaType is {named} and Content-Type is {given}"
        )));
    }
    let fallback = if manifest.config.is_some() {
        MANIFEST
    } else {
        INDEX
    };
    Ok(Entry {
        media_type: named.or(given).unwrap_or(fallback).to_owned(),
        size: bytes.len() as u64,
        references: manifest.references().map(|d| d.digest).collect(),
    })
}

/// `Content-Range: START-END` of a chunk, both inclusive; clients that stream send none.
fn content_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>, OciError> {
    let Some(value) = headers.get(CONTENT_RANGE) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let range = text.strip_prefix("bytes ").unwrap_or(&text);
    let range = range.split('/').next().unwrap_or(range);
    range
        .split_once('-')
        .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
        .map(Some)
        .ok_or_else(|| OciError::range_invalid(format!("Content-Range {text:?} is not START-END")))
}

fn check_range(upload: &Upload, range: Option<(u64, u64)>) -> Result<(), OciError> {
    match range {
        Some((start, _)) if start != upload.size() => Err(OciError::range_invalid(format!(
            "the chunk begins at {start} and the upload holds {} bytes",
            upload.size()
        ))),
        _ => Ok(()),
    }
}

fn created(location: &str, digest: Digest) -> Response {
    let headers = [
        (LOCATION, location.to_owned()),
        (CONTENT_DIGEST, digest.to_string()),
    ];
    (StatusCode::CREATED, headers).into_response()
}

fn accepted(name: &str, id: &str, size: u64) -> Response {
    let headers = [
        (LOCATION, format!("/v2/{name}/blobs/uploads/{id}")),
        // The last byte's index; "0-0" also stands for nothing yet, as clients expect.
        (RANGE, format!("0-{}", size.saturating_sub(1))),
        (UPLOAD_ID, id.to_owned()),
        (CONTENT_LENGTH, "0".to_owned()),
    ];
    (StatusCode::ACCEPTED, headers).into_response()
}

fn next_page(path: &str, n: usize, names: &[String], more: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let (true, Some(last)) = (more, names.last()) {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("n", &n.to_string())
            .append_pair("last", last)
            .finish();
        if let Ok(value) = format!("<{path}?{query}>; rel=\"next\"").parse() {
            headers.insert(LINK, value);
        }
    }
    headers
}
