//! What is wrong with a container, its ports, resources and probes.

use super::*;

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
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
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
