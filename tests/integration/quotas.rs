//! ResourceQuota through the API: never exceeded and never short, whoever writes at once.

use euston_tests::control_plane::ControlPlane;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::raw;

const JSON: &str = "application/json";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn post(plane: &ControlPlane, path: &str, body: &Value) -> raw::Answer {
    raw::send(&plane.client, "POST", path, JSON, body.to_string()).await
}

async fn used(plane: &ControlPlane, quota: &str) -> Value {
    let path = format!("{QUOTAS}/{quota}");
    let answer = raw::send(&plane.client, "GET", &path, JSON, "").await;
    answer.body["status"]["used"].clone()
}

fn quota(name: &str, hard: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}})
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
        {"name": "main", "image": "hello:v1", "resources": {"requests": {"cpu": cpu}}},
    ]}})
}

#[tokio::test]
async fn of_a_hundred_creations_at_once_as_many_as_fit_are_done() {
    let plane = ControlPlane::start().await;
    let hard = json!({"pods": "17", "requests.cpu": "2"});
    let made = post(&plane, QUOTAS, &quota("q", &hard)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        made.body["status"],
        json!({"hard": hard, "used": {"pods": "0", "requests.cpu": "0"}})
    );

    let bodies: Vec<Value> = (0..100).map(|i| pod(&format!("p{i}"), "100m")).collect();
    let mut creations: FuturesUnordered<_> =
        bodies.iter().map(|body| post(&plane, PODS, body)).collect();
    let (mut created, mut refused) = (0, 0);
    while let Some(answer) = creations.next().await {
        match answer.status.as_u16() {
            201 => created += 1,
            403 => {
                refused += 1;
                let message = answer.body["message"].as_str().unwrap_or_default();
                assert!(
                    message.ends_with(
                        "exceeded quota: q, requested: pods=1, used: pods=17, limited: pods=17"
                    ),
                    "{message}"
                );
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!((created, refused), (17, 83));
    assert_eq!(
        used(&plane, "q").await,
        json!({"pods": "17", "requests.cpu": "1700m"})
    );

    let listed = raw::send(&plane.client, "GET", PODS, JSON, "").await;
    let names: Vec<String> = listed.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 17);

    // Deletions give back, also when all are made at once.
    let paths: Vec<String> = names.iter().map(|name| format!("{PODS}/{name}")).collect();
    let mut deletions: FuturesUnordered<_> = paths
        .iter()
        .map(|path| raw::send(&plane.client, "DELETE", path, JSON, ""))
        .collect();
    while let Some(answer) = deletions.next().await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(
        used(&plane, "q").await,
        json!({"pods": "0", "requests.cpu": "0"})
    );
}

#[tokio::test]
async fn what_ends_grows_or_is_counted_by_name_is_accounted_for() {
    let plane = ControlPlane::start().await;
    let before = post(&plane, PODS, &pod("early", "500m")).await;
    assert_eq!(before.status, 201, "{before:?}");
    let hard = json!({
        "pods": "2", "cpu": "2", "count/configmaps": "1", "count/leases.coordination.k8s.io": "1",
        "resourcequotas": "1",
    });
    let made = post(&plane, QUOTAS, &quota("q", &hard)).await;
    let expected = json!({
        "pods": "1", "cpu": "500m", "count/configmaps": "0", "count/leases.coordination.k8s.io": "0",
        "resourcequotas": "1",
    });
    assert_eq!(
        made.body["status"]["used"], expected,
        "what was there before counts"
    );

    // A pod that does not say what it needs is refused, and one that needs too much.
    let silent = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "silent"}, "spec": {"containers": [
        {"name": "main", "image": "hello:v1"},
    ]}});
    let answer = post(&plane, PODS, &silent).await;
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.body["message"],
        "pods \"silent\" is forbidden: failed quota: q: must specify cpu for: main"
    );
    let answer = post(&plane, PODS, &pod("large", "1600m")).await;
    assert_eq!(
        answer.body["message"],
        "pods \"large\" is forbidden: exceeded quota: q, requested: cpu=1600m, used: cpu=500m, limited: cpu=2"
    );
    // A dry run is refused alike, and counts for nothing.
    let dry = post(&plane, &format!("{PODS}?dryRun=All"), &pod("dry", "100m")).await;
    assert_eq!(dry.status, 201, "{dry:?}");
    assert_eq!(used(&plane, "q").await["pods"], "1");

    // A pod that has ended takes nothing any more.
    let status = json!({"status": {"phase": "Succeeded"}});
    let path = format!("{PODS}/early/status");
    let merge = "application/merge-patch+json";
    let answer = raw::send(&plane.client, "PATCH", &path, merge, status.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let now = used(&plane, "q").await;
    assert_eq!((&now["pods"], &now["cpu"]), (&json!("0"), &json!("0")));

    // Any kind counts under its name.
    for (path, kind, version) in [
        ("/api/v1/namespaces/default/configmaps", "ConfigMap", "v1"),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            "Lease",
            "coordination.k8s.io/v1",
        ),
    ] {
        let body =
            |name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        assert_eq!(post(&plane, path, &body("one")).await.status, 201, "{kind}");
        let second = post(&plane, path, &body("two")).await;
        let message = second.body["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("exceeded quota: q, requested: count/"),
            "{message}"
        );
    }

    // A larger quota is counted anew, and a second one beside it is one too many for the first.
    let larger = json!({"spec": {"hard": {"pods": "5", "secrets": "3"}}});
    let path = format!("{QUOTAS}/q");
    let answer = raw::send(&plane.client, "PATCH", &path, merge, larger.to_string()).await;
    assert_eq!(answer.body["status"]["hard"]["pods"], "5");
    assert_eq!(answer.body["status"]["used"]["secrets"], "0");
    let second = post(&plane, QUOTAS, &quota("r", &json!({"pods": "1"}))).await;
    let message = second.body["message"].as_str().unwrap_or_default();
    assert!(
        message.ends_with("exceeded quota: q, requested: resourcequotas=1, used: resourcequotas=1, limited: resourcequotas=1"),
        "{message}"
    );
}

