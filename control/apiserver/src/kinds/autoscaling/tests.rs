use super::*;
use crate::kinds::testing::{check_create, check_row, check_status, created, merged, object};
use crate::registry::version::Version;
use serde_json::json;

fn scaler(spec: Value) -> Value {
    let base = json!({"metadata": {"name": "web"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "maxReplicas": 5,
    }});
    merged(&base, &json!({"spec": spec}))
}

fn check(spec: Value, expected: &[&str]) {
    check_create(&HorizontalPodAutoscalerStrategy, &scaler(spec), expected);
}

fn check_metric(metric: Value, expected: &[&str]) {
    let expected: Vec<String> = expected
        .iter()
        .map(|e| format!("spec.metrics[0]{e}"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(json!({"metrics": [metric]}), &expected);
}

#[test]
fn defaults() {
    let made = |spec: Value| {
        serde_json::to_value(created(&HorizontalPodAutoscalerStrategy, &scaler(spec))).unwrap()
    };
    let plain = made(json!({}));
    assert_eq!(plain["spec"]["minReplicas"], 1);
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    assert_eq!(plain["spec"]["metrics"], cpu);
    assert_eq!(plain["spec"].get("behavior"), None);
    assert_eq!(plain["status"]["desiredReplicas"], 0);
    let given = made(
        json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}}),
    );
    assert_eq!(
        given["spec"]["behavior"],
        json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]},
            "scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 1, "periodSeconds": 60},
            ]},
        })
    );
}

#[test]
fn bounds_and_targets() {
    check(json!({}), &[]);
    check(
        json!({"minReplicas": 0, "maxReplicas": 0}),
        &[
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
        ],
    );
    check(
        json!({"minReplicas": 6}),
        &["spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"],
    );
    check(
        json!({"scaleTargetRef": {"kind": "", "name": "a/b"}}),
        &[
            "spec.scaleTargetRef.kind: Required value",
            "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
        ],
    );
}

#[test]
fn metrics_have_one_source_of_their_type() {
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
    check_metric(json!({"type": "Resource", "resource": cpu}), &[]);
    check_metric(
        json!({"type": ""}),
        &[
            ".type: Required value: must specify a metric source type",
            ".type: Unsupported value: \"\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
        ],
    );
    check_metric(
        json!({"type": "Resource"}),
        &[".resource: Required value: must populate information for the given metric source"],
    );
    check_metric(
        json!({"type": "Pods", "resource": cpu}),
        &[
            ".pods: Required value: must populate information for the given metric source",
            ".resource: Forbidden: must populate the given metric source only",
        ],
    );
    let pods = json!({"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}});
    check_metric(
        json!({"type": "Pods", "resource": cpu, "pods": pods}),
        &[".resource: Forbidden: must populate the given metric source only"],
    );
}

#[test]
fn sources_say_what_is_aimed_at() {
    let target = |target: Value| {
        merged(
            &json!({"type": "AverageValue", "averageValue": "10"}),
            &target,
        )
    };
    let metric = |metric: Value| merged(&json!({"name": "rps"}), &metric);
    let pods = |change: Value, name: Value, expected: &[&str]| {
        let pods = json!({"metric": metric(name), "target": target(change)});
        check_metric(json!({"type": "Pods", "pods": pods}), expected);
    };
    pods(json!({}), json!({}), &[]);
    pods(
        json!({"averageValue": "0"}),
        json!({"name": ""}),
        &[
            ".pods.metric.name: Required value: must specify a metric name",
            ".pods.target.averageValue: Invalid value: \"0\": must be positive",
            ".pods.target.averageValue: Required value: must specify a positive target averageValue",
        ],
    );
    pods(
        json!({"type": "Near"}),
        json!({"name": "a%b"}),
        &[
            ".pods.metric.name: Invalid value: \"a%b\": may not contain '%'",
            ".pods.target.type: Invalid value: \"Near\": must be either Utilization, Value, or AverageValue",
        ],
    );
    let resource = |target: Value, expected: &[&str]| {
        let source = json!({"name": "", "target": target});
        let mut all = vec![".resource.name: Required value: must specify a resource name"];
        all.extend(expected);
        check_metric(json!({"type": "Resource", "resource": source}), &all);
    };
    resource(
        json!({"type": "Utilization"}),
        &[
            ".resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
        ],
    );
    resource(
        json!({"type": "Utilization", "averageUtilization": 0, "averageValue": "1"}),
        &[
            ".resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
            ".resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
        ],
    );
    let container = json!({"name": "cpu", "container": "", "target": {"type": "Utilization", "averageUtilization": 5}});
    check_metric(
        json!({"type": "ContainerResource", "containerResource": container}),
        &[".containerResource.container: Required value: must specify a container"],
    );
    let both = json!({"metric": {"name": "q"}, "target": {"type": "Value", "value": "1", "averageValue": "1"}});
    check_metric(
        json!({"type": "External", "external": both}),
        &[
            ".external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
        ],
    );
    let object = json!({"metric": {"name": "q"}, "target": {"type": "Value"}, "describedObject": {"kind": "Ingress", "name": ""}});
    check_metric(
        json!({"type": "Object", "object": object}),
        &[
            ".object.describedObject.name: Required value",
            ".object.target.averageValue: Required value: must set either a target value for metric or a per-pod target",
        ],
    );
}

#[test]
fn behavior_has_bounds() {
    let rules = |rules: Value, expected: &[&str]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|e| format!("spec.behavior.scaleUp.{e}"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(json!({"behavior": {"scaleUp": rules}}), &expected);
    };
    rules(json!({"tolerance": "0.05"}), &[]);
    rules(
        json!({"stabilizationWindowSeconds": 3601, "selectPolicy": "Mean", "policies": [], "tolerance": "-1"}),
        &[
            "stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            "selectPolicy: Unsupported value: \"Mean\": supported values: \"Disabled\", \"Max\", \"Min\"",
            "policies: Required value: must specify at least one Policy",
            "tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    rules(
        json!({"stabilizationWindowSeconds": -1, "policies": [
            {"type": "Nodes", "value": 0, "periodSeconds": 0},
            {"type": "Pods", "value": 1, "periodSeconds": 1801},
        ]}),
        &[
            "stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero",
            "policies[0].type: Unsupported value: \"Nodes\": supported values: \"Percent\", \"Pods\"",
            "policies[0].value: Invalid value: 0: must be greater than zero",
            "policies[0].periodSeconds: Invalid value: 0: must be greater than zero",
            "policies[1].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ],
    );
}

#[test]
fn counts_of_a_status_are_not_negative() {
    let whole = |status: Value| merged(&scaler(json!({})), &json!({"status": status}));
    let old = whole(json!({"desiredReplicas": 1}));
    let check = |status: Value, expected: &[&str]| {
        check_status(
            &HorizontalPodAutoscalerStrategy,
            &old,
            &whole(status),
            expected,
        );
    };
    check(json!({"desiredReplicas": 3, "currentReplicas": 2}), &[]);
    check(
        json!({"desiredReplicas": -1, "currentReplicas": -2}),
        &[
            "status.currentReplicas: Invalid value: -2: must be greater than or equal to 0",
            "status.desiredReplicas: Invalid value: -1",
        ],
    );
}

/// One of every sort of metric, with what is measured.
fn full() -> Value {
    let average = json!({"type": "AverageValue", "averageValue": "10"});
    merged(
        &scaler(json!({
            "minReplicas": 2,
            "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": average}},
                {"type": "Resource", "resource": {"name": "memory", "target": average}},
                {"type": "External", "external": {"metric": {"name": "queue"}, "target": average}},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
            ],
            "behavior": {"scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
        })),
        &json!({"status": {
            "currentReplicas": 3, "desiredReplicas": 4, "observedGeneration": 7,
            "lastScaleTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "ScalingActive", "status": "True", "reason": "x", "message": "y"}],
            "currentMetrics": [
                {"type": "Pods", "pods": {"metric": {"name": "rps"}, "current": {"averageValue": "7"}}},
                {"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "1Gi"}}},
                {"type": "External", "external": {"metric": {"name": "queue"}, "current": {"averageValue": "3"}}},
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "100m", "averageUtilization": 40}}},
            ],
        }}),
    )
}

