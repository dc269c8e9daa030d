//! What the scheduler needs to know of a pod, computed once when the pod is seen.

use std::sync::Arc;

use euston_client::ObjectKey;
use k8s_openapi::api::core::v1::{Pod, Toleration};

use crate::resources::Resources;
use crate::terms::NodeTerms;

/// What a pod without requests is taken to use when nodes are ranked, so that ten such pods weigh
/// more than one. Small, since a Wasm pod is; filters go by real requests only.
const ASSUMED_CPU_MILLI: i64 = 10;
const ASSUMED_MEMORY: i64 = 16 << 20;

/// A port on the node's own address that a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// 1 to 65535.
    pub port: i32,
    /// Empty or `0.0.0.0` means every address of the node.
    pub ip: String,
}

impl HostPort {
    /// Whether the two cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

/// A pod as the scheduler sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodInfo {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Tells it from an earlier pod of the same name.
    pub uid: String,
    /// What it asks for, and what it is bound by.
    pub requests: Resources,
    /// Requested or assumed thousandths of a core, for ranking.
    pub scored_cpu_milli: i64,
    /// Requested or assumed bytes, for ranking.
    pub scored_memory: i64,
    /// Which nodes it demands and prefers.
    pub nodes: NodeTerms,
    /// Which taints it endures.
    pub tolerations: Vec<Toleration>,
    /// Ports on the node.
    pub host_ports: Vec<HostPort>,
    /// Image references of its containers.
    pub images: Vec<String>,
    /// UID of the controller that owns it; replicas share it.
    pub owner: Option<Arc<str>>,
    /// Higher goes first.
    pub priority: i32,
}

impl PodInfo {
    /// Reads a pod.
    pub fn new(pod: &Pod) -> Self {
        let fallback = Default::default();
        let spec = pod.spec.as_ref().unwrap_or(&fallback);
        let requests = Resources::of_pod(spec);
        let all = || {
            spec.init_containers
                .iter()
                .flatten()
                .chain(&spec.containers)
        };
        let on_host = spec.host_network == Some(true);
        let host_ports = all()
            .flat_map(|c| c.ports.iter().flatten())
            .filter_map(|p| {
                let port = p.host_port.or(on_host.then_some(p.container_port))?;
                (port > 0).then(|| HostPort {
                    protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                    port,
                    ip: p.host_ip.clone().unwrap_or_default(),
                })
            })
            .collect();
        let owner = pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|o| o.controller == Some(true))
            .map(|o| o.uid.as_str().into());
        let assume = |requested: i64, assumed: i64| if requested > 0 { requested } else { assumed };
        Self {
            key: ObjectKey::of(&pod.metadata),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            scored_cpu_milli: assume(requests.cpu_milli, ASSUMED_CPU_MILLI),
            scored_memory: assume(requests.memory, ASSUMED_MEMORY),
            requests,
            nodes: NodeTerms::of_pod(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            host_ports,
            images: all().filter_map(|c| c.image.clone()).collect(),
            owner,
            priority: spec.priority.unwrap_or(0),
        }
    }
}

/// What is to be done about a pod, by its own state alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Situation<'a> {
    /// It uses that node's resources.
    Assigned(&'a str),
    /// It waits for this scheduler to give it a node.
    Pending,
    /// It ended, is ending without ever having had a node, waits behind a scheduling gate, or is
    /// another scheduler's.
    NotOurs,
}

/// Reads a pod's situation. `scheduler` is the name that pods ask for this scheduler by.
pub(crate) fn situation<'a>(pod: &'a Pod, scheduler: &str) -> Situation<'a> {
    let Some(spec) = &pod.spec else {
        return Situation::NotOurs;
    };
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return Situation::NotOurs;
    }
    match spec.node_name.as_deref() {
        Some(node) if !node.is_empty() => return Situation::Assigned(node),
        _ => {}
    }
    let named = spec
        .scheduler_name
        .as_deref()
        .unwrap_or("default-scheduler");
    let gated = spec
        .scheduling_gates
        .as_ref()
        .is_some_and(|g| !g.is_empty());
    if named == scheduler && !gated && pod.metadata.deletion_timestamp.is_none() {
        Situation::Pending
    } else {
        Situation::NotOurs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(value: Value) -> Pod {
        let mut value = value;
        value["spec"]["containers"] =
            json!([{"name": "c", "image": "app:v1", "ports": [{"containerPort": 80}]}]);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_pending_pods_of_this_scheduler_are_ours() {
        let deleted = "2026-01-01T00:00:00Z";
        for (value, expect) in [
            (json!({}), Situation::Pending),
            (
                json!({"spec": {"schedulerName": "default-scheduler"}}),
                Situation::Pending,
            ),
            (
                json!({"spec": {"schedulerName": "other"}}),
                Situation::NotOurs,
            ),
            (
                json!({"spec": {"schedulerName": "other", "nodeName": "n"}}),
                Situation::Assigned("n"),
            ),
            (json!({"spec": {"nodeName": ""}}), Situation::Pending),
            (
                json!({"spec": {"schedulingGates": [{"name": "g"}]}}),
                Situation::NotOurs,
            ),
            (json!({"spec": {"schedulingGates": []}}), Situation::Pending),
            (
                json!({"metadata": {"deletionTimestamp": deleted}}),
                Situation::NotOurs,
            ),
            (
                json!({"metadata": {"deletionTimestamp": deleted}, "spec": {"nodeName": "n"}}),
                Situation::Assigned("n"),
            ),
            (
                json!({"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}}),
                Situation::NotOurs,
            ),
            (json!({"status": {"phase": "Failed"}}), Situation::NotOurs),
            (json!({"status": {"phase": "Pending"}}), Situation::Pending),
        ] {
            let pod = pod(value.clone());
            assert_eq!(situation(&pod, "default-scheduler"), expect, "{value}");
        }
    }

    #[test]
    fn ports_count_on_the_node_only_where_they_are_asked_for_there() {
        assert_eq!(PodInfo::new(&pod(json!({}))).host_ports, []);
        let info = PodInfo::new(&pod(json!({"spec": {"hostNetwork": true}})));
        assert_eq!(info.host_ports[0].port, 80);
        let port = |protocol: &str, port, ip: &str| HostPort {
            protocol: protocol.into(),
            port,
            ip: ip.into(),
        };
        let base = port("TCP", 80, "10.0.0.1");
        for (other, expect) in [
            (port("TCP", 80, ""), true),
            (port("TCP", 80, "0.0.0.0"), true),
            (port("TCP", 80, "10.0.0.1"), true),
            (port("TCP", 80, "10.0.0.2"), false),
            (port("UDP", 80, ""), false),
            (port("TCP", 81, ""), false),
        ] {
            assert_eq!(
                (base.conflicts(&other), other.conflicts(&base)),
                (expect, expect),
                "{other:?}"
            );
        }
    }
}
