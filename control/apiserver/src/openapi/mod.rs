//! The documents at `/openapi/v3` and `/openapi/v2`, made from the registered kinds.
//!
//! Names and descriptions come from the types of k8s-openapi (feature `schemars`), rules
//! such as merge keys from [`crate::schema`], paths from the kinds' verbs. What clients do
//! with them: `kubectl explain` prints the schemas; `kubectl create` and `apply` look for a
//! PATCH operation of the kind with the parameter `fieldValidation` and then leave
//! validation to the server; `apply` and `diff` compute patches by the merge keys.
//!
//! Nothing is built before it is asked for, and [`OpenApi::trim`] drops what nobody has
//! asked for in a while. A document takes some ten milliseconds of CPU to build: call from
//! a thread that may block.

mod definitions;
mod gnostic;
mod operations;
#[cfg(test)]
mod tests;
mod v2;
mod v3;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// What the documents say about the API that they describe.
const API_VERSION: &str = "v1.37.0";

/// The media type of [`OpenApi::v2_protobuf`], as the answer names it. Clients, kubectl 1.37 among
/// them, ask for it with `v2@v1.0`, which is no valid media type: kubectl refuses an answer that repeats it.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A registered kind, as far as its documentation is concerned.
#[derive(Clone)]
pub struct ResourceDoc {
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// `Deployment`
    pub kind: String,
    /// `DeploymentList`
    pub list_kind: String,
    /// `deployments`
    pub plural: String,
    /// False for cluster-wide kinds.
    pub namespaced: bool,
    /// As discovery lists them; those without a path of their own (`watch`) are skipped.
    pub verbs: Vec<String>,
    /// What hangs below an object's path.
    pub subresources: Vec<SubresourceDoc>,
    /// Adds the kind's schema to the generator and refers to it.
    pub schema: Arc<dyn Fn(&mut schemars::SchemaGenerator) -> schemars::Schema + Send + Sync>,
}

/// A subresource of a [`ResourceDoc`].
#[derive(Debug, Clone)]
pub struct SubresourceDoc {
    /// Its segment of the path.
    pub name: String,
    /// As discovery lists them.
    pub verbs: Vec<String>,
    /// Group, version and kind of its body where that is not the object's own.
    pub foreign_kind: Option<(String, String, String)>,
}

/// One document, ready to send. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Document {
    /// The body.
    pub body: Bytes,
    /// Changes exactly when the body does. Without quotes; also the `hash` of the index.
    pub etag: Arc<str>,
}

impl Document {
    fn new(body: Vec<u8>) -> Self {
        let digest = Sha256::digest(&body);
        let etag = digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02X}"))
            .collect::<String>();
        Document {
            body: body.into(),
            etag: etag.into(),
        }
    }

    fn of_json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }
}

/// A document that is built when first asked for, and again after it was trimmed.
#[derive(Debug, Default)]
struct Slot {
    /// Survives trimming: the index needs nothing else.
    etag: OnceLock<Arc<str>>,
    /// With the time of its last use. The lock is held while building, so that many who ask
    /// at once cause one build.
    built: Mutex<Option<(Document, Instant)>>,
}

impl Slot {
    fn get(&self, build: impl FnOnce() -> Document) -> Document {
        let mut built = self.built.lock();
        let document = match built.take() {
            Some((document, _)) => document,
            None => build(),
        };
        *built = Some((document.clone(), Instant::now()));
        let _ = self.etag.set(document.etag.clone()); // set before: the same, by construction
        document
    }

    fn etag(&self, build: impl FnOnce() -> Document) -> Arc<str> {
        match self.etag.get() {
            Some(etag) => etag.clone(),
            None => self.get(build).etag,
        }
    }

    fn trim(&self, now: Instant, idle: Duration) {
        let mut built = self.built.lock();
        if built
            .as_ref()
            .is_some_and(|(_, used)| now.saturating_duration_since(*used) >= idle)
        {
            *built = None;
        }
    }
}

