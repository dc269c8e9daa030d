//! One file per plugin.

mod affinity;
mod allocation;
mod fit;
mod images;
mod ports;
mod spread;
mod taints;
mod unschedulable;

pub(crate) use affinity::MISMATCH as AFFINITY_MISMATCH;

use crate::framework::Plugins;

/// The plugins of the profile `default-scheduler`.
pub fn default_plugins() -> Plugins {
    Plugins {
        filters: vec![
            Box::new(unschedulable::NodeUnschedulable),
            Box::new(taints::TaintToleration),
            Box::new(affinity::NodeAffinity),
            Box::new(ports::NodePorts),
            Box::new(fit::Fit),
        ],
        scores: vec![
            Box::new(taints::TaintToleration),
            Box::new(affinity::NodeAffinity),
            Box::new(spread::OwnerSpread),
            Box::new(allocation::LeastAllocated),
            Box::new(allocation::BalancedAllocation),
            Box::new(images::ImageLocality),
        ],
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{Node, Pod};
    use serde_json::{Value, json};

    use crate::framework::{Filter, Reason};
    use crate::node::{NodeFacts, NodeInfo, Usage};
    use crate::pod::PodInfo;

    /// A pod from its spec, with one container unless the spec has some.
    pub(crate) fn pod(spec: Value) -> PodInfo {
        named_pod("p", spec)
    }

    pub(crate) fn named_pod(name: &str, mut spec: Value) -> PodInfo {
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "c", "image": "app:v1"}]);
        }
        let meta = json!({"name": name, "namespace": "default", "uid": name});
        let pod: Pod = serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap();
        PodInfo::new(&pod)
    }

    pub(crate) fn requesting(name: &str, requests: Value) -> PodInfo {
        named_pod(
            name,
            json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}),
        )
    }

    /// A node named `n` from spec and status, with some pods on it.
    pub(crate) fn node(parts: Value, pods: Vec<PodInfo>) -> NodeInfo {
        let mut parts = parts;
        parts["metadata"]["name"] = json!("n");
        let node: Node = serde_json::from_value(parts).unwrap();
        let mut usage = Usage::default();
        for pod in pods {
            usage.add(&Arc::new(pod));
        }
        NodeInfo {
            facts: NodeFacts::new(&node),
            usage,
        }
    }

    pub(crate) fn allocatable(resources: Value) -> Value {
        json!({"status": {"allocatable": resources}})
    }

    /// What a filter has against a node; a filter that does not apply has nothing.
    pub(crate) fn reasons(filter: &dyn Filter, pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
        let mut reasons: Vec<Reason> = Vec::new();
        if filter.applies(pod) {
            filter.filter(pod, node, &mut reasons);
        }
        reasons.iter().map(Reason::to_string).collect()
    }
}
