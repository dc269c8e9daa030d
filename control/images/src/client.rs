//! Pushing and pulling through a `kube::Client`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LINK, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::contents::{Contents, Kind, NotWasm};
use crate::layout::{
    DOCKER_LIST, DOCKER_MANIFEST, Descriptor, INDEX, Layout, LayoutError, MANIFEST, Manifest,
    WASM_CONFIG, WASM_LAYER,
};
use crate::{Digest, Reference, ReferenceError, Version};

/// Largest program that is pulled; the built-in registry's own bound.
const WASM_BYTES_MAX: usize = 512 << 20;
/// Largest manifest, config, list or error that is read.
const SMALL_BYTES_MAX: usize = 4 << 20;
/// One request, answer included. Half a gigabyte in that time is 2 MB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(240);
/// When the image was pushed, RFC 3339.
const CREATED: &str = "org.opencontainers.image.created";

/// What went wrong with an image, as a sentence that names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The name is not one.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The name is another registry's.
    #[error(
        "image {reference} is in the registry {host}; this cluster pulls from its built-in registry \
         only: push the .wasm file with `euston image push FILE {name}` and use that name"
    )]
    OtherRegistry {
        /// As it was written.
        reference: String,
        /// The registry's host.
        host: String,
        /// The name without the host.
        name: String,
    },
    /// It was never pushed, or it was deleted.
    #[error(
        "image {reference} is not in the cluster's registry; push it with \
         `euston image push FILE {reference}`"
    )]
    NotFound {
        /// The image.
        reference: String,
    },
    /// It was pushed, and nothing in it can run here.
    #[error("image {reference} cannot be used: {source}")]
    Layout {
        /// The image.
        reference: String,
        /// What it is instead.
        source: LayoutError,
    },
    /// What is to be pushed is not a Wasm binary.
    #[error("cannot push {reference}: {source}")]
    NotWasm {
        /// The name it was to have.
        reference: String,
        /// What it is instead.
        source: NotWasm,
    },
    /// The registry answered with an error.
    #[error("cannot {action} {reference}: the registry answered {status}: {message}")]
    Refused {
        /// A verb.
        action: &'static str,
        /// The image.
        reference: String,
        /// HTTP status.
        status: StatusCode,
        /// Its explanation.
        message: String,
    },
    /// The registry's answer is not what was asked for.
    #[error("cannot {action} {reference}: {why}")]
    Damaged {
        /// A verb.
        action: &'static str,
        /// The image.
        reference: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The registry was not reached, or the connection broke.
    #[error("cannot {action} {reference}: {source}")]
    Transport {
        /// A verb.
        action: &'static str,
        /// The image.
        reference: String,
        /// The cause.
        source: Box<kube::Error>,
    },
}

/// A pushed image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Its name and tag.
    pub reference: String,
    /// The manifest's digest: what a tag points to, and what `NAME@DIGEST` names.
    pub digest: Digest,
    /// Bytes of the program.
    pub size: u64,
}

/// A program taken out of an image.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The manifest's digest (pod status shows it as `imageID`).
    pub digest: Digest,
    /// The Wasm binary; its digest was checked.
    pub wasm: Bytes,
}

/// One line of the list of images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The repository.
    pub name: String,
    /// The tag.
    pub tag: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// Bytes of everything the image refers to.
    pub size: u64,
    /// When it was pushed, RFC 3339, where the manifest says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// Everything about one image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// Its name and tag.
    pub reference: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// How it is laid out.
    pub layout: Layout,
    /// Bytes of the program.
    pub size: u64,
    /// When it was pushed, RFC 3339, where the manifest says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its imports and exports.
    #[serde(flatten)]
    pub contents: Contents,
}

/// A client of the cluster's built-in registry. Cheap to clone.
#[derive(Clone)]
pub struct ImageClient {
    client: kube::Client,
}

impl std::fmt::Debug for ImageClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageClient").finish_non_exhaustive()
    }
}

