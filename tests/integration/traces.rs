//! What stock clients were seen to send, sent again: the essential lines of recordings of
//! kubectl 1.32 and 1.37 and of Helm 4.3. What a client waits for has to come: success, in the
//! form that it accepts. (Streams have tests of their own.)

use std::collections::BTreeSet;

use euston_protobuf::{Message, encode, envelope};
use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::raw;

const J: &str = "application/json";
/// kubectl's commands that go through client-go's REST client.
const J_ANY: &str = "application/json, */*";
/// Typed clients of built-in kinds.
const P: &str = "application/vnd.kubernetes.protobuf,application/json";
const P_ANY: &str = "application/vnd.kubernetes.protobuf, */*";
const T: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
const DISCOVER: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const DISCOVER_132: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

const NS: &str = "/api/v1/namespaces/default";
const APPS: &str = "/apis/apps/v1/namespaces/default";
const WATCH_LIST: &str =
    "allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true";

/// What to read, and how the answer may look.
fn reads() -> Vec<(String, &'static str)> {
    let mut reads = Vec::new();
    let mut add = |accept: &'static str, paths: &[&str]| {
        for path in paths {
            let path = path.replace("NS", NS).replace("APPS", APPS);
            reads.push((path.replace("WATCHLIST", WATCH_LIST), accept));
        }
    };
    for accept in [DISCOVER, DISCOVER_132] {
        add(
            accept,
            &["/api", "/apis", "/api?timeout=32s", "/apis?timeout=32s"],
        );
    }
    add(
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        &["/openapi/v2?timeout=32s"],
    );
    add(
        J_ANY,
        &[
            "/version",
            "/version?timeout=32s",
            "/healthz",
            "/openapi/v3?timeout=32s",
            "/api/v1",
            "NS/pods/p1",
            "APPS/deployments/d1",
            "/api/v1/nodes/n1",
            "NS/pods/p1/log?container=main",
            "NS/pods/p1/log?container=main&follow=true&previous=true&sinceSeconds=3600&tailLines=5&timestamps=true",
            "/api/v1/namespaces/kube-system/services?labelSelector=kubernetes.io%2Fcluster-service%3Dtrue",
        ],
    );
    add(
        J,
        &[
            "/openapi/v3/api/v1?timeout=32s",
            "/openapi/v3/apis/apps/v1?timeout=32s",
            "NS/configmaps",
            "NS/configmaps/cm1",
            "NS/pods/p1",
            "/api/v1/nodes/n1",
            "APPS/deployments/d1",
            "NS/serviceaccounts/r1-chart",
            "NS/services/r1-chart",
            "NS/pods?labelSelector=app%3Dx",
            "NS/pods?fieldSelector=metadata.name%3Dp1&limit=500&resourceVersion=0",
            "NS/pods?fieldSelector=metadata.name%3Dp1&resourceVersion=RV",
            "NS/pods?allowWatchBookmarks=true&fieldSelector=metadata.name%3Dp1&resourceVersion=RV&timeoutSeconds=1&watch=true",
            "NS/pods?WATCHLIST&fieldSelector=metadata.name%3Dp1&timeoutSeconds=1",
            "NS/pods?WATCHLIST&fieldSelector=metadata.name%3Dp1&resourceVersion=RV&timeoutSeconds=1",
            "APPS/deployments?WATCHLIST&fieldSelector=metadata.name%3Dd1&timeoutSeconds=1",
            "APPS/deployments?WATCHLIST&resourceVersion=RV&timeoutSeconds=1",
            "NS/services?WATCHLIST&timeoutSeconds=1",
            "NS/serviceaccounts?WATCHLIST&timeoutSeconds=1",
            "APPS/replicasets?labelSelector=app.kubernetes.io%2Finstance%3Dr3%2Capp.kubernetes.io%2Fname%3Dchart",
            "/apis/certificates.k8s.io/v1/certificatesigningrequests?limit=500",
        ],
    );
    add(
        T,
        &[
            "NS/configmaps/cm1",
            "NS/configmaps?limit=500",
            "NS/configmaps?limit=500&timeout=32s",
            "NS/events?limit=500&timeout=32s",
            "NS/pods?limit=500",
            "NS/pods?includeObject=Object",
            "NS/pods?fieldSelector=status.phase%3DRunning&labelSelector=app%3Dx&limit=500",
            "NS/pods?includeObject=Object&labelSelector=app.kubernetes.io%2Finstance%3Dr1%2Capp.kubernetes.io%2Fname%3Dchart",
            "NS/services?limit=500",
            "APPS/deployments?limit=500",
            "/api/v1/pods?limit=500",
            "NS/serviceaccounts/r1-chart?includeObject=Object",
            "NS/services/r1-chart?includeObject=Object",
            "APPS/deployments/d1?includeObject=Object",
            "APPS/deployments/d1/status",
            "NS/configmaps?resourceVersion=RV&timeout=32s&timeoutSeconds=1&watch=true",
            "NS/pods?resourceVersion=RV&timeout=32s&timeoutSeconds=1&watch=true",
            "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?limit=500",
        ],
    );
    add(
        P,
        &[
            "NS/events",
            "NS/events?limit=500",
            "NS/pods",
            "NS/pods/p1",
            "NS/services",
            "NS/replicationcontrollers",
            "APPS/deployments",
            "APPS/deployments/d1",
            "APPS/daemonsets",
            "APPS/replicasets",
            "APPS/replicasets?labelSelector=app%3Dx&limit=500",
            "/api/v1/nodes",
            "/api/v1/nodes/n1",
            "NS/pods?labelSelector=app%3Dx",
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&limit=500",
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1%2Cstatus.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed&limit=500",
            "/api/v1/events?fieldSelector=involvedObject.name%3Dn1%2CinvolvedObject.namespace%3D%2CinvolvedObject.kind%3DNode%2CinvolvedObject.uid%3Dn1&limit=500",
            "NS/events?fieldSelector=involvedObject.name%3Dp1%2CinvolvedObject.namespace%3Ddefault%2CinvolvedObject.uid%3Du110&limit=500",
            "NS/secrets?labelSelector=name%3Dr1%2Cowner%3Dhelm",
            "NS/secrets?labelSelector=owner%3Dhelm",
            "NS/secrets?labelSelector=name%3Dr1%2Cowner%3Dhelm%2Cstatus%3Ddeployed",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases/n1",
            "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dn1",
        ],
    );
    add(
        P_ANY,
        &[
            "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods",
            "/apis/metrics.k8s.io/v1beta1/nodes",
        ],
    );
    reads
}

