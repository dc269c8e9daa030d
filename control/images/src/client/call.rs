//! Requests to the registry, and what is done with several of them: blobs, manifests, lists.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LINK, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::ImageError;
use crate::layout::{
    DOCKER_LIST, DOCKER_MANIFEST, Descriptor, INDEX, Layout, LayoutError, MANIFEST, Manifest,
};
use crate::{Digest, Reference, Version};

/// Largest program that is pulled; the built-in registry's own bound.
const WASM_BYTES_MAX: usize = 512 << 20;
/// Largest manifest, config, list or error that is read.
const SMALL_BYTES_MAX: usize = 4 << 20;
/// One request, answer included. Half a gigabyte in that time is 2 MB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(240);

/// A request under way: what is being done, and to which image, for its errors.
pub(super) struct Call<'a> {
    pub(super) client: &'a kube::Client,
    pub(super) action: &'static str,
    pub(super) reference: String,
}

impl Call<'_> {
    pub(super) fn damaged(&self, why: impl ToString) -> ImageError {
        ImageError::Damaged {
            action: self.action,
            reference: self.reference.clone(),
            why: why.to_string(),
        }
    }

    pub(super) async fn send(
        &self,
        request: http::request::Builder,
        body: Bytes,
        expect: &[StatusCode],
    ) -> Result<Response<Body>, ImageError> {
        let request = request
            .body(Body::from(body))
            .map_err(|e| self.damaged(e))?;
        let transport = |source| ImageError::Transport {
            action: self.action,
            reference: self.reference.clone(),
            source: Box::new(source),
        };
        let response = tokio::time::timeout(REQUEST_TIMEOUT, self.client.send(request))
            .await
            .map_err(|_| self.damaged(format!("no answer within {REQUEST_TIMEOUT:?}")))?
            .map_err(transport)?;
        let status = response.status();
        if expect.contains(&status) {
            return Ok(response);
        }
        let text = self
            .read(response, SMALL_BYTES_MAX)
            .await
            .unwrap_or_default();
        let (code, message) = explain(&text);
        if status == StatusCode::NOT_FOUND
            && matches!(code.as_str(), "NAME_UNKNOWN" | "MANIFEST_UNKNOWN")
        {
            return Err(ImageError::NotFound {
                reference: self.reference.clone(),
            });
        }
        Err(ImageError::Refused {
            action: self.action,
            reference: self.reference.clone(),
            status,
            message,
        })
    }

    async fn read(&self, response: Response<Body>, max: usize) -> Result<Bytes, ImageError> {
        let body = Limited::new(response.into_body(), max).collect();
        let body = tokio::time::timeout(REQUEST_TIMEOUT, body)
            .await
            .map_err(|_| self.damaged(format!("the answer took over {REQUEST_TIMEOUT:?}")))?
            .map_err(|e| self.damaged(format!("the answer broke off: {e}")))?;
        Ok(body.to_bytes())
    }

    /// Uploads a blob unless the registry has it.
    pub(super) async fn put_blob(
        &self,
        name: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Descriptor, ImageError> {
        let digest = Digest::of(&bytes);
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len() as u64,
            platform: None,
        };
        let encoded = encode(&Version::Digest(digest));
        let head = Request::builder()
            .method(Method::HEAD)
            .uri(format!("/v2/{name}/blobs/{encoded}"));
        let there = [StatusCode::OK, StatusCode::NOT_FOUND];
        let found = self.send(head, Bytes::new(), &there).await?;
        if found.status() == StatusCode::OK {
            return Ok(descriptor);
        }
        let post = Request::post(format!("/v2/{name}/blobs/uploads/"));
        let begun = self
            .send(post, Bytes::new(), &[StatusCode::ACCEPTED])
            .await?;
        let location = begun
            .headers()
            .get(LOCATION)
            .and_then(|l| l.to_str().ok())
            .ok_or_else(|| self.damaged("the registry named no place to upload to"))?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = Request::put(format!("{location}{separator}digest={encoded}"))
            .header(CONTENT_TYPE, "application/octet-stream");
        self.send(put, bytes, &[StatusCode::CREATED]).await?;
        Ok(descriptor)
    }

    async fn blob(&self, name: &str, wanted: &Descriptor, max: usize) -> Result<Bytes, ImageError> {
        if wanted.size > max as u64 {
            return Err(self.damaged(format!(
                "its program has {} bytes and at most {max} are accepted",
                wanted.size
            )));
        }
        let encoded = encode(&Version::Digest(wanted.digest));
        let get = Request::get(format!("/v2/{name}/blobs/{encoded}"));
        let response = self.send(get, Bytes::new(), &[StatusCode::OK]).await?;
        let bytes = self.read(response, max).await?;
        let found = Digest::of(&bytes);
        if found != wanted.digest {
            return Err(self.damaged(format!(
                "the blob {} arrived with the digest {found}",
                wanted.digest
            )));
        }
        Ok(bytes)
    }

    /// The manifest under a name, with its own digest; an index stays one.
    pub(super) async fn manifest_as_stored(
        &self,
        reference: &Reference,
    ) -> Result<(Digest, Manifest), ImageError> {
        let version = encode(&reference.version);
        let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(", ");
        let get = Request::get(format!("/v2/{}/manifests/{version}", reference.name))
            .header(ACCEPT, accept);
        let response = self.send(get, Bytes::new(), &[StatusCode::OK]).await?;
        let bytes = self.read(response, SMALL_BYTES_MAX).await?;
        let digest = Digest::of(&bytes);
        if let Version::Digest(wanted) = reference.version
            && wanted != digest
        {
            return Err(self.damaged(format!("the manifest arrived with the digest {digest}")));
        }
        let manifest = serde_json::from_slice(&bytes)
            .map_err(|e| self.damaged(format!("its manifest cannot be read: {e}")))?;
        Ok((digest, manifest))
    }

    /// As [`Call::manifest_as_stored`]; of an index, the entry for this runtime. The digest is that
    /// of what the name points to.
    pub(super) async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<(Digest, Manifest), ImageError> {
        let (digest, manifest) = self.manifest_as_stored(reference).await?;
        let entry = match manifest.entry() {
            None => return Ok((digest, manifest)),
            Some(entry) => entry.map_err(|e| self.layout(e))?,
        };
        let inner = Reference {
            host: None,
            name: reference.name.clone(),
            version: Version::Digest(entry.digest),
        };
        let (_, manifest) = self.manifest_as_stored(&inner).await?;
        Ok((digest, manifest))
    }

    pub(super) async fn program(
        &self,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<(Layout, Bytes), ImageError> {
        let (layout, layer) = manifest.program().map_err(|e| self.layout(e))?;
        let wasm = self.blob(&reference.name, layer, WASM_BYTES_MAX).await?;
        Ok((layout, wasm))
    }

    fn layout(&self, source: LayoutError) -> ImageError {
        ImageError::Layout {
            reference: self.reference.clone(),
            source,
        }
    }

    /// Whether another tag of the repository points to the same manifest.
    pub(super) async fn is_shared(
        &self,
        reference: &Reference,
        tag: &str,
    ) -> Result<bool, ImageError> {
        #[derive(Deserialize)]
        struct Tags {
            tags: Vec<String>,
        }
        let (digest, _) = self.manifest_as_stored(reference).await?;
        let path = format!("/v2/{}/tags/list", reference.name);
        for other in self.pages(path, |p: Tags| p.tags).await? {
            let version = Version::Tag(other.clone());
            let other_reference = Reference {
                version,
                ..reference.clone()
            };
            if other != tag && self.manifest_as_stored(&other_reference).await?.0 == digest {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All pages of a list, following `Link` headers.
    pub(super) async fn pages<P: serde::de::DeserializeOwned>(
        &self,
        path: String,
        items: impl Fn(P) -> Vec<String>,
    ) -> Result<Vec<String>, ImageError> {
        let mut all = Vec::new();
        let mut next = Some(path);
        while let Some(path) = next {
            let response = self
                .send(Request::get(path), Bytes::new(), &[StatusCode::OK])
                .await?;
            next = response
                .headers()
                .get(LINK)
                .and_then(|l| l.to_str().ok())
                .and_then(|l| l.strip_prefix('<')?.split_once('>'))
                .map(|(path, _)| path.to_owned());
            let bytes = self.read(response, SMALL_BYTES_MAX).await?;
            let page = serde_json::from_slice(&bytes)
                .map_err(|e| self.damaged(format!("the list cannot be read: {e}")))?;
            let page = items(page);
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        Ok(all)
    }
}

/// As it stands in a path.
pub(super) fn encode(version: &Version) -> String {
    match version {
        Version::Tag(tag) => tag.clone(),
        Version::Digest(digest) => {
            utf8_percent_encode(&digest.to_string(), NON_ALPHANUMERIC).to_string()
        }
    }
}

/// Code and message of an error body: the registry's own, or a Kubernetes `Status`.
fn explain(body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct One {
        code: String,
        #[serde(default)]
        message: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer {
        Oci { errors: Vec<One> },
        Status { reason: String, message: String },
    }
    match serde_json::from_slice(body) {
        Ok(Answer::Oci { errors }) => match errors.into_iter().next() {
            Some(one) => (one.code, one.message),
            None => (String::new(), String::new()),
        },
        Ok(Answer::Status { reason, message }) => (reason, message),
        Err(_) => {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            (String::new(), text)
        }
    }
}
