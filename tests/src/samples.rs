//! A good object of every kind, and one change that every kind allows.

use serde_json::{Value, json};

/// A minimal valid object of a kind, named `name`.
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
        "CertificateSigningRequest" => (
            "certificates.k8s.io/v1",
            json!({
                "spec": {
                    "request": include_str!("../integration/access/ann.csr.base64").trim(),
                    "signerName": "kubernetes.io/kube-apiserver-client",
                    "usages": ["client auth"],
                },
            }),
        ),
        "ClusterTrustBundle" => (
            "certificates.k8s.io/v1",
            json!({ "spec": { "trustBundle": include_str!("trust-bundle.pem") } }),
        ),
        "Role" | "ClusterRole" => (
            "rbac.authorization.k8s.io/v1",
            json!({ "rules": [{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }] }),
        ),
        "RoleBinding" | "ClusterRoleBinding" => (
            "rbac.authorization.k8s.io/v1",
            json!({
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
                "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
            }),
        ),
        "EndpointSlice" => (
            "discovery.k8s.io/v1",
            json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["10.128.0.1"] }], "ports": [{ "port": 80 }] }),
        ),
        "ReplicaSet" | "Deployment" => (
            "apps/v1",
            json!({ "spec": { "replicas": 1, "selector": selector, "template": template } }),
        ),
        other => panic!("no sample for the kind {other}: add one to tests/src/samples.rs"),
    };
    let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } });
    if let (Some(object), Some(body)) = (object.as_object_mut(), body.as_object()) {
        object.extend(body.clone());
    }
    object
}