/// Something to write: method, path, the answer's form, the body's, the body.
type Write = (&'static str, String, &'static str, &'static str, Value);

fn writes() -> Vec<Write> {
    let strict = |manager: &str| format!("?fieldManager={manager}&fieldValidation=Strict");
    let path = |root: &str, rest: &str, query: String| format!("{root}/{rest}{query}");
    let create = || strict("kubectl-create");
    let note = json!({ "metadata": { "annotations": { "note": "x" } } });
    let apply = |kind: &str, name: &str| sample(kind, name);
    let helm = || "?fieldManager=helm&fieldValidation=Strict&force=false".to_owned();
    let mut secret = sample("Secret", "sh.helm.release.v1.r1.v1");
    secret["type"] = json!("helm.sh/release.v1");
    secret["metadata"]["labels"] = json!({ "owner": "helm", "name": "r1" });
    let secrets = |rest: &str| format!("{NS}/secrets{rest}");
    let background = json!({ "propagationPolicy": "Background" });
    let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
    let review = |kind: &str, group: &str, spec: Value| json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {}, "spec": spec });
    let who = |plural: &str, group: &str| format!("/apis/{group}/v1/{plural}");
    let (authn, authz) = ("authentication.k8s.io", "authorization.k8s.io");
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "d1" },
        "spec": { "maxReplicas": 5, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "d1" } },
    });
    vec![
        (
            "POST",
            path("/api/v1", "namespaces", create()),
            P,
            PROTOBUF,
            sample("Namespace", "n2"),
        ),
        (
            "POST",
            path(NS, "configmaps", create()),
            P,
            PROTOBUF,
            sample("ConfigMap", "cm9"),
        ),
        (
            "POST",
            path(NS, "configmaps", create()),
            J,
            J,
            sample("ConfigMap", "cm2"),
        ),
        (
            "POST",
            path(NS, "secrets", create()),
            P,
            PROTOBUF,
            sample("Secret", "s1"),
        ),
        (
            "POST",
            path(APPS, "deployments", create()),
            P,
            PROTOBUF,
            sample("Deployment", "d2"),
        ),
        (
            "POST",
            path(
                APPS,
                "deployments",
                "?fieldManager=kubectl-create&fieldValidation=Ignore".into(),
            ),
            J,
            J,
            sample("Deployment", "d3"),
        ),
        (
            "POST",
            path(NS, "pods", "?fieldManager=kubectl-run".into()),
            J_ANY,
            J,
            sample("Pod", "p2"),
        ),
        (
            "POST",
            path(NS, "services", "?fieldManager=kubectl-expose".into()),
            J_ANY,
            J,
            sample("Service", "s2"),
        ),
        (
            "POST",
            path(
                "/apis/autoscaling/v2/namespaces/default",
                "horizontalpodautoscalers",
                "?fieldManager=kubectl-autoscale".into(),
            ),
            P,
            PROTOBUF,
            hpa,
        ),
        (
            "POST",
            path(NS, "serviceaccounts/default/token", String::new()),
            P,
            PROTOBUF,
            review("TokenRequest", authn, json!({ "audiences": [] })),
        ),
        (
            "POST",
            who("selfsubjectreviews", authn),
            P,
            PROTOBUF,
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {} }),
        ),
        (
            "POST",
            who("selfsubjectaccessreviews", authz),
            P,
            PROTOBUF,
            review(
                "SelfSubjectAccessReview",
                authz,
                json!({ "resourceAttributes": { "verb": "list", "resource": "pods", "namespace": "default" } }),
            ),
        ),
        (
            "POST",
            who("selfsubjectrulesreviews", authz),
            P,
            PROTOBUF,
            review(
                "SelfSubjectRulesReview",
                authz,
                json!({ "namespace": "default" }),
            ),
        ),
        (
            "PUT",
            path(NS, "configmaps/cm1", strict("kubectl-replace")),
            J,
            J,
            sample("ConfigMap", "cm1"),
        ),
        (
            "PATCH",
            path(
                NS,
                "configmaps/cm1",
                "?dryRun=All&fieldManager=kubectl-client-side-apply&fieldValidation=Strict".into(),
            ),
            J,
            STRATEGIC,
            note.clone(),
        ),
        (
            "PATCH",
            path(NS, "configmaps/cm1", strict("kubectl-client-side-apply")),
            J,
            STRATEGIC,
            note.clone(),
        ),
        (
            "PATCH",
            path(NS, "configmaps/cm1", "?fieldManager=kubectl-label".into()),
            J,
            MERGE,
            note.clone(),
        ),
        (
            "PATCH",
            path(NS, "pods/p1", "?fieldManager=kubectl-annotate".into()),
            J,
            MERGE,
            note.clone(),
        ),
        (
            "PATCH",
            "/api/v1/nodes/n1".into(),
            P,
            STRATEGIC,
            json!({ "spec": { "unschedulable": true } }),
        ),
        (
            "PATCH",
            path("/api/v1", "nodes/n1", strict("kubectl-taint")),
            J_ANY,
            STRATEGIC,
            json!({ "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } }),
        ),
        (
            "PATCH",
            path(APPS, "deployments/d1/scale", String::new()),
            J_ANY,
            MERGE,
            json!({ "spec": { "replicas": 3 } }),
        ),
        (
            "PATCH",
            path(
                APPS,
                "deployments/d1",
                "?fieldManager=kubectl-rollout".into(),
            ),
            J_ANY,
            STRATEGIC,
            json!({ "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": "2026-11-23T19:00:00Z" } } } } }),
        ),
        (
            "PATCH",
            path(APPS, "deployments/d1", "?fieldManager=kubectl-set".into()),
            J_ANY,
            STRATEGIC,
            json!({ "spec": { "template": { "spec": { "$setElementOrder/containers": [{ "name": "main" }], "containers": [{ "name": "main", "image": "y2" }] } } } }),
        ),
        (
            "PATCH",
            path(
                NS,
                "configmaps/cm1",
                "?fieldManager=kubectl&fieldValidation=Strict&force=false".into(),
            ),
            J,
            APPLY,
            apply("ConfigMap", "cm1"),
        ),
        (
            "PATCH",
            path(
                NS,
                "configmaps/cm1",
                "?fieldManager=me&fieldValidation=Strict&force=true".into(),
            ),
            J,
            APPLY,
            apply("ConfigMap", "cm1"),
        ),
        (
            "PATCH",
            path(NS, "serviceaccounts/r4", helm()),
            J,
            APPLY,
            apply("ServiceAccount", "r4"),
        ),
        (
            "PATCH",
            path(NS, "services/r4", helm()),
            J,
            APPLY,
            apply("Service", "r4"),
        ),
        (
            "PATCH",
            path(APPS, "deployments/r4", helm()),
            J,
            APPLY,
            apply("Deployment", "r4"),
        ),
        ("POST", secrets(""), P, PROTOBUF, secret.clone()),
        (
            "PUT",
            secrets("/sh.helm.release.v1.r1.v1"),
            P,
            PROTOBUF,
            secret,
        ),
        (
            "DELETE",
            secrets("/sh.helm.release.v1.r1.v1"),
            P,
            PROTOBUF,
            options.clone(),
        ),
        (
            "DELETE",
            path(NS, "configmaps/cm2", String::new()),
            J,
            J,
            background.clone(),
        ),
        (
            "DELETE",
            path(NS, "pods/p2", String::new()),
            P,
            PROTOBUF,
            options,
        ),
        (
            "DELETE",
            path(APPS, "deployments/d3", String::new()),
            J,
            J,
            background,
        ),
    ]
}

