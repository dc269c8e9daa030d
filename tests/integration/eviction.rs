//! `pods/eviction`: budgets are respected exactly, whoever evicts at once.

use euston_tests::control_plane::ControlPlane;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::raw::{self, Answer};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn send(plane: &ControlPlane, method: &str, path: &str, body: &Value) -> Answer {
    let content = if method == "PATCH" { MERGE } else { JSON };
    raw::send(&plane.client, method, path, content, body.to_string()).await
}

/// A pod of the budgets' application, in this phase, ready or not.
async fn pod(plane: &ControlPlane, name: &str, phase: &str, ready: bool) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main", "image": "hello:v1" }] },
    });
    let made = send(plane, "POST", PODS, &pod).await;
    assert_eq!(made.status, 201, "{made:?}");
    let ready = if ready { "True" } else { "False" };
    let status = json!({ "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] } });
    let path = format!("{PODS}/{name}/status");
    assert_eq!(send(plane, "PATCH", &path, &status).await.status, 200);
}

/// A budget that its controller has looked at.
async fn budget(plane: &ControlPlane, name: &str, spec: Value, status: Value) {
    let mut budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": name },
        "spec": { "selector": { "matchLabels": { "app": "web" } } },
    });
    for (field, value) in spec.as_object().unwrap() {
        budget["spec"][field] = value.clone();
    }
    let made = send(plane, "POST", BUDGETS, &budget).await;
    assert_eq!(made.status, 201, "{made:?}");
    let mut seen = json!({ "observedGeneration": 1 });
    for (field, value) in status.as_object().unwrap() {
        seen[field] = value.clone();
    }
    let path = format!("{BUDGETS}/{name}/status");
    let done = send(plane, "PATCH", &path, &json!({ "status": seen })).await;
    assert_eq!(done.status, 200, "{done:?}");
}

async fn evict(plane: &ControlPlane, name: &str, options: Value) -> Answer {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name },
        "deleteOptions": options,
    });
    send(plane, "POST", &format!("{PODS}/{name}/eviction"), &eviction).await
}

async fn status_of(plane: &ControlPlane, budget: &str) -> Value {
    let path = format!("{BUDGETS}/{budget}");
    send(plane, "GET", &path, &Value::Null).await.body["status"].clone()
}

async fn exists(plane: &ControlPlane, name: &str) -> bool {
    let path = format!("{PODS}/{name}");
    send(plane, "GET", &path, &Value::Null).await.status == 200
}

