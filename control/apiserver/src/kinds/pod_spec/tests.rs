//! Each rule of a pod's spec, seen failing through a Pod's creation.

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
fn containers_have_names_and_images() {
    check_spec(json!({}), &[]);
    check_spec(
        json!({"containers": []}),
        &["spec.containers: Required value"],
    );
    check_spec(
        json!({"containers": null}),
        &["spec.containers: Required value"],
    );
    check_container(json!({"name": ""}), &[".name: Required value"]);
    check_container(
        json!({"name": "A"}),
        &[".name: Invalid value: \"A\": a lowercase RFC 1123 label"],
    );
    check_container(
        json!({"name": "a.b"}),
        &[".name: Invalid value: \"a.b\": must not contain dots"],
    );
    check_container(json!({"image": ""}), &[".image: Required value"]);
    check_container(
        json!({"image": " app"}),
        &[".image: Invalid value: \" app\": must not have leading or trailing whitespace"],
    );
    check_container(
        json!({"imagePullPolicy": "Sometimes", "terminationMessagePolicy": "Post", "restartPolicy": "Maybe"}),
        &[
            ".terminationMessagePolicy: Unsupported value: \"Post\": supported values: \"FallbackToLogsOnError\", \"File\"",
            ".imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ".restartPolicy: Unsupported value: \"Maybe\"",
        ],
    );
    check_spec(
        json!({
            "containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}],
            "initContainers": [{"name": "a", "image": "x"}, {"name": "b"}],
        }),
        &[
            "spec.containers[1].name: Duplicate value: \"a\"",
            "spec.initContainers[0].name: Duplicate value: \"a\"",
            "spec.initContainers[1].image: Required value",
        ],
    );
    check_spec(
        json!({"ephemeralContainers": [
            {"name": "a", "image": "x"},
            {"name": "debug", "targetContainerName": "zz", "ports": [{"containerPort": 1}]},
        ]}),
        &[
            "spec.ephemeralContainers[0].name: Duplicate value: \"a\"",
            "spec.ephemeralContainers[1].image: Required value",
            "spec.ephemeralContainers[1].targetContainerName: Not found: \"zz\"",
            "spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container",
        ],
    );
}

