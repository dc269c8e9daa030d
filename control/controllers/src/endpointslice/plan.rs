//! Which endpoints a service has, and how its slices change to hold them. Pure.
//!
//! Follows `k8s.io/endpointslice` (the EndpointSlice controller's reconciler): slices hold at most
//! 100 endpoints, endpoints stay in the slice they are in, and as few slices as possible change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use euston_api::labels::{ENDPOINT_SLICE_MANAGED_BY, SERVICE_NAME};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::claim::controller_reference;
use crate::pods;

/// Who manages these slices; consumers tell them from hand-made ones by it.
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Endpoints per slice, Kubernetes' default: a change of one pod costs one object of bounded size.
pub(super) const ENDPOINTS_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<EndpointSlice>,
}

/// A port in an order that can be compared: name, protocol, number, application protocol.
type PortKey = (String, String, Option<i32>, Option<String>);
/// What tells one endpoint from another: the address and the pod behind it.
type Identity = (String, String);
type Groups = BTreeMap<(String, Vec<PortKey>), BTreeMap<Identity, Endpoint>>;

/// Whether the service's endpoints are for this controller to find.
pub(super) fn is_managed(service: &Service) -> bool {
    let Some(spec) = &service.spec else {
        return false;
    };
    spec.type_.as_deref() != Some("ExternalName")
        && spec
            .selector
            .as_ref()
            .is_some_and(|selector| !selector.is_empty())
}

/// Whether the service selects the pod.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    is_managed(service)
        && service
            .spec
            .iter()
            .flat_map(|spec| spec.selector.iter().flatten())
            .all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
}

/// Compares what `pods` (those that the service selects) amount to with the `existing` slices.
pub(super) fn plan(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Plan {
    let ours = existing.iter().filter(|slice| {
        slice
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(ENDPOINT_SLICE_MANAGED_BY))
            .map(String::as_str)
            == Some(MANAGER)
            && slice.metadata.deletion_timestamp.is_none()
    });
    let mut plan = Plan::default();
    if service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let mut groups = if is_managed(service) {
        wanted(service, pods)
    } else {
        Groups::new()
    };
    let mut by_group: BTreeMap<(String, Vec<PortKey>), Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in ours {
        let key = (
            slice.address_type.clone(),
            port_keys(slice.ports.as_deref().unwrap_or_default()),
        );
        by_group.entry(key).or_default().push(slice);
    }
    if is_managed(service) && groups.is_empty() {
        // A service without endpoints still has one slice that says so.
        let kept = by_group.keys().next().cloned();
        groups.insert(
            kept.unwrap_or_else(|| (families(service).swap_remove(0), Vec::new())),
            BTreeMap::new(),
        );
    }
    for (key, endpoints) in groups {
        let slices = by_group.remove(&key).unwrap_or_default();
        fit(service, &key, endpoints, &slices, &mut plan);
    }
    plan.delete.extend(
        by_group
            .into_values()
            .flatten()
            .map(|slice| (**slice).clone()),
    );
    plan
}

/// Fits the endpoints of one set of ports into its slices.
fn fit(
    service: &Service,
    key: &(String, Vec<PortKey>),
    mut endpoints: BTreeMap<Identity, Endpoint>,
    existing: &[&Arc<EndpointSlice>],
    plan: &mut Plan,
) {
    let (labels, owners) = (slice_labels(service), vec![controller_reference(service)]);
    let mut slices: Vec<(EndpointSlice, bool)> = existing
        .iter()
        .map(|slice| {
            let mut slice = (***slice).clone();
            let held = slice.endpoints.take().unwrap_or_default();
            let kept: Vec<Endpoint> = held
                .iter()
                .filter_map(|endpoint| endpoints.remove(&identity(endpoint)))
                .collect();
            let mut changed = kept != held;
            slice.endpoints = Some(kept);
            if slice.metadata.labels.as_ref() != Some(&labels) {
                slice.metadata.labels = Some(labels.clone());
                changed = true;
            }
            (slice, changed)
        })
        .collect();
    let mut rest = endpoints.into_values().peekable();
    // First where a write is due anyway, then where the fewest slices are touched.
    slices.sort_by_key(|(slice, changed)| (!changed, len(slice)));
    for (slice, changed) in &mut slices {
        let held = slice.endpoints.get_or_insert_default();
        while held.len() < ENDPOINTS_MAX
            && let Some(endpoint) = rest.next()
        {
            held.push(endpoint);
            *changed = true;
        }
    }
    let (empty, filled): (Vec<_>, Vec<_>) =
        slices.into_iter().partition(|(slice, _)| len(slice) == 0);
    let mut any = !filled.is_empty();
    plan.update.extend(
        filled
            .into_iter()
            .filter(|(_, changed)| *changed)
            .map(|(slice, _)| slice),
    );
    while rest.peek().is_some() || !any {
        let chunk: Vec<Endpoint> = rest.by_ref().take(ENDPOINTS_MAX).collect();
        if chunk.is_empty() {
            break;
        }
        any = true;
        plan.create
            .push(new_slice(service, key, chunk, &labels, &owners));
    }
    let mut empty = empty.into_iter();
    if !any {
        match empty.next() {
            Some((slice, true)) => plan.update.push(slice),
            Some((_, false)) => {}
            None => plan
                .create
                .push(new_slice(service, key, Vec::new(), &labels, &owners)),
        }
    }
    plan.delete.extend(empty.map(|(slice, _)| slice));
}

