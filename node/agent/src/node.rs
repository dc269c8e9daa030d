//! What the pods of a node share, and the node's own object in the API.

use crate::config::{AgentConfig, Capacity};
use crate::configs::Configs;
use crate::images::Images;
use crate::logs::writer::LogDisk;
use crate::pod::Now;
use crate::status_writer::StatusWriter;
use euston_client::{EventRecorder, errors};
use euston_network::{IpPool, PodNet};
use euston_sandbox::Runtime;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node as ApiNode;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// What the version of a node says; the API's version and ours.
const KUBELET_VERSION: &str = concat!("v1.37.0+euston-", env!("CARGO_PKG_VERSION"));
const RUNTIME_VERSION: &str = "wasmtime://48.0.8";
/// Leases are renewed this often and are good for four times that, as a kubelet's.
const LEASE_EVERY: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The status is written again this often although nothing changed.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// After a request to the API server failed.
const RETRY: Duration = Duration::from_millis(500);
/// A request to the API server without an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Containers that are being started at one time. Starting is mostly waiting for the image; this
/// bounds what a burst of thousands of pods holds in memory, and nothing waits long for its turn.
const STARTS_MAX: usize = 256;

/// The shared parts of an agent.
pub(crate) struct Node {
    pub(crate) config: AgentConfig,
    pub(crate) capacity: Capacity,
    pub(crate) host_ip: String,
    pub(crate) runtime: Runtime,
    pub(crate) net: Arc<PodNet>,
    pub(crate) images: Images,
    pub(crate) configs: Configs,
    pub(crate) disk: LogDisk,
    pub(crate) events: EventRecorder,
    pub(crate) statuses: StatusWriter,
    pub(crate) starts: Semaphore,
    /// The addresses for pods; `None` until the node has its range.
    pub(crate) addresses: watch::Sender<Option<Arc<Mutex<IpPool>>>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) began: Instant,
}

impl Node {
    pub(crate) const STARTS_MAX: usize = STARTS_MAX;

    pub(crate) fn now(&self) -> Now {
        Now {
            mono: self.began.elapsed(),
            wall: Timestamp::now(),
        }
    }

    /// An address for a pod: the one it had, if that is still free. Waits for the node's range.
    pub(crate) async fn address(&self, before: Option<IpAddr>) -> Result<IpAddr, String> {
        let mut addresses = self.addresses.subscribe();
        let pool = addresses
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|pool| pool.clone())
            .ok_or("the agent is shutting down")?;
        let mut pool = pool.lock();
        match before {
            Some(ip) if pool.reserve(ip) => Ok(ip),
            _ => pool.allocate().map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn release_address(&self, ip: IpAddr) {
        if let Some(pool) = self.addresses.borrow().as_ref() {
            pool.lock().release(ip);
        }
    }

    /// Takes the node's range from its object; the first one stays until the agent restarts.
    pub(crate) fn take_range(&self, node: &ApiNode) {
        let Some(range) = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()) else {
            return;
        };
        match range.parse() {
            Ok(range) => {
                self.addresses.send_if_modified(|pool| {
                    let new = pool.is_none();
                    if new {
                        *pool = Some(Arc::new(Mutex::new(IpPool::new(range))));
                    }
                    new
                });
            }
            Err(error) => tracing::error!(%error, "the node's podCIDR cannot be used"),
        }
    }
}

/// Keeps the Node object and its lease until shutdown.
pub(crate) async fn keep_registered(node: Arc<Node>) {
    let api: Api<ApiNode> = Api::all(node.config.client.clone());
    let work = async {
        retry("register the node", || register(&node, &api)).await;
        // Ready means that pods can run, and they need addresses.
        let mut addresses = node.addresses.subscribe();
        tokio::join!(renew_lease(&node), async {
            let mut transition = None;
            loop {
                let ready = addresses.borrow_and_update().is_some();
                if transition.is_none_or(|(was, _)| was != ready) {
                    transition = Some((ready, Timestamp::now()));
                }
                let since = transition.map_or_else(Timestamp::now, |(_, since)| since);
                retry("write the node's status", || {
                    write_status(&node, &api, ready, since)
                })
                .await;
                tokio::select! {
                    changed = addresses.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(STATUS_EVERY) => {}
                }
            }
        });
    };
    tokio::select! {
        () = work => {}
        () = node.shutdown.cancelled() => {}
    }
}

