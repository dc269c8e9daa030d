//! What is wrong with variables and where they come from.

use super::*;

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
