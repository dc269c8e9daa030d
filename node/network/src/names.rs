//! What a host name means to a pod of some namespace.
//!
//! The rules are those of <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>
//! with the search list that Kubernetes gives its pods (`NS.svc.cluster.local`, `svc.cluster.local`,
//! `cluster.local`) and `ndots:5`: names of the cluster come first, what is none of them is looked
//! up outside.

use crate::table::{Endpoint, Service, ServiceTable};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The domain of the cluster.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// A Service, by its name.
    Service(Arc<Service>),
    /// One pod of a headless Service, by its hostname; the port of the address is not set.
    Pod(Arc<Endpoint>),
    /// An address, written out or encoded in a pod's name.
    Ip(IpAddr),
    /// The pod itself.
    Loopback,
    /// Not a name of this cluster.
    Outside,
    /// A name of this cluster that stands for nothing.
    Nothing,
}

/// Resolves `host` as a pod of `namespace` would. Brackets of IPv6 addresses, letter case and a
/// final dot do not matter.
pub fn resolve(table: &ServiceTable, namespace: &str, host: &str) -> Resolved {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return match ip.to_canonical() {
            ip if ip.is_loopback() => Resolved::Loopback,
            ip => Resolved::Ip(ip),
        };
    }
    let name: Cow<'_, str> = match host.strip_suffix('.').unwrap_or(host) {
        name if name.bytes().any(|b| b.is_ascii_uppercase()) => name.to_ascii_lowercase().into(),
        name => name.into(),
    };
    if name == "localhost" || name.ends_with(".localhost") {
        return Resolved::Loopback;
    }
    if let Some(inner) = name
        .strip_suffix(CLUSTER_DOMAIN)
        .and_then(|rest| rest.strip_suffix('.'))
    {
        return below_cluster_domain(table, inner).unwrap_or(Resolved::Nothing);
    }
    if let Some(found) = below_svc(table, &name, Some(namespace))
        .or_else(|| below_svc(table, &name, None))
        .or_else(|| below_cluster_domain(table, &name))
    {
        return found;
    }
    // A single label and the cluster's own suffixes never leave the cluster: outside they would
    // reach whatever the host's search domain makes of them.
    if !name.contains('.') || name.ends_with(".svc") {
        return Resolved::Nothing;
    }
    Resolved::Outside
}

/// `name.cluster.local`.
fn below_cluster_domain(table: &ServiceTable, name: &str) -> Option<Resolved> {
    if let Some(name) = name.strip_suffix(".svc") {
        return below_svc(table, name, None);
    }
    let (address, namespace) = name.strip_suffix(".pod")?.rsplit_once('.')?;
    if namespace.contains('.') {
        return None;
    }
    let ip: Ipv4Addr = address.replace('-', ".").parse().ok()?;
    Some(Resolved::Ip(IpAddr::V4(ip)))
}

/// `name.svc.cluster.local`, or `name.NAMESPACE.svc.cluster.local` where one is given.
fn below_svc(table: &ServiceTable, name: &str, namespace: Option<&str>) -> Option<Resolved> {
    let (front, namespace) = match namespace {
        Some(namespace) => (name, namespace),
        None => name.rsplit_once('.')?,
    };
    match front.rsplit_once('.') {
        None => table.by_name(namespace, front).map(Resolved::Service),
        Some((hostname, service)) if !hostname.contains('.') => {
            let service = table.by_name(namespace, service)?;
            service.by_hostname(hostname).map(Resolved::Pod)
        }
        Some(_) => None,
    }
}
