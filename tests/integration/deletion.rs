//! DELETE and DELETECOLLECTION to the letter, and what writes may touch.

use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use serde_json::{Value, json};

use crate::raw::{self, Answer};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

struct Api(ControlPlane);

impl Api {
    async fn start() -> Self {
        Api(ControlPlane::start().await)
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        raw::json(&self.0.client, method, path, body).await
    }

    async fn make(&self, path: &str, object: &Value) -> Answer {
        let made = self.send("POST", path, object).await;
        assert_eq!(made.status, 201, "{path}: {made:?}");
        made
    }

    async fn get(&self, path: &str) -> Answer {
        raw::get(&self.0.client, path).await
    }

    async fn exists(&self, path: &str) -> bool {
        self.get(path).await.status == 200
    }
}

fn pod(name: &str, node: &str) -> Value {
    let mut pod = sample("Pod", name);
    pod["spec"]["nodeName"] = json!(node);
    pod
}

fn seconds(object: &Value, field: &str) -> i64 {
    let text = object["metadata"][field].as_str().unwrap();
    text.parse::<k8s_openapi::jiff::Timestamp>()
        .unwrap()
        .as_second()
}

#[tokio::test]
async fn a_pod_on_a_node_is_given_its_time_and_only_ever_less() {
    let api = Api::start().await;
    api.make(PODS, &pod("p", "n1")).await;
    let path = format!("{PODS}/p");
    let delete = |options: Value| {
        let (api, path) = (&api, &path);
        async move { api.send("DELETE", path, &options).await }
    };
    let dry = delete(json!({ "dryRun": ["All"] })).await;
    assert_eq!(
        dry.body["metadata"]["deletionGracePeriodSeconds"], 30,
        "{dry:?}"
    );
    assert!(api.get(&path).await.body["metadata"]["deletionTimestamp"].is_null());

    let first = delete(json!({})).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.body["kind"], "Pod");
    assert_eq!(first.body["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(first.body["metadata"]["generation"], 2);
    let end = seconds(&first.body, "deletionTimestamp");
    // (what is asked for, the grace after it, the end after it)
    for (options, grace, moved) in [
        (json!({}), 30, 0),
        (json!({ "gracePeriodSeconds": 60 }), 30, 0),
        (json!({ "gracePeriodSeconds": 30 }), 30, 0),
        (json!({ "propagationPolicy": "Foreground" }), 30, 0),
        (json!({ "gracePeriodSeconds": 10 }), 10, -20),
        (json!({ "gracePeriodSeconds": -5 }), 1, -29),
    ] {
        let got = delete(options.clone()).await;
        assert_eq!(got.status, 200, "{options}: {got:?}");
        let meta = &got.body["metadata"];
        assert_eq!(meta["deletionGracePeriodSeconds"], grace, "{options}");
        assert_eq!(
            seconds(&got.body, "deletionTimestamp"),
            end + moved,
            "{options}"
        );
        assert!(meta["finalizers"].is_null(), "{options}");
        assert_eq!(meta["generation"], 2, "{options}");
    }
    let gone = delete(json!({ "gracePeriodSeconds": 0 })).await;
    assert_eq!(
        (gone.status.as_u16(), &gone.body["kind"]),
        (200, &json!("Pod"))
    );
    assert!(!api.exists(&path).await);
    assert_eq!(delete(json!({})).await.outcome(), (404, "NotFound"));
}

#[tokio::test]
async fn pods_that_nobody_runs_and_forced_ones_are_gone_at_once() {
    let api = Api::start().await;
    for (name, node, phase, query) in [
        ("nowhere", "", "", ""),
        ("forced", "n1", "", "?gracePeriodSeconds=0"),
        ("done", "n1", "Succeeded", ""),
        ("failed", "n1", "Failed", "?gracePeriodSeconds=20"),
    ] {
        let path = format!("{PODS}/{name}");
        api.make(PODS, &pod(name, node)).await;
        if !phase.is_empty() {
            let status = json!({ "status": { "phase": phase } });
            let done = api.send("PATCH", &format!("{path}/status"), &status).await;
            assert_eq!(done.status, 200, "{done:?}");
        }
        let got = api
            .send("DELETE", &format!("{path}{query}"), &json!({}))
            .await;
        assert_eq!(got.status, 200, "{name}: {got:?}");
        assert!(!api.exists(&path).await, "{name}");
    }
}

#[tokio::test]
async fn finalizers_and_policies_decide_how_an_object_goes() {
    let api = Api::start().await;
    // (finalizers before, options, query) -> (code, kind of the answer, finalizers after)
    for (before, options, query, code, kind, after) in [
        (json!([]), json!({}), "", 200, "Status", None),
        (
            json!([]),
            json!({ "propagationPolicy": "Background" }),
            "",
            200,
            "Status",
            None,
        ),
        (
            json!([]),
            json!({ "propagationPolicy": "Foreground" }),
            "",
            200,
            "ConfigMap",
            Some(json!(["foregroundDeletion"])),
        ),
        (
            json!([]),
            json!({ "propagationPolicy": "Orphan" }),
            "",
            200,
            "ConfigMap",
            Some(json!(["orphan"])),
        ),
        (
            json!([]),
            json!({ "orphanDependents": true }),
            "",
            200,
            "ConfigMap",
            Some(json!(["orphan"])),
        ),
        (
            json!([]),
            json!({ "orphanDependents": false }),
            "",
            200,
            "Status",
            None,
        ),
        (
            json!(["a/b"]),
            json!({ "orphanDependents": false }),
            "",
            202,
            "ConfigMap",
            Some(json!(["a/b"])),
        ),
        (
            json!(["a/b"]),
            json!({}),
            "",
            200,
            "ConfigMap",
            Some(json!(["a/b"])),
        ),
        (
            json!(["a/b"]),
            json!({ "propagationPolicy": "Foreground" }),
            "",
            200,
            "ConfigMap",
            Some(json!(["a/b", "foregroundDeletion"])),
        ),
        (
            json!(["foregroundDeletion"]),
            json!({}),
            "",
            200,
            "ConfigMap",
            Some(json!(["foregroundDeletion"])),
        ),
        (
            json!(["foregroundDeletion"]),
            json!({ "propagationPolicy": "Background" }),
            "",
            200,
            "Status",
            None,
        ),
        (
            json!(["foregroundDeletion"]),
            json!({ "propagationPolicy": "Orphan" }),
            "",
            200,
            "ConfigMap",
            Some(json!(["orphan"])),
        ),
        (
            json!([]),
            json!({}),
            "?propagationPolicy=Orphan",
            200,
            "ConfigMap",
            Some(json!(["orphan"])),
        ),
        (
            json!([]),
            json!({}),
            "?orphanDependents=true",
            200,
            "ConfigMap",
            Some(json!(["orphan"])),
        ),
        (
            json!([]),
            json!({ "propagationPolicy": "Background" }),
            "?propagationPolicy=Orphan",
            200,
            "Status",
            None,
        ),
    ] {
        let case = format!("{before} {options} {query}");
        let mut object = sample("ConfigMap", "m");
        object["metadata"]["finalizers"] = before;
        api.make(MAPS, &object).await;
        let path = format!("{MAPS}/m");
        let got = api
            .send("DELETE", &format!("{path}{query}"), &options)
            .await;
        assert_eq!(
            (got.status.as_u16(), got.body["kind"].as_str()),
            (code, Some(kind)),
            "{case}"
        );
        let left = api.get(&path).await;
        match after {
            None => {
                assert_eq!(left.status, 404, "{case}");
                assert_eq!(got.body["status"], "Success", "{case}");
                let details = &got.body["details"];
                assert_eq!(
                    (&details["name"], &details["kind"]),
                    (&json!("m"), &json!("configmaps")),
                    "{case}"
                );
                assert!(details["uid"].is_string(), "{case}");
            }
            Some(after) => {
                let meta = &left.body["metadata"];
                assert_eq!(meta["finalizers"], after, "{case}");
                assert_eq!(meta["deletionGracePeriodSeconds"], 0, "{case}");
                let free = json!({ "metadata": { "finalizers": null } });
                api.send("PATCH", &path, &free).await;
                assert!(!api.exists(&path).await, "{case}");
            }
        }
    }
    // An Event owns nothing, whatever is asked for.
    let events = "/api/v1/namespaces/default/events";
    api.make(events, &sample("Event", "e")).await;
    let foreground = json!({ "propagationPolicy": "Foreground" });
    api.send("DELETE", &format!("{events}/e"), &foreground)
        .await;
    assert!(!api.exists(&format!("{events}/e")).await);
}

#[tokio::test]
async fn a_deletion_that_contradicts_itself_or_the_object_changes_nothing() {
    let api = Api::start().await;
    let made = api.make(MAPS, &sample("ConfigMap", "m")).await;
    let (uid, version) = (
        &made.body["metadata"]["uid"],
        &made.body["metadata"]["resourceVersion"],
    );
    let path = format!("{MAPS}/m");
    for (options, code, reason, says) in [
        (
            json!({ "propagationPolicy": "Orphan", "orphanDependents": true }),
            422,
            "Invalid",
            "cannot be both set",
        ),
        (
            json!({ "propagationPolicy": "Sideways" }),
            422,
            "Invalid",
            "Unsupported value: \"Sideways\"",
        ),
        (
            json!({ "dryRun": ["Some"] }),
            422,
            "Invalid",
            "dryRun: Unsupported value",
        ),
        (
            json!({ "gracePeriodSeconds": "soon" }),
            400,
            "BadRequest",
            "DeleteOptions",
        ),
        (
            json!({ "preconditions": { "uid": "other" } }),
            409,
            "Conflict",
            "the UID in the precondition (other) does not match",
        ),
        (
            json!({ "preconditions": { "resourceVersion": "1" } }),
            409,
            "Conflict",
            "the ResourceVersion in the precondition (1) does not match",
        ),
        (
            json!({ "preconditions": { "uid": uid, "resourceVersion": "1" } }),
            409,
            "Conflict",
            "ResourceVersion",
        ),
    ] {
        let got = api.send("DELETE", &path, &options).await;
        assert_eq!(got.outcome(), (code, reason), "{options}: {got:?}");
        assert!(got.message().contains(says), "{options}: {got:?}");
        assert!(api.exists(&path).await, "{options}");
    }
    let dry = api
        .send("DELETE", &format!("{path}?dryRun=All"), &json!({}))
        .await;
    assert_eq!(
        (dry.status.as_u16(), &dry.body["status"]),
        (200, &json!("Success"))
    );
    assert!(api.exists(&path).await);
    let right = json!({ "preconditions": { "uid": uid, "resourceVersion": version } });
    assert_eq!(api.send("DELETE", &path, &right).await.status, 200);
    assert!(!api.exists(&path).await);
}

#[tokio::test]
async fn a_collection_goes_as_far_as_selectors_and_limit_reach() {
    let api = Api::start().await;
    let left = || async { api.get(MAPS).await.names().join(" ") };
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")] {
        let mut object = sample("ConfigMap", name);
        object["metadata"]["labels"] = json!({ "app": app });
        api.make(MAPS, &object).await;
    }
    for (query, options, code, expect) in [
        ("?dryRun=All", json!({}), 200, "a b c d"),
        ("", json!({ "dryRun": ["All"] }), 200, "a b c d"),
        ("?labelSelector=app=z", json!({}), 200, "a b c d"),
        ("?fieldSelector=spec.x=z", json!({}), 400, "a b c d"),
        ("?resourceVersionMatch=Exact", json!({}), 422, "a b c d"),
        ("?limit=1", json!({}), 200, "b c d"),
        ("?labelSelector=app=x", json!({}), 200, "b d"),
        (
            "?fieldSelector=metadata.name=d",
            json!({ "propagationPolicy": "Background" }),
            200,
            "b",
        ),
        ("", json!({}), 200, ""),
    ] {
        let got = api
            .send("DELETE", &format!("{MAPS}{query}"), &options)
            .await;
        assert_eq!(got.status, code, "{query}: {got:?}");
        assert_eq!(left().await, expect, "{query}");
        if code == 200 {
            assert_eq!(got.body["kind"], "ConfigMapList", "{query}");
        }
    }
}

