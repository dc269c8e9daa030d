//! Whether a node is alive, and what its conditions and taints say. Pure.
//!
//! Follows `pkg/controller/nodelifecycle` of Kubernetes.

use std::time::Duration;

use euston_api::labels::{
    TAINT_DISK_PRESSURE, TAINT_MEMORY_PRESSURE, TAINT_NETWORK_UNAVAILABLE, TAINT_NOT_READY,
    TAINT_PID_PRESSURE, TAINT_UNREACHABLE, TAINT_UNSCHEDULABLE,
};
use euston_api::time::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};

const NO_SCHEDULE: &str = "NoSchedule";
pub(super) const NO_EXECUTE: &str = "NoExecute";

/// Conditions that only the node itself can know; without news of it they are unknown.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What to write for one node.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// New conditions, if they change.
    pub(super) conditions: Option<Vec<NodeCondition>>,
    /// New taints, if they change.
    pub(super) taints: Option<Vec<Taint>>,
    /// Nothing was heard for too long: its pods serve nobody, whatever they said last.
    pub(super) silent: bool,
    /// When it will have been silent for too long unless it is heard.
    pub(super) look_again: Option<Duration>,
}

pub(super) fn ready(node: &Node) -> Option<&NodeCondition> {
    condition(node, "Ready")
}

fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == type_)
}

pub(super) fn is_ready(node: &Node) -> bool {
    ready(node).is_some_and(|ready| ready.status == "True")
}

/// Decides for `node`, last heard of `silent_for` ago. `another_ready`: some other node could take
/// its pods; if none can, evicting them would only make things worse (and if no node at all is
/// heard, it is probably this side that is cut off).
pub(super) fn plan(
    node: &Node,
    silent_for: Duration,
    grace: Duration,
    another_ready: bool,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let old = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let mut conditions = old.clone();
    if silent_for >= grace {
        plan.silent = true;
        for type_ in REPORTED {
            mark_unknown(&mut conditions, type_, now);
        }
    } else {
        plan.look_again = Some(grace.saturating_sub(silent_for));
    }
    let taints = taints(node, &conditions, another_ready, now);
    if taints.as_slice()
        != node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.as_deref())
            .unwrap_or_default()
    {
        plan.taints = Some(taints);
    }
    if conditions != old {
        plan.conditions = Some(conditions);
    }
    plan
}

fn mark_unknown(conditions: &mut Vec<NodeCondition>, type_: &str, now: Timestamp) {
    let now = Some(whole_seconds(now));
    match conditions
        .iter_mut()
        .find(|condition| condition.type_ == type_)
    {
        Some(condition) if condition.status == "Unknown" => {}
        Some(condition) => {
            condition.status = "Unknown".to_owned();
            condition.reason = Some("NodeStatusUnknown".to_owned());
            condition.message = Some("Kubelet stopped posting node status.".to_owned());
            condition.last_transition_time = now;
        }
        None => conditions.push(NodeCondition {
            type_: type_.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some("NodeStatusNeverUpdated".to_owned()),
            message: Some("Kubelet never posted node status.".to_owned()),
            last_heartbeat_time: None,
            last_transition_time: now,
        }),
    }
}