/// A request under way: what is being done, and to which image, for its errors.
struct Call<'a> {
    client: &'a kube::Client,
    action: &'static str,
    reference: String,
}

impl ImageClient {
    /// Uses the API server that `client` talks to, with its credentials.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    fn call(&self, action: &'static str, reference: &Reference) -> Call<'_> {
        Call {
            client: &self.client,
            action,
            reference: reference.to_string(),
        }
    }

    /// Pushes a Wasm binary as `name`, for example `app:v1`.
    ///
    /// # Errors
    /// When the name is not a tag of the built-in registry, the bytes are not Wasm, or the registry
    /// cannot be reached or refuses.
    pub async fn push(&self, name: &str, wasm: Bytes) -> Result<Pushed, ImageError> {
        let reference = built_in(name)?;
        let contents = Contents::read(&wasm).map_err(|source| ImageError::NotWasm {
            reference: reference.to_string(),
            source,
        })?;
        let call = self.call("push", &reference);
        let Version::Tag(tag) = &reference.version else {
            return Err(call.damaged("an image is pushed to a tag, not to a digest"));
        };
        let layer = call.put_blob(&reference.name, WASM_LAYER, wasm).await?;
        let now = jiff::Timestamp::now();
        let now = now.round(jiff::Unit::Second).unwrap_or(now).to_string();
        let config = config_json(&contents, &layer.digest, &now);
        let config = Bytes::from(config.to_string());
        let config = call.put_blob(&reference.name, WASM_CONFIG, config).await?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: Some(config),
            layers: vec![layer.clone()],
            manifests: Vec::new(),
            subject: None,
            annotations: [(CREATED.to_owned(), now)].into(),
        };
        let manifest = serde_json::to_vec(&manifest).map_err(|e| call.damaged(e))?;
        let manifest = Bytes::from(manifest);
        let digest = Digest::of(&manifest);
        let path = format!("/v2/{}/manifests/{tag}", reference.name);
        let put = Request::put(path).header(CONTENT_TYPE, MANIFEST);
        call.send(put, manifest, &[StatusCode::CREATED]).await?;
        Ok(Pushed {
            reference: reference.to_string(),
            digest,
            size: layer.size,
        })
    }

    /// Fetches the program that `reference` names.
    ///
    /// # Errors
    /// When the reference is malformed or another registry's, the image is not there, it holds no
    /// program for this runtime, or the registry cannot be reached.
    pub async fn pull(&self, reference: &str) -> Result<Pulled, ImageError> {
        let reference = built_in(reference)?;
        let call = self.call("pull image", &reference);
        let (digest, manifest) = call.manifest(&reference).await?;
        let (_, wasm) = call.program(&reference, &manifest).await?;
        Ok(Pulled { digest, wasm })
    }

    /// Fetches an image and reads what it imports and exports.
    ///
    /// # Errors
    /// As [`ImageClient::pull`], and when the program is not Wasm.
    pub async fn inspect(&self, reference: &str) -> Result<Inspected, ImageError> {
        let reference = built_in(reference)?;
        let call = self.call("inspect image", &reference);
        let (digest, manifest) = call.manifest(&reference).await?;
        let (layout, wasm) = call.program(&reference, &manifest).await?;
        let contents = Contents::read(&wasm).map_err(|e| call.damaged(e))?;
        Ok(Inspected {
            reference: reference.to_string(),
            digest,
            layout,
            size: wasm.len() as u64,
            created: manifest.annotations.get(CREATED).cloned(),
            contents,
        })
    }

    /// Every tag of every repository, in order.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    pub async fn list(&self) -> Result<Vec<Listed>, ImageError> {
        #[derive(Deserialize)]
        struct Catalog {
            repositories: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Tags {
            tags: Vec<String>,
        }
        let mut listed = Vec::new();
        let call = Call {
            client: &self.client,
            action: "list",
            reference: "images".to_owned(),
        };
        let names = call.pages("/v2/_catalog".to_owned(), |p: Catalog| p.repositories);
        for name in names.await? {
            let path = format!("/v2/{name}/tags/list");
            let tags = match call.pages(path, |p: Tags| p.tags).await {
                // Deleted since the catalogue was read.
                Err(ImageError::NotFound { .. }) => continue,
                tags => tags?,
            };
            for tag in tags {
                let reference = Reference {
                    host: None,
                    name: name.clone(),
                    version: Version::Tag(tag.clone()),
                };
                let (digest, manifest) = match call.manifest_as_stored(&reference).await {
                    Err(ImageError::NotFound { .. }) => continue,
                    found => found?,
                };
                listed.push(Listed {
                    name: name.clone(),
                    tag,
                    digest,
                    size: manifest.references().map(|d| d.size).sum(),
                    created: manifest.annotations.get(CREATED).cloned(),
                });
            }
        }
        Ok(listed)
    }

    /// Deletes a tag, or with `NAME@DIGEST` a manifest and every tag of it. The bytes go once
    /// nothing else needs them.
    ///
    /// # Errors
    /// When it is not there, or the registry cannot be reached or refuses.
    pub async fn delete(&self, reference: &str) -> Result<(), ImageError> {
        let reference = built_in(reference)?;
        let call = self.call("delete image", &reference);
        // A tag alone would leave its manifest behind, with nothing that names it. Deleting the
        // manifest takes other tags of the same content along, so it is only done for the last one.
        let shared = match &reference.version {
            Version::Digest(_) => true,
            Version::Tag(tag) => call.is_shared(&reference, tag).await?,
        };
        let version = match (&reference.version, shared) {
            (Version::Tag(_), false) => {
                Version::Digest(call.manifest_as_stored(&reference).await?.0)
            }
            (version, _) => version.clone(),
        };
        let path = format!("/v2/{}/manifests/{}", reference.name, encode(&version));
        call.send(Request::delete(path), Bytes::new(), &[StatusCode::ACCEPTED])
            .await?;
        Ok(())
    }
}

