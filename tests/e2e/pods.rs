//! What a running pod gets from its node: probes, hooks, files that follow their source, logs.

use euston_tests::wait::until;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::web;

async fn create(pods: &Api<Pod>, name: &str, spec: Value) {
    let pod = json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec });
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

/// `REASON: MESSAGE` of every event about a pod.
async fn events(client: &kube::Client, pod: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let about = ListParams::default().fields(&format!("involvedObject.name={pod}"));
    let events = events.list(&about).await.unwrap();
    let line = |e: &Event| {
        let (reason, message) = (e.reason.as_deref(), e.message.as_deref());
        format!("{}: {}", reason.unwrap_or("-"), message.unwrap_or("-"))
    };
    events.iter().map(line).collect()
}

async fn says(client: &kube::Client, pod: &str, wanted: &[&str]) {
    until(&format!("events about {pod}"), || async {
        let events = events(client, pod).await;
        let said = |wanted: &&str| events.iter().any(|event| event.contains(wanted));
        if wanted.iter().all(said) {
            Ok(())
        } else {
            Err(format!("{wanted:?} are not all in {events:#?}"))
        }
    })
    .await;
}

/// Waits until the first container's status is as wanted.
async fn container(pods: &Api<Pod>, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(&format!("the container of {name}"), || async {
        let pod = serde_json::to_value(pods.get(name).await.unwrap()).unwrap();
        let status = pod["status"]["containerStatuses"][0].clone();
        if wanted(&status) {
            Ok(status)
        } else {
            Err(status.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn a_container_that_fails_its_liveness_probe_is_restarted() {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["hello"]);
    let client = cluster.client().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let spec = |path: &str| {
        json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": "hello:v1", "ports": [{ "containerPort": 80 }],
                "livenessProbe": { "httpGet": { "path": path, "port": 80 }, "periodSeconds": 1, "failureThreshold": 2 },
            }],
        })
    };
    create(&pods, "dying", spec("/status/503")).await;
    create(&pods, "living", spec("/healthz")).await;
    let status = container(&pods, "dying", |status| {
        status["restartCount"].as_i64() >= Some(1)
    })
    .await;
    let last = &status["lastState"]["terminated"];
    assert_eq!(
        (last["exitCode"].as_i64(), last["reason"].as_str()),
        (Some(137), Some("Error")),
        "{status}"
    );
    let wanted = [
        "Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 503",
        "Killing: Container main failed liveness probe, will be restarted",
    ];
    says(&client, "dying", &wanted).await;
    let status = container(&pods, "living", |_| true).await;
    assert_eq!(status["restartCount"], 0, "{status}");
    // The probes were heard to their end: a guest that answers them has nothing to complain of.
    let log = pods.logs("living", &LogParams::default()).await.unwrap();
    assert_eq!(log, "");
}

#[tokio::test]
async fn hooks_run_and_one_that_cannot_run_says_so() {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["hello"]);
    let client = cluster.client().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let get = |path: &str| json!({ "httpGet": { "path": path, "port": 80 } });
    let spec = |lifecycle: Value| {
        json!({ "containers": [{
            "name": "main", "image": "hello:v1", "ports": [{ "containerPort": 80 }], "lifecycle": lifecycle,
        }] })
    };
    let fails = spec(json!({ "postStart": get("/status/500") }));
    create(&pods, "start-fails", fails).await;
    let exec = json!({ "exec": { "command": ["true"] } });
    create(&pods, "exec", spec(json!({ "preStop": exec }))).await;
    let good = json!({ "postStart": get("/"), "preStop": get("/status/502") });
    create(&pods, "good", spec(good)).await;

    says(
        &client,
        "start-fails",
        &["FailedPostStartHook: HTTP probe failed with statuscode: 500"],
    )
    .await;
    container(&pods, "exec", |status| {
        let waiting = &status["state"]["waiting"];
        let message = waiting["message"].as_str().unwrap_or_default();
        waiting["reason"] == "CreateContainerConfigError" && message.contains("preStop hook")
    })
    .await;
    container(&pods, "good", |status| status["ready"] == true).await;
    // A hook that fails does not keep a pod from ending.
    pods.delete("good", &DeleteParams::default()).await.unwrap();
    says(
        &client,
        "good",
        &["FailedPreStopHook: HTTP probe failed with statuscode: 502"],
    )
    .await;
    until("the pod is gone", || async {
        match pods.get_opt("good").await.unwrap() {
            None => Ok(()),
            Some(pod) => Err(format!("{:?}", pod.status)),
        }
    })
    .await;
}

#[tokio::test]
async fn files_of_a_running_pod_follow_their_config_map() {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["hello"]);
    let client = cluster.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("menu".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([("today".to_owned(), "shortbread".to_owned())].into()),
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let spec = json!({
        "containers": [{
            "name": "main", "image": "hello:v1", "ports": [{ "containerPort": 80 }],
            "volumeMounts": [{ "name": "menu", "mountPath": "/etc/menu" }],
        }],
        "volumes": [{ "name": "menu", "configMap": { "name": "menu" } }],
    });
    create(&pods, "reader", spec).await;
    web::node_port(&client, "reader", 31_111).await;
    let reads = |wanted: &'static str| async move {
        until(&format!("the file says {wanted}"), || async {
            let url = "http://127.0.0.1:31111/file?path=/etc/menu/today";
            match web::get(&web::client(), url).await {
                Ok(text) if text == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    reads("shortbread").await;
    let change = json!({ "data": { "today": "ginger snap" } });
    maps.patch("menu", &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
    reads("ginger snap").await;
    let status = container(&pods, "reader", |_| true).await;
    assert_eq!(status["restartCount"], 0, "without a restart");
}

#[tokio::test]
async fn long_logs_are_rotated_and_read_as_one() {
    const LINES: usize = 300_000;
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["counter"]);
    let pods: Api<Pod> = Api::namespaced(cluster.client().await, "default");
    let main = json!({ "name": "main", "image": "counter:v1", "args": [LINES.to_string()] });
    let spec = json!({ "restartPolicy": "Never", "containers": [main] });
    create(&pods, "counter", spec).await;
    container(&pods, "counter", |status| {
        status["state"]["terminated"]["reason"] == "Completed"
    })
    .await;
    let log = pods.logs("counter", &LogParams::default()).await.unwrap();
    // More than the disk takes in time is dropped, and a line says how much.
    let numbers: Vec<usize> = log.lines().filter_map(|line| line.parse().ok()).collect();
    let notes: Vec<_> = log
        .lines()
        .filter(|line| line.contains("dropped"))
        .collect();
    assert_eq!(numbers.len() + notes.len(), log.lines().count());
    assert!(numbers.is_sorted(), "in order");
    assert!(
        !notes.is_empty() || numbers.len() == LINES,
        "{}",
        numbers.len()
    );
    let last = LogParams {
        tail_lines: Some(2),
        ..LogParams::default()
    };
    let tail = pods.logs("counter", &last).await.unwrap();
    assert!(log.ends_with(&tail) && tail.lines().count() == 2, "{tail}");

    let parts = log_files(&cluster.dir);
    let old = parts.iter().filter(|(name, _)| name.ends_with(".log.1"));
    assert_eq!(old.count(), 1, "{parts:?}");
    // A file is closed with the write that fills it.
    assert!(parts.iter().all(|(_, size)| *size < 11 << 20), "{parts:?}");
}

/// Name and size of every log file below a folder.
fn log_files(folder: &std::path::Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            found.extend(log_files(&entry.path()));
        } else if name.contains(".log") {
            found.push((name, entry.metadata().unwrap().len()));
        }
    }
    found
}
