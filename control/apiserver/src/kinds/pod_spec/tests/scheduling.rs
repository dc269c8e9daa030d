//! What is wrong with wishes about nodes.

use super::*;

#[test]
fn tolerations_and_selectors() {
    let check = |toleration: Value, expected: &[&str]| {
        check_spec(json!({"tolerations": [toleration]}), expected)
    };
    check(json!({"operator": "Exists"}), &[]);
    check(
        json!({"key": "a", "value": "b", "effect": "NoSchedule"}),
        &[],
    );
    check(json!({"key": "a", "operator": "Gt", "value": "5"}), &[]);
    check(
        json!({"value": "b"}),
        &[
            "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty",
        ],
    );
    check(
        json!({"key": "a", "operator": "Exists", "value": "b"}),
        &["spec.tolerations[0].operator: Invalid value: {"],
    );
    check(
        json!({"key": "a", "operator": "Near"}),
        &["spec.tolerations[0].operator: Unsupported value: \"Near\""],
    );
    check(
        json!({"key": "a", "operator": "Lt", "value": "x"}),
        &["spec.tolerations[0].value: Invalid value: \"x\": must be a valid integer"],
    );
    check(
        json!({"key": "a b", "value": "c d", "effect": "Never"}),
        &[
            "spec.tolerations[0].key: Invalid value: \"a b\"",
            "spec.tolerations[0].operator: Invalid value: \"c d\": a valid label",
            "spec.tolerations[0].effect: Unsupported value: \"Never\"",
        ],
    );
    check(
        json!({"key": "a", "operator": "Exists", "tolerationSeconds": 5}),
        &[
            "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ],
    );
    check_spec(
        json!({"nodeSelector": {"a b": "c d"}}),
        &[
            "spec.nodeSelector: Invalid value: \"a b\"",
            "spec.nodeSelector: Invalid value: \"c d\"",
        ],
    );
}

#[test]
fn pods_spread() {
    let check = |constraint: Value, expected: &[&str]| {
        let good =
            json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
        check_spec(
            json!({"topologySpreadConstraints": [merged(&good, &constraint)]}),
            expected,
        );
    };
    check(
        json!({"minDomains": 2, "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["k"]}),
        &[],
    );
    check(
        json!({"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Cry"}),
        &[
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
            "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Cry\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ],
    );
    check(
        json!({"whenUnsatisfiable": "ScheduleAnyway", "minDomains": 0, "nodeTaintsPolicy": "x", "matchLabelKeys": ["k"]}),
        &[
            "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if",
            "spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: \"x\"",
            "spec.topologySpreadConstraints[0].matchLabelKeys[0]: Forbidden: must not be specified when labelSelector is not set",
        ],
    );
    let twice = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
    check_spec(
        json!({"topologySpreadConstraints": [twice, twice]}),
        &[
            "spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\"",
        ],
    );
}

#[test]
fn affinity_to_nodes_and_pods() {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let nodes = |terms: Value, expected: &[&str]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|e| format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms{e}"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check_spec(
            json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}}),
            &expected,
        );
    };
    nodes(
        json!([{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}], "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]),
        &[],
    );
    nodes(
        json!([]),
        &[": Required value: must have at least one node selector term"],
    );
    nodes(
        json!([{"matchExpressions": [
            {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Lt", "values": []}, {"key": "", "operator": "Near"},
        ]}]),
        &[
            "[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "[0].matchExpressions[1].values: Forbidden: may not be specified when",
            "[0].matchExpressions[2].values: Required value: must be specified single value",
            "[0].matchExpressions[3].operator: Invalid value: \"Near\": not a valid selector operator",
            "[0].matchExpressions[3].key: Invalid value: \"\": name part must be non-empty",
            "[0].matchExpressions[3].key: Invalid value: \"\": name part must consist",
        ],
    );
    nodes(
        json!([{"matchFields": [{"key": "spec.x", "operator": "Exists"}, {"key": "metadata.name", "operator": "In", "values": ["N", "m"]}]}]),
        &[
            "[0].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator",
            "[0].matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key",
            "[0].matchFields[1].values: Required value: must be only one value",
            "[0].matchFields[1].values[0]: Invalid value: \"N\"",
        ],
    );
    check_spec(
        json!({"affinity": {
            "nodeAffinity": {PREFERRED: [{"weight": 0, "preference": {}}]},
            "podAntiAffinity": {
                REQUIRED: [{"topologyKey": "", "namespaces": ["A"], "labelSelector": {"matchLabels": {"a b": ""}}}],
                PREFERRED: [{"weight": 101, "podAffinityTerm": {"topologyKey": "zone", "matchLabelKeys": ["k"]}}],
            },
        }}),
        &[
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchLabels: Invalid value: \"a b\"",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace: Invalid value: \"A\"",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101",
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.matchLabelKeys[0]: Forbidden",
        ],
    );
}
