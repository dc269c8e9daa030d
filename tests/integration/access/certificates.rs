//! Certificate signing requests: who asks, who approves, who signs.

use euston_tests::control_plane::ControlPlane;
use serde_json::{Value, json};

use super::{RBAC, binding, made, post};
use crate::raw;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request for `CN=ann,O=devs`, made with openssl.
const CSR: &str = include_str!("ann.csr.base64");

fn request(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "request": CSR.trim(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
            // Whoever says who they are is not believed.
            "username": "root", "groups": ["system:masters"],
        },
    })
}

#[tokio::test]
async fn a_request_is_approved_by_those_who_may() {
    let plane = ControlPlane::start().await;
    let rules = json!([
        { "verbs": ["create", "get"], "apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"] },
        { "verbs": ["update", "patch"], "apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"] },
    ]);
    let role = json!({ "metadata": { "name": "asker" }, "rules": rules });
    made(&plane, &format!("{RBAC}/clusterroles"), role).await;
    let bindings = format!("{RBAC}/clusterrolebindings");
    made(
        &plane,
        &bindings,
        binding("ask", "ClusterRole/asker", "jane"),
    )
    .await;
    let jane = plane.api.client("jane", &["people"]);
    let sent = post(&jane, REQUESTS, &request("r")).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    assert_eq!(sent.body["spec"]["username"], "jane");
    assert_eq!(
        sent.body["spec"]["groups"],
        json!(["people", "system:authenticated"])
    );

    let write = async |client: &kube::Client, part: &str, status: Value| {
        let path = format!("{REQUESTS}/r/{part}");
        let kind = "application/merge-patch+json";
        let body = json!({ "status": status }).to_string();
        raw::send(client, "PATCH", &path, kind, body).await
    };
    let approved =
        json!({ "conditions": [{ "type": "Approved", "status": "True", "reason": "Known" }] });
    let refused = write(&jane, "approval", approved.clone()).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let says = "user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\"";
    assert!(refused.message().contains(says), "{refused:?}");
    let signers = json!([{
        "verbs": ["approve"], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
        "resourceNames": ["kubernetes.io/*"],
    }]);
    let role = json!({ "metadata": { "name": "approver" }, "rules": signers });
    made(&plane, &format!("{RBAC}/clusterroles"), role).await;
    made(
        &plane,
        &bindings,
        binding("approve", "ClusterRole/approver", "jane"),
    )
    .await;
    let done = write(&jane, "approval", approved).await;
    assert_eq!(done.status, 200, "{done:?}");
    let condition = &done.body["status"]["conditions"][0];
    assert_eq!(condition["type"], "Approved");
    assert!(condition["lastUpdateTime"].is_string(), "{done:?}");
    // Signing is another right.
    let certificate = json!({ "certificate": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t" });
    assert_eq!(
        write(&jane, "status", certificate.clone()).await.status,
        403
    );
    let signed = write(&plane.client, "status", certificate).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    assert_eq!(signed.body["status"]["conditions"][0]["type"], "Approved");
    // A decision stays.
    let denied = json!({ "conditions": [{ "type": "Denied", "status": "True" }] });
    assert_eq!(write(&plane.client, "approval", denied).await.status, 422);
}

#[tokio::test]
async fn nobody_asks_to_be_a_master() {
    let plane = ControlPlane::start().await;
    let mut root = request("root");
    root["spec"]["request"] = json!(include_str!("root.csr.base64").trim());
    let refused = post(&plane.client, REQUESTS, &root).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(
        refused
            .message()
            .contains("system:masters group is not allowed"),
        "{refused:?}"
    );
}
