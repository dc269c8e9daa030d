//! A good object of every kind, and one change that every kind allows.

use serde_json::{Value, json};

/// The name of a kind's object that a test calls `name`: the same, but for kinds whose names mean something.
pub fn object_name(kind: &str, name: &str) -> String {
    match kind {
        // The first letters of the name make the address.
        "IPAddress" => {
            let parts: Vec<String> = (0..3)
                .map(|i| name.as_bytes().get(i).copied().unwrap_or(0).to_string())
                .collect();
            format!("10.{}", parts.join("."))
        }
        "APIService" => format!("v1.{name}.example.com"),
        "CustomResourceDefinition" => format!("{name}s.example.org"),
        _ => name.to_owned(),
    }
}

/// True for kinds whose objects may be named by the server.
pub fn has_generated_names(kind: &str) -> bool {
    !["IPAddress", "APIService", "CustomResourceDefinition"].contains(&kind)
}

/// A minimal valid object of a kind, named [`object_name`]. Lists that are owned as a whole have no defaults to be
/// filled in, so that whoever applies it a second time agrees with the first.
///
/// # Panics
/// For a kind without a sample: add one, and the kind's tests exist.
pub fn sample(kind: &str, name: &str) -> Value {
    let pod_spec = json!({ "containers": [{ "name": "main", "image": "hello:v1" }] });
    let template = json!({ "metadata": { "labels": { "app": name } }, "spec": pod_spec });
    let selector = json!({ "matchLabels": { "app": name } });
    let job = json!({ "template": { "spec": { "restartPolicy": "Never", "containers": pod_spec["containers"] } } });
    // What nobody makes, so that tests of other kinds may go on beside a webhook or policy.
    let about_nothing = json!({ "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [
        { "operations": ["CREATE"], "apiGroups": ["none.example.com"], "apiVersions": ["v1"], "resources": ["nones"], "scope": "*" },
    ] });
    let exactly = json!({ "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1 });
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
            json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["10.128.0.1"] }], "ports": [{ "name": "", "port": 80, "protocol": "TCP" }] }),
        ),
        "ReplicaSet" | "Deployment" => (
            "apps/v1",
            json!({ "spec": { "replicas": 1, "selector": selector, "template": template } }),
        ),
        "ReplicationController" => ("v1", json!({ "spec": { "template": template } })),
        "PodTemplate" => ("v1", json!({ "template": template })),
        "StatefulSet" => (
            "apps/v1",
            json!({ "spec": { "serviceName": name, "selector": selector, "template": template } }),
        ),
        "DaemonSet" => (
            "apps/v1",
            json!({ "spec": { "selector": selector, "template": template } }),
        ),
        "ControllerRevision" => ("apps/v1", json!({ "data": { "spec": {} }, "revision": 1 })),
        "Job" => ("batch/v1", json!({ "spec": job })),
        "CronJob" => (
            "batch/v1",
            json!({ "spec": { "schedule": "*/5 * * * *", "jobTemplate": { "spec": job } } }),
        ),
        "HorizontalPodAutoscaler" => (
            "autoscaling/v2",
            json!({ "spec": { "maxReplicas": 3, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": name } } }),
        ),
        "PodDisruptionBudget" => (
            "policy/v1",
            json!({ "spec": { "minAvailable": 1, "selector": selector } }),
        ),
        "LimitRange" => (
            "v1",
            json!({ "spec": { "limits": [{ "type": "Container", "default": { "cpu": "100m" }, "defaultRequest": { "cpu": "100m" } }] } }),
        ),
        "ResourceQuota" => (
            "v1",
            json!({ "spec": { "hard": { "count/leases.coordination.k8s.io": "100" } } }),
        ),
        "PersistentVolume" => (
            "v1",
            json!({ "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/data" } } }),
        ),
        "PersistentVolumeClaim" => (
            "v1",
            json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }),
        ),
        "Endpoints" => (
            "v1",
            json!({ "subsets": [{ "addresses": [{ "ip": "10.128.0.1" }], "ports": [{ "port": 80, "protocol": "TCP" }] }] }),
        ),
        "Ingress" => (
            "networking.k8s.io/v1",
            json!({ "spec": { "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } } } }),
        ),
        "IngressClass" => (
            "networking.k8s.io/v1",
            json!({ "spec": { "controller": "example.com/ingress" } }),
        ),
        "NetworkPolicy" => (
            "networking.k8s.io/v1",
            json!({ "spec": { "podSelector": {} } }),
        ),
        "ServiceCIDR" => (
            "networking.k8s.io/v1",
            json!({ "spec": { "cidrs": ["10.97.0.0/16"] } }),
        ),
        "IPAddress" => (
            "networking.k8s.io/v1",
            json!({ "spec": { "parentRef": { "resource": "services", "namespace": "default", "name": "web" } } }),
        ),
        "PriorityClass" => ("scheduling.k8s.io/v1", json!({ "value": 1000 })),
        "RuntimeClass" => ("node.k8s.io/v1", json!({ "handler": "wasmtime" })),
        "StorageClass" => (
            "storage.k8s.io/v1",
            json!({ "provisioner": "example.com/disk" }),
        ),
        "CSIDriver" => ("storage.k8s.io/v1", json!({ "spec": {} })),
        "CSINode" => ("storage.k8s.io/v1", json!({ "spec": { "drivers": [] } })),
        "CSIStorageCapacity" => (
            "storage.k8s.io/v1",
            json!({ "storageClassName": "fast", "capacity": "1Gi" }),
        ),
        "VolumeAttachment" => (
            "storage.k8s.io/v1",
            json!({ "spec": { "attacher": "example.com", "nodeName": "n", "source": { "persistentVolumeName": "pv" } } }),
        ),
        "VolumeAttributesClass" => (
            "storage.k8s.io/v1",
            json!({ "driverName": "example.com", "parameters": { "iops": "1" } }),
        ),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => (
            "admissionregistration.k8s.io/v1",
            json!({ "webhooks": [{
                "name": "check.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": { "url": "https://127.0.0.1:1/check" }, "failurePolicy": "Ignore",
                "rules": about_nothing["resourceRules"],
            }] }),
        ),
        "ValidatingAdmissionPolicy" => (
            "admissionregistration.k8s.io/v1",
            json!({ "spec": { "matchConstraints": about_nothing, "validations": [{ "expression": "true" }] } }),
        ),
        "MutatingAdmissionPolicy" => (
            "admissionregistration.k8s.io/v1",
            json!({ "spec": {
                "matchConstraints": about_nothing,
                "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": "[]" } }],
            } }),
        ),
        "ValidatingAdmissionPolicyBinding" => (
            "admissionregistration.k8s.io/v1",
            json!({ "spec": { "policyName": "none", "validationActions": ["Deny"] } }),
        ),
        "MutatingAdmissionPolicyBinding" => (
            "admissionregistration.k8s.io/v1",
            json!({ "spec": { "policyName": "none" } }),
        ),
        "APIService" => (
            "apiregistration.k8s.io/v1",
            json!({ "spec": {
                "group": format!("{name}.example.com"), "version": "v1",
                "groupPriorityMinimum": 100, "versionPriority": 10,
            } }),
        ),
        "FlowSchema" => (
            "flowcontrol.apiserver.k8s.io/v1",
            json!({ "spec": { "priorityLevelConfiguration": { "name": "none" } } }),
        ),
        "PriorityLevelConfiguration" => (
            "flowcontrol.apiserver.k8s.io/v1",
            json!({ "spec": { "type": "Limited", "limited": { "limitResponse": { "type": "Reject" } } } }),
        ),
        "ResourceClaim" => (
            "resource.k8s.io/v1",
            json!({ "spec": { "devices": { "requests": [{ "name": "one", "exactly": exactly }] } } }),
        ),
        "ResourceClaimTemplate" => (
            "resource.k8s.io/v1",
            json!({ "spec": { "spec": { "devices": { "requests": [{ "name": "one", "exactly": exactly }] } } } }),
        ),
        "DeviceClass" => (
            "resource.k8s.io/v1",
            json!({ "spec": { "selectors": [{ "cel": { "expression": "true" } }] } }),
        ),
        "ResourceSlice" => (
            "resource.k8s.io/v1",
            json!({ "spec": { "driver": "gpu.example.com", "nodeName": "n", "pool": { "name": "n", "generation": 1, "resourceSliceCount": 1 } } }),
        ),
        "DeviceTaintRule" => (
            "resource.k8s.io/v1",
            json!({ "spec": { "taint": { "key": "broken", "effect": "NoSchedule" } } }),
        ),
        "StorageVersionMigration" => (
            "storagemigration.k8s.io/v1",
            json!({ "spec": { "resource": { "group": "apps", "resource": "deployments" } } }),
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
