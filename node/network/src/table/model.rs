//! What the table keeps of a Service and an EndpointSlice: the decoded, checked part.

use k8s_openapi::api::core::v1::Service as ApiService;
use k8s_openapi::api::discovery::v1::EndpointSlice as ApiSlice;
use std::net::IpAddr;
use std::sync::Arc;

/// The label of a slice that names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortDef {
    /// Its name; empty where the Service has one unnamed port. Slices refer to it.
    pub name: Box<str>,
    /// The port of the ClusterIP.
    pub port: u16,
    /// The port of every node, if the Service has one.
    pub node_port: Option<u16>,
}

/// The part of a Service that routing depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDef {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its virtual addresses; none when headless or of type ExternalName.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None`: its name stands for the pods themselves.
    pub headless: bool,
    /// The name it is an alias of, for the type ExternalName.
    pub external_name: Option<Box<str>>,
    /// Its TCP ports.
    pub ports: Vec<PortDef>,
    /// `internalTrafficPolicy: Local`: calls from pods stay on their node.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`: calls to a node port stay on that node.
    pub external_local: bool,
    /// `sessionAffinity: ClientIP`: a client keeps its endpoint while that one is there.
    pub client_affinity: bool,
}

impl ServiceDef {
    /// Reads a Service; `None` for one without a name, which no API server stores.
    pub fn from_api(service: &ApiService) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        let cluster_ip = spec.cluster_ip.as_deref().unwrap_or_default();
        let cluster_ips = match spec.cluster_ips.as_deref() {
            Some(ips) if !ips.is_empty() => ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
            _ => cluster_ip.parse().into_iter().collect(),
        };
        let exposes_nodes = matches!(kind, "NodePort" | "LoadBalancer");
        let ports = spec
            .ports
            .iter()
            .flatten()
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
            .filter_map(|port| {
                Some(PortDef {
                    name: port.name.as_deref().unwrap_or_default().into(),
                    port: u16::try_from(port.port).ok()?,
                    node_port: port
                        .node_port
                        .filter(|_| exposes_nodes)
                        .and_then(|port| u16::try_from(port).ok())
                        .filter(|port| *port != 0),
                })
            })
            .collect();
        Some(Self {
            namespace: service.metadata.namespace.as_deref()?.into(),
            name: service.metadata.name.as_deref()?.into(),
            cluster_ips,
            headless: cluster_ip == "None",
            external_name: (kind == "ExternalName")
                .then(|| spec.external_name.as_deref().map(Box::from))
                .flatten(),
            ports,
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            client_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
        })
    }
}

/// One backend of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub ip: IpAddr,
    /// The node it runs on, where known.
    pub node: Option<Arc<str>>,
    /// The pod's hostname, if it has a DNS name of its own.
    pub hostname: Option<Box<str>>,
    /// Whether a pod stands behind it, and not a program of some host.
    pub is_pod: bool,
    /// Wants new requests.
    pub ready: bool,
    /// Still answers, though it is going away.
    pub leaving: bool,
}

/// The part of an EndpointSlice that routing depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceDef {
    /// Its namespace, which is also the Service's.
    pub namespace: Arc<str>,
    /// Its own name.
    pub name: Arc<str>,
    /// The Service it belongs to.
    pub service: Arc<str>,
    /// Name and number of its TCP ports.
    pub ports: Vec<(Box<str>, u16)>,
    /// Its backends.
    pub backends: Vec<Backend>,
}

impl SliceDef {
    /// Reads a slice; `None` for one that belongs to no Service.
    ///
    /// An absent `ready` means ready, and an absent `serving` means the same as `ready`, as
    /// <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/> has it.
    pub fn from_api(slice: &ApiSlice) -> Option<Self> {
        let labels = slice.metadata.labels.as_ref()?;
        let backends = slice
            .endpoints
            .iter()
            .flatten()
            .filter_map(|endpoint| {
                let conditions = endpoint.conditions.as_ref();
                let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
                let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
                let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
                Some(Backend {
                    ip: endpoint.addresses.first()?.parse().ok()?,
                    node: endpoint.node_name.as_deref().map(Arc::from),
                    hostname: endpoint.hostname.as_deref().map(Box::from),
                    is_pod: endpoint
                        .target_ref
                        .as_ref()
                        .is_some_and(|target| target.kind.as_deref() == Some("Pod")),
                    ready,
                    leaving: serving && terminating,
                })
            })
            .collect();
        let ports = slice
            .ports
            .iter()
            .flatten()
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
            .filter_map(|port| {
                Some((
                    port.name.as_deref().unwrap_or_default().into(),
                    u16::try_from(port.port?).ok()?,
                ))
            })
            .collect();
        Some(Self {
            namespace: slice.metadata.namespace.as_deref()?.into(),
            name: slice.metadata.name.as_deref()?.into(),
            service: labels.get(SERVICE_NAME_LABEL)?.as_str().into(),
            ports,
            backends,
        })
    }
}
