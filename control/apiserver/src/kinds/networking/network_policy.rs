//! NetworkPolicy: who may talk to which pods.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use euston_api::selector::{format_label_selector, validate as validate_selector};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::kinds::cells;
use crate::kinds::pod_spec::TCP;
use crate::registry::strategy::{AGE, Column, NAME, Strategy, counts_spec_changes};

const INGRESS: &str = "Ingress";
const EGRESS: &str = "Egress";
/// Listed as Kubernetes lists them here.
const PROTOCOLS: [&str; 3] = [TCP, "UDP", "SCTP"];

/// The rules of NetworkPolicies.
pub struct NetworkPolicyStrategy;

impl Strategy for NetworkPolicyStrategy {
    type Object = NetworkPolicy;

    fn default(&self, policy: &mut NetworkPolicy) {
        let spec = policy.spec.get_or_insert_default();
        spec.pod_selector.get_or_insert_default();
        let ingress = spec.ingress.iter_mut().flatten().map(|r| &mut r.ports);
        let egress = spec.egress.iter_mut().flatten().map(|r| &mut r.ports);
        for port in ingress.chain(egress).flatten().flatten() {
            port.protocol.get_or_insert_with(|| TCP.to_owned());
        }
        if spec.policy_types.as_ref().is_none_or(|t| t.is_empty()) {
            let mut types = vec![INGRESS.to_owned()];
            if spec.egress.as_ref().is_some_and(|e| !e.is_empty()) {
                types.push(EGRESS.to_owned());
            }
            spec.policy_types = Some(types);
        }
    }

    fn validate(&self, policy: &NetworkPolicy) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = NetworkPolicySpec::default();
        let spec = policy.spec.as_ref().unwrap_or(&default);
        let path = Path::new("spec");
        if let Some(selector) = &spec.pod_selector {
            validate_selector(selector, &path.child("podSelector"), &mut errors);
        }
        for (index, rule) in spec.ingress.iter().flatten().enumerate() {
            let path = path.child("ingress").index(index);
            validate_ports(rule.ports.as_deref(), &path, &mut errors);
            validate_peers(rule.from.as_deref(), &path.child("from"), &mut errors);
        }
        for (index, rule) in spec.egress.iter().flatten().enumerate() {
            let path = path.child("egress").index(index);
            validate_ports(rule.ports.as_deref(), &path, &mut errors);
            validate_peers(rule.to.as_deref(), &path.child("to"), &mut errors);
        }
        let types = spec.policy_types.as_deref().unwrap_or_default();
        let path = path.child("policyTypes");
        if types.len() > 2 {
            errors.invalid(path, types, "may not specify more than two policyTypes");
        } else {
            for (index, kind) in types.iter().enumerate() {
                if kind != INGRESS && kind != EGRESS {
                    errors.not_supported(path.index(index), kind, &[EGRESS, INGRESS]);
                }
            }
        }
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Pod-Selector", "The pods that the policy applies to."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, policy: &NetworkPolicy, now: Timestamp) -> Vec<Value> {
        let spec = policy.spec.as_ref();
        let selector = spec
            .and_then(|s| s.pod_selector.clone())
            .unwrap_or_default();
        vec![
            cells::name(&policy.metadata),
            format_label_selector(&selector).into(),
            cells::age(&policy.metadata, now),
        ]
    }
}

fn validate_ports(ports: Option<&[NetworkPolicyPort]>, path: &Path, errors: &mut ErrorList) {
    for (index, port) in ports.unwrap_or_default().iter().enumerate() {
        validate_port(port, &path.child("ports").index(index), errors);
    }
}