/// Tries until it works: without it the node is of no use, and the API server may just be starting.
async fn retry<F>(what: &'static str, mut attempt: impl FnMut() -> F)
where
    F: Future<Output = Result<(), kube::Error>>,
{
    let mut quiet = false;
    loop {
        let error = match tokio::time::timeout(REQUEST_TIMEOUT, attempt()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {REQUEST_TIMEOUT:?}"),
        };
        if !quiet {
            tracing::warn!(%error, "cannot {what}; it is tried again until it works");
            quiet = true;
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn register(node: &Node, api: &Api<ApiNode>) -> Result<(), kube::Error> {
    let name = &node.config.node_name;
    let mut labels = node.config.labels.clone();
    labels.insert("kubernetes.io/hostname".into(), name.clone());
    labels.insert("kubernetes.io/arch".into(), architecture().into());
    labels.insert("kubernetes.io/os".into(), "linux".into());
    let object: ApiNode = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": status(node, false, Timestamp::now()),
    }))
    .map_err(kube::Error::SerdeError)?;
    let stored = match api.create(&PostParams::default(), &object).await {
        Ok(stored) => stored,
        Err(error) if errors::is_already_exists(&error) => {
            let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
            api.patch(name, &PatchParams::default(), &patch).await?
        }
        Err(error) => return Err(error),
    };
    node.take_range(&stored);
    Ok(())
}

async fn write_status(
    node: &Node,
    api: &Api<ApiNode>,
    ready: bool,
    since: Timestamp,
) -> Result<(), kube::Error> {
    let patch = Patch::Strategic(json!({"status": status(node, ready, since)}));
    let name = &node.config.node_name;
    match api
        .patch_status(name, &PatchParams::default(), &patch)
        .await
    {
        // Someone deleted it while it was in use: it is made again, as a kubelet would.
        Err(error) if errors::is_not_found(&error) => register(node, api).await,
        other => other.map(|_| ()),
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn status(node: &Node, ready: bool, since: Timestamp) -> Value {
    let capacity = json!({
        "cpu": format!("{}m", node.capacity.cpu_millis),
        "memory": format!("{}Ki", node.capacity.memory_bytes / 1024),
        "ephemeral-storage": format!("{}Ki", node.capacity.storage_bytes / 1024),
        "pods": node.capacity.pods.to_string(),
    });
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let (now, since) = (seconds(Timestamp::now()), seconds(since));
    let condition = |type_: &str, is: bool, reason: &str, message: &str| {
        json!({"type": type_, "status": if is { "True" } else { "False" }, "reason": reason,
            "message": message, "lastHeartbeatTime": now, "lastTransitionTime": since})
    };
    let ready = if ready {
        condition(
            "Ready",
            true,
            "KubeletReady",
            "the agent is posting ready status",
        )
    } else {
        condition(
            "Ready",
            false,
            "KubeletNotReady",
            "the node has no podCIDR yet",
        )
    };
    json!({
        "addresses": [
            {"type": "InternalIP", "address": node.host_ip},
            {"type": "Hostname", "address": node.config.node_name},
        ],
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [
            condition("MemoryPressure", false, "KubeletHasSufficientMemory", "the node has sufficient memory"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "the node has no disk pressure"),
            condition("PIDPressure", false, "KubeletHasSufficientPID", "Wasm pods need no processes"),
            ready,
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": node.config.port}},
        "nodeInfo": {
            "architecture": architecture(),
            "operatingSystem": "linux",
            "bootID": read("/proc/sys/kernel/random/boot_id"),
            "machineID": read("/etc/machine-id"),
            "systemUUID": read("/etc/machine-id"),
            "kernelVersion": read("/proc/sys/kernel/osrelease"),
            "osImage": "Euston",
            "containerRuntimeVersion": RUNTIME_VERSION,
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
        },
    })
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Renews the node's lease; other tools read from it that the node lives.
async fn renew_lease(node: &Node) {
    let api: Api<Lease> = Api::namespaced(node.config.client.clone(), LEASE_NAMESPACE);
    let name = &node.config.node_name;
    loop {
        retry("renew the node's lease", || async {
            let renewed = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
            let spec = json!({"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed});
            let patch = Patch::Merge(json!({"spec": spec}));
            match api.patch(name, &PatchParams::default(), &patch).await {
                Err(error) if errors::is_not_found(&error) => {
                    let lease = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))
                        .map_err(kube::Error::SerdeError)?;
                    api.create(&PostParams::default(), &lease).await.map(|_| ())
                }
                other => other.map(|_| ()),
            }
        })
        .await;
        tokio::time::sleep(LEASE_EVERY).await;
    }
}
