//! A port of a node's own address goes to one pod.

use crate::framework::{Events, Filter, Reason};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) struct NodePorts;

impl Filter for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn applies(&self, pod: &PodInfo) -> bool {
        !pod.host_ports.is_empty()
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
        let taken = &node.usage.host_ports;
        if pod
            .host_ports
            .iter()
            .any(|wanted| taken.iter().any(|t| t.conflicts(wanted)))
        {
            reasons.push(Reason::Fixed(
                "node(s) didn't have free ports for the requested pod ports",
            ));
        }
    }

    fn cured_by(&self) -> Events {
        Events::NODE_ADDED.and(Events::POD_GONE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{named_pod, node, reasons};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_port_is_given_once_per_node() {
        let with_port = |name: &str, port: u16| {
            named_pod(
                name,
                json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": port}]}]}),
            )
        };
        let busy = node(json!({}), vec![with_port("a", 8080)]);
        assert_eq!(reasons(&NodePorts, &with_port("b", 8081), &busy), [""; 0]);
        assert_eq!(reasons(&NodePorts, &with_port("b", 8080), &busy).len(), 1);
        let mut freed = busy;
        freed.usage.remove(&with_port("a", 8080).key);
        assert_eq!(reasons(&NodePorts, &with_port("b", 8080), &freed), [""; 0]);
    }
}
