//! What an agent may: what concerns its node and the pods on it.

use euston_tests::control_plane::ControlPlane;
use serde_json::{Value, json};

use super::{becomes, get, made, post};
use crate::raw;

const NS: &str = "/api/v1/namespaces/default";

async fn bind(plane: &ControlPlane, pod: &str, node: &str) {
    let binding =
        json!({ "metadata": { "name": pod }, "target": { "kind": "Node", "name": node } });
    made(plane, &format!("{NS}/pods/{pod}/binding"), binding).await;
}

#[tokio::test]
async fn a_node_reads_what_its_pods_refer_to_and_nothing_else() {
    let plane = ControlPlane::start().await;
    for name in ["mine", "theirs"] {
        made(
            &plane,
            &format!("{NS}/secrets"),
            json!({ "metadata": { "name": name } }),
        )
        .await;
        made(
            &plane,
            &format!("{NS}/configmaps"),
            json!({ "metadata": { "name": name } }),
        )
        .await;
        made(
            &plane,
            &format!("{NS}/serviceaccounts"),
            json!({ "metadata": { "name": name } }),
        )
        .await;
        let pod = json!({
            "metadata": { "name": name },
            "spec": {
                "serviceAccountName": name,
                "containers": [{
                    "name": "main", "image": "hello:v1",
                    "envFrom": [{ "configMapRef": { "name": name } }],
                }],
                "volumes": [{ "name": "v", "secret": { "secretName": name } }],
            },
        });
        made(&plane, &format!("{NS}/pods"), pod).await;
    }
    let node = plane.api.client("system:node:n", &["system:nodes"]);
    let check = async |path: &str, expect: u16| {
        assert_eq!(get(&node, path).await, expect, "{path}");
    };
    check(&format!("{NS}/secrets/mine"), 403).await;
    bind(&plane, "mine", "n").await;
    bind(&plane, "theirs", "m").await;
    becomes(&node, &format!("{NS}/secrets/mine"), 200).await;
    for (name, expect) in [("mine", 200), ("theirs", 403)] {
        check(&format!("{NS}/secrets/{name}"), expect).await;
        check(&format!("{NS}/configmaps/{name}"), expect).await;
        check(&format!("{NS}/pods/{name}"), expect).await;
        check(
            &format!("{NS}/secrets?fieldSelector=metadata.name%3D{name}"),
            expect,
        )
        .await;
        let uid = raw::send(&plane.client, "GET", &format!("{NS}/pods/{name}"), "", "").await;
        let reference = json!({
            "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid.body["metadata"]["uid"],
        });
        let request = json!({ "spec": { "boundObjectRef": reference } });
        let path = format!("{NS}/serviceaccounts/{name}/token");
        let answer = post(&node, &path, &request).await;
        assert_eq!(
            answer.status,
            if expect == 200 { 201 } else { 403 },
            "{answer:?}"
        );
        // Not without a pod of its own.
        let answer = post(&node, &path, &json!({ "spec": {} })).await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    check(&format!("{NS}/secrets"), 403).await;
    check("/api/v1/secrets", 403).await;
    check("/api/v1/pods", 403).await;
    check("/api/v1/pods?fieldSelector=spec.nodeName%3Dn", 200).await;
    check("/api/v1/pods?fieldSelector=spec.nodeName%3Dm", 403).await;
    check("/api/v1/services", 200).await;
    check("/apis/discovery.k8s.io/v1/endpointslices", 200).await;
    check("/api/v1/nodes", 200).await;
    check("/apis/apps/v1/deployments", 403).await;
    let path = format!("{NS}/pods/mine");
    let body = json!({ "gracePeriodSeconds": 0 }).to_string();
    let gone = raw::send(&node, "DELETE", &path, "application/json", body.clone()).await;
    assert_eq!(gone.status, 200, "{gone:?}");
    becomes(&node, &format!("{NS}/secrets/mine"), 403).await;
    let path = format!("{NS}/pods/theirs");
    let refused = raw::send(&node, "DELETE", &path, "application/json", body).await;
    assert_eq!(refused.status, 403, "{refused:?}");
}

#[tokio::test]
async fn a_node_writes_itself_and_no_other() {
    let plane = ControlPlane::start().await;
    let node = plane.api.client("system:node:n", &["system:nodes"]);
    let own = |labels: Value| json!({ "metadata": { "name": "n", "labels": labels } });
    let create = async |path: &str, body: Value| post(&node, path, &body).await.status.as_u16();
    let nodes = "/api/v1/nodes";
    assert_eq!(
        create(nodes, json!({ "metadata": { "name": "m" } })).await,
        403
    );
    let role = json!({ "node-role.kubernetes.io/control-plane": "" });
    assert_eq!(create(nodes, own(role.clone())).await, 403);
    assert_eq!(
        create(
            nodes,
            own(json!({ "kubernetes.io/hostname": "n", "a": "b" }))
        )
        .await,
        201
    );
    made(&plane, nodes, json!({ "metadata": { "name": "m" } })).await;
    let patch = async |path: &str, body: Value| {
        let kind = "application/merge-patch+json";
        let answer = raw::send(&node, "PATCH", path, kind, body.to_string()).await;
        answer.status.as_u16()
    };
    assert_eq!(
        patch(
            "/api/v1/nodes/n",
            json!({ "metadata": { "labels": { "c": "d" } } })
        )
        .await,
        200
    );
    assert_eq!(
        patch("/api/v1/nodes/n", json!({ "metadata": { "labels": role } })).await,
        403
    );
    let taints = json!({ "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } });
    assert_eq!(patch("/api/v1/nodes/n", taints).await, 403);
    let status = json!({ "status": { "phase": "Running" } });
    assert_eq!(patch("/api/v1/nodes/n/status", status.clone()).await, 200);
    assert_eq!(patch("/api/v1/nodes/m/status", status).await, 403);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = |name: &str| json!({ "metadata": { "name": name } });
    assert_eq!(create(leases, lease("m")).await, 403);
    assert_eq!(create(leases, lease("n")).await, 201);
    let pod = json!({
        "metadata": { "name": "p" },
        "spec": { "nodeName": "n", "containers": [{ "name": "c", "image": "hello:v1" }] },
    });
    assert_eq!(create(&format!("{NS}/pods"), pod).await, 403);
}
