use super::*;
use crate::kinds::testing::{
    check_create, check_row, check_status, check_update, created, merged, object,
};
use serde_json::json;

fn job(spec: Value) -> Value {
    let base = json!({"metadata": {"name": "pi", "uid": "u-1"}, "spec": {
        "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "a", "image": "pi:v1"}],
        }},
    }});
    merged(&base, &json!({"spec": spec}))
}

fn check(spec: Value, expected: &[&str]) {
    check_create(&JobStrategy, &job(spec), expected);
}

fn generated() -> Value {
    json!({
        "batch.kubernetes.io/controller-uid": "u-1", "batch.kubernetes.io/job-name": "pi",
        "controller-uid": "u-1", "job-name": "pi",
    })
}

#[test]
fn defaults() {
    let check = |spec: Value, expect: &[(&str, Value)]| {
        let made = serde_json::to_value(created(&JobStrategy, &job(spec))).unwrap();
        for (pointer, value) in expect {
            assert_eq!(
                made.pointer(pointer).unwrap_or(&Value::Null),
                value,
                "{pointer}"
            );
        }
    };
    check(
        json!({}),
        &[
            ("/spec/completions", json!(1)),
            ("/spec/parallelism", json!(1)),
            ("/spec/backoffLimit", json!(6)),
            ("/spec/completionMode", json!("NonIndexed")),
            ("/spec/suspend", json!(false)),
            ("/spec/manualSelector", json!(false)),
            ("/spec/podReplacementPolicy", json!("TerminatingOrFailed")),
            (
                "/spec/selector",
                json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}),
            ),
            ("/spec/template/metadata/labels", generated()),
            ("/metadata/labels", generated()),
            ("/status", json!({})),
        ],
    );
    check(
        json!({"parallelism": 3}),
        &[
            ("/spec/completions", Value::Null),
            ("/spec/parallelism", json!(3)),
        ],
    );
    check(
        json!({"completions": 3}),
        &[("/spec/parallelism", json!(1))],
    );
    check(
        json!({"completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1}),
        &[("/spec/backoffLimit", json!(i32::MAX))],
    );
    let rule = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]});
    check(
        json!({"podFailurePolicy": {"rules": [rule]}}),
        &[
            ("/spec/podReplacementPolicy", json!("Failed")),
            (
                "/spec/podFailurePolicy/rules/0/onPodConditions/0/status",
                json!("True"),
            ),
        ],
    );
    check(
        json!({"template": {"metadata": {"labels": {"app": "pi"}}}}),
        &[(
            "/metadata/labels",
            merged(&generated(), &json!({"app": "pi"})),
        )],
    );
}

#[test]
fn the_selector_is_its_own_unless_it_is_manual() {
    check(json!({}), &[]);
    let manual = json!({"manualSelector": true, "selector": {"matchLabels": {"app": "pi"}},
                        "template": {"metadata": {"labels": {"app": "pi"}}}});
    check(manual.clone(), &[]);
    let made = created(&JobStrategy, &job(manual));
    assert_eq!(
        made.metadata.labels,
        Some([("app".into(), "pi".into())].into())
    );
    check(
        json!({"manualSelector": true}),
        &["spec.selector: Required value"],
    );
    check(
        json!({"selector": {"matchLabels": {"app": "pi"}}}),
        &[
            "spec.template.metadata.labels: Invalid value: {",
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"pi\",\"batch.kubernetes.io/controller-uid\":\"u-1\"}}: `selector` not auto-generated",
        ],
    );
    check(
        json!({"template": {"metadata": {"labels": {"controller-uid": "u-2", "job-name": "tau"}}}}),
        &[
            "spec.template.metadata.labels[controller-uid]: Invalid value: {",
            "spec.template.metadata.labels[job-name]: Invalid value: {",
        ],
    );
}

#[test]
fn a_generated_name_is_carried_into_the_labels() {
    let mut made = created(&JobStrategy, &job(json!({})));
    made.metadata.name = Some("pi-2".into());
    JobStrategy.renamed(&mut made, "pi");
    assert!(JobStrategy.validate_create(&made).is_empty());
    let labels = made.metadata.labels.unwrap();
    assert_eq!(labels["job-name"], "pi-2");
    assert_eq!(labels["controller-uid"], "u-1");
}