/// The node's taints as its conditions ask for; those that others put there stay as they are.
fn taints(
    node: &Node,
    conditions: &[NodeCondition],
    another_ready: bool,
    now: Timestamp,
) -> Vec<Taint> {
    let status = |type_: &str| {
        conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .map(|condition| condition.status.as_str())
    };
    let not_ready = status("Ready") == Some("False");
    let unreachable = matches!(status("Ready"), Some("Unknown"));
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let wanted = [
        (TAINT_NOT_READY, NO_SCHEDULE, not_ready),
        (TAINT_UNREACHABLE, NO_SCHEDULE, unreachable),
        (TAINT_NOT_READY, NO_EXECUTE, not_ready && another_ready),
        (TAINT_UNREACHABLE, NO_EXECUTE, unreachable && another_ready),
        (TAINT_UNSCHEDULABLE, NO_SCHEDULE, unschedulable),
        (
            TAINT_MEMORY_PRESSURE,
            NO_SCHEDULE,
            status("MemoryPressure") == Some("True"),
        ),
        (
            TAINT_DISK_PRESSURE,
            NO_SCHEDULE,
            status("DiskPressure") == Some("True"),
        ),
        (
            TAINT_PID_PRESSURE,
            NO_SCHEDULE,
            status("PIDPressure") == Some("True"),
        ),
        (
            TAINT_NETWORK_UNAVAILABLE,
            NO_SCHEDULE,
            status("NetworkUnavailable") == Some("True"),
        ),
    ];
    let is = |taint: &Taint, key: &str, effect: &str| taint.key == key && taint.effect == effect;
    let mut taints: Vec<Taint> = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    taints.retain(|taint| {
        wanted
            .iter()
            .all(|(key, effect, on)| *on || !is(taint, key, effect))
    });
    for (key, effect, on) in wanted {
        if on && !taints.iter().any(|taint| is(taint, key, effect)) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(whole_seconds(now)),
                value: None,
            });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::at;
    use serde_json::{Value, json};

    const GRACE: Duration = Duration::from_secs(40);

    fn node(conditions: &[(&str, &str)], taints: Value, unschedulable: bool) -> Node {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(type_, status)| json!({"type": type_, "status": status}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "n1"}, "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn tainted(plan: &Plan) -> Vec<String> {
        let short = |key: &str| key.trim_start_matches("node.kubernetes.io/").to_owned();
        plan.taints
            .iter()
            .flatten()
            .map(|taint| format!("{}:{}", short(&taint.key), taint.effect))
            .collect()
    }

    #[test]
    fn a_node_that_is_heard_keeps_its_word() {
        let plan = plan(
            &node(&[("Ready", "True")], json!([]), false),
            Duration::from_secs(15),
            GRACE,
            true,
            at(0),
        );
        assert_eq!(
            plan,
            Plan {
                look_again: Some(Duration::from_secs(25)),
                ..Plan::default()
            }
        );
    }

    #[test]
    fn a_silent_node_is_unknown_and_its_pods_must_go() {
        let silent = node(
            &[("Ready", "True"), ("MemoryPressure", "False")],
            json!([]),
            false,
        );
        let plan = plan(&silent, GRACE, GRACE, true, at(0));
        assert!(plan.silent);
        let conditions = plan.conditions.clone().unwrap();
        let told: Vec<_> = conditions
            .iter()
            .map(|c| {
                (
                    c.type_.as_str(),
                    c.status.as_str(),
                    c.reason.as_deref().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("Ready", "Unknown", "NodeStatusUnknown"),
                ("MemoryPressure", "Unknown", "NodeStatusUnknown"),
                ("DiskPressure", "Unknown", "NodeStatusNeverUpdated"),
                ("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
            ]
        );
        assert_eq!(
            tainted(&plan),
            ["unreachable:NoSchedule", "unreachable:NoExecute"]
        );
        // Done once, it is not done again.
        let mut marked = silent;
        marked.status.as_mut().unwrap().conditions = plan.conditions;
        marked.spec.as_mut().unwrap().taints = plan.taints;
        let again = super::plan(&marked, GRACE * 2, GRACE, true, at(99));
        assert_eq!(
            again,
            Plan {
                silent: true,
                ..Plan::default()
            }
        );
    }

    #[test]
    fn taints_follow_conditions() {
        let unreachable = json!([
            {"key": TAINT_UNREACHABLE, "effect": "NoSchedule"}, {"key": TAINT_UNREACHABLE, "effect": "NoExecute"},
        ]);
        let own = json!([{"key": "team", "value": "shop", "effect": "NoExecute"}]);
        // (conditions, taints, cordoned, another ready) -> taints, or none if they stay
        for (conditions, taints, cordoned, another, expect) in [
            (vec![("Ready", "True")], json!([]), false, true, vec![]),
            (
                vec![("Ready", "False")],
                json!([]),
                false,
                true,
                vec!["not-ready:NoSchedule", "not-ready:NoExecute"],
            ),
            (
                vec![("Ready", "False")],
                json!([]),
                false,
                false,
                vec!["not-ready:NoSchedule"],
            ),
            (
                vec![("Ready", "True")],
                json!([]),
                true,
                true,
                vec!["unschedulable:NoSchedule"],
            ),
            (
                vec![("Ready", "True"), ("DiskPressure", "True")],
                json!([]),
                false,
                true,
                vec!["disk-pressure:NoSchedule"],
            ),
            (
                vec![("Ready", "True"), ("MemoryPressure", "True")],
                json!([]),
                false,
                true,
                vec!["memory-pressure:NoSchedule"],
            ),
            (
                vec![("Ready", "True"), ("PIDPressure", "True")],
                json!([]),
                false,
                true,
                vec!["pid-pressure:NoSchedule"],
            ),
            (
                vec![("Ready", "Unknown")],
                unreachable.clone(),
                false,
                true,
                vec![],
            ),
            (
                vec![("Ready", "Unknown")],
                unreachable.clone(),
                false,
                false,
                vec!["unreachable:NoSchedule"],
            ),
            (
                vec![("Ready", "False")],
                unreachable,
                false,
                false,
                vec!["not-ready:NoSchedule"],
            ),
            (vec![("Ready", "True")], own.clone(), false, true, vec![]),
            (
                vec![("Ready", "False")],
                own,
                false,
                false,
                vec!["team:NoExecute", "not-ready:NoSchedule"],
            ),
            (vec![], json!([]), false, true, vec![]),
        ] {
            let plan = plan(
                &node(&conditions, taints, cordoned),
                Duration::ZERO,
                GRACE,
                another,
                at(0),
            );
            assert_eq!(
                tainted(&plan),
                expect,
                "{conditions:?} {cordoned} {another}"
            );
        }
    }

    #[test]
    fn a_node_that_comes_back_loses_its_taints() {
        let taints = json!([
            {"key": TAINT_UNREACHABLE, "effect": "NoSchedule"}, {"key": TAINT_UNREACHABLE, "effect": "NoExecute"},
            {"key": "team", "effect": "NoSchedule"},
        ]);
        let plan = plan(
            &node(&[("Ready", "True")], taints, false),
            Duration::ZERO,
            GRACE,
            true,
            at(0),
        );
        assert_eq!(tainted(&plan), ["team:NoSchedule"]);
    }
}