#[tokio::test]
async fn a_status_write_changes_status_and_notes_and_nothing_else() {
    let api = Api::start().await;
    api.make(DEPLOYMENTS, &sample("Deployment", "web")).await;
    let path = format!("{DEPLOYMENTS}/web");
    let change = json!({
        "metadata": { "annotations": { "note": "from-status" }, "labels": { "new": "label" }, "generation": 9 },
        "spec": { "replicas": 9 },
        "status": { "replicas": 4, "observedGeneration": 1 },
    });
    let by_status = api.send("PATCH", &format!("{path}/status"), &change).await;
    assert_eq!(by_status.status, 200, "{by_status:?}");
    let body = &by_status.body;
    assert_eq!(body["status"]["replicas"], 4);
    assert_eq!(body["spec"]["replicas"], 1);
    assert_eq!(body["metadata"]["generation"], 1);
    // As Kubernetes' conformance tests count on.
    assert_eq!(body["metadata"]["annotations"]["note"], "from-status");
    assert!(
        body["metadata"]["labels"]["new"].is_null(),
        "a Deployment's labels stay"
    );

    let change = json!({ "spec": { "replicas": 2 }, "status": { "replicas": 7 } });
    let by_spec = api.send("PATCH", &path, &change).await;
    assert_eq!(by_spec.body["status"]["replicas"], 4);
    assert_eq!(by_spec.body["metadata"]["generation"], 2);
    // Writing what is there is no new generation.
    let same = json!({ "spec": { "replicas": 2 } });
    let got = api.send("PATCH", &path, &same).await;
    assert_eq!(got.body["metadata"]["generation"], 2);
    let bad = json!({ "metadata": { "annotations": { "not a key!": "x" } } });
    let bad = api.send("PATCH", &format!("{path}/status"), &bad).await;
    assert_eq!(bad.outcome(), (422, "Invalid"));
}

