//! A `euston dev` of our own, and a client of it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::process::Process;

/// What all measurements share.
pub(crate) struct Setting<'a> {
    pub(crate) euston: &'a Path,
    pub(crate) guest: &'a Path,
    pub(crate) scratch: &'a Path,
}

/// The name under which the guest is pushed.
pub(crate) const IMAGE: &str = "hello:bench";

const READY_MAX: Duration = Duration::from_secs(60);
/// One API call; a server that is busy with a thousand pods still answers much sooner.
const CALL_MAX: Duration = Duration::from_secs(30);
const PUSH_MAX: Duration = Duration::from_secs(120);
/// The resolution of the start's figure.
const START_POLL: Duration = Duration::from_millis(2);

/// A running cluster of one node.
pub(crate) struct Cluster {
    process: Process,
    kubeconfig: PathBuf,
    /// From before the process was spawned until the API said that the node is Ready.
    pub(crate) ready_after: Duration,
    pub(crate) client: Client,
}

impl Cluster {
    /// Starts one in a new folder `name`, and waits until its node is Ready.
    pub(crate) async fn start(at: &Setting<'_>, name: &str) -> anyhow::Result<Self> {
        let data = at.scratch.join(name);
        let kubeconfig = data.join("kubeconfig");
        let mut command = Command::new(at.euston);
        command
            .env_clear()
            // Where it records its session; keeps that out of the user's own.
            .env("HOME", at.scratch)
            .arg("dev")
            .args(["--api-port", &free_port()?.to_string()])
            .args(["--agent-port", &free_port()?.to_string()])
            .arg("--data-dir")
            .arg(&data);
        let log = at.scratch.join(format!("{name}.log"));
        let started = Instant::now();
        let mut process = Process::start(command, "`euston dev`", &log)?;
        let ready = async {
            loop {
                process.still_runs()?;
                if kubeconfig.is_file() {
                    break;
                }
                sleep(START_POLL).await;
            }
            let client = connect(&kubeconfig).await?;
            let nodes: Api<Node> = Api::all(client.clone());
            loop {
                process.still_runs()?;
                // Errors are expected until it listens.
                if let Ok(list) = nodes.list(&ListParams::default()).await
                    && list.items.iter().any(is_ready)
                {
                    return Ok::<_, anyhow::Error>(client);
                }
                sleep(START_POLL).await;
            }
        };
        let client = match timeout(READY_MAX, ready).await {
            Ok(client) => client?,
            Err(_) => bail!("no node of `euston dev` became Ready within {READY_MAX:?}"),
        };
        Ok(Self {
            process,
            kubeconfig,
            ready_after: started.elapsed(),
            client,
        })
    }

    /// Pushes the guest as [`IMAGE`], with the command that users run.
    pub(crate) async fn push(&self, at: &Setting<'_>) -> anyhow::Result<()> {
        let mut command = Command::new(at.euston);
        command
            .env_clear()
            .env("HOME", at.scratch)
            .args(["image", "push"])
            .arg(at.guest)
            .arg(IMAGE)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let output = timeout(PUSH_MAX, command.output())
            .await
            .with_context(|| format!("`euston image push` did not end within {PUSH_MAX:?}"))?
            .context("cannot start `euston image push`")?;
        if !output.status.success() {
            bail!(
                "`euston image push {} {IMAGE}` failed: {}",
                at.guest.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// Resident memory of the process: API server, store, controllers, node and guests together.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        crate::machine::resident_bytes(self.process.id()?)
    }

    /// An error if the cluster ended by itself.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        self.process.still_runs()
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }
}

/// Bounds one API call, and says in an error which one it was.
pub(crate) async fn call<T>(
    what: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> anyhow::Result<T> {
    timeout(CALL_MAX, call)
        .await
        .with_context(|| format!("{what}: no answer within {CALL_MAX:?}"))?
        .with_context(|| format!("{what}: refused"))
}

/// A port that nobody listens on, on the loopback. Someone could take it before it is used; the
/// child then ends with an error that says so.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// As [`free_port`], in the range of NodePorts.
pub(crate) fn free_node_port() -> anyhow::Result<u16> {
    (30_000..=32_767)
        .find(|port| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], *port))).is_ok())
        .context("no port from 30000 to 32767 is free on 127.0.0.1")
}

async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let shown = kubeconfig.display();
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("cannot read the kubeconfig {shown}"))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("cannot use the kubeconfig {shown}"))?;
    Client::try_from(config).with_context(|| format!("cannot make a client from {shown}"))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}
