//! One stored object under several versions and groups: what is written through one is read,
//! listed, watched, changed and deleted through the others.

use std::time::Duration;

use euston_tests::control_plane::ControlPlane;
use futures::TryStreamExt;
use http::Request;
use serde_json::{Value, json};

use crate::raw::{self, Answer};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const OLDER: &str = "/api/v1/namespaces/default/events";
const NEWER: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

async fn send(plane: &ControlPlane, method: &str, path: &str, body: &Value) -> Answer {
    let content = if method == "PATCH" { MERGE } else { JSON };
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    raw::send(&plane.client, method, path, content, body).await
}

async fn get(plane: &ControlPlane, path: &str) -> Value {
    let answer = send(plane, "GET", path, &Value::Null).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

/// The first events of a watch from `version` on, as type and object.
async fn watched(plane: &ControlPlane, path: &str, version: &str, count: usize) -> Vec<Value> {
    let path = format!("{path}?watch=true&timeoutSeconds=60&resourceVersion={version}");
    let request = Request::get(path).body(Vec::new()).unwrap();
    let stream = plane.client.request_events::<Value>(request).await.unwrap();
    let mut stream = std::pin::pin!(stream);
    let mut events = Vec::new();
    let read = async {
        while events.len() < count {
            let event = stream.try_next().await.unwrap().unwrap();
            events.push(serde_json::to_value(&event).unwrap());
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, read).await.unwrap();
    events
}

#[tokio::test]
async fn an_autoscaler_is_one_object_in_both_versions() {
    let plane = ControlPlane::start().await;
    let before = get(&plane, V1).await["metadata"]["resourceVersion"].clone();
    let before = before.as_str().unwrap();
    let spec = json!({
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
        "maxReplicas": 5, "targetCPUUtilizationPercentage": 30,
    });
    let sent = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "web" }, "spec": spec,
    });
    let made = send(&plane, "POST", V1, &sent).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["apiVersion"], "autoscaling/v1");
    assert_eq!(made.body["spec"]["targetCPUUtilizationPercentage"], 30);
    assert_eq!(made.body["spec"]["minReplicas"], 1);

    let (one, two) = (format!("{V1}/web"), format!("{V2}/web"));
    let shown = get(&plane, &two).await;
    assert_eq!(shown["apiVersion"], "autoscaling/v2");
    let target = &shown["spec"]["metrics"][0]["resource"]["target"];
    assert_eq!(target["averageUtilization"], 30);
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        assert_eq!(
            shown["metadata"][field], made.body["metadata"][field],
            "{field}"
        );
    }

    // What one version cannot say is kept while the other is written.
    let slowly = json!({ "spec": { "behavior": { "scaleDown": { "selectPolicy": "Disabled" } } } });
    let changed = send(&plane, "PATCH", &two, &slowly).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let shown = get(&plane, &one).await;
    assert!(
        shown["metadata"]["annotations"][BEHAVIOR].is_string(),
        "{shown}"
    );
    let more = json!({ "spec": { "maxReplicas": 9 } });
    let changed = send(&plane, "PATCH", &one, &more).await;
    assert_eq!(changed.body["spec"]["maxReplicas"], 9, "{changed:?}");
    let mut replaced = changed.body;
    replaced["spec"]["minReplicas"] = json!(2);
    let changed = send(&plane, "PUT", &one, &replaced).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let same = send(&plane, "PUT", &one, &changed.body).await;
    assert_eq!(same.body, changed.body, "no change, no write");
    let shown = get(&plane, &two).await;
    assert_eq!(shown["metadata"].get("annotations"), None, "{shown}");
    let spec = &shown["spec"];
    assert_eq!(spec["behavior"]["scaleDown"]["selectPolicy"], "Disabled");
    assert_eq!(
        (&spec["maxReplicas"], &spec["minReplicas"]),
        (&json!(9), &json!(2))
    );

    for (path, version) in [(V1, "autoscaling/v1"), (V2, "autoscaling/v2")] {
        let list = get(&plane, path).await;
        assert_eq!(list["apiVersion"], version);
        let events = watched(&plane, path, before, 4).await;
        let types: Vec<&str> = events.iter().filter_map(|e| e["type"].as_str()).collect();
        assert_eq!(
            types,
            ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED"],
            "{path}"
        );
        for event in &events {
            assert_eq!(event["object"]["apiVersion"], version, "{event}");
        }
        let last = &events[3]["object"]["metadata"]["resourceVersion"];
        assert_eq!(*last, shown["metadata"]["resourceVersion"], "{path}");
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let table = raw::send_accepting(&plane.client, "GET", path, JSON, accept, "").await;
        let cells = &table.body["rows"][0]["cells"];
        assert_eq!(cells[1], "Deployment/web", "{table:?}");
        assert_eq!(cells[2], "cpu: <unknown>/30%", "{table:?}");
    }

    let broken = json!({ "spec": { "maxReplicas": 0 } });
    let refused = send(&plane, "PATCH", &one, &broken).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let unknown = json!({ "spec": { "metrics": [] } });
    let path = format!("{one}?fieldValidation=Strict");
    let refused = send(&plane, "PATCH", &path, &unknown).await;
    assert_eq!(refused.status, 400, "{refused:?}");

    let deleted = send(&plane, "DELETE", &two, &Value::Null).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    let gone = send(&plane, "GET", &one, &Value::Null).await;
    assert_eq!(gone.status, 404, "{gone:?}");
}

