//! From a Service and its slices to the endpoints that may get a request, and which one gets it.

use super::model::{Backend, ServiceDef, SliceDef};
use ahash::{AHashMap, AHashSet, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where an endpoint is, as seen from this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A pod of this node.
    ThisNode,
    /// A pod of another node.
    Node(Arc<str>),
    /// A program outside the pod network, such as the API server.
    Outside,
}

/// An address that requests of a Service may be sent to.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Who can reach it.
    pub place: Place,
    /// The pod's hostname, if it has a DNS name of its own.
    pub hostname: Option<Box<str>>,
    in_flight: AtomicUsize,
}

/// Counts a request as on its way to an endpoint, until the response's head is there.
pub(crate) struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The endpoints of one port of a Service.
#[derive(Debug, Default)]
struct PortEndpoints {
    all: Vec<Arc<Endpoint>>,
    /// Those on this node.
    local: Vec<Arc<Endpoint>>,
    next: AtomicUsize,
}

/// The endpoints of a Service that may get requests now.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// In the order of [`ServiceDef::ports`].
    ports: Vec<PortEndpoints>,
    /// One per pod, whatever the port; used by headless names. The port in it is 0.
    hosts: PortEndpoints,
    /// Addresses that get new requests: ready ones, or those leaving where none is ready.
    addresses: AHashSet<IpAddr>,
}

/// Endpoints that refused this request: few, so that a list beats a set.
#[derive(Debug, Default)]
pub struct Tried(Vec<SocketAddr>);

impl Tried {
    /// Remembers an endpoint.
    pub fn push(&mut self, addr: SocketAddr) {
        self.0.push(addr);
    }

    /// Forgets all, to go round again.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, addr: &SocketAddr) -> bool {
        self.0.contains(addr)
    }
}

impl EndpointSet {
    /// Computes the set. `before` is the set that it replaces: endpoints that stay keep their
    /// counts of requests in flight.
    pub(crate) fn compute<'a>(
        node: &str,
        def: &ServiceDef,
        slices: impl Iterator<Item = &'a SliceDef> + Clone,
        before: &EndpointSet,
    ) -> Self {
        let mut known: AHashMap<SocketAddr, &Arc<Endpoint>> = AHashMap::new();
        for port in before.ports.iter().chain([&before.hosts]) {
            known.extend(port.all.iter().map(|endpoint| (endpoint.addr, endpoint)));
        }
        // Where nothing is ready, those that still serve while they leave are better than none:
        // kube-proxy does the same (KEP-1669).
        let any_ready = slices
            .clone()
            .flat_map(|slice| &slice.backends)
            .any(|backend| backend.ready);
        let takes = |backend: &Backend| {
            if any_ready {
                backend.ready
            } else {
                backend.leaving
            }
        };
        let collect = |port_of: &dyn Fn(&SliceDef) -> Option<u16>| {
            let mut seen = AHashSet::new();
            let mut port = PortEndpoints::default();
            for slice in slices.clone() {
                let Some(number) = port_of(slice) else {
                    continue;
                };
                for backend in slice.backends.iter().filter(|b| takes(b)) {
                    let addr = SocketAddr::new(backend.ip, number);
                    // The same endpoint may stand in two slices while one is being rebuilt.
                    if !seen.insert(addr) {
                        continue;
                    }
                    let place = place(node, backend);
                    let endpoint = match known.get(&addr) {
                        Some(old) if old.place == place && old.hostname == backend.hostname => {
                            Arc::clone(old)
                        }
                        _ => Arc::new(Endpoint {
                            addr,
                            place,
                            hostname: backend.hostname.clone(),
                            in_flight: AtomicUsize::new(0),
                        }),
                    };
                    if endpoint.place == Place::ThisNode {
                        port.local.push(Arc::clone(&endpoint));
                    }
                    port.all.push(endpoint);
                }
            }
            // Every node starts its round elsewhere; without this they would all begin with the
            // same endpoint and go round in step.
            port.next = AtomicUsize::new(rand::random_range(0..=port.all.len()));
            port
        };
        let ports = def
            .ports
            .iter()
            .map(|port| {
                collect(&|slice: &SliceDef| {
                    slice
                        .ports
                        .iter()
                        .find(|(name, _)| *name == port.name)
                        .map(|(_, number)| *number)
                })
            })
            .collect();
        let hosts = collect(&|_: &SliceDef| Some(0));
        let addresses = hosts.all.iter().map(|e| e.addr.ip()).collect();
        Self {
            ports,
            hosts,
            addresses,
        }
    }

    /// Chooses among the endpoints of a port: in turn, and of two neighbours in the round the one
    /// with fewer requests in flight; with affinity, the one that this client hashes to.
    pub(crate) fn pick(
        &self,
        port: Option<usize>,
        local_only: bool,
        affinity: Option<IpAddr>,
        tried: &Tried,
    ) -> Option<Arc<Endpoint>> {
        let port = match port {
            Some(index) => self.ports.get(index)?,
            None => &self.hosts,
        };
        let list = if local_only { &port.local } else { &port.all };
        if list.is_empty() {
            return None;
        }
        if let Some(client) = affinity {
            return rendezvous(list, client, tried);
        }
        let start = port.next.fetch_add(1, Ordering::Relaxed);
        let mut candidates = (0..list.len())
            .map(|step| &list[(start.wrapping_add(step)) % list.len()])
            .filter(|endpoint| !tried.contains(&endpoint.addr));
        let first = candidates.next()?;
        let first_load = first.in_flight.load(Ordering::Relaxed);
        if first_load == 0 {
            return Some(Arc::clone(first));
        }
        Some(Arc::clone(match candidates.next() {
            Some(second) if second.in_flight.load(Ordering::Relaxed) < first_load => second,
            _ => first,
        }))
    }

    /// The pod with this hostname.
    pub(crate) fn by_hostname(&self, hostname: &str) -> Option<&Arc<Endpoint>> {
        self.hosts
            .all
            .iter()
            .find(|endpoint| endpoint.hostname.as_deref() == Some(hostname))
    }

    /// The addresses that get new requests.
    pub(crate) fn addresses(&self) -> &AHashSet<IpAddr> {
        &self.addresses
    }

    /// How many endpoints a port has; `None` counts the pods of a headless Service.
    pub fn len(&self, port: Option<usize>) -> usize {
        match port {
            Some(index) => self.ports.get(index).map_or(0, |port| port.all.len()),
            None => self.hosts.all.len(),
        }
    }

    /// Whether no pod may get a request.
    pub fn is_empty(&self) -> bool {
        self.hosts.all.is_empty()
    }
}

fn place(node: &str, backend: &Backend) -> Place {
    match &backend.node {
        _ if !backend.is_pod => Place::Outside,
        Some(name) if &**name == node => Place::ThisNode,
        Some(name) => Place::Node(Arc::clone(name)),
        None => Place::Outside,
    }
}

/// Highest random weight: a client keeps its endpoint while that one stays, and the clients of one
/// that leaves spread over the rest. Every node computes the same, since the seeds are fixed.
fn rendezvous(list: &[Arc<Endpoint>], client: IpAddr, tried: &Tried) -> Option<Arc<Endpoint>> {
    let hasher = RandomState::with_seeds(0x6575_7374, 0x6f6e_2d61, 0x6666_696e, 0x6974_7921);
    list.iter()
        .filter(|endpoint| !tried.contains(&endpoint.addr))
        .max_by_key(|endpoint| hasher.hash_one((client, endpoint.addr)))
        .cloned()
}
