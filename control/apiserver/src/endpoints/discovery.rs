//! What is served: aggregated and classic discovery, the version.
//! Follows <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use euston_custom::definition::sorted_versions;
use euston_protobuf::envelope;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::negotiate::{self, Encoding};
use super::{protobuf, respond};
use crate::registry::kind::{Kind, VERBS};

/// The Kubernetes version whose API this is.
pub const GIT_VERSION: &str = concat!("v1.37.0+euston-", env!("CARGO_PKG_VERSION"));

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

struct Document {
    body: Bytes,
    etag: String,
    content_type: &'static str,
}

impl Document {
    fn new(value: &Value, content_type: &'static str) -> Self {
        Self::of(value.to_string().into(), content_type)
    }

    /// The same in protobuf; `None` for a document that has no such form.
    fn protobuf(value: &Value) -> Option<Self> {
        let kind = value["kind"].as_str()?;
        let body = protobuf::body("v1", kind, value.to_string().as_bytes()).ok()?;
        Some(Self::of(body.into(), envelope::MEDIA_TYPE))
    }

    fn of(body: Bytes, content_type: &'static str) -> Self {
        let digest = Sha256::digest(&body);
        let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
        Document {
            body,
            etag: format!("\"{hex}\""),
            content_type,
        }
    }
}

/// All discovery documents of one state of the table: they are small.
pub struct Discovery {
    aggregated: BTreeMap<&'static str, Document>,
    classic: BTreeMap<String, Document>,
    /// The classic ones again.
    protobuf: BTreeMap<String, Document>,
}

impl Discovery {
    /// Makes the documents for a table of kinds.
    pub fn new<'k>(kinds: impl Iterator<Item = &'k Arc<Kind>>) -> Self {
        let mut groups: BTreeMap<&str, BTreeMap<&str, Vec<&Kind>>> = BTreeMap::new();
        for kind in kinds {
            let names = &kind.names;
            groups
                .entry(&names.group)
                .or_default()
                .entry(&names.version)
                .or_default()
                .push(kind);
        }
        let mut classic = BTreeMap::new();
        let mut protobuf = BTreeMap::new();
        let mut add = |path: String, value: Value| {
            if let Some(document) = Document::protobuf(&value) {
                protobuf.insert(path.clone(), document);
            }
            classic.insert(path, Document::new(&value, "application/json"));
        };
        add(
            "/api".to_owned(),
            json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
        );
        let mut api_groups = Vec::new();
        for (group, versions) in &groups {
            let order = sorted_versions(versions.keys().copied());
            for (version, kinds) in versions {
                let (path, group_version) = if group.is_empty() {
                    (format!("/api/{version}"), (*version).to_owned())
                } else {
                    (
                        format!("/apis/{group}/{version}"),
                        format!("{group}/{version}"),
                    )
                };
                add(path, resource_list(&group_version, kinds));
            }
            if group.is_empty() {
                continue;
            }
            let listed: Vec<Value> = order
                .iter()
                .map(|v| json!({ "groupVersion": format!("{group}/{v}"), "version": v }))
                .collect();
            let api_group = json!({
                "kind": "APIGroup",
                "apiVersion": "v1",
                "name": group,
                "versions": listed,
                "preferredVersion": listed.first(),
            });
            add(format!("/apis/{group}"), api_group.clone());
            api_groups.push(api_group);
        }
        add(
            "/apis".to_owned(),
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": api_groups }),
        );
        let (core, others): (Vec<_>, Vec<_>) =
            groups.iter().partition(|(group, _)| group.is_empty());
        let aggregated = BTreeMap::from([
            ("/api", Document::new(&aggregated(&core), AGGREGATED)),
            ("/apis", Document::new(&aggregated(&others), AGGREGATED)),
        ]);
        Discovery {
            aggregated,
            classic,
            protobuf,
        }
    }

    /// The document at a path, if it is one of discovery's.
    pub fn respond(&self, path: &str, headers: &HeaderMap) -> Option<Response> {
        let path = path.trim_end_matches('/');
        let document = match self.aggregated.get(path) {
            Some(document) if wants_aggregated(headers) => document,
            _ => match negotiate::plain(headers) {
                Encoding::Json => self.classic.get(path)?,
                Encoding::Protobuf => self.protobuf.get(path).or_else(|| self.classic.get(path))?,
            },
        };
        let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
        let mut response = if known == Some(document.etag.as_str()) {
            respond::typed(
                StatusCode::NOT_MODIFIED,
                document.content_type,
                Bytes::new(),
            )
        } else {
            respond::typed(StatusCode::OK, document.content_type, document.body.clone())
        };
        respond::header(&mut response, ETAG, &document.etag);
        respond::header(&mut response, http::header::VARY, "Accept");
        Some(response)
    }
}

