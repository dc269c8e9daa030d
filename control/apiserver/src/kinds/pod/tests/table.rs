//! What `kubectl get pods` shows.

use super::*;

#[test]
fn the_status_is_one_word() {
    let container = |state: Value, ready: bool, restarts: i32| json!({"name": "a", "ready": ready, "restartCount": restarts, "state": state});
    let running = json!({"running": {}});
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let ended =
        |reason: Value, code: i32| json!({"terminated": {"reason": reason, "exitCode": code}});
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let cases: Vec<(Value, &str, &str, &str)> = vec![
        (json!({"phase": "Pending"}), "0/1", "Pending", "0"),
        (
            json!({"phase": "Failed", "reason": "Evicted"}),
            "0/1",
            "Evicted",
            "0",
        ),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            "0/1",
            "SchedulingGated",
            "0",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [container(running.clone(), true, 0)]}),
            "1/1",
            "Running",
            "0",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [container(running.clone(), false, 1)]}),
            "0/1",
            "Running",
            "1",
        ),
        (
            json!({"phase": "Pending", "containerStatuses": [container(waiting("ContainerCreating"), false, 0)]}),
            "0/1",
            "ContainerCreating",
            "0",
        ),
        (
            json!({"phase": "Pending", "containerStatuses": [container(waiting("ImagePullBackOff"), false, 0)]}),
            "0/1",
            "ImagePullBackOff",
            "0",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [merged(&container(waiting("CrashLoopBackOff"), false, 2), &json!({"lastState": {"terminated": {"exitCode": 1, "finishedAt": "1970-01-01T00:05:00Z"}}}))]}),
            "0/1",
            "CrashLoopBackOff",
            "2 (5m ago)",
        ),
        (
            json!({"phase": "Succeeded", "containerStatuses": [container(ended(json!("Completed"), 0), false, 0)]}),
            "0/1",
            "Completed",
            "0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [container(ended(json!("Error"), 1), false, 0)]}),
            "0/1",
            "Error",
            "0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [container(ended(json!("OOMKilled"), 137), false, 0)]}),
            "0/1",
            "OOMKilled",
            "0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [container(ended(Value::Null, 3), false, 0)]}),
            "0/1",
            "ExitCode:3",
            "0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [container(json!({"terminated": {"exitCode": 0, "signal": 9}}), false, 0)]}),
            "0/1",
            "Signal:9",
            "0",
        ),
        (
            json!({"phase": "Running", "conditions": ready, "containerStatuses": [container(running.clone(), true, 0), container(ended(json!("Completed"), 0), false, 0)]}),
            "1/1",
            "Running",
            "0",
        ),
        (
            json!({"phase": "Running", "conditions": ready, "containerStatuses": [container(ended(json!("Completed"), 0), false, 0), container(running.clone(), true, 0)]}),
            "1/1",
            "Running",
            "0",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [container(ended(json!("Completed"), 0), false, 0), container(running.clone(), true, 0)]}),
            "1/1",
            "NotReady",
            "0",
        ),
    ];
    for (status, ready, word, restarts) in cases {
        let value = pod(json!({"status": status}));
        check_row(
            &PodStrategy,
            &value,
            600,
            &[("Ready", ready), ("Status", word), ("Restarts", restarts)],
        );
    }
}

#[test]
fn init_containers_come_first() {
    let with = |statuses: Value, conditions: Value| {
        pod(json!({
            "spec": {"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]},
            "status": {"phase": "Pending", "initContainerStatuses": statuses, "conditions": conditions,
                "containerStatuses": [{"name": "a", "ready": true, "restartCount": 1, "state": {"running": {}}}]},
        }))
    };
    let status = |name: &str, state: Value, extra: Value| {
        merged(
            &json!({"name": name, "restartCount": 4, "state": state}),
            &extra,
        )
    };
    let done = status("i", json!({"terminated": {"exitCode": 0}}), json!({}));
    let sidecar = status(
        "s",
        json!({"running": {}}),
        json!({"started": true, "ready": true, "restartCount": 2}),
    );
    let cases = [
        (
            json!([status("i", json!({"running": {}}), json!({}))]),
            "0/2",
            "Init:0/2",
            "4",
        ),
        (
            json!([status(
                "i",
                json!({"waiting": {"reason": "PodInitializing"}}),
                json!({})
            )]),
            "0/2",
            "Init:0/2",
            "4",
        ),
        (
            json!([status(
                "i",
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                json!({})
            )]),
            "0/2",
            "Init:CrashLoopBackOff",
            "4",
        ),
        (
            json!([status(
                "i",
                json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
                json!({})
            )]),
            "0/2",
            "Init:Error",
            "4",
        ),
        (
            json!([status(
                "i",
                json!({"terminated": {"exitCode": 3}}),
                json!({})
            )]),
            "0/2",
            "Init:ExitCode:3",
            "4",
        ),
        (
            json!([status(
                "i",
                json!({"terminated": {"exitCode": 3, "signal": 9}}),
                json!({})
            )]),
            "0/2",
            "Init:Signal:9",
            "4",
        ),
        (
            json!([done, status("s", json!({"waiting": {}}), json!({}))]),
            "0/2",
            "Init:1/2",
            "8",
        ),
        (json!([done, sidecar]), "2/2", "Pending", "3"),
    ];
    for (statuses, ready, word, restarts) in cases {
        check_row(
            &PodStrategy,
            &with(statuses, json!([])),
            0,
            &[("Ready", ready), ("Status", word), ("Restarts", restarts)],
        );
    }
    // Once initialised, a sidecar that failed does not hide the containers.
    let failed = json!([
        done,
        status(
            "s",
            json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
            json!({})
        )
    ]);
    let initialized = json!([{"type": "Initialized", "status": "True"}]);
    check_row(
        &PodStrategy,
        &with(failed, initialized),
        0,
        &[
            ("Ready", "1/2"),
            ("Status", "Init:Error"),
            ("Restarts", "5"),
        ],
    );
}

#[test]
fn a_deleted_pod_terminates_and_wide_columns_say_where() {
    let deleted = |status: Value| {
        pod(json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}, "status": status}))
    };
    check_row(
        &PodStrategy,
        &deleted(json!({"phase": "Running"})),
        0,
        &[("Status", "Terminating")],
    );
    check_row(
        &PodStrategy,
        &deleted(json!({"phase": "Succeeded"})),
        0,
        &[("Status", "Succeeded")],
    );
    check_row(
        &PodStrategy,
        &deleted(json!({"phase": "Running", "reason": "NodeLost"})),
        0,
        &[("Status", "Unknown")],
    );
    let wide = pod(json!({
        "metadata": {"creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"nodeName": "n1", "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
        "status": {"podIPs": [{"ip": "10.128.0.5"}], "nominatedNodeName": "n2", "conditions": [{"type": "a", "status": "True"}]},
    }));
    check_row(
        &PodStrategy,
        &wide,
        90,
        &[
            ("Name", "web"),
            ("Age", "90s"),
            ("IP", "10.128.0.5"),
            ("Node", "n1"),
            ("Nominated Node", "n2"),
            ("Readiness Gates", "1/2"),
        ],
    );
    check_row(
        &PodStrategy,
        &pod(json!({})),
        0,
        &[
            ("IP", "<none>"),
            ("Node", "<none>"),
            ("Nominated Node", "<none>"),
            ("Readiness Gates", "<none>"),
        ],
    );
}