fn len(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

fn identity(endpoint: &Endpoint) -> Identity {
    let uid = endpoint
        .target_ref
        .as_ref()
        .and_then(|target| target.uid.clone());
    (
        endpoint.addresses.first().cloned().unwrap_or_default(),
        uid.unwrap_or_default(),
    )
}

fn new_slice(
    service: &Service,
    (address_type, ports): &(String, Vec<PortKey>),
    endpoints: Vec<Endpoint>,
    labels: &BTreeMap<String, String>,
    owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference],
) -> EndpointSlice {
    EndpointSlice {
        address_type: address_type.clone(),
        metadata: ObjectMeta {
            generate_name: Some(format!(
                "{}-",
                service.metadata.name.as_deref().unwrap_or_default()
            )),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(owners.to_vec()),
            ..ObjectMeta::default()
        },
        endpoints: Some(endpoints),
        ports: Some(ports.iter().map(port_of).collect()),
    }
}

fn slice_labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(
        SERVICE_NAME.to_owned(),
        service.metadata.name.clone().unwrap_or_default(),
    );
    labels.insert(ENDPOINT_SLICE_MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn is_headless(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref())
        == Some("None")
}

/// The service's address families; at least one.
fn families(service: &Service) -> Vec<String> {
    let named = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ip_families.clone())
        .unwrap_or_default();
    if !named.is_empty() {
        return named;
    }
    let v6 = service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref())
        .is_some_and(|ip| ip.contains(':'));
    vec![if v6 { "IPv6" } else { "IPv4" }.to_owned()]
}

fn wanted(service: &Service, pods: &[Arc<Pod>]) -> Groups {
    let mut groups = Groups::new();
    let families = families(service);
    let none = Vec::new();
    let ports = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_ref())
        .unwrap_or(&none);
    for pod in pods.iter().filter(|pod| !pods::is_finished(pod)) {
        let mut keys: Vec<PortKey> = ports
            .iter()
            .filter_map(|port| {
                Some((
                    port.name.clone().unwrap_or_default(),
                    protocol(port).to_owned(),
                    Some(target(port, pod)?),
                    port.app_protocol.clone(),
                ))
            })
            .collect();
        keys.sort();
        for family in &families {
            if let Some(address) = address(pod, family) {
                let endpoint = endpoint(service, pod, address);
                groups
                    .entry((family.clone(), keys.clone()))
                    .or_default()
                    .insert(identity(&endpoint), endpoint);
            }
        }
    }
    groups
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The pod's port that a service port leads to: by number, or by the name a container gives it.
fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let declared = spec
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(|container| container.ports.iter().flatten());
            declared
                .filter(|declared| declared.protocol.as_deref().unwrap_or("TCP") == protocol(port))
                .find(|declared| declared.name.as_deref() == Some(name))
                .map(|declared| declared.container_port)
        }
    }
}

fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    listed
        .chain(status.pod_ip.as_deref())
        .find(|ip| match ip.parse::<IpAddr>() {
            Ok(ip) => ip.is_ipv4() == (family == "IPv4"),
            Err(_) => false,
        })
        .map(str::to_owned)
}

fn endpoint(service: &Service, pod: &Pod, address: String) -> Endpoint {
    let spec = service.spec.as_ref();
    let serving = pods::is_ready(pod);
    let terminating = pods::is_terminating(pod);
    let unready_too = spec.is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let pod_spec = pod.spec.as_ref();
    let subdomain = pod_spec.and_then(|spec| spec.subdomain.as_deref());
    let named = subdomain.is_some() && subdomain == service.metadata.name.as_deref();
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(unready_too || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: pod_spec
            .and_then(|spec| spec.hostname.clone())
            .filter(|hostname| named && !hostname.is_empty()),
        node_name: pods::node_name(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

fn port_keys(ports: &[EndpointPort]) -> Vec<PortKey> {
    let mut keys: Vec<PortKey> = ports
        .iter()
        .map(|port| {
            (
                port.name.clone().unwrap_or_default(),
                port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port.port,
                port.app_protocol.clone(),
            )
        })
        .collect();
    keys.sort();
    keys
}

fn port_of((name, protocol, port, app_protocol): &PortKey) -> EndpointPort {
    EndpointPort {
        name: Some(name.clone()),
        protocol: Some(protocol.clone()),
        port: *port,
        app_protocol: app_protocol.clone(),
    }
}