/// True if the client takes aggregated discovery in its stable version, which comes
/// before plain JSON wherever it is named.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|accept| {
            accept.split(',').any(|clause| {
                let mut parts = clause.split(';').map(str::trim);
                let all: Vec<&str> = parts.by_ref().collect();
                all.contains(&"g=apidiscovery.k8s.io")
                    && all.contains(&"v=v2")
                    && all.contains(&"as=APIGroupDiscoveryList")
            })
        })
}

fn resource_list(group_version: &str, kinds: &[&Kind]) -> Value {
    let mut resources = Vec::new();
    for kind in kinds {
        let names = &kind.names;
        let mut resource = json!({
            "name": names.plural,
            "singularName": names.singular,
            "namespaced": names.namespaced,
            "kind": names.kind,
            "verbs": VERBS,
        });
        if !names.short.is_empty() {
            resource["shortNames"] = json!(names.short);
        }
        if !names.categories.is_empty() {
            resource["categories"] = json!(names.categories);
        }
        resources.push(resource);
        for sub in &kind.subresources {
            let mut resource = json!({
                "name": format!("{}/{}", names.plural, sub.name()),
                "singularName": "",
                "namespaced": names.namespaced,
                "kind": sub.foreign_kind().map_or(names.kind.as_str(), |(_, _, kind)| kind),
                "verbs": sub.verbs(),
            });
            if let Some((group, version, _)) = sub.foreign_kind() {
                resource["group"] = json!(group);
                resource["version"] = json!(version);
            }
            resources.push(resource);
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}

fn aggregated(groups: &[(&&str, &BTreeMap<&str, Vec<&Kind>>)]) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let order = sorted_versions(versions.keys().copied());
            let versions: Vec<Value> = order
                .into_iter()
                .filter_map(|version| Some((version, versions.get(version)?)))
                .map(|(version, kinds)| {
                    let resources: Vec<Value> =
                        kinds.iter().map(|k| aggregated_resource(k)).collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            let mut meta = json!({ "creationTimestamp": null });
            if !group.is_empty() {
                meta["name"] = json!(group);
            }
            json!({ "metadata": meta, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(kind: &Kind) -> Value {
    let names = &kind.names;
    let own = (
        names.group.as_str(),
        names.version.as_str(),
        names.kind.as_str(),
    );
    let response_kind = |(group, version, kind): (&str, &str, &str)| json!({ "group": group, "version": version, "kind": kind });
    let mut resource = json!({
        "resource": names.plural,
        "responseKind": response_kind(own),
        "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": names.singular,
        "verbs": VERBS,
    });
    if !names.short.is_empty() {
        resource["shortNames"] = json!(names.short);
    }
    if !names.categories.is_empty() {
        resource["categories"] = json!(names.categories);
    }
    if !kind.subresources.is_empty() {
        let subs: Vec<Value> = kind
            .subresources
            .iter()
            .map(|sub| {
                json!({
                    "subresource": sub.name(),
                    "responseKind": response_kind(sub.foreign_kind().unwrap_or(own)),
                    "verbs": sub.verbs(),
                })
            })
            .collect();
        resource["subresources"] = json!(subs);
    }
    resource
}

/// The answer to `/version`.
pub fn version() -> Response {
    let version = json!({
        "major": "1",
        "minor": "37",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none (Rust)",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_arch()),
    });
    respond::json(StatusCode::OK, version.to_string())
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