/// `GROUP/VERSION/PLURAL[/SUBRESOURCE]` of everything that discovery lists.
async fn served(client: &kube::Client) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in ["/api", "/apis"] {
        let all = raw::send_accepting(client, "GET", root, "", DISCOVER, "").await;
        for group in all.body["items"].as_array().unwrap() {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in group["versions"].as_array().unwrap() {
                let prefix = format!("{name}/{}", version["version"].as_str().unwrap());
                for resource in version["resources"].as_array().unwrap() {
                    let path = format!("{prefix}/{}", resource["resource"].as_str().unwrap());
                    for sub in resource["subresources"].as_array().into_iter().flatten() {
                        found.insert(format!("{path}/{}", sub["subresource"].as_str().unwrap()));
                    }
                    found.insert(path);
                }
            }
        }
    }
    found
}

/// What a path is about, in the words of [`served`]; empty if it is no resource.
fn about(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return String::new(),
    };
    match rest {
        [] => String::new(),
        ["namespaces", _, plural, _, sub] => format!("{group}/{version}/{plural}/{sub}"),
        ["namespaces", _, plural, ..] => format!("{group}/{version}/{plural}"),
        [plural, ..] => format!("{group}/{version}/{plural}"),
    }
}

fn sealed(object: &Value) -> Vec<u8> {
    let text = |name: &str| object[name].as_str().unwrap();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let package = match (kind, api_version) {
        ("DeleteOptions", _) => "io.k8s.apimachinery.pkg.apis.meta.v1".to_owned(),
        (_, "v1") => "io.k8s.api.core.v1".to_owned(),
        (_, other) => {
            let (group, version) = other.split_once('/').unwrap();
            format!("io.k8s.api.{}.{version}", group.trim_end_matches(".k8s.io"))
        }
    };
    let of =
        Message::named(&format!("{package}.{kind}")).unwrap_or_else(|| panic!("{package} {kind}"));
    let mut body = Vec::new();
    envelope::seal(api_version, kind, &mut body, |out| {
        encode(of, object.to_string().as_bytes(), out)
    })
    .unwrap_or_else(|e| panic!("{kind}: {e}"));
    body
}