#[test]
fn numbers_and_modes() {
    check(
        json!({"parallelism": -1, "completions": -1, "activeDeadlineSeconds": -1, "backoffLimit": -1,
               "ttlSecondsAfterFinished": -1}),
        &[
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
            "spec.completions: Invalid value: -1",
            "spec.activeDeadlineSeconds: Invalid value: -1",
            "spec.backoffLimit: Invalid value: -1",
            "spec.ttlSecondsAfterFinished: Invalid value: -1",
        ],
    );
    let indexed = |spec: Value, expected: &[&str]| {
        check(
            merged(
                &json!({"completionMode": "Indexed", "completions": 5}),
                &spec,
            ),
            expected,
        );
    };
    indexed(
        json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 5}),
        &[],
    );
    indexed(
        json!({"completions": null, "parallelism": 100_001}),
        &[
            "spec.completions: Required value: when completion mode is Indexed",
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
        ],
    );
    indexed(
        json!({"backoffLimitPerIndex": -1, "maxFailedIndexes": 6}),
        &[
            "spec.backoffLimitPerIndex: Invalid value: -1",
            "spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions",
        ],
    );
    indexed(
        json!({"maxFailedIndexes": 1}),
        &["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"],
    );
    indexed(
        json!({"completions": 100_001, "backoffLimitPerIndex": 1, "parallelism": 10_001}),
        &[
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
        ],
    );
    indexed(
        json!({"completions": 200_000, "backoffLimitPerIndex": 1, "maxFailedIndexes": 100_001}),
        &[
            "spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 100000",
            "spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 10000 when completions",
        ],
    );
    check(
        json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 1}),
        &[
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
        ],
    );
    check(
        json!({"completionMode": "Sorted"}),
        &[
            "spec.completionMode: Unsupported value: \"Sorted\": supported values: \"Indexed\", \"NonIndexed\"",
        ],
    );
    let long = merged(
        &job(json!({"completionMode": "Indexed", "completions": 1000})),
        &json!({"metadata": {"name": "p".repeat(60)}}),
    );
    check_create(
        &JobStrategy,
        &long,
        &["metadata.name: Invalid value: \"pppp"],
    );
}

#[test]
fn managers_have_a_domain() {
    let managed = |by: &str, expected: &[&str]| check(json!({"managedBy": by}), expected);
    managed("kubernetes.io/job-controller", &[]);
    managed("", &["spec.managedBy: Required value"]);
    managed(
        "kueue",
        &[
            "spec.managedBy: Invalid value: \"kueue\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ],
    );
    managed(
        "Acme.io/x",
        &["spec.managedBy: Invalid value: \"Acme.io\": a lowercase RFC 1123 subdomain"],
    );
    managed(
        "acme.io/a b",
        &["spec.managedBy: Invalid value: \"a b\": Invalid path (regex used for validation is"],
    );
    managed(
        &format!("acme.io/{}", "x".repeat(60)),
        &["spec.managedBy: Too long: may not be more than 63 bytes"],
    );
}

#[test]
fn pods_of_a_job_end() {
    let policy = |policy: Value, expected: &[&str]| {
        check(
            json!({"template": {"spec": {"restartPolicy": policy}}}),
            expected,
        );
    };
    let missing =
        "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"";
    policy(json!("OnFailure"), &[]);
    policy(json!("Always"), &[missing]);
    policy(Value::Null, &[missing]);
    policy(
        json!("Sometimes"),
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"Sometimes\"",
            "spec.template.spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"OnFailure\", \"Never\"",
        ],
    );
    let rule = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}});
    check(
        json!({"podFailurePolicy": {"rules": [rule]}, "template": {"spec": {"restartPolicy": "OnFailure"}}}),
        &[
            "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified",
        ],
    );
}

