//! Requests must fit into what the node has left.

use crate::framework::{Events, Filter, Reason};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) struct Fit;

impl Filter for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
        let (wanted, used, has) = (
            &pod.requests,
            &node.usage.requested,
            &node.facts.allocatable,
        );
        // Nothing asked fits everywhere, on an overcommitted node too.
        let lacks =
            |wanted: i64, used: i64, has: i64| wanted > 0 && wanted > has.saturating_sub(used);
        if lacks(wanted.pods, used.pods, has.pods) {
            reasons.push(Reason::Fixed("Too many pods"));
        }
        if lacks(wanted.cpu_milli, used.cpu_milli, has.cpu_milli) {
            reasons.push(Reason::Fixed("Insufficient cpu"));
        }
        if lacks(wanted.memory, used.memory, has.memory) {
            reasons.push(Reason::Fixed("Insufficient memory"));
        }
        let (used_disk, has_disk) = (used.ephemeral_storage, has.ephemeral_storage);
        if lacks(wanted.ephemeral_storage, used_disk, has_disk) {
            reasons.push(Reason::Fixed("Insufficient ephemeral-storage"));
        }
        for (name, amount) in &wanted.extended {
            if lacks(*amount, used.extended(name), has.extended(name)) {
                reasons.push(Reason::from(format!("Insufficient {name}")));
            }
        }
    }

    fn cured_by(&self) -> Events {
        Events::NODE_ADDED
            .and(Events::NODE_RESOURCES)
            .and(Events::POD_GONE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{allocatable, node, reasons, requesting};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_short_is_named() {
        let has = json!({"cpu": "2", "memory": "1Gi", "pods": "2", "ephemeral-storage": "10", "x.io/slot": "1"});
        let on = |used: Value| node(allocatable(has.clone()), vec![requesting("used", used)]);
        let check = |used: Value, wanted: Value, expect: &[&str]| {
            let case = format!("{used} {wanted}");
            assert_eq!(
                reasons(&Fit, &requesting("new", wanted), &on(used)),
                expect,
                "{case}"
            );
        };
        check(json!({}), json!({}), &[]);
        check(json!({}), json!({"cpu": "2", "memory": "1Gi"}), &[]);
        check(json!({"cpu": "1500m"}), json!({"cpu": "500m"}), &[]);
        check(
            json!({"cpu": "1500m"}),
            json!({"cpu": "501m"}),
            &["Insufficient cpu"],
        );
        check(json!({"cpu": "9"}), json!({}), &[]);
        check(
            json!({"cpu": "2", "memory": "1Gi"}),
            json!({"cpu": "1", "memory": "1"}),
            &["Insufficient cpu", "Insufficient memory"],
        );
        check(
            json!({}),
            json!({"ephemeral-storage": "11"}),
            &["Insufficient ephemeral-storage"],
        );
        check(
            json!({"x.io/slot": "1"}),
            json!({"x.io/slot": "1"}),
            &["Insufficient x.io/slot"],
        );
        check(
            json!({}),
            json!({"none.io/x": "1"}),
            &["Insufficient none.io/x"],
        );
        check(json!({}), json!({"none.io/x": "0"}), &[]);

        let full = node(
            allocatable(has.clone()),
            vec![requesting("a", json!({})), requesting("b", json!({}))],
        );
        assert_eq!(
            reasons(&Fit, &requesting("c", json!({})), &full),
            ["Too many pods"]
        );
        let bare = node(json!({}), vec![]);
        assert_eq!(
            reasons(&Fit, &requesting("c", json!({})), &bare),
            ["Too many pods"]
        );
    }
}