#[tokio::test]
async fn dry_runs_of_every_verb_answer_and_change_nothing() {
    let api = Api::start().await;
    api.make(DEPLOYMENTS, &sample("Deployment", "web")).await;
    api.make(PODS, &pod("p", "")).await;
    let deployment = format!("{DEPLOYMENTS}/web");
    let replicas = json!({ "spec": { "replicas": 5 } });
    let mut whole = sample("Deployment", "web");
    whole["spec"]["replicas"] = json!(5);
    let scale =
        json!({ "metadata": { "name": "web", "namespace": "default" }, "spec": { "replicas": 5 } });
    let binding =
        json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n1" } });
    let status = json!({ "status": { "replicas": 5 } });
    let before = (
        api.get(&deployment).await.body,
        api.get(&format!("{PODS}/p")).await.body,
    );
    for (method, path, body, code) in [
        (
            "POST",
            DEPLOYMENTS.to_owned(),
            sample("Deployment", "new"),
            201,
        ),
        (
            "POST",
            DEPLOYMENTS.to_owned(),
            sample("Deployment", "web"),
            409,
        ),
        ("PUT", deployment.clone(), whole, 200),
        ("PATCH", deployment.clone(), replicas.clone(), 200),
        ("PATCH", format!("{deployment}/status"), status, 200),
        ("PUT", format!("{deployment}/scale"), scale, 200),
        ("PATCH", format!("{deployment}/scale"), replicas, 200),
        ("POST", format!("{PODS}/p/binding"), binding, 201),
        ("DELETE", format!("{PODS}/p"), json!({}), 200),
        (
            "DELETE",
            deployment.clone(),
            json!({ "propagationPolicy": "Foreground" }),
            200,
        ),
        ("DELETE", DEPLOYMENTS.to_owned(), json!({}), 200),
        (
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases/l".into(),
            sample("Lease", "l"),
            201,
        ),
    ] {
        let got = api.send(method, &format!("{path}?dryRun=All"), &body).await;
        assert_eq!(got.status, code, "{method} {path}: {got:?}");
        let bad = api
            .send(method, &format!("{path}?dryRun=Some"), &body)
            .await;
        assert_eq!(bad.outcome(), (422, "Invalid"), "{method} {path}");
    }
    assert_eq!(api.get(&deployment).await.body, before.0);
    assert_eq!(api.get(&format!("{PODS}/p")).await.body, before.1);
    assert_eq!(api.get(DEPLOYMENTS).await.names(), ["web"]);
}

