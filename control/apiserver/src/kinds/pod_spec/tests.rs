//! Each rule of a pod's spec, seen failing through a Pod's creation.

mod containers;
mod environment;
mod scheduling;
mod volumes;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::super::pod::PodStrategy;
use super::super::testing::{check_create, merged, object};
use super::*;

/// A good pod with `patch` merged into its spec.
fn pod(patch: Value) -> Value {
    let base = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a", "image": "app:v1"}]}});
    merged(&base, &json!({"spec": patch}))
}

fn check_spec(patch: Value, expected: &[&str]) {
    check_create(&PodStrategy, &pod(patch), expected);
}

/// The same with `patch` merged into its only container.
fn check_container(patch: Value, expected: &[&str]) {
    let container = merged(&json!({"name": "a", "image": "app:v1"}), &patch);
    let expected: Vec<String> = expected
        .iter()
        .map(|e| format!("spec.containers[0]{e}"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_spec(json!({"containers": [container]}), &expected);
}

#[test]
fn settings_have_known_values() {
    check_spec(
        json!({"restartPolicy": "Perhaps"}),
        &[
            "spec.restartPolicy: Unsupported value: \"Perhaps\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    );
    check_spec(
        json!({"dnsPolicy": "Mine"}),
        &["spec.dnsPolicy: Unsupported value: \"Mine\""],
    );
    check_spec(
        json!({"dnsPolicy": "None"}),
        &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    );
    check_spec(
        json!({"dnsPolicy": "None", "dnsConfig": {}}),
        &["spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver"],
    );
    check_spec(
        json!({"dnsConfig": {"nameservers": ["1.1.1.1", "x", "1.1.1.1", "1.1.1.1"], "searches": ["ok.example", "_tcp.svc.", ".", "A"], "options": [{}]}}),
        &[
            "spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"x\",\"1.1.1.1\",\"1.1.1.1\"]: must not have more than 3 nameservers",
            "spec.dnsConfig.nameservers[1]: Invalid value: \"x\": must be a valid IP",
            "spec.dnsConfig.searches[3]: Invalid value: \"A\": a lowercase",
            "spec.dnsConfig.options[0]: Required value: must not be empty",
        ],
    );
    check_spec(
        json!({"dnsConfig": {"searches": vec!["a.b"; 33]}}),
        &["spec.dnsConfig.searches: Invalid value: [\"a.b\""],
    );
    check_spec(
        json!({"hostname": "a.b", "subdomain": "B", "nodeName": "N", "serviceAccountName": "S", "priorityClassName": "P", "runtimeClassName": "R"}),
        &[
            "spec.serviceAccountName: Invalid value: \"S\"",
            "spec.nodeName: Invalid value: \"N\"",
            "spec.hostname: Invalid value: \"a.b\": must not contain dots",
            "spec.subdomain: Invalid value: \"B\"",
            "spec.priorityClassName: Invalid value: \"P\"",
            "spec.runtimeClassName: Invalid value: \"R\"",
        ],
    );
    check_spec(
        json!({"activeDeadlineSeconds": 0}),
        &[
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ],
    );
    check_spec(json!({"activeDeadlineSeconds": 1}), &[]);
    check_spec(
        json!({"hostAliases": [{"ip": "x", "hostnames": ["A"]}]}),
        &[
            "spec.hostAliases[0].ip: Invalid value: \"x\"",
            "spec.hostAliases[0].hostnames[0]: Invalid value: \"A\"",
        ],
    );
    check_spec(
        json!({"imagePullSecrets": [{"name": ""}], "readinessGates": [{"conditionType": "a b"}]}),
        &[
            "spec.imagePullSecrets[0].name: Required value",
            "spec.readinessGates[0].conditionType: Invalid value: \"a b\": name part",
        ],
    );
    check_spec(
        json!({"schedulingGates": [{"name": "a"}, {"name": "a"}], "nodeName": "n"}),
        &[
            "spec.schedulingGates[1]: Duplicate value: \"a\"",
            "spec.schedulingGates: Forbidden: cannot be set until all schedulingGates have been cleared",
        ],
    );
    check_spec(
        json!({"preemptionPolicy": "Always", "os": {"name": "beos"}}),
        &[
            "spec.preemptionPolicy: Unsupported value: \"Always\": supported values: \"PreemptLowerPriority\", \"Never\"",
            "spec.os.name: Unsupported value: \"beos\": supported values: \"linux\", \"windows\"",
        ],
    );
    check_spec(
        json!({"resourceClaims": [{"name": "c"}, {"name": "c", "resourceClaimName": "x"}]}),
        &[
            "spec.resourceClaims[0]: Invalid value: {\"name\":\"c\"}: must specify one of",
            "spec.resourceClaims[1].name: Duplicate value: \"c\"",
        ],
    );
}

#[test]
fn security_contexts_make_sense() {
    check_spec(
        json!({"shareProcessNamespace": true, "hostPID": true}),
        &[
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
        ],
    );
    check_spec(
        json!({"securityContext": {"runAsUser": -1, "supplementalGroups": [1, -2], "fsGroupChangePolicy": "x", "sysctls": [{"name": "", "value": ""}, {"name": "a", "value": ""}, {"name": "a", "value": ""}], "seccompProfile": {"type": "Localhost"}}}),
        &[
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "spec.securityContext.supplementalGroups[1]: Invalid value: -2",
            "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"x\"",
            "spec.securityContext.sysctls[0].name: Required value",
            "spec.securityContext.sysctls[2].name: Duplicate value: \"a\"",
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when type is Localhost",
        ],
    );
    let check = |context: Value, expected: &[&str]| {
        check_container(json!({"securityContext": context}), expected)
    };
    check(json!({"privileged": true, "runAsNonRoot": true}), &[]);
    check(
        json!({"privileged": true, "allowPrivilegeEscalation": false}),
        &[".securityContext: Invalid value: {"],
    );
    check(
        json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}),
        &[".securityContext: Invalid value: {"],
    );
    check(
        json!({"procMount": "x", "runAsGroup": 1_i64 << 40, "appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "p"}}),
        &[
            ".securityContext.runAsGroup: Invalid value: 1099511627776",
            ".securityContext.procMount: Unsupported value: \"x\"",
            ".securityContext.appArmorProfile.localhostProfile: Invalid value: \"p\": can only be set when type is Localhost",
        ],
    );
}

#[test]
fn what_has_no_effect_is_told() {
    let warnings = |patch: Value| {
        let spec: PodSpec = object(&pod(patch)["spec"]);
        pod_warnings(&spec, &Path::new("spec"))
    };
    assert_eq!(warnings(json!({})), Vec::<String>::new());
    let hardened = json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}});
    assert_eq!(
        warnings(hardened),
        Vec::<String>::new(),
        "what a sandbox grants anyway"
    );
    let cases = [
        (
            json!({"hostPID": true}),
            "spec.hostPID: has no effect on a WebAssembly pod: ",
        ),
        (json!({"hostIPC": true}), "spec.hostIPC: has no effect"),
        (
            json!({"hostNetwork": true}),
            "spec.hostNetwork: has no effect",
        ),
        (
            json!({"shareProcessNamespace": true}),
            "spec.shareProcessNamespace: has no effect",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}),
            "spec.securityContext.sysctls: has no effect",
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "spec.securityContext.windowsOptions.hostProcess: has no effect",
        ),
        (
            json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "x"}]}),
            "spec.resourceClaims: has no effect",
        ),
        (
            json!({"containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}),
            "spec.containers[0].securityContext.procMount: has no effect",
        ),
        (
            json!({"terminationGracePeriodSeconds": -1}),
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values",
        ),
        (
            json!({"volumes": [{"name": "v", "gitRepo": {"repository": "x"}}]}),
            "spec.volumes[0].gitRepo: deprecated in v1.11",
        ),
        (
            json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]}),
            "spec.containers[0].securityContext.privileged: has no effect",
        ),
        (
            json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["X"]}}}]}),
            "spec.containers[0].securityContext.capabilities.add: has no effect",
        ),
        (
            json!({"containers": [{"name": "a", "env": [{"name": "A"}, {"name": "A"}]}]}),
            "spec.containers[0].env[1]: hides previous definition of \"A\"",
        ),
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostIP": "1.1.1.1"}]}]}),
            "spec.containers[0].ports[0].hostIP: set without hostPort",
        ),
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1}]}, {"name": "b", "ports": [{"containerPort": 1}]}]}),
            "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
        ),
    ];
    for (patch, expected) in cases {
        let warnings = warnings(patch.clone());
        assert_eq!(warnings.len(), 1, "{patch}: {warnings:?}");
        assert!(warnings[0].starts_with(expected), "{patch}: {warnings:?}");
    }
}

#[test]
fn templates_have_labels_and_no_ephemeral_containers() {
    let template = object(&json!({
        "metadata": {"labels": {"a b": "c"}, "annotations": {"a/b/c": ""}},
        "spec": {"containers": [], "ephemeralContainers": [{"name": "e", "image": "x"}], "restartPolicy": "Always", "dnsPolicy": "Default"},
    }));
    let mut errors = ErrorList::new();
    validate_template(&template, &Path::new("t"), &mut errors);
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        "t.labels: Invalid value: \"a b\"",
        "t.annotations: Invalid value: \"a/b/c\"",
        "t.spec.containers: Required value",
        "t.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
    ];
    assert_eq!(shown.len(), expected.len(), "{shown:?}");
    for (shown, expected) in shown.iter().zip(expected) {
        assert!(shown.starts_with(expected), "{shown} is not {expected}");
    }
}