/// The config blob of the CNCF layout.
fn config_json(contents: &Contents, layer: &Digest, now: &str) -> serde_json::Value {
    let mut config = json!({
        "created": now,
        "architecture": "wasm",
        "os": match contents.kind { Kind::Module => "wasip1", Kind::Component => "wasip2" },
        "layerDigests": [layer],
    });
    if contents.kind == Kind::Component {
        config["component"] = json!({
            "imports": contents.imports,
            "exports": contents.exports,
            "target": null,
        });
    }
    config
}

fn built_in(text: &str) -> Result<Reference, ImageError> {
    let reference: Reference = text.parse()?;
    match reference.host {
        None => Ok(reference),
        Some(ref host) => Err(ImageError::OtherRegistry {
            reference: reference.to_string(),
            host: host.clone(),
            name: Reference {
                host: None,
                ..reference.clone()
            }
            .to_string(),
        }),
    }
}

fn encode(version: &Version) -> String {
    match version {
        Version::Tag(tag) => tag.clone(),
        Version::Digest(digest) => {
            utf8_percent_encode(&digest.to_string(), NON_ALPHANUMERIC).to_string()
        }
    }
}

impl Call<'_> {
    fn damaged(&self, why: impl ToString) -> ImageError {
        ImageError::Damaged {
            action: self.action,
            reference: self.reference.clone(),
            why: why.to_string(),
        }
    }

    async fn send(
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
    async fn put_blob(
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
    async fn manifest_as_stored(
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
    async fn manifest(&self, reference: &Reference) -> Result<(Digest, Manifest), ImageError> {
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

    async fn program(
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
    async fn is_shared(&self, reference: &Reference, tag: &str) -> Result<bool, ImageError> {
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
    async fn pages<P: serde::de::DeserializeOwned>(
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