fn validate_port(port: &NetworkPolicyPort, path: &Path, errors: &mut ErrorList) {
    if let Some(protocol) = port.protocol.as_deref()
        && !PROTOCOLS.contains(&protocol)
    {
        errors.not_supported(path.child("protocol"), protocol, &PROTOCOLS);
    }
    let (here, end_path) = (path.child("port"), path.child("endPort"));
    match (&port.port, port.end_port) {
        (Some(IntOrString::Int(first)), end) => {
            errors.invalid_each(&here, first, names::port_number(*first));
            if let Some(end) = end {
                if end < *first {
                    let rule = "must be greater than or equal to `port`";
                    errors.invalid(end_path.clone(), first, rule);
                }
                errors.invalid_each(&end_path, end, names::port_number(end));
            }
        }
        (Some(IntOrString::String(name)), end) => {
            if let Some(end) = end {
                let rule = "may not be specified when `port` is non-numeric";
                errors.invalid(end_path, end, rule);
            }
            errors.invalid_each(&here, name, names::port_name(name));
        }
        (None, Some(end)) => {
            let rule = "may not be specified when `port` is not specified";
            errors.invalid(end_path, end, rule);
        }
        (None, None) => {}
    }
}

fn validate_peers(peers: Option<&[NetworkPolicyPeer]>, path: &Path, errors: &mut ErrorList) {
    for (index, peer) in peers.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        let selectors = [
            ("podSelector", &peer.pod_selector),
            ("namespaceSelector", &peer.namespace_selector),
        ];
        let mut selected = false;
        for (field, selector) in selectors {
            if let Some(selector) = selector {
                selected = true;
                validate_selector(selector, &path.child(field), errors);
            }
        }
        if let Some(block) = &peer.ip_block {
            validate_block(block, &path.child("ipBlock"), errors);
        }
        match (selected, peer.ip_block.is_some()) {
            (false, false) => errors.required(path, "must specify a peer"),
            (true, true) => {
                errors.forbidden(path, "may not specify both ipBlock and another peer");
            }
            _ => {}
        }
    }
}

