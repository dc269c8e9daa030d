//! Node: a machine that runs pods.

use std::collections::{BTreeMap, BTreeSet};

use euston_api::field::{ErrorList, Path};
use euston_api::labels::{NODE_ROLE, NODE_ROLE_PREFIX};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::cells;
use super::pod_spec;
use crate::registry::strategy::{AGE, Column, Fields, NAME, Strategy, keeps_status_apart};

/// The rules of Nodes.
pub struct NodeStrategy;

impl Strategy for NodeStrategy {
    type Object = Node;

    fn default(&self, node: &mut Node) {
        for amounts in node
            .status
            .iter_mut()
            .flat_map(|s| [&mut s.capacity, &mut s.allocatable])
        {
            pod_spec::canonical_amounts(amounts.as_mut());
        }
        // What a node offers is what it has, unless it says otherwise.
        if let Some(status) = &mut node.status
            && status.allocatable.as_ref().is_none_or(|a| a.is_empty())
            && status.capacity.is_some()
        {
            status.allocatable.clone_from(&status.capacity);
        }
    }

    fn validate(&self, node: &Node) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(spec) = &node.spec {
            validate_taints(spec.taints.as_deref().unwrap_or_default(), &mut errors);
            for (index, cidr) in spec.pod_cidrs.iter().flatten().enumerate() {
                let path = Path::new("spec").child("podCIDRs").index(index);
                errors.invalid_each(&path, cidr, names::cidr(cidr));
            }
        }
        validate_status(node, &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &Node, old: &Node) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let default = NodeSpec::default();
        let new = new.spec.as_ref().unwrap_or(&default);
        let old = old.spec.as_ref().unwrap_or(&default);
        let had = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.is_empty());
        if had(&old.pod_cidr) && (new.pod_cidr != old.pod_cidr || new.pod_cidrs != old.pod_cidrs) {
            errors.forbidden(
                path.child("podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            );
        }
        if had(&old.provider_id) && new.provider_id != old.provider_id {
            errors.forbidden(
                path.child("providerID"),
                "node updates may not change providerID except from \"\" to valid",
            );
        }
        errors
    }

    fn validate_status_update(&self, new: &Node, _old: &Node) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_status(new, &mut errors);
        errors
    }

    fn fields(&self, node: &Node) -> Fields {
        vec![("spec.unschedulable", unschedulable(node).to_string())]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Status", "The status of the node"),
            Column::string("Roles", "The roles of the node"),
            AGE,
            Column::string("Version", "Kubelet Version reported by the node."),
            Column::string("Internal-IP", "Address of the node inside the cluster.").wide(),
            Column::string("External-IP", "Address of the node outside the cluster.").wide(),
            Column::string("OS-Image", "Operating system reported by the node.").wide(),
            Column::string("Kernel-Version", "Kernel reported by the node.").wide(),
            Column::string("Container-Runtime", "Runtime reported by the node.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, node: &Node, now: Timestamp) -> Vec<Value> {
        let default = NodeStatus::default();
        let status = node.status.as_ref().unwrap_or(&default);
        let info = status.node_info.clone().unwrap_or_default();
        let address = |kind: &str| {
            let found = status.addresses.iter().flatten().find(|a| a.type_ == kind);
            cells::or_none(found.map(|a| a.address.as_str()))
        };
        vec![
            cells::name(&node.metadata),
            readiness(node, status).into(),
            cells::or_none(Some(&roles(node))),
            cells::age(&node.metadata, now),
            info.kubelet_version.into(),
            address("InternalIP"),
            address("ExternalIP"),
            cells::or_unknown(&info.os_image),
            cells::or_unknown(&info.kernel_version),
            cells::or_unknown(&info.container_runtime_version),
        ]
    }
}

fn unschedulable(node: &Node) -> bool {
    node.spec
        .as_ref()
        .and_then(|s| s.unschedulable)
        .unwrap_or_default()
}

