//! A Deployment of the guest from 0 to many replicas, and the memory before and after.

use std::time::{Duration, Instant};

use anyhow::bail;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use crate::cluster::{Cluster, IMAGE, Setting, call};

/// What `wasmtime serve` gets as well, so that both answer the same bytes.
pub(crate) const POD_NAME: &str = "bench";

const NAME: &str = "hello";
/// For what a start or a change leaves to do, before memory is read.
const SETTLE: Duration = Duration::from_secs(5);
/// The resolution of the figures; one small read each time.
const POLL: Duration = Duration::from_millis(20);

#[derive(Serialize)]
pub(crate) struct Scale {
    pub(crate) replicas: u32,
    /// Fewer than `replicas` when the time was over first.
    pub(crate) available: u32,
    /// From the scale request to the first available replica: includes compiling the guest.
    pub(crate) first_seconds: Option<f64>,
    /// Until all were available, or until the time was over.
    pub(crate) seconds: f64,
    pub(crate) pods_per_second: f64,
    pub(crate) idle_resident_bytes: u64,
    pub(crate) scaled_resident_bytes: u64,
}

pub(crate) async fn measure(
    at: &Setting<'_>,
    replicas: u32,
    limit: Duration,
) -> anyhow::Result<Scale> {
    let mut cluster = Cluster::start(at, "scale").await?;
    sleep(SETTLE).await;
    let idle_resident_bytes = cluster.resident_bytes()?;

    cluster.push(at).await?;
    let deployments = create(&cluster, 0).await?;
    let started = Instant::now();
    call(
        &format!("scaling the Deployment {NAME} to {replicas} replicas"),
        deployments.patch_scale(
            NAME,
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": replicas}})),
        ),
    )
    .await?;
    let mut first_seconds = None;
    let (available, seconds) = loop {
        cluster.still_runs()?;
        let available = available(&deployments).await?;
        let elapsed = started.elapsed();
        if available > 0 {
            first_seconds.get_or_insert(elapsed.as_secs_f64());
        }
        if available >= replicas || elapsed >= limit {
            break (available, elapsed.as_secs_f64());
        }
        sleep(POLL).await;
    };
    let ready_pods = ready_pods(&cluster).await?;
    if ready_pods < available {
        bail!(
            "the Deployment says {available} available replicas, but only {ready_pods} pods are Ready"
        );
    }
    sleep(SETTLE).await;
    let scaled_resident_bytes = cluster.resident_bytes()?;
    cluster.stop().await?;
    Ok(Scale {
        replicas,
        available,
        first_seconds,
        seconds,
        pods_per_second: f64::from(available) / seconds,
        idle_resident_bytes,
        scaled_resident_bytes,
    })
}

/// Makes the Deployment of the guest.
pub(crate) async fn create(cluster: &Cluster, replicas: u32) -> anyhow::Result<Api<Deployment>> {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client.clone());
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"containers": [{
                    "name": "web",
                    "image": IMAGE,
                    "ports": [{"containerPort": 8080}],
                    "env": [{"name": "POD_NAME", "value": POD_NAME}],
                }]},
            },
        },
    }))?;
    call(
        &format!("creating the Deployment {NAME}"),
        deployments.create(&PostParams::default(), &deployment),
    )
    .await?;
    Ok(deployments)
}

/// Counts pods that are Ready and whose container runs, so that the Deployment's word is not the
/// only evidence.
async fn ready_pods(cluster: &Cluster) -> anyhow::Result<u32> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client.clone());
    let list = call("listing the pods", pods.list(&ListParams::default())).await?;
    let ready = list.items.iter().filter(|pod| is_ready(pod)).count();
    Ok(u32::try_from(ready).unwrap_or(u32::MAX))
}

fn is_ready(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    let mut conditions = status.conditions.iter().flatten();
    let mut containers = status.container_statuses.iter().flatten();
    conditions.any(|c| c.type_ == "Ready" && c.status == "True")
        && containers.any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
}

async fn available(deployments: &Api<Deployment>) -> anyhow::Result<u32> {
    let read = deployments.get_status(NAME);
    let deployment = call(&format!("reading the Deployment {NAME}"), read).await?;
    let available = deployment.status.and_then(|s| s.available_replicas);
    Ok(available.and_then(|n| u32::try_from(n).ok()).unwrap_or(0))
}