async fn prepared() -> ControlPlane {
    let plane = ControlPlane::start().await;
    let mut pod = sample("Pod", "p1");
    pod["metadata"]["labels"] = json!({ "app": "x" });
    for (collection, object) in [
        (format!("{NS}/configmaps"), sample("ConfigMap", "cm1")),
        (format!("{NS}/pods"), pod),
        (
            format!("{NS}/serviceaccounts"),
            sample("ServiceAccount", "r1-chart"),
        ),
        (format!("{NS}/services"), sample("Service", "r1-chart")),
        (format!("{APPS}/deployments"), sample("Deployment", "d1")),
        ("/api/v1/nodes".into(), sample("Node", "n1")),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases".into(),
            sample("Lease", "n1"),
        ),
    ] {
        let made = raw::json(&plane.client, "POST", &collection, &object).await;
        assert_eq!(made.status, 201, "{collection}: {made:?}");
    }
    // Where it is not there from the beginning.
    let account = sample("ServiceAccount", "default");
    raw::json(
        &plane.client,
        "POST",
        &format!("{NS}/serviceaccounts"),
        &account,
    )
    .await;
    plane
}

fn check(what: &str, served: &BTreeSet<String>, code: u16, content_type: &str, accept: &str) {
    let about = about(what);
    if about.is_empty() || served.contains(&about) {
        assert!((200..300).contains(&code), "{what}: {code}");
        // What was asked for first, or what may stand in for it.
        let known = accept.contains(content_type.split(';').next().unwrap())
            || accept.contains("*/*")
            || content_type.starts_with("application/com.github.proto-openapi");
        assert!(known, "{what}: {content_type:?} for {accept:?}");
    } else {
        assert_eq!(code, 404, "{what}: not listed by discovery, and yet there");
    }
}

