//! `nodeSelector` and node affinity:
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/>.

use crate::framework::{Events, Filter, Reason, Score, normalize_by_largest};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) struct NodeAffinity;

/// The words for a node that does not match, also used for nodes that were not even looked at.
pub(crate) const MISMATCH: Reason =
    Reason::Fixed("node(s) didn't match Pod's node affinity/selector");

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn applies(&self, pod: &PodInfo) -> bool {
        pod.nodes.demands_anything()
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
        if !pod.nodes.matches(&node.facts) {
            reasons.push(MISMATCH);
        }
    }

    fn cured_by(&self) -> Events {
        Events::NODE_ADDED.and(Events::NODE_LABELS)
    }
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn applies(&self, pod: &PodInfo) -> bool {
        pod.nodes.prefers_anything()
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        pod.nodes.preference(&node.facts)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_largest(scores, false);
    }
}