struct GroupVersion {
    group: String,
    version: String,
    resources: Vec<ResourceDoc>,
    slot: Slot,
}

impl GroupVersion {
    /// `api/v1` or `apis/apps/v1`: the key in the index, and the path of its resources.
    fn path(&self) -> String {
        operations::root(&self.group, &self.version)
    }

    /// True if it is made of the very same kinds.
    fn same(&self, other: &Self) -> bool {
        let same = |(a, b): (&ResourceDoc, &ResourceDoc)| Arc::ptr_eq(&a.schema, &b.schema);
        self.path() == other.path()
            && self.resources.len() == other.resources.len()
            && self.resources.iter().zip(&other.resources).all(same)
    }

    fn build(&self) -> Document {
        Document::of_json(&v3::document(&self.resources.iter().collect::<Vec<_>>()))
    }
}

/// Every document for one set of kinds. When the set changes, make a new one.
pub struct OpenApi {
    /// Sorted.
    versions: Vec<Arc<GroupVersion>>,
    index: Slot,
    v2_json: Slot,
    v2_protobuf: Slot,
}

impl OpenApi {
    /// Documents for these kinds; nothing is built yet. Those of the set `before` that are
    /// made of the same kinds are kept.
    pub fn new(resources: Vec<ResourceDoc>, before: Option<&OpenApi>) -> Self {
        let mut by_version: BTreeMap<(String, String), Vec<ResourceDoc>> = BTreeMap::new();
        for resource in resources {
            let of = (resource.group.clone(), resource.version.clone());
            by_version.entry(of).or_default().push(resource);
        }
        let versions = by_version
            .into_iter()
            .map(|((group, version), resources)| {
                let new = GroupVersion {
                    group,
                    version,
                    resources,
                    slot: Slot::default(),
                };
                let old = before.and_then(|b| b.versions.iter().find(|old| old.same(&new)));
                old.cloned().unwrap_or_else(|| Arc::new(new))
            })
            .collect();
        OpenApi {
            versions,
            index: Slot::default(),
            v2_json: Slot::default(),
            v2_protobuf: Slot::default(),
        }
    }

    /// `/openapi/v3`: which documents there are, and their hashes.
    pub fn v3_index(&self) -> Document {
        self.index.get(|| {
            let paths: Map<String, Value> = self
                .versions
                .iter()
                .map(|of| {
                    let path = of.path();
                    let etag = of.slot.etag(|| of.build());
                    let url = format!("/openapi/v3/{path}?hash={etag}");
                    (path, json!({ "serverRelativeURL": url }))
                })
                .collect();
            Document::of_json(&json!({ "paths": paths }))
        })
    }

    /// `/openapi/v3/api/v1` (an empty group) or `/openapi/v3/apis/GROUP/VERSION`.
    pub fn v3(&self, group: &str, version: &str) -> Option<Document> {
        let of = self
            .versions
            .iter()
            .find(|v| v.group == group && v.version == version)?;
        Some(of.slot.get(|| of.build()))
    }

    /// `/openapi/v2` as JSON.
    pub fn v2_json(&self) -> Document {
        self.v2_json.get(|| Document::of_json(&self.build_v2()))
    }

    /// `/openapi/v2` as [`V2_PROTOBUF`].
    pub fn v2_protobuf(&self) -> Document {
        self.v2_protobuf
            .get(|| Document::new(gnostic::encode(&self.build_v2())))
    }

    /// Frees every document that was last asked for `idle` ago or longer. Cheap.
    pub fn trim(&self, idle: Duration) {
        let now = Instant::now();
        let slots = self.versions.iter().map(|v| &v.slot);
        for slot in slots.chain([&self.index, &self.v2_json, &self.v2_protobuf]) {
            slot.trim(now, idle);
        }
    }

    fn build_v2(&self) -> Value {
        let resources = self.versions.iter().flat_map(|v| &v.resources);
        v2::document(&resources.collect::<Vec<_>>())
    }
}