#[tokio::test]
async fn of_many_evictions_at_once_as_many_as_the_budget_allows_are_done() {
    let plane = ControlPlane::start().await;
    let names: Vec<String> = (0..20).map(|i| format!("web-{i}")).collect();
    for name in &names {
        pod(&plane, name, "Running", true).await;
    }
    let status = json!({ "disruptionsAllowed": 7, "currentHealthy": 20, "desiredHealthy": 13 });
    budget(&plane, "web", json!({ "minAvailable": 13 }), status).await;
    let answers = join_all(names.iter().map(|name| evict(&plane, name, json!({})))).await;
    let mut done = 0;
    for (name, answer) in names.iter().zip(&answers) {
        let there = exists(&plane, name).await;
        match answer.status.as_u16() {
            201 => {
                assert_eq!(answer.body["status"], "Success");
                assert!(!there, "{name}");
                done += 1;
            }
            429 => {
                assert!(there, "{name}");
                assert_eq!(
                    answer.body["message"],
                    "Cannot evict pod as it would violate the pod's disruption budget."
                );
                let causes = &answer.body["details"]["causes"];
                assert_eq!(causes[0]["reason"], "DisruptionBudget", "{answer:?}");
                assert_eq!(
                    causes[0]["message"],
                    "The disruption budget web needs 13 healthy pods and has 20 currently"
                );
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(done, 7);
    let status = status_of(&plane, "web").await;
    assert_eq!(status["disruptionsAllowed"], 0, "{status}");
    assert_eq!(status["disruptedPods"].as_object().unwrap().len(), 7);
    assert_eq!(status["conditions"][0]["status"], "False", "{status}");
}

#[tokio::test]
async fn a_pod_that_no_budget_counts_is_evicted_without_one() {
    let plane = ControlPlane::start().await;
    let none = json!({ "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1 });
    budget(&plane, "web", json!({ "minAvailable": 1 }), none).await;
    for phase in ["Pending", "Succeeded", "Failed"] {
        let name = phase.to_lowercase();
        pod(&plane, &name, phase, false).await;
        let answer = evict(&plane, &name, json!({})).await;
        assert_eq!(answer.status, 201, "{phase}: {answer:?}");
        assert!(!exists(&plane, &name).await, "{phase}");
    }
    // An unready one may go while those that are ready are enough.
    pod(&plane, "unready", "Running", false).await;
    assert_eq!(evict(&plane, "unready", json!({})).await.status, 201);
    pod(&plane, "ready", "Running", true).await;
    assert_eq!(evict(&plane, "ready", json!({})).await.status, 429);
    assert_eq!(status_of(&plane, "web").await.get("disruptedPods"), None);
    assert_eq!(evict(&plane, "absent", json!({})).await.status, 404);
}

#[tokio::test]
async fn what_fails_costs_no_disruption() {
    let plane = ControlPlane::start().await;
    pod(&plane, "web-0", "Running", true).await;
    let one = json!({ "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1 });
    budget(&plane, "web", json!({ "minAvailable": 1 }), one).await;
    for preconditions in [
        json!({ "uid": "another" }),
        json!({ "resourceVersion": "1" }),
    ] {
        let refused = evict(&plane, "web-0", json!({ "preconditions": preconditions })).await;
        assert_eq!(refused.status, 409, "{refused:?}");
    }
    let dry = evict(&plane, "web-0", json!({ "dryRun": ["All"] })).await;
    assert_eq!(dry.status, 201, "{dry:?}");
    let other =
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "web-1" } });
    let refused = send(&plane, "POST", &format!("{PODS}/web-0/eviction"), &other).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(exists(&plane, "web-0").await);
    assert_eq!(status_of(&plane, "web").await["disruptionsAllowed"], 1);

    let held = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
    let held = send(&plane, "PATCH", &format!("{PODS}/web-0"), &held).await;
    let uid = held.body["metadata"]["uid"].clone();
    let version = held.body["metadata"]["resourceVersion"].clone();
    let exact = json!({ "preconditions": { "uid": uid, "resourceVersion": version } });
    let done = evict(&plane, "web-0", exact).await;
    assert_eq!(done.status, 201, "{done:?}");
    let ending = send(&plane, "GET", &format!("{PODS}/web-0"), &Value::Null).await;
    assert!(ending.body["metadata"]["deletionTimestamp"].is_string());
    let conditions = ending.body["status"]["conditions"].as_array().unwrap();
    let target = conditions
        .iter()
        .find(|c| c["type"] == "DisruptionTarget")
        .unwrap();
    assert_eq!(target["reason"], "EvictionByEvictionAPI", "{target}");
    assert_eq!(status_of(&plane, "web").await["disruptionsAllowed"], 0);
}

#[tokio::test]
async fn several_budgets_and_one_that_nobody_has_looked_at_refuse() {
    let plane = ControlPlane::start().await;
    pod(&plane, "web-0", "Running", true).await;
    let fresh = json!({ "observedGeneration": 0, "disruptionsAllowed": 5 });
    budget(&plane, "one", json!({ "minAvailable": 1 }), fresh).await;
    let refused = evict(&plane, "web-0", json!({})).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.body["details"]["retryAfterSeconds"], 10);
    let cause = &refused.body["details"]["causes"][0]["message"];
    assert_eq!(
        *cause,
        "The disruption budget one is still being processed by the server."
    );
    budget(
        &plane,
        "two",
        json!({ "maxUnavailable": 1 }),
        json!({ "disruptionsAllowed": 5 }),
    )
    .await;
    let refused = evict(&plane, "web-0", json!({})).await;
    assert_eq!(refused.status, 500, "{refused:?}");
    assert_eq!(
        refused.body["message"],
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    );
    assert!(exists(&plane, "web-0").await);
}
