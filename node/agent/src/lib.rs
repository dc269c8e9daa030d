//! The kubelet: makes pods bound to this node run.
//!
//! - [`pod`] decides, as pure functions: what a spec asks, what is the case, what to do next, what
//!   the status is.
//! - [`worker`] does it, one task per pod; [`manager`] keeps a worker for each pod of this node.
//! - [`setup`], [`env`], [`downward`], [`volumes`], [`configs`] put together what a container gets;
//!   [`images`] brings its code.
//! - [`logs`] takes what it prints; [`server`] gives that to the API server, and takes requests from
//!   pods of other nodes; [`transport`] sends such requests.
//! - [`remote`] is how clients reach into pods: exec, attach, port-forward, copying, proxying.
//! - [`node`] keeps the Node object and its lease; [`status_writer`] brings statuses to the API.
//! - [`glue`] joins `euston_sandbox` and `euston_network`, which do not know each other.

mod config;
mod configs;
mod downward;
mod env;
mod feeds;
mod glue;
mod hooks;
mod images;
mod logs;
mod manager;
mod node;
mod pod;
mod remote;
mod server;
mod setup;
mod status_writer;
mod tokens;
mod transport;
mod volumes;
mod worker;

pub use config::{AgentConfig, AgentError, Capacity};

use crate::configs::Configs;
use crate::images::Images;
use crate::logs::writer::LogDisk;
use crate::manager::Manager;
use crate::node::Node;
use crate::status_writer::StatusWriter;
use crate::transport::Transport;
use euston_client::{EventRecorder, Informer, Selection};
use euston_network::{
    NodePorts, NodePortsConfig, OutsideClient, OutsideConfig, PodNet, PodNetConfig, ServiceTable,
};
use euston_sandbox::{Runtime, RuntimeConfig};
use euston_tls::{ClientAuth, HttpsClient, ServeLimits};
use k8s_openapi::api::core::v1::Pod;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections to node ports at one time, of all ports together: half of the descriptors that
/// processes commonly may open are left for everything else.
const NODE_PORT_CONNECTIONS_MAX: usize = 16_384;
/// News of listeners that wait to be logged; more are dropped.
const LISTENER_NEWS_MAX: usize = 64;

/// A running agent.
pub struct Agent {
    node: Arc<Node>,
    manager: Manager,
    node_ports: NodePorts,
    /// Of the parts that outlive the pods at shutdown.
    feeds: CancellationToken,
    tasks: JoinSet<()>,
    address: SocketAddr,
}

impl Agent {
    /// Starts an agent. It returns as soon as its API listens; registering the node goes on in the
    /// background and is tried until the API server answers.
    ///
    /// # Errors
    /// When the machine does not let it: see [`AgentError`].
    pub async fn start(config: AgentConfig) -> Result<Self, AgentError> {
        let data_dir = |source| AgentError::DataDir {
            path: config.data_dir.clone(),
            source,
        };
        std::fs::create_dir_all(config.data_dir.join("pods")).map_err(data_dir)?;
        let runtime = match &config.runtime {
            Some(runtime) => runtime.clone(),
            None => Runtime::new(RuntimeConfig::new(config.data_dir.join("code")))?,
        };
        let images = Images::open(
            config.data_dir.join("images"),
            runtime.clone(),
            config.client.clone(),
        )
        .map_err(data_dir)?;
        let tls =
            euston_tls::server_config(&config.ca_pem, &config.identity, ClientAuth::Required)?;
        let outbound = HttpsClient::new(&config.ca_pem, Some(&config.identity))?;
        let address = SocketAddr::new(config.address, config.port);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| AgentError::Listen { address, source })?;
        let address = listener.local_addr().unwrap_or(address);

        let table = Arc::new(ServiceTable::new(&config.node_name));
        let transport = Arc::new(Transport::new(outbound));
        let net = Arc::new(PodNet::new(
            PodNetConfig {
                node_name: config.node_name.clone(),
                cluster_cidr: config.cluster_cidr.parse()?,
                service_cidr: config.service_cidr.parse()?,
            },
            table,
            OutsideClient::new(OutsideConfig {
                extra_roots_pem: config.ca_pem.clone(),
            }),
            transport.clone(),
        ));
        let (listener_news, heard) = mpsc::channel(LISTENER_NEWS_MAX);
        let node_ports = NodePorts::start(
            NodePortsConfig {
                address: config.address,
                connections_max: NODE_PORT_CONNECTIONS_MAX,
            },
            net.clone(),
            listener_news,
        );
        let capacity = config
            .capacity
            .unwrap_or_else(|| Capacity::of_machine(&config.data_dir));
        let client = config.client.clone();
        let node = Arc::new(Node {
            capacity,
            host_ip: config.address.to_string(),
            runtime,
            net,
            images,
            configs: Configs::new(client.clone()),
            disk: LogDisk::start().map_err(data_dir)?,
            events: EventRecorder::new(client.clone(), "kubelet", Some(config.node_name.clone())),
            statuses: StatusWriter::new(client.clone()),
            starts: Semaphore::new(Node::STARTS_MAX),
            addresses: watch::Sender::new(None),
            shutdown: CancellationToken::new(),
            began: Instant::now(),
            config: AgentConfig {
                port: address.port(),
                ..config
            },
        });

        let feeds = CancellationToken::new();
        let mut tasks = JoinSet::new();
        feeds::start(&node, transport, &feeds);
        tasks.spawn(feeds::report_listeners(node.clone(), heard));
        let mine = Selection::fields(format!("spec.nodeName={}", node.config.node_name));
        let pods: Informer<Pod> = Informer::start(client, mine, node.shutdown.clone());
        let changes = pods.subscribe();
        let manager = Manager::new(node.clone(), pods);
        tasks.spawn(node::keep_registered(node.clone()));
        tasks.spawn(manager.clone().run(changes));
        let router = server::router(node.clone(), manager.clone());
        let stop_serving = feeds.clone();
        tasks.spawn(async move {
            let served =
                euston_tls::serve(listener, tls, router, ServeLimits::default(), stop_serving);
            if let Err(error) = served.await {
                tracing::error!(%error, "the node's API has stopped");
            }
        });
        Ok(Self {
            node,
            manager,
            node_ports,
            feeds,
            tasks,
            address,
        })
    }

    /// Where the node's API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the containers and leaves their pods in the API as they are, so that they run again
    /// when the agent does. What has not ended after `timeout` is dropped.
    pub async fn shutdown(mut self, timeout: Duration) {
        let orderly = async {
            self.node.shutdown.cancel();
            self.manager.tasks.close();
            self.manager.tasks.wait().await;
            self.feeds.cancel();
            self.node_ports.shutdown(timeout).await;
            while self.tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(timeout, orderly).await.is_err() {
            tracing::warn!(
                ?timeout,
                "the agent was not done in time; the rest is dropped"
            );
        }
        self.feeds.cancel();
    }
}
