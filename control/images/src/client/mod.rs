//! Pushing and pulling through a `kube::Client`.

mod call;
mod error;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::contents::{Contents, Kind};
use crate::layout::{Layout, MANIFEST, Manifest, WASM_CONFIG, WASM_LAYER};
use crate::{Digest, Reference, Version};
use call::{Call, encode};
pub use error::ImageError;

/// When the image was pushed, RFC 3339.
const CREATED: &str = "org.opencontainers.image.created";

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
