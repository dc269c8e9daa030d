//! How an agent is started, and why it could not be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Everything that an agent needs to know.
#[derive(Clone)]
pub struct AgentConfig {
    /// The node's name: what `spec.nodeName` of its pods says.
    pub node_name: String,
    /// The node's own address: its API listens there, and its node ports.
    pub address: IpAddr,
    /// The port of its API (logs, tunnels from other nodes); 10250 by custom.
    pub port: u16,
    /// Where images, compiled code, logs and volumes are kept.
    pub data_dir: PathBuf,
    /// The API server, as the user `system:node:NAME`.
    pub client: kube::Client,
    /// The cluster's authority, in PEM.
    pub ca_pem: String,
    /// The node's certificate, for serving and for calling other nodes.
    pub identity: euston_tls::Identity,
    /// The sandbox host, where several agents share a process; one is made otherwise.
    pub runtime: Option<euston_sandbox::Runtime>,
    /// Whether pods may mount directories of the host.
    pub allow_host_path: bool,
    /// Labels of the node besides the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// What the node offers to pods; all of the machine if `None`.
    pub capacity: Option<Capacity>,
    /// The range that all nodes' pod ranges are cut from.
    pub cluster_cidr: String,
    /// The range of the virtual addresses of Services.
    pub service_cidr: String,
}

impl AgentConfig {
    /// A configuration with the defaults of the cluster.
    pub fn new(
        node_name: impl Into<String>,
        address: IpAddr,
        data_dir: impl Into<PathBuf>,
        client: kube::Client,
        ca_pem: impl Into<String>,
        identity: euston_tls::Identity,
    ) -> Self {
        Self {
            node_name: node_name.into(),
            address,
            port: 10_250,
            data_dir: data_dir.into(),
            client,
            ca_pem: ca_pem.into(),
            identity,
            runtime: None,
            allow_host_path: false,
            labels: BTreeMap::new(),
            capacity: None,
            cluster_cidr: "10.128.0.0/9".into(),
            service_cidr: "10.96.0.0/16".into(),
        }
    }
}

/// What a node offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of a CPU.
    pub cpu_millis: i64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Bytes of disk for logs and volumes.
    pub storage_bytes: i64,
    /// How many pods.
    pub pods: i64,
}

/// Pods of one node, at most; the pod range of a node has more addresses than that.
pub(crate) const PODS_MAX: i64 = 10_000;

impl Capacity {
    /// What this machine has.
    pub fn of_machine(data_dir: &std::path::Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let storage = rustix::fs::statvfs(data_dir)
            .map(|fs| fs.f_blocks.saturating_mul(fs.f_frsize))
            .unwrap_or(0);
        Self {
            cpu_millis: i64::try_from(cpus).unwrap_or(1) * 1000,
            memory_bytes: memory_total().unwrap_or(1 << 30),
            storage_bytes: i64::try_from(storage).unwrap_or(i64::MAX),
            pods: PODS_MAX,
        }
    }
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn memory_total() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The sandbox host refuses to work here.
    #[error(transparent)]
    Sandbox(#[from] euston_sandbox::SandboxError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {source}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate or the authority cannot be used.
    #[error(transparent)]
    Tls(#[from] euston_tls::TlsError),
    /// The node's API cannot listen.
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Listen {
        /// Address and port.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// An address range of the configuration is none.
    #[error(transparent)]
    Cidr(#[from] euston_network::CidrError),
}
