//! The pods of this node, and the way of a request to wherever it belongs.

use crate::handler::{HttpHandler, RemoteTransport, Undelivered};
use crate::names::{self, Resolved};
use crate::outside::{Limits, OutsideClient, redirect};
use crate::route::{Caller, SendOptions};
use crate::table::{Endpoint, InFlight, Place, Scope, Service, ServiceTable, Tried};
use crate::{Body, Cidr, SendError};
use ahash::RandomState;
use arc_swap::ArcSwap;
use http::uri::Scheme;
use http::{Request, Response};
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request that every endpoint refused waits for new endpoints. Refusals happen while
/// endpoints start or drain, and the table follows within a tenth of that.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// How long it waits at most before it goes round again without news.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// How many aliases (ExternalName) are followed from one to the next.
const ALIASES_MAX: usize = 4;

/// What the pod network of a node knows of the cluster's shape.
#[derive(Debug, Clone)]
pub struct PodNetConfig {
    /// This node's name.
    pub node_name: String,
    /// The range that all nodes' pod ranges are cut from.
    pub cluster_cidr: Cidr,
    /// The range of the virtual addresses of Services.
    pub service_cidr: Cidr,
}

type Ports = ArcSwap<Vec<(u16, Arc<dyn HttpHandler>)>>;
type Pods =
    imbl::GenericHashMap<IpAddr, Arc<Ports>, RandomState, imbl::shared_ptr::DefaultSharedPtr>;

/// The pod network of one node.
pub struct PodNet {
    config: PodNetConfig,
    table: Arc<ServiceTable>,
    pods: ArcSwap<Pods>,
    /// Pod ranges of all nodes, by their first address.
    nodes: ArcSwap<imbl::OrdMap<IpAddr, (Cidr, Arc<str>)>>,
    /// Held by whoever changes `pods` or `nodes`; never by a request.
    writer: Mutex<()>,
    outside: OutsideClient,
    remote: Arc<dyn RemoteTransport>,
}

/// Another container of the pod listens on the port already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("port {port} of the pod is in use by another container of it")]
pub struct PortInUse {
    /// The port.
    pub port: u16,
}

impl PodNet {
    /// A network without pods.
    pub fn new(
        config: PodNetConfig,
        table: Arc<ServiceTable>,
        outside: OutsideClient,
        remote: Arc<dyn RemoteTransport>,
    ) -> Self {
        Self {
            config,
            table,
            pods: ArcSwap::from_pointee(Pods::default()),
            nodes: ArcSwap::from_pointee(imbl::OrdMap::new()),
            writer: Mutex::new(()),
            outside,
            remote,
        }
    }

    /// The Services that it routes to.
    pub fn table(&self) -> &Arc<ServiceTable> {
        &self.table
    }