#[tokio::test]
async fn some_kinds_are_replaced_by_version_alone_and_some_come_to_be_by_it() {
    let api = Api::start().await;
    for (collection, kind, code) in [
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            "Lease",
            201,
        ),
        ("/api/v1/namespaces/default/events", "Event", 201),
        ("/api/v1/namespaces/default/services", "Service", 201),
        (MAPS, "ConfigMap", 404),
        (PODS, "Pod", 404),
    ] {
        let path = format!("{collection}/x");
        let got = api.send("PUT", &path, &sample(kind, "x")).await;
        assert_eq!(got.status, code, "{kind}: {got:?}");
    }
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    api.make(accounts, &sample("ServiceAccount", "x")).await;
    for (collection, kind, code) in [
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            "Lease",
            422,
        ),
        (accounts, "ServiceAccount", 422),
        ("/api/v1/namespaces/default/events", "Event", 200),
    ] {
        let path = format!("{collection}/x");
        let got = api.send("PUT", &path, &sample(kind, "x")).await;
        assert_eq!(got.status, code, "{kind}: {got:?}");
        if code == 422 {
            assert_eq!(got.fields(), ["metadata.resourceVersion"], "{kind}");
            let now = api.get(&path).await.body;
            assert_eq!(api.send("PUT", &path, &now).await.status, 200, "{kind}");
        }
    }
}

#[tokio::test]
async fn generated_names_are_tried_again_and_cut_to_fit() {
    let api = Api::start().await;
    let mut object = sample("ConfigMap", "");
    object["metadata"] = json!({ "generateName": "x".repeat(80) });
    let made = api.make(MAPS, &object).await;
    let name = made.body["metadata"]["name"].as_str().unwrap();
    assert_eq!(name.len(), 63);
    object["metadata"] = json!({ "generateName": "a-", "name": "given" });
    let made = api.make(MAPS, &object).await;
    assert_eq!(made.body["metadata"]["name"], "given");
    assert_eq!(made.body["metadata"]["generateName"], "a-");
    let again = api.send("POST", MAPS, &object).await;
    assert_eq!(again.outcome(), (409, "AlreadyExists"));
}