#[tokio::test]
async fn everything_that_was_recorded_succeeds() {
    let plane = prepared().await;
    let client = &plane.client;
    let served = served(client).await;
    let now = raw::get(client, &format!("{NS}/pods")).await;
    let now = now.body["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let asked = reads().into_iter().map(|(path, accept)| {
        let path = path.replace("RV", &now);
        let client = client.clone();
        async move {
            let request = Request::get(&path).header("accept", accept);
            let answer = client
                .send(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            let content_type = answer.headers()["content-type"]
                .to_str()
                .unwrap()
                .to_owned();
            let code = answer.status().as_u16();
            answer.into_body().collect_bytes().await.unwrap();
            (path, accept, code, content_type)
        }
    });
    for (path, accept, code, content_type) in futures::future::join_all(asked).await {
        // A log of a pod that no node runs is empty, and plain.
        let accept = if path.contains("/log?") {
            "*/*"
        } else {
            accept
        };
        check(&path, &served, code, &content_type, accept);
    }
    // In their order: later ones are about what earlier ones made.
    for (method, path, accept, content_type, body) in writes() {
        let bytes = match content_type {
            PROTOBUF => sealed(&body),
            _ => body.to_string().into_bytes(),
        };
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .header("accept", accept)
            .header("content-type", content_type)
            .body(Body::from(bytes))
            .unwrap();
        let answer = client.send(request).await.unwrap();
        let code = answer.status().as_u16();
        let got = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = answer.into_body().collect_bytes().await.unwrap();
        if code == 415 && content_type == APPLY {
            // Said by a server that has no server-side apply; clients then do without.
            continue;
        }
        let what = path.clone();
        if code >= 400 && served.contains(&about(&path)) {
            panic!("{method} {path}: {code} {}", String::from_utf8_lossy(&text));
        }
        check(&what, &served, code, &got, accept);
    }
}
