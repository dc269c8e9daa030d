//! Cordoned nodes take no new pods, except those that tolerate the taint which stands for it.

use euston_api::labels::TAINT_UNSCHEDULABLE;
use k8s_openapi::api::core::v1::Taint;

use super::taints::is_tolerated;
use crate::framework::{Events, Filter, Reason};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
        if !node.facts.unschedulable {
            return;
        }
        let taint = Taint {
            key: TAINT_UNSCHEDULABLE.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if !is_tolerated(&taint, &pod.tolerations) {
            reasons.push(Reason::Fixed("node(s) were unschedulable"));
        }
    }

    fn cured_by(&self) -> Events {
        Events::NODE_ADDED.and(Events::NODE_TAINTS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod, reasons};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cordoned_node_takes_only_what_tolerates_that() {
        let cordoned = node(json!({"spec": {"unschedulable": true}}), vec![]);
        let open = node(json!({}), vec![]);
        let tolerant =
            |key: &str| pod(json!({"tolerations": [{"key": key, "operator": "Exists"}]}));
        assert_eq!(reasons(&NodeUnschedulable, &pod(json!({})), &open), [""; 0]);
        assert_eq!(
            reasons(&NodeUnschedulable, &pod(json!({})), &cordoned),
            ["node(s) were unschedulable"]
        );
        assert_eq!(
            reasons(
                &NodeUnschedulable,
                &tolerant(TAINT_UNSCHEDULABLE),
                &cordoned
            ),
            [""; 0]
        );
        assert_eq!(
            reasons(&NodeUnschedulable, &tolerant("other"), &cordoned).len(),
            1
        );
    }
}
