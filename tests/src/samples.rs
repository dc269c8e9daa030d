//! A good object of every kind, and one change that every kind allows.

use serde_json::{Value, json};

/// The name of a kind's object that a test calls `name`: the same, but for kinds whose names mean something.
pub fn object_name(kind: &str, name: &str) -> String {
    match kind {
        "CustomResourceDefinition" => format!("{name}s.example.org"),
        _ => name.to_owned(),
    }
}

/// True for kinds whose objects may be named by the server.
pub fn has_generated_names(kind: &str) -> bool {
    !["CustomResourceDefinition"].contains(&kind)
}

/// A minimal valid object of a kind, named [`object_name`].
///
/// # Panics
/// For a kind without a sample: add one, and the kind's tests exist.
pub fn sample(kind: &str, name: &str) -> Value {
    let pod_spec = json!({ "containers": [{ "name": "main", "image": "hello:v1" }] });
    let template = json!({ "metadata": { "labels": { "app": name } }, "spec": pod_spec });
    let selector = json!({ "matchLabels": { "app": name } });
    let (version, body) = match kind {
        "Namespace" | "Node" | "ConfigMap" | "Secret" | "ServiceAccount" => ("v1", json!({})),
        "Pod" => ("v1", json!({ "spec": pod_spec })),
        "Service" => (
            "v1",
            json!({ "spec": { "selector": { "app": name }, "ports": [{ "port": 80 }] } }),
        ),
        "Event" => (
            "v1",
            json!({
                "involvedObject": { "kind": "Pod", "name": name, "namespace": "default" },
                "reason": "Tested", "message": "a test", "type": "Normal", "count": 1,
                "source": { "component": "test" },
            }),
        ),
        "Lease" => (
            "coordination.k8s.io/v1",
            json!({ "spec": { "holderIdentity": "me", "leaseDurationSeconds": 40 } }),
        ),
        "EndpointSlice" => (
            "discovery.k8s.io/v1",
            json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["10.128.0.1"] }], "ports": [{ "port": 80 }] }),
        ),
        "ReplicaSet" | "Deployment" => (
            "apps/v1",
            json!({ "spec": { "replicas": 1, "selector": selector, "template": template } }),
        ),
        "CustomResourceDefinition" => (
            "apiextensions.k8s.io/v1",
            json!({ "spec": {
                "group": "example.org", "scope": "Namespaced",
                "names": { "plural": format!("{name}s"), "kind": format!("Kind{name}") },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }],
            } }),
        ),
        other => panic!("no sample for the kind {other}: add one to tests/src/samples.rs"),
    };
    let name = object_name(kind, name);
    let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } });
    if let (Some(object), Some(body)) = (object.as_object_mut(), body.as_object()) {
        object.extend(body.clone());
    }
    object
}
