//! Whatever a client sends, the answer is a Status that says what is wrong, and
//! nothing changes.

use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use serde_json::{Value, json};

use crate::raw;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";

struct Case {
    path: &'static str,
    body: Vec<u8>,
    content_type: &'static str,
    code: u16,
    reason: &'static str,
    says: &'static str,
}

fn case(
    path: &'static str,
    body: impl ToString,
    code: u16,
    reason: &'static str,
    says: &'static str,
) -> Case {
    Case {
        path,
        body: body.to_string().into_bytes(),
        content_type: JSON,
        code,
        reason,
        says,
    }
}

fn deployment(pointer: &str, value: Value) -> Value {
    changed(sample("Deployment", "web"), pointer, value)
}

fn changed(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let parent = object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{pointer}"));
    match parent {
        Value::Object(map) => {
            map.insert(last.to_owned(), value);
        }
        Value::Array(list) => list.push(value),
        other => panic!("{pointer}: {other}"),
    }
    object
}

#[tokio::test]
async fn bad_objects_are_refused_with_the_field_and_the_reason() {
    let plane = ControlPlane::start().await;
    let strict = "/apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict";
    let cases = vec![
        case(DEPLOYMENTS, "", 400, "BadRequest", "EOF"),
        case(DEPLOYMENTS, "{", 400, "BadRequest", "EOF"),
        case(
            DEPLOYMENTS,
            "[]",
            400,
            "BadRequest",
            "cannot be handled as a Deployment",
        ),
        case(
            DEPLOYMENTS,
            sample("Pod", "p"),
            400,
            "BadRequest",
            "Deployment",
        ),
        case(
            DEPLOYMENTS,
            deployment("/spec/replicas", json!("three")),
            400,
            "BadRequest",
            "spec.replicas",
        ),
        case(
            DEPLOYMENTS,
            deployment("/spec/replicas", json!(-1)),
            422,
            "Invalid",
            "must be greater than or equal to 0",
        ),
        case(
            DEPLOYMENTS,
            deployment("/metadata/name", json!("Web_1")),
            422,
            "Invalid",
            "metadata.name",
        ),
        case(
            DEPLOYMENTS,
            deployment("/metadata/name", json!("")),
            422,
            "Invalid",
            "name or generateName is required",
        ),
        case(
            DEPLOYMENTS,
            deployment(
                "/spec/selector",
                json!({ "matchLabels": { "app": "other" } }),
            ),
            422,
            "Invalid",
            "`selector` does not match template `labels`",
        ),
        case(
            strict,
            deployment("/spec/repilcas", json!(3)),
            400,
            "BadRequest",
            "unknown field \"spec.repilcas\"",
        ),
        case(
            strict,
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","name":"b"}}"#,
            400,
            "BadRequest",
            "duplicate field \"metadata.name\"",
        ),
        case(
            SERVICES,
            changed(
                sample("Service", "s"),
                "/spec/ports",
                json!([{ "port": 80, "name": "a" }, { "port": 80, "name": "b" }]),
            ),
            422,
            "Invalid",
            "Duplicate value",
        ),
        case(
            SERVICES,
            changed(
                sample("Service", "s"),
                "/spec/ports",
                json!([{ "port": 70000 }]),
            ),
            422,
            "Invalid",
            "spec.ports[0].port",
        ),
        case(
            PODS,
            changed(sample("Pod", "p"), "/spec/containers", json!([])),
            422,
            "Invalid",
            "spec.containers",
        ),
        case(
            PODS,
            changed(sample("Pod", "p"), "/metadata/namespace", json!("other")),
            400,
            "BadRequest",
            "namespace",
        ),
        case(
            "/api/v1/namespaces/none/pods",
            sample("Pod", "p"),
            404,
            "NotFound",
            "namespaces \"none\" not found",
        ),
        case(
            PODS,
            changed(sample("Pod", "p"), "/metadata/resourceVersion", json!("5")),
            400,
            "BadRequest",
            "resourceVersion should not be set",
        ),
        case(
            "/api/v1/pods",
            sample("Pod", "p"),
            405,
            "MethodNotAllowed",
            "pods",
        ),
        case(
            "/api/v1/namespaces/default/cookies",
            "{}",
            404,
            "NotFound",
            "could not find the requested resource",
        ),
        case(
            DEPLOYMENTS,
            "x".repeat(10 << 20),
            413,
            "RequestEntityTooLarge",
            "3145728",
        ),
        case(
            "/api/v1/namespaces/default/configmaps",
            changed(
                sample("ConfigMap", "big"),
                "/data",
                json!({ "a": "x".repeat(2 << 20) }),
            ),
            422,
            "Invalid",
            "",
        ),
        Case {
            content_type: "application/yaml",
            ..case(DEPLOYMENTS, "a: [b\nc: }", 400, "BadRequest", "YAML")
        },
        Case {
            content_type: "application/vnd.kubernetes.protobuf",
            ..case(DEPLOYMENTS, "k8s", 400, "BadRequest", "does not begin with")
        },
        Case {
            content_type: "application/cbor",
            ..case(
                DEPLOYMENTS,
                "k8s",
                415,
                "UnsupportedMediaType",
                "application/json",
            )
        },
    ];
    for Case {
        path,
        body,
        content_type,
        code,
        reason,
        says,
    } in cases
    {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let answer = raw::send(&plane.client, "POST", path, content_type, body).await;
        let got = (answer.status.as_u16(), answer.reason());
        assert_eq!(
            got,
            (code, reason),
            "{path} {shown}: {:?}",
            answer.message()
        );
        assert_eq!(answer.body["kind"], "Status", "{path} {shown}");
        assert!(
            answer.message().contains(says),
            "{path} {shown}: {:?}",
            answer.message()
        );
    }
    for path in [DEPLOYMENTS, PODS, "/api/v1/namespaces/default/configmaps"] {
        let list = raw::send(&plane.client, "GET", path, "", "").await;
        assert_eq!(list.body["items"], json!([]), "nothing was changed");
    }
}