#[test]
fn ports_are_numbers_with_names() {
    let check =
        |ports: Value, expected: &[&str]| check_container(json!({"ports": ports}), expected);
    check(
        json!([{"containerPort": 80, "name": "http"}, {"containerPort": 80, "name": "http-2"}]),
        &[],
    );
    check(
        json!([{"name": "http"}]),
        &[".ports[0].containerPort: Required value"],
    );
    check(
        json!([{"containerPort": 70000, "hostPort": -1, "protocol": "ICMP", "name": "HTTP"}]),
        &[
            ".ports[0].name: Invalid value: \"HTTP\": must contain only alpha-numeric",
            ".ports[0].name: Invalid value: \"HTTP\": must contain at least one letter",
            ".ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ".ports[0].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive",
            ".ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
    check(
        json!([{"containerPort": 80, "name": "web"}, {"containerPort": 81, "name": "web"}]),
        &[".ports[1].name: Duplicate value: \"web\""],
    );
    check_spec(
        json!({"containers": [
            {"name": "a", "image": "x", "ports": [{"containerPort": 80, "hostPort": 8080}]},
            {"name": "b", "image": "x", "ports": [{"containerPort": 81, "hostPort": 8080}, {"containerPort": 82, "hostPort": 8080, "protocol": "UDP"}]},
        ]}),
        &["spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//8080\""],
    );
    check_spec(
        json!({"hostNetwork": true, "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
        &[
            "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true",
        ],
    );
}

#[test]
fn variables_have_one_source() {
    let check = |env: Value, expected: &[&str]| check_container(json!({"env": [env]}), expected);
    check(json!({"name": "A", "value": "x"}), &[]);
    check(json!({"name": "A"}), &[]);
    check(json!({"name": ""}), &[".env[0].name: Required value"]);
    check(
        json!({"name": "A=B"}),
        &[".env[0].name: Invalid value: \"A=B\": a valid environment variable name"],
    );
    check(
        json!({"name": "A", "valueFrom": {}}),
        &[".env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`"],
    );
    check(
        json!({"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        &[".env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"],
    );
    check(
        json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}, "configMapKeyRef": {"name": "s", "key": "k"}}}),
        &[
            ".env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time",
        ],
    );
    check(
        json!({"name": "A", "valueFrom": {"secretKeyRef": {"key": "a/b"}}}),
        &[
            ".env[0].valueFrom.secretKeyRef.name: Required value",
            ".env[0].valueFrom.secretKeyRef.key: Invalid value: \"a/b\": a valid config key",
        ],
    );
    check(
        json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m"}}}),
        &[".env[0].valueFrom.configMapKeyRef.key: Required value"],
    );
    check(
        json!({"name": "A", "valueFrom": {"fileKeyRef": {"key": "K", "volumeName": "v", "path": "../x"}}}),
        &[".env[0].valueFrom.fileKeyRef.path: Invalid value: \"../x\": must not contain '..'"],
    );
}

#[test]
fn variables_name_fields_of_the_pod() {
    let check = |field: &str, expected: &[&str]| {
        let env = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": field}}}]);
        let expected: Vec<String> = expected
            .iter()
            .map(|e| format!(".env[0].valueFrom.fieldRef.fieldPath: {e}"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check_container(json!({"env": env}), &expected);
    };
    for good in env::ENV_FIELDS {
        check(good, &[]);
    }
    check("metadata.labels['app']", &[]);
    check("metadata.annotations['Example.com/A']", &[]);
    check("", &["Required value"]);
    check(
        "metadata.labels",
        &["Unsupported value: \"metadata.labels\": supported values: \"metadata.name\""],
    );
    check(
        "metadata.labels['a b']",
        &["Invalid value: \"a b\": name part"],
    );
    check(
        "spec.nodeName['a']",
        &["Invalid value: \"spec.nodeName['a']\": spec.nodeName does not support subscript"],
    );
    check(
        "status.phase",
        &[
            "Invalid value: \"status.phase\": error converting fieldPath: field label not supported: status.phase",
        ],
    );
}

#[test]
fn variables_name_resources_of_the_container() {
    let check = |reference: Value, expected: &[&str]| {
        check_container(
            json!({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": reference}}]}),
            expected,
        );
    };
    check(json!({"resource": "limits.cpu", "divisor": "1m"}), &[]);
    check(
        json!({"resource": "requests.memory", "divisor": "1Mi"}),
        &[],
    );
    check(
        json!({"resource": ""}),
        &[".env[0].valueFrom.resourceFieldRef.resource: Required value"],
    );
    check(
        json!({"resource": "limits.gpu"}),
        &[".env[0].valueFrom.resourceFieldRef.resource: Unsupported value: \"limits.gpu\""],
    );
    check(
        json!({"resource": "limits.cpu", "divisor": "2"}),
        &[
            ".env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"2\": only divisor's values 1m and 1 are supported with the cpu resource",
        ],
    );
    check(
        json!({"resource": "limits.memory", "divisor": "3"}),
        &[
            ".env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"3\": only divisor's values 1, 1k, 1M, ",
        ],
    );
    check(
        json!({"resource": "limits.memory", "divisor": "x"}),
        &[
            ".env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"x\": quantities must match",
        ],
    );
}

#[test]
fn whole_maps_become_variables() {
    let check =
        |source: Value, expected: &[&str]| check_container(json!({"envFrom": [source]}), expected);
    check(json!({"prefix": "A_", "configMapRef": {"name": "m"}}), &[]);
    check(
        json!({}),
        &[".envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"],
    );
    check(
        json!({"secretRef": {}}),
        &[".envFrom[0].secretRef.name: Required value"],
    );
    check(
        json!({"prefix": "=", "secretRef": {"name": "A"}}),
        &[
            ".envFrom[0].prefix: Invalid value: \"=\": a valid environment variable name",
            ".envFrom[0].secretRef.name: Invalid value: \"A\": a lowercase",
        ],
    );
    check(
        json!({"configMapRef": {"name": "m"}, "secretRef": {"name": "s"}}),
        &[".envFrom[0]: Invalid value: \"\": may not have more than one field specified at a time"],
    );
}

#[test]
fn mounts_name_volumes() {
    let check = |mounts: Value, expected: &[&str]| {
        let containers = json!([{"name": "a", "image": "x", "volumeMounts": mounts}]);
        check_spec(
            json!({"containers": containers, "volumes": [{"name": "v"}, {"name": "w"}]}),
            expected,
        );
    };
    check(
        json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w", "subPath": "x"}]),
        &[],
    );
    check(
        json!([{"name": "u", "mountPath": "/u"}, {"name": "v", "mountPath": "/u"}, {"name": "w"}]),
        &[
            "spec.containers[0].volumeMounts[0].name: Not found: \"u\"",
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/u\": must be unique",
            "spec.containers[0].volumeMounts[2].mountPath: Required value",
        ],
    );
    check(
        json!([{"name": "v", "mountPath": "/v", "subPath": "/a/../b", "subPathExpr": "x", "mountPropagation": "Up", "recursiveReadOnly": "Enabled"}]),
        &[
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"/a/../b\": must be a relative path",
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: \"x\": subPathExpr and subPath are mutually exclusive",
            "spec.containers[0].volumeMounts[0].mountPropagation: Unsupported value: \"Up\"",
            "spec.containers[0].volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
        ],
    );
    check_spec(
        json!({
            "containers": [{"name": "a", "image": "x", "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}, {"name": "z", "devicePath": ""}]}],
            "volumes": [{"name": "v"}],
        }),
        &[
            "spec.containers[0].volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim",
            "spec.containers[0].volumeDevices[1].name: Not found: \"z\"",
            "spec.containers[0].volumeDevices[1].devicePath: Required value",
        ],
    );
}

#[test]
fn volumes_have_one_source() {
    let check =
        |volume: Value, expected: &[&str]| check_spec(json!({"volumes": [volume]}), expected);
    check(json!({"name": "v"}), &[]);
    check(json!({}), &["spec.volumes[0].name: Required value"]);
    check(
        json!({"name": "V"}),
        &["spec.volumes[0].name: Invalid value: \"V\": a lowercase"],
    );
    check_spec(
        json!({"volumes": [{"name": "v"}, {"name": "v"}]}),
        &["spec.volumes[1].name: Duplicate value: \"v\""],
    );
    check(
        json!({"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}),
        &["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
    );
    check(
        json!({"name": "v", "emptyDir": {"sizeLimit": "-1"}}),
        &["spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be"],
    );
    check(
        json!({"name": "v", "hostPath": {"path": "/a/../b", "type": "Door"}}),
        &[
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.volumes[0].hostPath.type: Unsupported value: \"Door\"",
        ],
    );
    check(
        json!({"name": "v", "persistentVolumeClaim": {}}),
        &["spec.volumes[0].persistentVolumeClaim.claimName: Required value"],
    );
    check(
        json!({"name": "v", "nfs": {"server": "s", "path": "x"}}),
        &["spec.volumes[0].nfs.path: Invalid value: \"x\": must be an absolute path"],
    );
    check(
        json!({"name": "v", "csi": {}}),
        &["spec.volumes[0].csi.driver: Required value"],
    );
    check(
        json!({"name": "v", "ephemeral": {}}),
        &["spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"],
    );
    check(
        json!({"name": "v", "image": {}}),
        &["spec.volumes[0].image.reference: Required value"],
    );
}

#[test]
fn files_of_volumes_stay_inside() {
    let check = |volume: Value, expected: &[&str]| {
        check_spec(
            json!({"volumes": [merged(&json!({"name": "v"}), &volume)]}),
            expected,
        );
    };
    check(
        json!({"configMap": {"name": "m", "items": [{"key": "k", "path": "a/b"}]}}),
        &[],
    );
    check(
        json!({"configMap": {"defaultMode": 512, "items": [{"path": "..a"}, {"key": "k", "path": "../a", "mode": -1}]}}),
        &[
            "spec.volumes[0].configMap.name: Required value",
            "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            "spec.volumes[0].configMap.items[0].key: Required value",
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"..a\": must not start with '..'",
            "spec.volumes[0].configMap.items[1].path: Invalid value: \"../a\": must not contain '..'",
            "spec.volumes[0].configMap.items[1].mode: Invalid value: -1: must be a number between 0 and 0777",
        ],
    );
    check(
        json!({"secret": {"items": [{"key": "k"}]}}),
        &[
            "spec.volumes[0].secret.secretName: Required value",
            "spec.volumes[0].secret.items[0].path: Required value",
        ],
    );
    check(
        json!({"downwardAPI": {"items": [
            {"path": "a", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "b", "fieldRef": {"fieldPath": "status.podIP"}},
            {"path": "c", "resourceFieldRef": {"resource": "limits.cpu"}},
            {"path": "d"},
            {"path": "/e", "fieldRef": {"fieldPath": "metadata.name"}, "resourceFieldRef": {"resource": "limits.cpu"}},
        ]}}),
        &[
            "spec.volumes[0].downwardAPI.items[1].fieldRef.fieldPath: Unsupported value: \"status.podIP\"",
            "spec.volumes[0].downwardAPI.items[2].resourceFieldRef.containerName: Required value",
            "spec.volumes[0].downwardAPI.items[3]: Required value: one of fieldRef and resourceFieldRef is required",
            "spec.volumes[0].downwardAPI.items[4].path: Invalid value: \"/e\": must be a relative path",
            "spec.volumes[0].downwardAPI.items[4]: Invalid value: \"resource\": fieldRef and resourceFieldRef can not",
        ],
    );
    check(
        json!({"projected": {"sources": [
            {"serviceAccountToken": {"path": "t", "expirationSeconds": 599}},
            {"configMap": {"name": "m", "items": [{"key": "k", "path": "t"}]}},
            {},
            {"secret": {}, "configMap": {"name": "m"}},
        ]}}),
        &[
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            "spec.volumes[0].projected.sources[1]: Invalid value: \"t\": conflicting duplicate paths",
            "spec.volumes[0].projected.sources[2]: Required value: must specify a volume type",
            "spec.volumes[0].projected.sources[3].configMap: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[0].projected.sources[3].secret.name: Required value",
        ],
    );
}

#[test]
fn requests_stay_below_limits() {
    let check = |resources: Value, expected: &[&str]| {
        check_container(json!({"resources": resources}), expected)
    };
    check(
        json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": 1, "memory": "1024Mi"}}),
        &[],
    );
    check(
        json!({"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
        &[
            ".resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ".resources.requests: Invalid value: \"2Gi\": must be less than or equal to memory limit of 1Gi",
        ],
    );
    check(
        json!({"limits": {"cpu": "-1", "memory": "much", "disk": "1"}}),
        &[
            ".resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ".resources.limits: Invalid value: \"disk\": must be a standard resource for containers",
            ".resources.limits[memory]: Invalid value: \"much\": quantities must match the regular expression",
            ".resources.requests[cpu]: Invalid value: \"-1\"",
            ".resources.requests: Invalid value: \"disk\": must be a standard",
            ".resources.requests[memory]: Invalid value: \"much\"",
        ],
    );
    check(
        json!({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "2"}}),
        &[".resources.requests: Invalid value: \"1\": must be equal to example.com/gpu limit of 2"],
    );
    check(
        json!({"requests": {"example.com/gpu": "500m"}}),
        &[
            ".resources.requests[example.com/gpu]: Invalid value: \"500m\": must be an integer",
            ".resources.limits: Required value: Limit must be set for non overcommitable resources",
        ],
    );
    check(
        json!({"claims": [{"name": "c"}]}),
        &[".resources.claims[0].name: Not found: \"c\""],
    );
    check_container(
        json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "x"}, {"resourceName": "cpu", "restartPolicy": "NotRequired"}]}),
        &[
            ".resizePolicy: Unsupported value: \"x\"",
            ".resizePolicy: Duplicate value: \"cpu\"",
        ],
    );
}

#[test]
fn probes_have_one_handler_and_sane_numbers() {
    let check = |probe: Value, expected: &[&str]| {
        check_container(json!({"livenessProbe": probe}), expected)
    };
    check(json!({"httpGet": {"port": 80}}), &[]);
    check(json!({"tcpSocket": {"port": "web"}}), &[]);
    check(
        json!({}),
        &[".livenessProbe: Required value: must specify a handler type"],
    );
    check(
        json!({"httpGet": {"port": 0, "scheme": "FTP", "httpHeaders": [{"name": "a b", "value": ""}]}, "grpc": {"port": 1}}),
        &[
            ".livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ".livenessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
            ".livenessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header",
            ".livenessProbe.grpc: Forbidden: may not specify more than 1 handler type",
        ],
    );
    check(
        json!({"exec": {}}),
        &[".livenessProbe.exec.command: Required value"],
    );
    check(
        json!({"grpc": {"port": 0}}),
        &[".livenessProbe.grpc.port: Invalid value: 0: must be between"],
    );
    check(
        json!({"tcpSocket": {"port": "Web"}, "initialDelaySeconds": -1, "timeoutSeconds": -2, "successThreshold": 2, "terminationGracePeriodSeconds": 0}),
        &[
            ".livenessProbe.tcpSocket.port: Invalid value: \"Web\": must contain only",
            ".livenessProbe.initialDelaySeconds: Invalid value: -1: must be greater than or equal to 0",
            ".livenessProbe.timeoutSeconds: Invalid value: -2: must be greater than or equal to 0",
            ".livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
            ".livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check_container(
        json!({"readinessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2, "terminationGracePeriodSeconds": 5}, "startupProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}}),
        &[
            ".readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes",
            ".startupProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check_container(
        json!({"lifecycle": {"preStop": {}, "postStart": {"sleep": {"seconds": 31}}}}),
        &[
            ".lifecycle.postStart.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ".lifecycle.preStop: Required value: must specify a handler type",
        ],
    );
    let probed = json!({"name": "i", "image": "x", "readinessProbe": {"httpGet": {"port": 80}}, "lifecycle": {}});
    check_spec(
        json!({"initContainers": [probed]}),
        &[
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without",
        ],
    );
    check_spec(
        json!({"initContainers": [merged(&probed, &json!({"restartPolicy": "Always"}))]}),
        &[],
    );
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