fn validate_block(block: &IPBlock, path: &Path, errors: &mut ErrorList) {
    let here = path.child("cidr");
    if block.cidr.is_empty() {
        errors.required(here, "");
        return;
    }
    let Some(whole) = names::parse_cidr(&block.cidr) else {
        errors.invalid_each(&here, &block.cidr, names::cidr(&block.cidr));
        return;
    };
    for (index, except) in block.except.iter().flatten().enumerate() {
        let here = path.child("except").index(index);
        match names::parse_cidr(except) {
            None => errors.invalid_each(&here, except, names::cidr(except)),
            Some(part) if !whole.contains(part.address()) || whole.bits() >= part.bits() => {
                errors.invalid(here, except, "must be a strict subset of `cidr`");
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, created};
    use serde_json::json;

    fn types(spec: Value) -> Value {
        let policy = created(&NetworkPolicyStrategy, &json!({"spec": spec}));
        serde_json::to_value(policy).unwrap()["spec"].clone()
    }

    #[test]
    fn directions_have_defaults() {
        let spec = |spec: Value| types(spec)["policyTypes"].clone();
        assert_eq!(spec(json!({})), json!(["Ingress"]));
        assert_eq!(
            spec(json!({"podSelector": {}, "ingress": [{}]})),
            json!(["Ingress"])
        );
        assert_eq!(
            spec(json!({"podSelector": {}, "egress": [{}]})),
            json!(["Ingress", "Egress"])
        );
        assert_eq!(spec(json!({"policyTypes": ["Egress"]})), json!(["Egress"]));
        let ports = types(json!({
            "ingress": [{"ports": [{"port": 1}]}],
            "egress": [{"ports": [{"port": 1, "protocol": "UDP"}, {}]}],
        }));
        assert_eq!(ports["ingress"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(ports["egress"][0]["ports"][0]["protocol"], "UDP");
        assert_eq!(ports["egress"][0]["ports"][1]["protocol"], "TCP");
    }

    #[test]
    fn rules_are_checked_in_both_directions() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&NetworkPolicyStrategy, &json!({"spec": spec}), expected);
        };
        check(json!({}), &[]);
        check(
            json!({"podSelector": {"matchLabels": {"a b": "c"}}}),
            &["spec.podSelector.matchLabels: Invalid value: \"a b\": name part"],
        );
        check(
            json!({"policyTypes": ["Ingress", "Egress", "Ingress"]}),
            &[
                "spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Ingress\"]: may not specify more than two policyTypes",
            ],
        );
        check(
            json!({"policyTypes": ["Sideways"]}),
            &[
                "spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Egress\", \"Ingress\"",
            ],
        );
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            let check = |rule: Value, expected: &[&str]| {
                let expected: Vec<String> = expected
                    .iter()
                    .map(|e| format!("spec.{direction}[0].{}", e.replace("PEERS", peers)))
                    .collect();
                let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
                check(json!({(direction): [rule]}), &expected);
            };
            let peer = |peer: Value| json!({(peers): [peer]});
            check(json!({}), &[]);
            check(
                peer(json!({"podSelector": {}, "namespaceSelector": {}})),
                &[],
            );
            check(
                peer(json!({})),
                &["PEERS[0]: Required value: must specify a peer"],
            );
            check(
                peer(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
                &["PEERS[0]: Forbidden: may not specify both ipBlock and another peer"],
            );
            check(
                peer(
                    json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
                ),
                &["PEERS[0].namespaceSelector.matchExpressions[0].operator: Invalid value: \"Is\""],
            );
        }
    }

    #[test]
    fn ports_are_numbers_or_names() {
        let check = |port: Value, expected: &[&str]| {
            let value = json!({"spec": {"ingress": [{"ports": [port]}]}});
            let expected: Vec<String> = expected
                .iter()
                .map(|e| format!("spec.ingress[0].ports[0].{e}"))
                .collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check_create(&NetworkPolicyStrategy, &value, &expected);
        };
        check(json!({"port": 80, "endPort": 90}), &[]);
        check(json!({"port": "web"}), &[]);
        check(
            json!({"protocol": "ICMP"}),
            &[
                "protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
            ],
        );
        check(
            json!({"port": 0}),
            &["port: Invalid value: 0: must be between 1 and 65535, inclusive"],
        );
        check(
            json!({"port": 80, "endPort": 79}),
            &["endPort: Invalid value: 80: must be greater than or equal to `port`"],
        );
        check(
            json!({"port": "web", "endPort": 79}),
            &["endPort: Invalid value: 79: may not be specified when `port` is non-numeric"],
        );
        check(
            json!({"endPort": 79}),
            &["endPort: Invalid value: 79: may not be specified when `port` is not specified"],
        );
    }

    #[test]
    fn exceptions_are_inside() {
        let check = |block: Value, expected: &[&str]| {
            let value = json!({"spec": {"ingress": [{"from": [{"ipBlock": block}]}]}});
            let expected: Vec<String> = expected
                .iter()
                .map(|e| format!("spec.ingress[0].from[0].ipBlock.{e}"))
                .collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check_create(&NetworkPolicyStrategy, &value, &expected);
        };
        check(
            json!({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}),
            &[],
        );
        check(json!({"cidr": "::/0", "except": ["fe80::/10"]}), &[]);
        check(json!({"cidr": ""}), &["cidr: Required value"]);
        check(
            json!({"cidr": "10.0.0.0"}),
            &["cidr: Invalid value: \"10.0.0.0\": must be a valid CIDR value"],
        );
        check(
            json!({"cidr": "10.0.0.0/8", "except": ["x", "11.0.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "fe80::/10"]}),
            &[
                "except[0]: Invalid value: \"x\": must be a valid CIDR",
                "except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                "except[2]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
                "except[3]: Invalid value: \"0.0.0.0/0\": must be a strict subset of `cidr`",
                "except[4]: Invalid value: \"fe80::/10\": must be a strict subset of `cidr`",
            ],
        );
    }

    #[test]
    fn its_row_shows_whom_it_is_about() {
        let value = json!({"metadata": {"name": "p"}, "spec": {"podSelector": {"matchLabels": {"a": "b"}}}});
        check_row(
            &NetworkPolicyStrategy,
            &value,
            0,
            &[("Name", "p"), ("Pod-Selector", "a=b")],
        );
        check_row(
            &NetworkPolicyStrategy,
            &json!({"spec": {}}),
            0,
            &[("Pod-Selector", "<none>")],
        );
    }
}