#[tokio::test]
async fn discovery_prefers_the_newest_stable_version() {
    let plane = ControlPlane::start().await;
    let group = get(&plane, "/apis/autoscaling").await;
    let versions: Vec<&str> = group["versions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|v| v["version"].as_str())
        .collect();
    assert_eq!(versions, ["v2", "v1"]);
    assert_eq!(group["preferredVersion"]["version"], "v2");
    for version in ["v1", "v2"] {
        let list = get(&plane, &format!("/apis/autoscaling/{version}")).await;
        let names: Vec<&str> = list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|r| r["name"].as_str())
            .collect();
        let plural = "horizontalpodautoscalers";
        assert_eq!(names, [plural, "horizontalpodautoscalers/status"]);
        let document = get(&plane, &format!("/openapi/v3/apis/autoscaling/{version}")).await;
        let schema = format!("io.k8s.api.autoscaling.{version}.HorizontalPodAutoscaler");
        assert!(
            document["components"]["schemas"].get(&schema).is_some(),
            "{schema}"
        );
    }
}

fn newer(name: &str, change: &Value) -> Value {
    let mut event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": name },
        "regarding": { "kind": "Pod", "namespace": "default", "name": "web" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Because",
        "action": "Act", "note": "it was so", "reportingController": "example.com/me",
        "reportingInstance": "me-1",
    });
    for (field, value) in change.as_object().unwrap() {
        event[field] = value.clone();
    }
    event
}

#[tokio::test]
async fn events_are_the_same_in_both_groups() {
    let plane = ControlPlane::start().await;
    let made = send(&plane, "POST", NEWER, &newer("one", &json!({}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let older = get(&plane, &format!("{OLDER}/one")).await;
    assert_eq!(older["apiVersion"], "v1");
    assert_eq!(older["involvedObject"]["name"], "web");
    assert_eq!(older["message"], "it was so");
    assert_eq!(older["metadata"]["uid"], made.body["metadata"]["uid"]);

    let other = json!({ "regarding": { "kind": "Pod", "namespace": "default", "name": "api" } });
    let made = send(&plane, "POST", NEWER, &newer("two", &other)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let selected = |path: String| {
        let plane = &plane;
        async move {
            let answer = send(plane, "GET", &path, &Value::Null).await;
            let items = answer.body["items"].as_array().cloned().unwrap_or_default();
            let names = items.iter().filter_map(|i| i["metadata"]["name"].as_str());
            (answer.status.as_u16(), names.collect::<Vec<_>>().join(" "))
        }
    };
    let check = [
        (NEWER, "regarding.name=api", 200, "two"),
        (
            NEWER,
            "reportingController=example.com/me,regarding.kind=Pod",
            200,
            "one two",
        ),
        (NEWER, "involvedObject.name=api", 400, ""),
        (OLDER, "involvedObject.name=api", 200, "two"),
        (OLDER, "regarding.name=api", 400, ""),
    ];
    for (path, selector, code, names) in check {
        let found = selected(format!("{path}?fieldSelector={selector}")).await;
        assert_eq!(found, (code, names.to_owned()), "{path} {selector}");
    }

    // The newer group is stricter, and the older one takes what it refuses.
    let refused = send(
        &plane,
        "POST",
        NEWER,
        &newer("bad", &json!({ "eventTime": null })),
    )
    .await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let change = json!({ "note": "it was otherwise" });
    let refused = send(&plane, "PATCH", &format!("{NEWER}/one"), &change).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let change = json!({ "message": "it was otherwise" });
    let done = send(&plane, "PATCH", &format!("{OLDER}/one"), &change).await;
    assert_eq!(done.status, 200, "{done:?}");
    let series =
        json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T00:00:05.000000Z" } });
    let done = send(&plane, "PATCH", &format!("{NEWER}/one"), &series).await;
    assert_eq!(done.body["series"]["count"], 2, "{done:?}");
    assert_eq!(done.body["note"], "it was otherwise");
}