#[tokio::test]
async fn defaults_and_bounds_of_a_namespace_reach_pods_and_claims() {
    let plane = ControlPlane::start().await;
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}, "max": {"cpu": "4"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
    ]}});
    let made = post(&plane, "/api/v1/namespaces/default/limitranges", &range).await;
    assert_eq!(made.status, 201, "{made:?}");
    // The quota is met by what the range gives: nothing is left out any more.
    let made = post(
        &plane,
        QUOTAS,
        &quota("q", &json!({"requests.cpu": "1500m"})),
    )
    .await;
    assert_eq!(made.status, 201, "{made:?}");
    let silent = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
            {"name": "main", "image": "hello:v1"},
        ]}})
    };
    let made = post(&plane, PODS, &silent("first")).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        made.body["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}})
    );
    assert_eq!(made.body["status"]["qosClass"], "Burstable");
    let second = post(&plane, PODS, &silent("second")).await;
    assert_eq!(
        second.body["message"],
        "pods \"second\" is forbidden: exceeded quota: q, requested: requests.cpu=1, used: requests.cpu=1, limited: requests.cpu=1500m"
    );
    let mut large = silent("large");
    large["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "8"}});
    let answer = post(&plane, PODS, &large).await;
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.body["message"],
        "pods \"large\" is forbidden: maximum cpu usage per Container is 4, but limit is 8"
    );
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}},
    }});
    let path = "/api/v1/namespaces/default/persistentvolumeclaims";
    let answer = post(&plane, path, &claim).await;
    assert_eq!(
        answer.body["message"],
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
    );
}

#[tokio::test]
async fn classes_are_looked_up() {
    let plane = ControlPlane::start().await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let list = raw::send(&plane.client, "GET", classes, JSON, "").await;
    let names: Vec<&str> = list.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["system-cluster-critical", "system-node-critical"]);
    let path = format!("{classes}/system-node-critical");
    let answer = raw::send(&plane.client, "DELETE", &path, JSON, "").await;
    assert_eq!(answer.status, 403, "{answer:?}");

    let class = |name: &str, value: i32, default: bool| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "globalDefault": default, "preemptionPolicy": "Never",
        })
    };
    assert_eq!(
        post(&plane, classes, &class("usual", 7, true)).await.status,
        201
    );
    let second = post(&plane, classes, &class("other", 8, true)).await;
    assert_eq!(
        second.body["message"],
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only one default can exist"
    );
    let made = post(&plane, PODS, &pod("plain", "1")).await;
    let spec = &made.body["spec"];
    assert_eq!(
        json!([
            spec["priorityClassName"],
            spec["priority"],
            spec["preemptionPolicy"]
        ]),
        json!(["usual", 7, "Never"])
    );
    let mut lost = pod("lost", "1");
    lost["spec"]["priorityClassName"] = json!("gold");
    let answer = post(&plane, PODS, &lost).await;
    assert_eq!(
        answer.body["message"],
        "pods \"lost\" is forbidden: no PriorityClass with name gold was found"
    );

    let storage = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.com/disk",
        "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    });
    let path = "/apis/storage.k8s.io/v1/storageclasses";
    assert_eq!(post(&plane, path, &storage).await.status, 201);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}},
    }});
    let path = "/api/v1/namespaces/default/persistentvolumeclaims";
    let made = post(&plane, path, &claim).await;
    assert_eq!(made.body["spec"]["storageClassName"], "fast");
}

#[tokio::test]
async fn the_apis_own_groups_are_listed_as_available() {
    let plane = ControlPlane::start().await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps";
    let answer = raw::send(&plane.client, "GET", path, JSON, "").await;
    let condition = &answer.body["status"]["conditions"][0];
    assert_eq!(
        json!([condition["type"], condition["status"], condition["reason"]]),
        json!(["Available", "True", "Local"])
    );
}
