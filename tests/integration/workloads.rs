//! What is particular to the kinds that run pods, through the API.

use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use serde_json::{Value, json};

use crate::raw::{self, Answer};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PODS: &str = "/api/v1/namespaces/default/pods";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

async fn send(
    plane: &ControlPlane,
    method: &str,
    path: &str,
    content: &str,
    body: &Value,
) -> Answer {
    raw::send(&plane.client, method, path, content, body.to_string()).await
}

async fn create(plane: &ControlPlane, path: &str, object: &Value) -> Value {
    let made = send(plane, "POST", path, JSON, object).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body
}

#[tokio::test]
async fn a_job_selects_its_pods_by_its_uid() {
    let plane = ControlPlane::start().await;
    let mut job = sample("Job", "x");
    job["metadata"] = json!({ "generateName": "pi-" });
    let made = create(&plane, JOBS, &job).await;
    let (name, uid) = (&made["metadata"]["name"], &made["metadata"]["uid"]);
    let labels = json!({
        "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
        "controller-uid": uid, "job-name": name,
    });
    assert_eq!(made["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(made["metadata"]["labels"], labels);
    let selected = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } });
    assert_eq!(made["spec"]["selector"], selected);
    assert_eq!(made["metadata"]["generation"], 1);

    let path = format!("{JOBS}/{}", name.as_str().unwrap());
    let suspended = send(
        &plane,
        "PATCH",
        &path,
        MERGE,
        &json!({ "spec": { "suspend": true } }),
    )
    .await;
    assert_eq!(suspended.body["metadata"]["generation"], 2, "{suspended:?}");
    let other = json!({ "spec": { "template": { "spec": { "hostname": "x" } } } });
    let refused = send(&plane, "PATCH", &path, MERGE, &other).await;
    assert_eq!(refused.status, 422, "{refused:?}");

    let status = json!({ "status": { "succeeded": 1, "startTime": "2026-01-01T00:00:00Z" } });
    let done = send(&plane, "PATCH", &format!("{path}/status"), MERGE, &status).await;
    assert_eq!(done.status, 200, "{done:?}");
    let found = async |count: &str| {
        let path = format!("{JOBS}?fieldSelector=status.successful={count}");
        let list = send(&plane, "GET", &path, JSON, &Value::Null).await;
        list.body["items"].as_array().unwrap().len()
    };
    assert_eq!((found("1").await, found("0").await), (1, 0));

    // Who says nothing keeps the pods: the garbage collector takes the finalizer away.
    let deleted = send(&plane, "DELETE", &path, JSON, &json!({})).await;
    assert_eq!(
        deleted.body["metadata"]["finalizers"],
        json!(["orphan"]),
        "{deleted:?}"
    );
}

#[tokio::test]
async fn replicas_are_scaled_and_selectors_shown() {
    let plane = ControlPlane::start().await;
    let kinds = [
        (
            "StatefulSet",
            "/apis/apps/v1/namespaces/default/statefulsets",
            "app=web",
        ),
        (
            "Deployment",
            "/apis/apps/v1/namespaces/default/deployments",
            "app=web",
        ),
        (
            "ReplicaSet",
            "/apis/apps/v1/namespaces/default/replicasets",
            "app=web",
        ),
        (
            "ReplicationController",
            "/api/v1/namespaces/default/replicationcontrollers",
            "app=web",
        ),
    ];
    for (kind, path, selector) in kinds {
        create(&plane, path, &sample(kind, "web")).await;
        let scale = format!("{path}/web/scale");
        let asked = json!({ "spec": { "replicas": 3 } });
        let scaled = send(&plane, "PATCH", &scale, MERGE, &asked).await;
        assert_eq!(scaled.body["spec"]["replicas"], 3, "{kind}: {scaled:?}");
        assert_eq!(scaled.body["status"]["selector"], selector, "{kind}");
        let object = send(&plane, "GET", &format!("{path}/web"), JSON, &Value::Null).await;
        assert_eq!(object.body["spec"]["replicas"], 3, "{kind}");
        assert_eq!(object.body["metadata"]["generation"], 2, "{kind}");
    }
    let path = "/api/v1/namespaces/default/replicationcontrollers?fieldSelector=status.replicas=0";
    let list = send(&plane, "GET", path, JSON, &Value::Null).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn parts_of_a_running_pod_have_paths_of_their_own() {
    let plane = ControlPlane::start().await;
    let mut pod = sample("Pod", "web");
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "100m" } });
    create(&plane, PODS, &pod).await;
    let path = format!("{PODS}/web");

    // As kubectl debug sends it.
    let debug =
        json!({ "spec": { "ephemeralContainers": [{ "name": "debug", "image": "sh:v1" }] } });
    let added = send(
        &plane,
        "PATCH",
        &format!("{path}/ephemeralcontainers"),
        STRATEGIC,
        &debug,
    )
    .await;
    assert_eq!(added.status, 200, "{added:?}");
    assert_eq!(
        added.body["spec"]["ephemeralContainers"][0]["name"],
        "debug"
    );
    assert_eq!(added.body["metadata"]["generation"], 2);
    let refused = send(
        &plane,
        "PATCH",
        &path,
        STRATEGIC,
        &json!({ "spec": { "ephemeralContainers": [{ "name": "more", "image": "sh:v1" }] } }),
    )
    .await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let mut without = added.body.clone();
    without["spec"]["ephemeralContainers"] = json!([]);
    let refused = send(
        &plane,
        "PUT",
        &format!("{path}/ephemeralcontainers"),
        JSON,
        &without,
    )
    .await;
    assert_eq!(refused.status, 422, "{refused:?}");

    let more = json!({ "spec": { "containers": [{ "name": "main", "resources": { "requests": { "cpu": "200m" } } }] } });
    let refused = send(&plane, "PATCH", &path, STRATEGIC, &more).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let resized = send(&plane, "PATCH", &format!("{path}/resize"), STRATEGIC, &more).await;
    assert_eq!(resized.status, 200, "{resized:?}");
    let container = &resized.body["spec"]["containers"][0];
    assert_eq!(container["resources"]["requests"]["cpu"], "200m");
    assert_eq!(resized.body["metadata"]["generation"], 3);
    let read = send(&plane, "GET", &format!("{path}/resize"), JSON, &Value::Null).await;
    assert_eq!(read.body, resized.body);
}
