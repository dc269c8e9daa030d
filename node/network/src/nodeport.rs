//! Node ports: HTTP listeners on the node's own address, one per node port of any Service.
//!
//! Listeners follow the service table. A connection is not tied to an endpoint: every request on it
//! is balanced by itself, so endpoints that leave lose no connection and no request.

use crate::tunnel::strip_hop_by_hop;
use crate::{Body, PodNet, SendError, plain, wire};
use ahash::AHashMap;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How soon a port that could not be opened is tried again.
const REOPEN_AFTER: Duration = Duration::from_secs(5);
/// How long the connections of a port that closes may go on with what they are doing.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long `accept` rests after an error such as "too many open files", instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and how much the node ports serve.
#[derive(Debug, Clone)]
pub struct NodePortsConfig {
    /// The node's own address.
    pub address: IpAddr,
    /// Connections of all node ports together. When they are all in use, new ones wait in the
    /// kernel's backlog until one ends.
    pub connections_max: usize,
}

/// What happened to a listener, for the agent's log and events.
#[derive(Debug, Clone)]
pub enum NodePortEvent {
    /// It serves now.
    Opened(u16),
    /// It cannot be opened; it is tried again.
    Failed {
        /// The port.
        port: u16,
        /// What the system said.
        why: String,
    },
    /// No Service has it any more.
    Closed(u16),
}

/// The listeners of a node.
pub struct NodePorts {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl NodePorts {
    /// Starts to follow the service table of `net`. Events are sent as long as somebody takes them;
    /// when the receiver is full they are dropped, since listeners matter more than the news.
    pub fn start(
        config: NodePortsConfig,
        net: Arc<PodNet>,
        events: mpsc::Sender<NodePortEvent>,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let supervisor = Supervisor {
            permits: Arc::new(Semaphore::new(config.connections_max)),
            config,
            net,
            events,
            open: AHashMap::new(),
            connections: TaskTracker::new(),
        };
        let task = tokio::spawn(supervisor.run(shutdown.clone()));
        Self { shutdown, task }
    }

    /// Closes every listener and waits until requests in flight are answered, at most this long.
    pub async fn shutdown(self, at_most: Duration) {
        self.shutdown.cancel();
        // A drain that takes longer is left to the runtime; its sockets close with the process.
        let _ = tokio::time::timeout(at_most, self.task).await;
    }
}

struct Supervisor {
    config: NodePortsConfig,
    net: Arc<PodNet>,
    events: mpsc::Sender<NodePortEvent>,
    permits: Arc<Semaphore>,
    open: AHashMap<u16, CancellationToken>,
    connections: TaskTracker,
}

impl Supervisor {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.net.table().watch_node_ports();
        loop {
            changes.mark_unchanged();
            let all_open = self.reconcile().await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(REOPEN_AFTER), if !all_open => {}
            }
        }
        for (_, close) in self.open.drain() {
            close.cancel();
        }
        self.connections.close();
        self.connections.wait().await;
    }

    /// Opens and closes listeners until they are those of the table; `false` if one cannot be
    /// opened.
    async fn reconcile(&mut self) -> bool {
        let wanted = self.net.table().node_ports();
        let events = &self.events;
        self.open.retain(|port, close| {
            let keep = wanted.contains(port);
            if !keep {
                close.cancel();
                let _ = events.try_send(NodePortEvent::Closed(*port));
            }
            keep
        });
        let mut all_open = true;
        for port in wanted {
            if self.open.contains_key(&port) {
                continue;
            }
            match TcpListener::bind(SocketAddr::new(self.config.address, port)).await {
                Ok(listener) => {
                    let close = CancellationToken::new();
                    self.open.insert(port, close.clone());
                    self.connections.spawn(accept_loop(
                        listener,
                        port,
                        self.net.clone(),
                        self.permits.clone(),
                        close,
                        self.connections.clone(),
                    ));
                    let _ = self.events.try_send(NodePortEvent::Opened(port));
                }
                Err(error) => {
                    all_open = false;
                    let _ = self.events.try_send(NodePortEvent::Failed {
                        port,
                        why: format!("cannot listen on {}:{port}: {error}", self.config.address),
                    });
                }
            }
        }
        all_open
    }
}

async fn accept_loop(
    listener: TcpListener,
    port: u16,
    net: Arc<PodNet>,
    permits: Arc<Semaphore>,
    close: CancellationToken,
    connections: TaskTracker,
) {
    let accept = async {
        // The semaphore is never closed, so this ends only by cancellation.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let net = net.clone();
                    let close = close.clone();
                    connections.spawn(async move {
                        serve(stream, peer, port, net, close).await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = close.cancelled() => {}
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    port: u16,
    net: Arc<PodNet>,
    close: CancellationToken,
) {
    // Responses are written whole; waiting to coalesce them only adds latency.
    let _ = stream.set_nodelay(true);
    let client = peer.ip().to_canonical();
    let Ok(forwarded_for) = HeaderValue::try_from(client.to_string()) else {
        return;
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let net = net.clone();
        let forwarded_for = forwarded_for.clone();
        async move {
            let response = match wire::inward(request, port, Some(&forwarded_for)) {
                Ok(request) => match net.send_node_port(port, client, request).await {
                    Ok(mut response) => {
                        strip_hop_by_hop(response.headers_mut());
                        response
                    }
                    Err(error) => failure(&error),
                },
                Err(why) => plain(StatusCode::BAD_REQUEST, why),
            };
            Ok::<_, Infallible>(response)
        }
    });
    wire::serve(stream, service, false, close, DRAIN_MAX).await;
}

fn failure(error: &SendError) -> Response<Body> {
    let status = match error {
        SendError::NoEndpoints { .. } | SendError::Refused { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        SendError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        SendError::BadRequest(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut response = plain(status, &error.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