fn readiness(node: &Node, status: &NodeStatus) -> String {
    let ready = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "Ready");
    let mut text = match ready {
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if unschedulable(node) {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(node: &Node) -> String {
    let roles: BTreeSet<&str> = node
        .metadata
        .labels
        .iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(NODE_ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == NODE_ROLE => Some(value.as_str()),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn validate_taints(taints: &[Taint], errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = Path::new("spec").child("taints").index(index);
        let key = &taint.key;
        errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
        let value = taint.value.as_deref().unwrap_or_default();
        errors.invalid_each(&path.child("value"), value, names::label_value(value));
        pod_spec::validate_taint_effect(&taint.effect, &path.child("effect"), errors);
        if !seen.insert((key, &taint.effect)) {
            errors.duplicate(path, taint);
        }
    }
}

fn validate_status(node: &Node, errors: &mut ErrorList) {
    let Some(status) = &node.status else { return };
    let path = Path::new("status");
    let mut seen = BTreeSet::new();
    for (index, address) in status.addresses.iter().flatten().enumerate() {
        if !seen.insert((&address.type_, &address.address)) {
            errors.duplicate(path.child("addresses").index(index), address);
        }
    }
    validate_amounts(status.capacity.as_ref(), &path.child("capacity"), errors);
    validate_amounts(
        status.allocatable.as_ref(),
        &path.child("allocatable"),
        errors,
    );
}

fn validate_amounts(
    amounts: Option<&BTreeMap<String, Quantity>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (name, amount) in amounts.into_iter().flatten() {
        let path = path.key(name);
        errors.invalid_each(&path, name, names::qualified_name(name));
        pod_spec::validate_amount(name, amount, &path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_update, created, object};
    use super::*;
    use serde_json::json;

    #[test]
    fn taints_are_unique_and_known() {
        let check = |taints: Value, expected: &[&str]| {
            check_create(
                &NodeStrategy,
                &json!({"spec": {"taints": taints}}),
                expected,
            );
        };
        check(
            json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}]),
            &[],
        );
        check(
            json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule", "value": "v"}]),
            &["spec.taints[1]: Duplicate value: {"],
        );
        check(
            json!([{"key": "", "effect": "", "value": "a b"}, {"key": "a", "effect": "Never"}]),
            &[
                "spec.taints[0].key: Invalid value: \"\": name part must be non-empty",
                "spec.taints[0].key: Invalid value: \"\": name part must consist",
                "spec.taints[0].value: Invalid value: \"a b\": a valid label",
                "spec.taints[0].effect: Required value",
                "spec.taints[1].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        );
    }

    #[test]
    fn what_a_node_has_is_not_negative() {
        let check = |status: Value, expected: &[&str]| {
            check_create(&NodeStrategy, &json!({"status": status}), expected);
        };
        check(
            json!({"capacity": {"cpu": "2", "memory": "1Gi", "example.com/x": "3"}}),
            &[],
        );
        check(
            json!({"capacity": {"cpu": "-2"}, "allocatable": {"memory": "lots", "a b": "1"}}),
            &[
                "status.capacity[cpu]: Invalid value: \"-2\": must be greater than or equal to 0",
                "status.allocatable[a b]: Invalid value: \"a b\": name part",
                "status.allocatable[memory]: Invalid value: \"lots\": quantities must match",
            ],
        );
        check(
            json!({"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "10.0.0.1"}]}),
            &["status.addresses[1]: Duplicate value: {"],
        );
        let node = created(
            &NodeStrategy,
            &json!({"status": {"capacity": {"cpu": "2000m"}}}),
        );
        let shown = serde_json::to_value(node).unwrap();
        assert_eq!(shown["status"]["allocatable"], json!({"cpu": "2"}));
    }

    #[test]
    fn the_range_of_pods_is_set_once() {
        let check = |old: Value, new: Value, expected: &[&str]| {
            check_update(
                &NodeStrategy,
                &json!({"spec": old}),
                &json!({"spec": new}),
                expected,
            );
        };
        let cidr = json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]});
        check(json!({}), cidr.clone(), &[]);
        check(
            cidr.clone(),
            json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "unschedulable": true}),
            &[],
        );
        check(
            cidr,
            json!({}),
            &["spec.podCIDRs: Forbidden: node updates may not change podCIDR"],
        );
        check(
            json!({}),
            json!({"podCIDRs": ["10.0.0.0"]}),
            &["spec.podCIDRs[0]: Invalid value: \"10.0.0.0\": must be a valid CIDR"],
        );
        check(
            json!({"providerID": "a"}),
            json!({"providerID": "b"}),
            &["spec.providerID: Forbidden: node updates"],
        );
    }

    #[test]
    fn its_row_says_whether_it_is_ready() {
        let node = json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a", "node-role.kubernetes.io/": ""}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "127.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Euston"},
            },
        });
        check_row(
            &NodeStrategy,
            &node,
            0,
            &[
                ("Status", "Ready,SchedulingDisabled"),
                ("Roles", "a,control-plane"),
                ("Version", "v1.37.0"),
                ("Internal-IP", "127.0.0.1"),
                ("External-IP", "<none>"),
                ("OS-Image", "Euston"),
                ("Kernel-Version", "<unknown>"),
            ],
        );
        let down = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
        check_row(
            &NodeStrategy,
            &down,
            0,
            &[("Status", "NotReady"), ("Roles", "<none>")],
        );
        check_row(&NodeStrategy, &json!({}), 0, &[("Status", "Unknown")]);
        let fields = NodeStrategy.fields(&object(&node));
        assert_eq!(fields, [("spec.unschedulable", "true".to_owned())]);
    }
}
