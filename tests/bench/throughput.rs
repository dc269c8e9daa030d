//! The same guest behind a NodePort and in `wasmtime serve`, under the same load.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::sleep;

use crate::cluster::{Cluster, Setting, call, free_node_port, free_port};
use crate::load::{self, Load};
use crate::process::Process;
use crate::scale::{POD_NAME, create};

/// Numbers of connections to try.
const CONNECTIONS: [usize; 2] = [1, 64];
/// Until the first answer: the guest is compiled first.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// One server under load.
#[derive(Serialize)]
pub(crate) struct Throughput {
    pub(crate) server: String,
    pub(crate) loads: Vec<Load>,
}

/// One replica behind a Service of type NodePort.
pub(crate) async fn euston(at: &Setting<'_>, seconds: Duration) -> anyhow::Result<Throughput> {
    let mut cluster = Cluster::start(at, "load").await?;
    cluster.push(at).await?;
    create(&cluster, 1).await?;
    let port = free_node_port()?;
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "hello"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "hello"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": port}],
        },
    }))?;
    let services: Api<Service> = Api::default_namespaced(cluster.client.clone());
    call(
        "creating the Service hello",
        services.create(&PostParams::default(), &service),
    )
    .await?;

    let address = SocketAddr::from(([127, 0, 0, 1], port));
    answers(address, || cluster.still_runs()).await?;
    let loads = under_load(address, seconds).await?;
    cluster.stop().await?;
    Ok(Throughput {
        server: "euston, NodePort, 1 replica".to_owned(),
        loads,
    })
}

pub(crate) async fn wasmtime(
    at: &Setting<'_>,
    wasmtime: &Path,
    seconds: Duration,
) -> anyhow::Result<Throughput> {
    let version = Command::new(wasmtime)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    let version = tokio::time::timeout(Duration::from_secs(10), version)
        .await
        .context("`wasmtime --version` did not end")?
        .context("cannot start wasmtime")?;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let mut command = Command::new(wasmtime);
    command
        .env_clear()
        .env("HOME", at.scratch)
        // The guest asks for its environment, which is no part of the proxy world.
        .args(["serve", "-Scli", "--addr", &address.to_string()])
        .args(["--env", &format!("POD_NAME={POD_NAME}")])
        .arg(at.guest);
    let log = at.scratch.join("wasmtime.log");
    let mut process = Process::start(command, "`wasmtime serve`", &log)?;
    answers(address, || process.still_runs()).await?;
    let loads = under_load(address, seconds).await?;
    process.stop().await?;
    Ok(Throughput {
        server: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
        loads,
    })
}

async fn under_load(address: SocketAddr, seconds: Duration) -> anyhow::Result<Vec<Load>> {
    let mut loads = Vec::new();
    for connections in CONNECTIONS {
        loads.push(Box::pin(load::run(address, connections, seconds)).await?);
    }
    Ok(loads)
}

/// Waits for the guest's own first answer.
async fn answers(
    address: SocketAddr,
    mut still_runs: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        still_runs()?;
        match load::get_once(address).await {
            Ok(body) if body.starts_with(b"Hello") => return Ok(()),
            Ok(body) if started.elapsed() > ANSWER_MAX => bail!(
                "http://{address}/ answers, but is not the guest: {}",
                String::from_utf8_lossy(&body)
            ),
            Err(e) if started.elapsed() > ANSWER_MAX => {
                return Err(e.context(format!(
                    "no answer from http://{address}/ within {ANSWER_MAX:?}"
                )));
            }
            _ => sleep(POLL).await,
        }
    }
}
