//! Pods: what they get at creation, what may change, how they look in a table.

mod table;

use serde_json::{Value, json};

use super::super::testing::{check_row, check_update, compare, created, merged, object};
use super::*;

fn pod(patch: Value) -> Value {
    let base = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a", "image": "app:v1"}]}});
    merged(&base, &patch)
}

#[test]
fn a_new_pod_is_pending_with_the_clusters_defaults() {
    let pod = created(
        &PodStrategy,
        &pod(json!({
            "status": {"phase": "Running"},
        })),
    );
    let pod = serde_json::to_value(pod).unwrap();
    assert_eq!(
        pod["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
    let expected = [
        ("serviceAccountName", json!("default")),
        ("serviceAccount", json!("default")),
        ("enableServiceLinks", json!(true)),
    ];
    for (field, value) in expected {
        assert_eq!(pod["spec"][field], value, "{field}");
    }
}

#[test]
fn creation_follows_what_the_pod_says() {
    let cases = [
        (
            json!({"serviceAccount": "mine"}),
            "/spec/serviceAccountName",
            json!("mine"),
        ),
        (
            json!({"schedulingGates": [{"name": "g"}]}),
            "/status/conditions/0/reason",
            json!("SchedulingGated"),
        ),
        (
            json!({"enableServiceLinks": false}),
            "/spec/enableServiceLinks",
            json!(false),
        ),
        (
            json!({"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}),
            "/status/qosClass",
            json!("Guaranteed"),
        ),
    ];
    for (spec, pointer, expected) in cases {
        let pod = serde_json::to_value(created(&PodStrategy, &pod(json!({"spec": spec})))).unwrap();
        assert_eq!(pod.pointer(pointer), Some(&expected), "{pointer} of {spec}");
    }
}

#[test]
fn little_changes_once_a_pod_exists() {
    let stored = |patch: Value| serde_json::to_value(created(&PodStrategy, &pod(patch))).unwrap();
    let old = stored(json!({"spec": {
        "activeDeadlineSeconds": 100,
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
    }}));
    let check = |patch: Value, expected: &[&str]| {
        check_update(&PodStrategy, &old, &merged(&old, &patch), expected);
    };
    check(json!({}), &[]);
    check(
        json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Failed"}}),
        &[],
    );
    check(json!({"spec": {"activeDeadlineSeconds": 50}}), &[]);
    check(
        json!({"spec": {"activeDeadlineSeconds": 101}}),
        &[
            "spec.activeDeadlineSeconds: Invalid value: 101: must be less than or equal to previous value",
        ],
    );
    check(
        json!({"spec": {"activeDeadlineSeconds": null}}),
        &["spec.activeDeadlineSeconds: Invalid value: null: must not update from"],
    );
    check(
        json!({"spec": {"nodeName": "n", "restartPolicy": "Never"}}),
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`",
        ],
    );

    let with = |edit: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        edit(&mut new["spec"]);
        new
    };
    let image = with(&|spec| spec["containers"][0]["image"] = json!("app:v2"));
    check_update(&PodStrategy, &old, &image, &[]);
    let bad_image = with(&|spec| spec["containers"][0]["image"] = json!(""));
    check_update(
        &PodStrategy,
        &old,
        &bad_image,
        &[
            "spec.containers[0].image: Required value",
            "spec.containers[0].image: Required value",
        ],
    );
    let env = with(&|spec| spec["containers"][0]["env"] = json!([{"name": "A"}]));
    check_update(
        &PodStrategy,
        &old,
        &env,
        &["spec: Forbidden: pod updates may not"],
    );
    let more = with(&|spec| {
        let another = merged(&spec["containers"][0], &json!({"name": "b"}));
        spec["containers"].as_array_mut().unwrap().push(another);
    });
    check_update(
        &PodStrategy,
        &old,
        &more,
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
    let tolerates = with(&|spec| {
        spec["tolerations"][0]["tolerationSeconds"] = json!(5);
        spec["tolerations"]
            .as_array_mut()
            .unwrap()
            .push(json!({"key": "x", "operator": "Exists"}));
    });
    check_update(&PodStrategy, &old, &tolerates, &[]);
    let intolerant = with(&|spec| spec["tolerations"] = json!([]));
    check_update(
        &PodStrategy,
        &old,
        &intolerant,
        &[
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ],
    );

    let gated = stored(json!({"spec": {"schedulingGates": [{"name": "g"}]}}));
    check_update(
        &PodStrategy,
        &gated,
        &merged(
            &gated,
            &json!({"spec": {"schedulingGates": [], "nodeSelector": {"a": "b"}}}),
        ),
        &[],
    );
    check_update(
        &PodStrategy,
        &gated,
        &merged(
            &gated,
            &json!({"spec": {"schedulingGates": [{"name": "g"}, {"name": "h"}]}}),
        ),
        &[
            "spec.schedulingGates[1]: Forbidden: only deletion is allowed, but found new scheduling gate 'h'",
        ],
    );
    check_update(
        &PodStrategy,
        &old,
        &merged(&old, &json!({"spec": {"nodeSelector": {"a": "b"}}})),
        &["spec: Forbidden"],
    );
}

#[test]
fn a_status_says_what_can_be() {
    let ended = |code: i32| json!({"name": "a", "state": {"terminated": {"exitCode": code}}});
    let running = json!({"name": "a", "state": {"running": {}}});
    let check = |policy: &str, old: &Value, new: &Value, expected: &[&str]| {
        let with = |status: &Value| -> Pod {
            object(&pod(
                json!({"spec": {"restartPolicy": policy}, "status": {"containerStatuses": [status]}}),
            ))
        };
        compare(
            new,
            &update::validate_status(&with(new), &with(old)),
            expected,
        );
    };
    let again = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    check("Always", &ended(0), &running, &[]);
    check("OnFailure", &ended(1), &running, &[]);
    check("OnFailure", &ended(0), &running, &[again]);
    check("Never", &ended(1), &running, &[again]);
    check("Never", &ended(1), &ended(1), &[]);
    let odd: Pod = object(&pod(
        json!({"status": {"nominatedNodeName": "N", "podIPs": [{"ip": "x"}]}}),
    ));
    compare(
        &json!({}),
        &update::validate_status(&odd, &odd),
        &[
            "status.nominatedNodeName: Invalid value: \"N\"",
            "status.podIPs[0]: Invalid value: \"x\": must be a valid IP",
        ],
    );

    let old = created(&PodStrategy, &pod(json!({})));
    let mut new: Pod = object(&pod(
        json!({"spec": {"nodeName": "x"}, "status": {"phase": "Running"}}),
    ));
    PodStrategy.prepare_for_status_update(&mut new, &old);
    assert_eq!(new.spec, old.spec);
    assert_eq!(new.status.unwrap().qos_class.as_deref(), Some("BestEffort"));
}

#[test]
fn grace_is_for_pods_that_run() {
    let cases = [
        (
            json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}),
            None,
            30,
        ),
        (
            json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}),
            Some(5),
            5,
        ),
        (
            json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}}),
            Some(0),
            0,
        ),
        (
            json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": -7}}),
            None,
            1,
        ),
        (
            json!({"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}}),
            Some(9),
            0,
        ),
        (
            json!({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}}),
            None,
            0,
        ),
        (
            json!({"spec": {"terminationGracePeriodSeconds": 30}}),
            Some(9),
            0,
        ),
    ];
    for (patch, asked, expected) in cases {
        let grace = PodStrategy.grace_period_seconds(&object(&pod(patch.clone())), asked);
        assert_eq!(grace, Some(expected), "{patch} asked {asked:?}");
    }
}

#[test]
fn fields_for_selectors() {
    let value = pod(json!({
        "spec": {"nodeName": "n", "restartPolicy": "Never", "hostNetwork": true},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
    }));
    let fields = PodStrategy.fields(&object(&value));
    let labels: Vec<&str> = fields.iter().map(|(label, _)| *label).collect();
    assert_eq!(labels, PodStrategy.field_labels());
    for (label, value) in [
        ("spec.nodeName", "n"),
        ("status.podIP", "10.0.0.1"),
        ("spec.hostNetwork", "true"),
        ("status.nominatedNodeName", ""),
    ] {
        assert!(fields.contains(&(label, value.to_owned())), "{label}");
    }
    let warnings = PodStrategy.warnings(&object(&pod(json!({"metadata": {"name": "a.b"}}))));
    assert!(
        warnings[0].starts_with("metadata.name: this is used in the Pod's hostname"),
        "{warnings:?}"
    );
}

#[test]
fn a_spec_change_is_a_new_generation() {
    let old: Pod = object(&pod(json!({})));
    let relabelled: Pod = object(&pod(
        json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Running"}}),
    ));
    let changed: Pod = object(&pod(json!({"spec": {"activeDeadlineSeconds": 5}})));
    assert!(PodStrategy.has_generation());
    assert!(!PodStrategy.bumps_generation(&relabelled, &old));
    assert!(PodStrategy.bumps_generation(&changed, &old));
}