    /// Makes a handler answer on a port of a pod of this node.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn listen(
        &self,
        pod: IpAddr,
        port: u16,
        handler: Arc<dyn HttpHandler>,
    ) -> Result<(), PortInUse> {
        let _writer = self.writer.lock();
        let pods = self.pods.load();
        let Some(ports) = pods.get(&pod) else {
            let mut pods = Pods::clone(&pods);
            let ports = ArcSwap::from_pointee(vec![(port, handler)]);
            pods.insert(pod, Arc::new(ports));
            self.pods.store(Arc::new(pods));
            return Ok(());
        };
        let mut list = Vec::clone(&ports.load());
        if list.iter().any(|(taken, _)| *taken == port) {
            return Err(PortInUse { port });
        }
        list.push((port, handler));
        ports.store(Arc::new(list));
        Ok(())
    }

    /// Ends what listens on a port. Requests that it has already taken go on.
    pub fn unlisten(&self, pod: IpAddr, port: u16) {
        let _writer = self.writer.lock();
        let pods = self.pods.load();
        let Some(ports) = pods.get(&pod) else {
            return;
        };
        let mut list = Vec::clone(&ports.load());
        list.retain(|(taken, _)| *taken != port);
        if list.is_empty() {
            let mut pods = Pods::clone(&pods);
            pods.remove(&pod);
            self.pods.store(Arc::new(pods));
        } else {
            ports.store(Arc::new(list));
        }
    }

    /// Takes note that the named node has this range of pod addresses.
    pub fn set_node(&self, name: &str, range: Cidr) {
        let _writer = self.writer.lock();
        let nodes = self.nodes.load();
        if nodes
            .get(&range.base())
            .is_some_and(|(known, node)| *known == range && &**node == name)
        {
            return;
        }
        let mut nodes = imbl::OrdMap::clone(&nodes);
        nodes.insert(range.base(), (range, name.into()));
        self.nodes.store(Arc::new(nodes));
    }

    /// Forgets a node's range.
    pub fn remove_node(&self, name: &str) {
        let _writer = self.writer.lock();
        let nodes: imbl::OrdMap<_, _> = self
            .nodes
            .load()
            .iter()
            .filter(|(_, (_, node))| &**node != name)
            .map(|(base, entry)| (*base, entry.clone()))
            .collect();
        self.nodes.store(Arc::new(nodes));
    }

    fn node_of(&self, pod: IpAddr) -> Option<Arc<str>> {
        let nodes = self.nodes.load();
        let (_, (range, node)) = nodes.get_prev(&pod)?;
        range.contains(pod).then(|| node.clone())
    }

    /// Sends a request as a pod of this node: to itself, to another pod, to a Service, or outside,
    /// as the authority of its URI says.
    ///
    /// # Errors
    /// See [`SendError`]. Responses of any status are no errors.
    pub async fn send(
        &self,
        caller: &Caller,
        mut request: Request<Body>,
        options: SendOptions,
    ) -> Result<Response<Body>, SendError> {
        let mut alias: Option<String> = None;
        for _ in 0..ALIASES_MAX {
            let Some(authority) = request.uri().authority() else {
                return Err(SendError::BadRequest(format!(
                    "{:?} names no host",
                    request.uri()
                )));
            };
            let tls = request.uri().scheme() == Some(&Scheme::HTTPS);
            let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let host = alias.as_deref().unwrap_or(authority.host());
            let target = match names::resolve(&self.table, &caller.namespace, host) {
                Resolved::Ip(ip) => match self.table.by_cluster_ip(ip) {
                    Some(service) => Resolved::Service(service),
                    None => Resolved::Ip(ip),
                },
                target => target,
            };
            return match target {
                Resolved::Service(service) => match &service.def.external_name {
                    Some(name) => {
                        alias = Some(name.trim_end_matches('.').to_owned());
                        continue;
                    }
                    None => {
                        self.to_service(&service, port, Some(caller.ip), request, options)
                            .await
                    }
                },
                Resolved::Loopback => {
                    let to = SocketAddr::new(caller.ip, port);
                    deny_tls(tls, to)?;
                    settle(self.deliver_local(to, request).await, to)
                }
                Resolved::Pod(endpoint) => {
                    let to = SocketAddr::new(endpoint.addr.ip(), port);
                    settle(self.to_endpoint(&endpoint, to, request, options).await, to)
                }
                Resolved::Ip(ip) if self.config.cluster_cidr.contains(ip) => {
                    let to = SocketAddr::new(ip, port);
                    settle(self.to_pod(to, request, options).await, to)
                }
                Resolved::Ip(ip) if self.config.service_cidr.contains(ip) => {
                    Err(SendError::Refused {
                        to: SocketAddr::new(ip, port).to_string(),
                        why: "no Service has this address".into(),
                    })
                }
                Resolved::Ip(_) | Resolved::Outside => {
                    if let Some(name) = alias {
                        request = redirect(request, &format!("{name}:{port}"))?;
                    }
                    self.outside.send(request, limits(options)).await
                }
                Resolved::Nothing => Err(SendError::NoSuchName(host.to_owned())),
            };
        }
        Err(SendError::NoSuchName(alias.unwrap_or_default()))
    }

    /// Sends a request that came to a node port.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_node_port(
        &self,
        node_port: u16,
        client: IpAddr,
        request: Request<Body>,
    ) -> Result<Response<Body>, SendError> {
        let Some((service, port)) = self.table.by_node_port(node_port) else {
            return Err(SendError::Refused {
                to: format!("node port {node_port}"),
                why: "no Service has this node port".into(),
            });
        };
        self.balance(
            &service,
            Some(port),
            None,
            Scope::External,
            Some(client),
            request,
            SendOptions::default(),
        )
        .await
    }

    async fn to_service(
        &self,
        service: &Service,
        port: u16,
        client: Option<IpAddr>,
        request: Request<Body>,
        options: SendOptions,
    ) -> Result<Response<Body>, SendError> {
        let index = service.port_index(port);
        if index.is_none() && !service.def.headless {
            return Err(SendError::Refused {
                to: format!("{}:{port}", service.id()),
                why: "the Service has no such port".into(),
            });
        }
        // A headless name stands for the pods, so the port is the pod's own.
        let (index, override_port) = match service.def.headless {
            true => (None, Some(port)),
            false => (index, None),
        };
        let scope = Scope::Internal;
        self.balance(
            service,
            index,
            override_port,
            scope,
            client,
            request,
            options,
        )
        .await
    }

    /// Offers a request to one endpoint after another until one takes it. A refusal means that no
    /// guest has seen it, so nothing is ever sent twice.
    #[allow(clippy::too_many_arguments)] // one call site per way in; a struct would only rename them
    async fn balance(
        &self,
        service: &Service,
        port: Option<usize>,
        override_port: Option<u16>,
        scope: Scope,
        client: Option<IpAddr>,
        mut request: Request<Body>,
        options: SendOptions,
    ) -> Result<Response<Body>, SendError> {
        let mut tried = Tried::default();
        let mut deadline = None;
        loop {
            let Some(endpoint) = service.pick(port, scope, client, &tried) else {
                let no_endpoints = || SendError::NoEndpoints {
                    service: service.id(),
                };
                // With nobody there at all the answer is immediate; only a request that somebody
                // turned away waits for the table to catch up.
                let Some(deadline) = deadline else {
                    return Err(no_endpoints());
                };
                let now = Instant::now();
                if now >= deadline {
                    return Err(no_endpoints());
                }
                service.changed(REFUSED_PAUSE.min(deadline - now)).await;
                tried.clear();
                continue;
            };
            let mut to = endpoint.addr;
            if let Some(port) = override_port {
                to.set_port(port);
            }
            let in_flight = InFlight::new(endpoint.clone());
            let outcome = self.to_endpoint(&endpoint, to, request, options).await;
            drop(in_flight);
            match outcome {
                Ok(response) => return Ok(response),
                Err(Undelivered::Failed(error)) => return Err(error),
                Err(Undelivered::Refused { request: back, .. }) => {
                    deadline.get_or_insert_with(|| Instant::now() + REFUSED_WAIT);
                    tried.push(endpoint.addr);
                    request = *back;
                }
            }
        }
    }

    async fn to_endpoint(
        &self,
        endpoint: &Endpoint,
        to: SocketAddr,
        request: Request<Body>,
        options: SendOptions,
    ) -> Result<Response<Body>, Undelivered> {
        match &endpoint.place {
            Place::ThisNode => {
                deny_tls(is_tls(&request), to).map_err(Undelivered::Failed)?;
                self.deliver_local(to, request).await
            }
            Place::Node(node) => self.to_remote(node, to, request, options).await,
            Place::Outside => self
                .outside
                .send_trusted(to, request, limits(options))
                .await
                .map_err(Undelivered::Failed),
        }
    }

    async fn to_pod(
        &self,
        to: SocketAddr,
        request: Request<Body>,
        options: SendOptions,
    ) -> Result<Response<Body>, Undelivered> {
        match self.node_of(to.ip()) {
            Some(node) if *node == *self.config.node_name => {
                deny_tls(is_tls(&request), to).map_err(Undelivered::Failed)?;
                self.deliver_local(to, request).await
            }
            Some(node) => self.to_remote(&node, to, request, options).await,
            None => Err(Undelivered::Refused {
                request: Box::new(request),
                why: "no node has pods in this range",
            }),
        }
    }

    async fn to_remote(
        &self,
        node: &str,
        to: SocketAddr,
        request: Request<Body>,
        options: SendOptions,
    ) -> Result<Response<Body>, Undelivered> {
        deny_tls(is_tls(&request), to).map_err(Undelivered::Failed)?;
        let after = options
            .connect_timeout
            .saturating_add(options.first_byte_timeout);
        match tokio::time::timeout(after, self.remote.send(node, to, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Undelivered::Failed(SendError::Timeout {
                what: "the response of a pod on another node",
                after,
            })),
        }
    }

    /// Whether something answers on this port of a pod of this node.
    pub fn is_listening(&self, at: SocketAddr) -> bool {
        self.pods
            .load()
            .get(&at.ip())
            .is_some_and(|ports| ports.load().iter().any(|(port, _)| *port == at.port()))
    }

    /// Hands a request to a pod of this node: a function call. For tunnels and probes, which know
    /// the very pod they want.
    ///
    /// # Errors
    /// [`Undelivered::Refused`] when nothing listens there.
    pub async fn deliver_local(
        &self,
        to: SocketAddr,
        request: Request<Body>,
    ) -> Result<Response<Body>, Undelivered> {
        let handler = self.pods.load().get(&to.ip()).and_then(|ports| {
            ports
                .load()
                .iter()
                .find(|(port, _)| *port == to.port())
                .map(|(_, handler)| handler.clone())
        });
        match handler {
            Some(handler) => handler.handle(request).await,
            None => Err(Undelivered::Refused {
                request: Box::new(request),
                why: "no container of a pod listens there",
            }),
        }
    }
}

fn is_tls(request: &Request<Body>) -> bool {
    request.uri().scheme() == Some(&Scheme::HTTPS)
}

/// HTTP containers get requests, not connections, so there is nobody to end TLS in a pod.
fn deny_tls(tls: bool, to: SocketAddr) -> Result<(), SendError> {
    if !tls {
        return Ok(());
    }
    Err(SendError::Denied {
        to: to.to_string(),
        why: "pods are reached by http://; between nodes it travels encrypted anyway".into(),
    })
}

fn limits(options: SendOptions) -> Limits {
    Limits {
        connect: options.connect_timeout,
        first_byte: options.first_byte_timeout,
    }
}

fn settle(
    outcome: Result<Response<Body>, Undelivered>,
    to: SocketAddr,
) -> Result<Response<Body>, SendError> {
    outcome.map_err(|undelivered| match undelivered {
        Undelivered::Failed(error) => error,
        Undelivered::Refused { why, .. } => SendError::Refused {
            to: to.to_string(),
            why: why.into(),
        },
    })
}
