//! What the scheduler needs to know of a node: what it is, and what is already on it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ahash::{HashMap, HashMapExt};
use euston_client::ObjectKey;
use k8s_openapi::api::core::v1::{Node, Taint};

use crate::framework::Reason;
use crate::pod::{HostPort, PodInfo};
use crate::resources::Resources;

/// A taint with the words that refuse a pod because of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTaint {
    /// Key, value and effect.
    pub taint: Taint,
    /// "node(s) had untolerated taint {key: value}".
    pub reason: Reason,
}

/// What the Node object says, as far as it matters for placing pods. Heartbeats leave it equal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// The node's name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<NodeTaint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// What pods may use of it.
    pub allocatable: Resources,
    /// Names of the images that it holds.
    pub images: HashSet<String>,
}

impl NodeFacts {
    /// Reads a node.
    pub fn new(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let taints = spec
            .and_then(|s| s.taints.as_ref())
            .into_iter()
            .flatten()
            .map(|taint| NodeTaint {
                reason: Reason::from(format!(
                    "node(s) had untolerated taint {{{}: {}}}",
                    taint.key,
                    taint.value.as_deref().unwrap_or("")
                )),
                // The time it was added is of no interest, and must not make facts unequal.
                taint: Taint {
                    time_added: None,
                    ..taint.clone()
                },
            })
            .collect();
        let allocatable = status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()));
        Self {
            name: node.metadata.name.as_deref().unwrap_or_default().into(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints,
            unschedulable: spec.is_some_and(|s| s.unschedulable == Some(true)),
            allocatable: Resources::from_amounts(allocatable),
            images: status
                .and_then(|s| s.images.as_ref())
                .into_iter()
                .flatten()
                .flat_map(|i| i.names.iter().flatten().cloned())
                .collect(),
        }
    }
}

/// What the pods on a node use together.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The sum of requests.
    pub requested: Resources,
    /// The sum of requested or assumed thousandths of a core.
    pub scored_cpu_milli: i64,
    /// The sum of requested or assumed bytes.
    pub scored_memory: i64,
    /// Ports taken on the node's address.
    pub host_ports: Vec<HostPort>,
    /// Pods of each owner, by its UID.
    owners: HashMap<Arc<str>, u32>,
    pods: HashMap<ObjectKey, Arc<PodInfo>>,
}

impl Usage {
    /// How many pods of that owner are here.
    pub fn of_owner(&self, owner: &str) -> u32 {
        self.owners.get(owner).copied().unwrap_or(0)
    }

    /// The pods on the node, in no order.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.pods.values()
    }

    /// Whether there is no pod.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    pub(crate) fn add(&mut self, pod: &Arc<PodInfo>) {
        if let Some(old) = self.pods.insert(pod.key.clone(), Arc::clone(pod)) {
            self.count(&old, -1);
        }
        self.count(pod, 1);
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        if let Some(old) = self.pods.remove(key) {
            self.count(&old, -1);
        }
    }

    fn count(&mut self, pod: &PodInfo, sign: i64) {
        if sign > 0 {
            self.requested.add(&pod.requests);
            self.host_ports.extend(pod.host_ports.iter().cloned());
        } else {
            self.requested.subtract(&pod.requests);
            for port in &pod.host_ports {
                if let Some(at) = self.host_ports.iter().position(|p| p == port) {
                    self.host_ports.swap_remove(at);
                }
            }
        }
        self.scored_cpu_milli += sign * pod.scored_cpu_milli;
        self.scored_memory += sign * pod.scored_memory;
        if let Some(owner) = &pod.owner {
            if self.owners.is_empty() {
                self.owners = HashMap::with_capacity(1);
            }
            let count = self.owners.entry(Arc::clone(owner)).or_insert(0);
            *count = if sign > 0 {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
            if *count == 0 {
                self.owners.remove(owner);
            }
        }
    }
}

/// A node with what is on it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// What it is.
    pub facts: NodeFacts,
    /// What is on it, assumed pods included.
    pub usage: Usage,
}