#[test]
fn its_row_shows_two_metrics() {
    check_row(
        &HorizontalPodAutoscalerStrategy,
        &full(),
        0,
        &[
            ("Reference", "Deployment/web"),
            ("Targets", "7/10, memory: 1Gi/10 + 2 more..."),
            ("MinPods", "2"),
            ("MaxPods", "5"),
            ("Replicas", "3"),
        ],
    );
    let targets = |metrics: Value, expected: &str| {
        let value = scaler(json!({"metrics": metrics}));
        check_row(
            &HorizontalPodAutoscalerStrategy,
            &value,
            0,
            &[("Targets", expected), ("MinPods", "<unset>")],
        );
    };
    targets(json!([]), "<none>");
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
    targets(json!([cpu]), "cpu: <unknown>/80%");
    let queue = json!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "30"}}});
    targets(json!([queue, cpu]), "<unknown>/30, cpu: <unknown>/80%");
    let average = json!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "30"}}});
    targets(json!([average]), "<unknown>/30 (avg)");
    targets(json!([{"type": "Moon"}]), "<unknown type>");
}

#[test]
fn nothing_is_lost_on_the_way_through_v1() {
    let mut value = full();
    value["metadata"]["annotations"] = json!({"mine": "kept"});
    let stored: HorizontalPodAutoscaler = object(&value);
    let shown = v1::V1.show_stored(stored.clone());
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["apiVersion"], "autoscaling/v1");
    for (pointer, expect) in [
        ("/spec/targetCPUUtilizationPercentage", json!(50)),
        ("/spec/minReplicas", json!(2)),
        ("/status/currentCPUUtilizationPercentage", json!(40)),
        ("/status/currentReplicas", json!(3)),
        ("/metadata/annotations/mine", json!("kept")),
    ] {
        assert_eq!(json.pointer(pointer), Some(&expect), "{pointer}");
    }
    let annotations = json["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.len(), 5, "{annotations:?}");
    let back = v1::V1.to_stored(serde_json::from_value(json).unwrap());
    assert_eq!(back, stored);
}

#[test]
fn the_percentage_of_v1_is_a_metric() {
    let send = |change: Value| {
        let base = scaler(json!({}));
        let sent: k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler =
            object(&merged(&base, &change));
        serde_json::to_value(v1::V1.to_stored(sent)).unwrap()
    };
    let stored = send(json!({"spec": {"targetCPUUtilizationPercentage": 30}}));
    assert_eq!(
        stored["spec"]["metrics"],
        json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 30}}}])
    );
    assert_eq!(send(json!({}))["spec"].get("metrics"), None);
    // Anybody may write annotations: what cannot be read is dropped.
    let stored = send(json!({"metadata": {"annotations": {
        "autoscaling.alpha.kubernetes.io/metrics": "no JSON",
        "autoscaling.alpha.kubernetes.io/behavior": "[]",
    }}}));
    assert_eq!(stored["metadata"].get("annotations"), None);
    assert_eq!(stored["spec"].get("behavior"), None);
}