#[test]
fn failure_policies() {
    let rule = |rule: Value, expected: &[&str]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|e| format!("spec.podFailurePolicy.rules[0]{e}"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(json!({"podFailurePolicy": {"rules": [rule]}}), &expected);
    };
    let codes = |codes: Value, expected: &[&str]| {
        let base = json!({"operator": "In", "values": [1, 2]});
        let codes = merged(&base, &codes);
        rule(json!({"action": "FailJob", "onExitCodes": codes}), expected);
    };
    codes(json!({"containerName": "a"}), &[]);
    codes(json!({"operator": "NotIn", "values": [0]}), &[]);
    codes(
        json!({"containerName": "b"}),
        &[
            ".onExitCodes.containerName: Invalid value: \"b\": must be one of the container or initContainer names in the pod template",
        ],
    );
    codes(
        json!({"operator": ""}),
        &[".onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]"],
    );
    codes(
        json!({"operator": "Near"}),
        &[
            ".onExitCodes.operator: Unsupported value: \"Near\": supported values: \"In\", \"NotIn\"",
        ],
    );
    codes(
        json!({"values": []}),
        &[".onExitCodes.values: Invalid value: []: at least one value is required"],
    );
    codes(
        json!({"values": [0, 3, 3, 1]}),
        &[
            ".onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
            ".onExitCodes.values[2]: Duplicate value: 3",
            ".onExitCodes.values: Invalid value: [0,3,3,1]: must be ordered",
        ],
    );
    codes(
        json!({"values": (1..=256).collect::<Vec<i32>>()}),
        &[".onExitCodes.values: Too many: 256: must have at most 255 items"],
    );
    let condition = json!({"type": "DisruptionTarget"});
    rule(
        json!({"action": "Count", "onPodConditions": [condition]}),
        &[],
    );
    rule(
        json!({"action": "", "onPodConditions": [{"type": "a b", "status": "Maybe"}]}),
        &[
            ".action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            ".onPodConditions[0].type: Invalid value: \"a b\": name part",
            ".onPodConditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
        ],
    );
    rule(
        json!({"action": "FailIndex", "onPodConditions": [condition]}),
        &[".action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"],
    );
    rule(
        json!({"action": "Explode"}),
        &[
            ".action: Unsupported value: \"Explode\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
            ": Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ],
    );
    rule(
        json!({"action": "Ignore", "onPodConditions": [condition], "onExitCodes": {"operator": "In", "values": [1]}}),
        &[": Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"],
    );
    let many = vec![json!({"action": "Ignore", "onPodConditions": [condition]}); 21];
    check(
        json!({"podFailurePolicy": {"rules": many}}),
        &["spec.podFailurePolicy.rules: Too many: 21: must have at most 20 items"],
    );
    check(
        json!({"podFailurePolicy": {"rules": []}, "podReplacementPolicy": "TerminatingOrFailed"}),
        &[
            "spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
        ],
    );
    check(
        json!({"podReplacementPolicy": "Never"}),
        &[
            "spec.podReplacementPolicy: Unsupported value: \"Never\": supported values: \"Failed\", \"TerminatingOrFailed\"",
        ],
    );
}

#[test]
fn success_policies() {
    let rule = |rule: Value, expected: &[&str]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|e| format!("spec.successPolicy.rules[0]{e}"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let policy = json!({"rules": [rule]});
        let spec = json!({"completionMode": "Indexed", "completions": 10, "successPolicy": policy});
        check(spec, &expected);
    };
    let indexes = |text: &str, why: &str| {
        let wrong = format!(
            ".succeededIndexes: Invalid value: {text:?}: error parsing succeededIndexes: {why}"
        );
        rule(json!({"succeededIndexes": text}), &[&wrong]);
    };
    rule(json!({"succeededCount": 3}), &[]);
    rule(
        json!({"succeededIndexes": "0-2,4,9", "succeededCount": 5}),
        &[],
    );
    rule(
        json!({}),
        &[": Required value: at least one of succeededCount or succeededIndexes must be specified"],
    );
    rule(
        json!({"succeededCount": 11}),
        &[
            ".succeededCount: Invalid value: 11: must be less than or equal to 10 (the number of specified completions)",
        ],
    );
    rule(
        json!({"succeededIndexes": "1,3-4", "succeededCount": 4}),
        &[
            ".succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of indexes in the specified succeededIndexes field)",
        ],
    );
    indexes("10", "too large index: \"10\"");
    indexes("a", "cannot convert string to integer for index: \"a\"");
    indexes("3,2", "non-increasing order, previous: 3, current: 2");
    indexes("4-4", "non-increasing order, previous: 4, current: 4");
    indexes("1-2-3", "the fragment \"1-2-3\" violates the requirement");
    indexes("1,", "cannot convert string to integer for index: \"\"");
    check(
        json!({"successPolicy": {"rules": [{"succeededCount": 1}]}}),
        &[
            "spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode",
        ],
    );
    check(
        json!({"completionMode": "Indexed", "completions": 1, "successPolicy": {"rules": []}}),
        &[
            "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified",
        ],
    );
}

/// The Job as it is stored, with a status.
fn stored(spec: Value, status: Value) -> Value {
    let made = serde_json::to_value(created(&JobStrategy, &job(spec))).unwrap();
    merged(&made, &json!({"status": status}))
}

fn check_change(spec: Value, status: Value, change: Value, expected: &[&str]) {
    let old = stored(spec, status);
    let new = merged(&old, &change);
    let (old, mut updated): (Job, Job) = (object(&old), object(&new));
    JobStrategy.default(&mut updated);
    JobStrategy.prepare_for_update(&mut updated, &old);
    let mut errors = JobStrategy.validate(&updated);
    errors.extend(JobStrategy.validate_update(&updated, &old));
    crate::kinds::testing::compare(&new, &errors, expected);
}

#[test]
fn what_may_change() {
    let update = |change: Value, expected: &[&str]| {
        check_change(json!({}), json!({}), json!({"spec": change}), expected);
    };
    update(
        json!({"parallelism": 0, "backoffLimit": 1, "suspend": true, "activeDeadlineSeconds": 5,
               "ttlSecondsAfterFinished": 5}),
        &[],
    );
    update(
        json!({"completions": 2}),
        &["spec.completions: Invalid value: 2: field is immutable"],
    );
    update(
        json!({"managedBy": "acme.io/x"}),
        &["spec.managedBy: Invalid value: \"acme.io/x\": field is immutable"],
    );
    update(
        json!({"completionMode": "Indexed"}),
        &["spec.completionMode: Invalid value: \"Indexed\": field is immutable"],
    );
    update(
        json!({"template": {"spec": {"containers": [{"name": "a", "image": "pi:v2"}]}}}),
        &["spec.template: Invalid value: {"],
    );
    update(
        json!({"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}),
        &["spec.template: Invalid value: {"],
    );
    let indexed = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
    let scale = |change: Value, expected: &[&str]| {
        check_change(
            indexed.clone(),
            json!({}),
            json!({"spec": change}),
            expected,
        );
    };
    scale(json!({"completions": 5, "parallelism": 5}), &[]);
    scale(
        json!({"completions": 5}),
        &[
            "spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism",
        ],
    );
}

#[test]
fn pods_of_a_suspended_job_may_be_sent_elsewhere() {
    let directives = json!({"spec": {"template": {
        "metadata": {"labels": {"queue": "q"}, "annotations": {"a": "b"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "schedulingGates": [{"name": "acme.io/wait"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}],
            }}},
        },
    }}});
    let refused = ["spec.template: Invalid value: {"];
    let suspended = json!({"suspend": true});
    let started = json!({"startTime": "2026-01-01T00:00:00Z"});
    let rests = json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]});
    check_change(suspended.clone(), json!({}), directives.clone(), &[]);
    check_change(suspended.clone(), rests, directives.clone(), &[]);
    check_change(suspended.clone(), started, directives.clone(), &refused);
    check_change(json!({}), json!({}), directives, &refused);
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "pi:v2"}]}}}});
    check_change(suspended.clone(), json!({}), image, &refused);
    let pods = json!({"spec": {"template": {"spec": {"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}}}}});
    check_change(suspended, json!({}), pods, &refused);
}

#[test]
fn a_status_is_held_to_its_rules() {
    let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z");
    let conditions = |kinds: &[&str]| {
        let all = kinds
            .iter()
            .map(|kind| json!({"type": kind, "status": "True"}));
        Value::Array(all.collect())
    };
    let check = |old: Value, new: Value, expected: &[&str]| {
        let spec = json!({"completions": 3});
        check_status(
            &JobStrategy,
            &stored(spec.clone(), old),
            &stored(spec, new),
            expected,
        );
    };
    let complete = json!({"startTime": at(0), "completionTime": at(5), "succeeded": 3,
        "conditions": conditions(&["SuccessCriteriaMet", "Complete"])});
    check(
        json!({}),
        json!({"startTime": at(0), "active": 2, "ready": 1}),
        &[],
    );
    check(json!({"startTime": at(0)}), complete.clone(), &[]);
    check(complete.clone(), complete.clone(), &[]);
    check(
        json!({}),
        json!({"active": -1, "ready": 1}),
        &[
            "status.active: Invalid value: -1: must be greater than or equal to 0",
            "status.ready: Invalid value: 1: cannot set more ready pods than active",
        ],
    );
    check(
        json!({"failed": 2, "succeeded": 1}),
        json!({"failed": 1}),
        &[
            "status.failed: Invalid value: 1: cannot decrease the failed counter",
            "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
        ],
    );
    check(
        json!({}),
        json!({"conditions": conditions(&["Complete", "Failed"])}),
        &[
            "status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions",
            "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.startTime: Required value: startTime is required for finished job",
        ],
    );
    check(
        complete.clone(),
        json!({"startTime": at(0), "succeeded": 3}),
        &[
            "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
            "status.conditions: Invalid value: cannot disable the terminal SuccessCriteriaMet=True condition",
            "status.completionTime: Invalid value: null: completionTime cannot be mutated",
        ],
    );
    check(
        json!({}),
        json!({"startTime": at(5), "completionTime": at(1), "active": 1,
            "uncountedTerminatedPods": {"failed": ["x"]},
            "conditions": conditions(&["SuccessCriteriaMet", "Complete"])}),
        &[
            "status.completionTime: Invalid value: \"2026-01-01T00:00:01Z\": completionTime cannot be set before startTime",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"x\"]}: uncountedTerminatedPods needs to be empty for finished job",
        ],
    );
    check(
        json!({"startTime": at(0)}),
        json!({"startTime": at(1), "completionTime": at(2)}),
        &[
            "status.completionTime: Invalid value: \"2026-01-01T00:00:02Z\": cannot set completionTime when there is no Complete=True condition",
            "status.startTime: Invalid value: \"2026-01-01T00:00:01Z\": startTime cannot be modified for unsuspended job",
        ],
    );
    check(
        json!({}),
        json!({"uncountedTerminatedPods": {"succeeded": ["x", ""], "failed": ["x"]},
               "completedIndexes": "1-9", "failedIndexes": "1"}),
        &[
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
            "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"x\"",
            "status.completedIndexes: Invalid value: \"1-9\": error parsing completedIndexes: too large index: \"9\"",
            "status.completedIndexes: Invalid value: \"1-9\": cannot set non-empty completedIndexes",
            "status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
        ],
    );
}

#[test]
fn its_row_tells_how_far_it_is() {
    let check = |spec: Value, status: Value, expected: &[(&str, &str)]| {
        check_row(&JobStrategy, &stored(spec, status), 100, expected);
    };
    check(
        json!({}),
        json!({}),
        &[
            ("Status", "Running"),
            ("Completions", "0/1"),
            ("Duration", ""),
            ("Images", "pi:v1"),
            ("Selector", "batch.kubernetes.io/controller-uid=u-1"),
        ],
    );
    check(
        json!({"parallelism": 4}),
        json!({"startTime": "1970-01-01T00:01:00Z", "succeeded": 2}),
        &[("Completions", "2/1 of 4"), ("Duration", "40s")],
    );
    check(
        json!({"completions": 3}),
        json!({"startTime": "1970-01-01T00:00:10Z", "completionTime": "1970-01-01T00:00:15Z",
            "succeeded": 3, "conditions": [{"type": "Complete", "status": "True"}]}),
        &[
            ("Status", "Complete"),
            ("Completions", "3/3"),
            ("Duration", "5s"),
        ],
    );
    check(
        json!({"suspend": true}),
        json!({"conditions": [{"type": "Suspended", "status": "True"}]}),
        &[("Status", "Suspended")],
    );
    let fields = JobStrategy.fields(&object(&stored(json!({}), json!({"succeeded": 2}))));
    assert_eq!(fields, [("status.successful", "2".to_owned())]);
}

#[test]
fn updates_keep_the_status() {
    let old = job(json!({}));
    let new = merged(
        &stored(json!({}), json!({})),
        &json!({"status": {"active": 5}}),
    );
    check_update(&JobStrategy, &old, &new, &[]);
}
