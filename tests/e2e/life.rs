//! A cluster's life: start, rolling updates under load, kill -9, several nodes, the end.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use euston_tests::wait::until;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::ResourceExt;
use kube::api::{
    Api, ListParams, LogParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::json;

use crate::cluster::Cluster;
use crate::web::{self, get};

/// Deploys the shop: a front end behind a node port that calls three back ends.
async fn open_shop(client: &kube::Client, node_port: u16) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    for (name, replicas) in [("backend", 3), ("frontend", 1)] {
        let labels = json!({ "app": name });
        let deployment = json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "containers": [{
                        "name": name,
                        "image": format!("{name}:v1"),
                        "ports": [{ "containerPort": 80 }],
                        "env": [
                            { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                            { "name": "BACKEND_URL", "value": "http://backend.default.svc.cluster.local" },
                        ],
                        "readinessProbe": { "httpGet": { "path": "/healthz", "port": 80 }, "periodSeconds": 1 },
                    }] },
                },
            },
        });
        deployments
            .create(
                &PostParams::default(),
                &serde_json::from_value(deployment).unwrap(),
            )
            .await
            .unwrap();
        let mut service = json!({
            "metadata": { "name": name },
            "spec": { "selector": labels, "ports": [{ "port": 80 }] },
        });
        if name == "frontend" {
            service["spec"]["type"] = json!("NodePort");
            service["spec"]["ports"][0]["nodePort"] = json!(node_port);
        }
        services
            .create(
                &PostParams::default(),
                &serde_json::from_value(service).unwrap(),
            )
            .await
            .unwrap();
    }
    for name in ["backend", "frontend"] {
        rolled_out(&deployments, name).await;
    }
}

async fn rolled_out(deployments: &Api<Deployment>, name: &str) {
    until(&format!("{name} is rolled out"), || async {
        let deployment = deployments.get(name).await.unwrap();
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let done = status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == Some(wanted)
            && status.available_replicas == Some(wanted)
            && status.replicas == Some(wanted);
        if done {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_under_load_loses_no_request() {
    let cluster = Cluster::start(&["--nodes", "2"]);
    cluster.push_guests(&["backend", "frontend"]);
    let client = cluster.client().await;
    open_shop(&client, 31_101).await;
    let url = "http://127.0.0.1:31101/";
    until("the shop answers", || get_owned(url)).await;

    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let customers: Vec<_> = (0..8)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            tokio::spawn(async move {
                let http = web::client();
                let mut lost = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match get(&http, url).await {
                        Ok(_) => drop(served.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => lost.push(error),
                    }
                }
                lost
            })
        })
        .collect();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    for round in 0..3 {
        for name in ["backend", "frontend"] {
            let patch = json!({ "spec": { "template": { "metadata": { "annotations": { "round": round.to_string() } } } } });
            deployments
                .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await
                .unwrap();
        }
        for name in ["backend", "frontend"] {
            rolled_out(&deployments, name).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut lost = Vec::new();
    for customer in customers {
        lost.extend(customer.await.unwrap());
    }
    assert!(
        served.load(Ordering::Relaxed) > 100,
        "hardly any load: {served:?}"
    );
    assert!(
        lost.is_empty(),
        "{} of {} lost: {:?}",
        lost.len(),
        served.load(Ordering::Relaxed),
        &lost[..lost.len().min(5)]
    );
}

async fn get_owned(url: &'static str) -> Result<String, String> {
    get(&web::client(), url).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_every_object_and_every_pod_comes_back() {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["backend", "frontend"]);
    let client = cluster.client().await;
    open_shop(&client, 31_102).await;
    let before = uids(&client).await;
    assert_eq!(before.len(), 4);

    let cluster = cluster.kill_and_restart();
    let client = cluster.client().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    until("every pod is ready again", || async {
        let list = pods.list(&ListParams::default()).await.unwrap();
        let ready = list.iter().filter(|p| ready(p) && restarts(p) == 1).count();
        if ready == 4 {
            Ok(())
        } else {
            Err(format!("{ready} ready"))
        }
    })
    .await;
    assert_eq!(uids(&client).await, before, "the same objects");
    // What happened before is no longer known: a watch from there is told to list again.
    let mut events = pin!(pods.watch(&WatchParams::default(), "1").await.unwrap());
    let first = events.next().await.unwrap().unwrap();
    let WatchEvent::Error(gone) = first else {
        panic!("{first:?}")
    };
    assert_eq!((gone.code, &*gone.reason), (410, "Expired"), "{gone:?}");
    until("the shop answers", || get_owned("http://127.0.0.1:31102/")).await;
    let (well, _) = cluster.interrupt();
    assert!(well, "Ctrl-C ends it with success");
}

async fn uids(client: &kube::Client) -> BTreeSet<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    pods.list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .filter_map(ResourceExt::uid)
        .collect()
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|s| s.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|c| c.restart_count)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_several_nodes_are_one_cluster() {
    let cluster = Cluster::start(&["--nodes", "3"]);
    cluster.push_guests(&["backend", "frontend"]);
    let client = cluster.client().await;
    let nodes: Api<Node> = Api::all(client.clone());
    assert_eq!(
        nodes
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        3
    );
    open_shop(&client, 31_103).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let backends = pods
        .list(&ListParams::default().labels("app=backend"))
        .await
        .unwrap();
    let used: BTreeSet<_> = backends
        .iter()
        .filter_map(|p| p.spec.as_ref()?.node_name.clone())
        .collect();
    assert_eq!(used.len(), 3, "replicas are spread: {used:?}");

    // From every node's port, and to back ends on all nodes.
    let http = web::client();
    let mut answered = BTreeSet::new();
    for round in 0..60 {
        let url = format!("http://127.0.0.{}:31103/", round % 3 + 1);
        let page = until("the shop answers", || get(&http, &url)).await;
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        answered.insert(page["backend"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(answered.len(), 3, "every back end serves: {answered:?}");
    for pod in backends.iter() {
        let log = pods.logs(&pod.name_any(), &LogParams::default()).await;
        assert!(log.is_ok(), "logs come from every node: {log:?}");
    }
}