#[tokio::test]
async fn every_error_of_an_object_is_named_at_once() {
    let plane = ControlPlane::start().await;
    let mut bad = deployment("/spec/replicas", json!(-1));
    bad["metadata"]["name"] = json!("Bad_Name");
    bad["spec"]["template"]["spec"]["containers"] = json!([
        { "name": "a", "image": "", "ports": [{ "containerPort": 0 }] },
        { "name": "a", "image": "x" },
    ]);
    let answer = raw::send(&plane.client, "POST", DEPLOYMENTS, JSON, bad.to_string()).await;
    assert_eq!(answer.status, 422);
    let fields = answer.fields();
    for field in [
        "metadata.name",
        "spec.replicas",
        "spec.template.spec.containers[0].image",
        "spec.template.spec.containers[0].ports[0].containerPort",
        "spec.template.spec.containers[1].name",
    ] {
        assert!(fields.contains(&field), "{field} is missing in {fields:?}");
    }
}

#[tokio::test]
async fn strangers_learn_health_and_version_only() {
    let plane = ControlPlane::start().await;
    let nobody = plane.api.client("", &[]);
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(
            raw::send(&nobody, "GET", path, "", "").await.status,
            200,
            "{path}"
        );
    }
    for path in [
        PODS,
        "/api",
        "/apis",
        "/openapi/v3",
        "/v2/",
        "/api/v1/nodes",
    ] {
        let answer = raw::send(&nobody, "GET", path, "", "").await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        let says = answer
            .message()
            .contains("User \"system:anonymous\" cannot");
        assert!(says, "{path}: {answer:?}");
    }
    let known = plane.api.client("jane", &["people"]);
    let answer = raw::send(&known, "GET", PODS, "", "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason()),
        (403, "Forbidden")
    );
    assert!(
        answer
            .message()
            .contains("User \"jane\" cannot list resource \"pods\""),
        "{answer:?}"
    );
}
