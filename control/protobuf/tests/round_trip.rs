//! JSON to protobuf and back, for every message and every field.

#![allow(clippy::unwrap_used)] // here a failed unwrap is a failed test

mod full;

use euston_protobuf::{Message, Shape, decode, encode, messages};
use serde_json::{Value, json};

const JSON_MAX: usize = 64 << 20;

fn to_protobuf(of: Message, object: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(of, object.to_string().as_bytes(), &mut bytes)
        .unwrap_or_else(|e| panic!("{}: {e}", of.name()));
    bytes
}

fn to_json(of: Message, bytes: &[u8]) -> Value {
    let json = decode(of, None, bytes, JSON_MAX).unwrap_or_else(|e| panic!("{}: {e}", of.name()));
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn every_field_of_every_message_survives() {
    let mut checked = 0;
    for of in messages() {
        let object = full::object(of);
        let back = to_json(of, &to_protobuf(of, &object));
        assert!(back == object, "{}:\n{object:#}\n{back:#}", of.name());
        checked += of.fields().len();
    }
    assert!(checked > 2_500, "{checked}");
}

#[test]
fn an_inlined_message_is_written_once() {
    let of = Message::named("io.k8s.api.core.v1.EphemeralContainer").unwrap();
    let object = json!({ "name": "a", "targetContainerName": "b", "image": "c", "tty": true });
    let bytes = to_protobuf(of, &object);
    // Field 2, then field 1 (the inlined message) once, its fields as JSON had them.
    assert_eq!(bytes, b"\x12\x01b\x0a\x09\x12\x01c\x0a\x01a\x90\x01\x01");
    assert_eq!(to_json(of, &bytes), object);
}

#[test]
fn a_message_in_parts_and_out_of_order_is_merged() {
    let of = Message::named("io.k8s.api.core.v1.Pod").unwrap();
    let whole = json!({
        "metadata": { "name": "b", "labels": { "x": "1", "y": "2" } },
        "spec": { "nodeName": "n", "containers": [{ "name": "c" }, { "name": "d" }] },
    });
    let part = |object: Value| to_protobuf(of, &object);
    let bytes = [
        part(json!({ "spec": { "containers": [{ "name": "c" }] } })),
        part(json!({ "metadata": { "name": "a", "labels": { "x": "1" } } })),
        part(json!({ "spec": { "nodeName": "n", "containers": [{ "name": "d" }] } })),
        part(json!({ "metadata": { "name": "b", "labels": { "y": "2" } } })),
        // Field 900, which nobody knows.
        b"\xa2\x38\x01x".to_vec(),
    ]
    .concat();
    assert_eq!(to_json(of, &bytes), whole);
}

#[test]
fn numbers_may_be_packed() {
    let of = Message::named("io.k8s.api.core.v1.PodSecurityContext").unwrap();
    let groups = json!({ "supplementalGroups": [1, 300, 2] });
    let packed = b"\x22\x04\x01\xac\x02\x02";
    assert_eq!(to_json(of, packed), groups);
    assert_eq!(to_json(of, &to_protobuf(of, &groups)), groups);
}

#[test]
fn what_go_writes_of_unset_fields_is_absent_where_go_leaves_it_out() {
    let of = Message::named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
    // name, generateName, namespace, selfLink, uid, resourceVersion, generation, creationTimestamp
    let unset = b"\x0a\0\x12\0\x1a\0\x22\0\x2a\0\x32\0\x38\0\x42\0";
    assert_eq!(to_json(of, unset), json!({}));
    // A pointer that is set, to zero: deletionGracePeriodSeconds.
    assert_eq!(
        to_json(of, b"\x50\0"),
        json!({ "deletionGracePeriodSeconds": 0 })
    );
    let of = Message::named("io.k8s.api.core.v1.Container").unwrap();
    assert_eq!(
        to_json(of, b"\x0a\0\x42\0"),
        json!({ "name": "", "resources": {} })
    );
    let of = Message::named("io.k8s.api.core.v1.ServicePort").unwrap();
    let zero = to_json(of, b"\x22\x06\x08\0\x10\0\x1a\0");
    assert_eq!(zero, json!({ "targetPort": 0 }));
}

#[test]
fn null_and_unknown_names_in_json_are_left_out() {
    let of = Message::named("io.k8s.api.core.v1.ConfigMap").unwrap();
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": null, "shoe": { "size": [1, {}] },
        "metadata": { "creationTimestamp": null },
    });
    assert_eq!(to_protobuf(of, &object), b"\x0a\0");
}

#[test]
fn wrong_types_in_json_are_errors_that_name_the_line() {
    let check = |of: &str, json: &str, expect: &str| {
        let of = Message::named(of).unwrap();
        let error = encode(of, json.as_bytes(), &mut Vec::new())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expect) && error.contains("line 1"),
            "{json}: {error}"
        );
    };
    let pod = "io.k8s.api.core.v1.Pod";
    check(pod, "[]", "an object (io.k8s.api.core.v1.Pod)");
    check(pod, r#"{"spec":{"containers":{}}}"#, "a list in containers");
    check(pod, r#"{"spec":{"nodeName":1}}"#, "expected a string");
    check(pod, r#"{"spec":{"priority":3000000000}}"#, "32 bits");
    check(pod, r#"{"spec":{"priority":1.5}}"#, "expected a number");
    check(
        pod,
        r#"{"metadata":{"creationTimestamp":"now"}}"#,
        "RFC 3339",
    );
    check(pod, r#"{"metadata":{"labels":[]}}"#, "an object in labels");
    check(pod, r#"{"spec":"#, "EOF");
    check(
        "io.k8s.api.core.v1.Secret",
        r#"{"data":{"a":"?"}}"#,
        "base64",
    );
}

#[test]
fn bodies_of_kubectl_are_the_objects_that_kubectl_prints() {
    fn without_nulls(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|_, v| !v.is_null());
                map.values_mut().for_each(without_nulls);
            }
            Value::Array(list) => list.iter_mut().for_each(without_nulls),
            _ => {}
        }
    }
    let recorded = full::recorded();
    assert!(recorded.len() > 20);
    for (name, body, mut expect) in recorded {
        let envelope = euston_protobuf::envelope::open(&body).unwrap();
        let kind = envelope.kind;
        // The table knows types by their published names; kinds are named by their type.
        let version = envelope.api_version.rsplit('/').next().unwrap();
        let suffix = format!(".{version}.{kind}");
        let (group, _) = envelope
            .api_version
            .split_once('.')
            .unwrap_or((envelope.api_version, ""));
        let group = group
            .split('/')
            .next()
            .filter(|g| *g != version)
            .unwrap_or("core");
        let of = messages()
            .find(|m| m.name().ends_with(&suffix) && m.name().contains(&format!(".{group}.")));
        let Some(of) = of else {
            assert_eq!(name, "whoami", "{name}: no message for {suffix} in {group}");
            continue;
        };
        let json = decode(
            of,
            Some((envelope.api_version, kind)),
            envelope.raw,
            JSON_MAX,
        )
        .unwrap();
        let got: Value = serde_json::from_slice(&json).unwrap();
        without_nulls(&mut expect);
        assert!(got == expect, "{name}:\n{got:#}\n{expect:#}");
        assert_eq!(to_json(of, &to_protobuf(of, &got)), {
            let mut bare = got.clone();
            bare.as_object_mut()
                .unwrap()
                .retain(|k, _| k != "apiVersion" && k != "kind");
            bare
        });
    }
}

#[test]
fn no_field_of_the_table_has_a_number_twice_or_none() {
    for of in messages() {
        for pair in of.fields().windows(2) {
            assert!(pair[0].number < pair[1].number, "{}", of.name());
        }
        for field in of.fields() {
            let inline = matches!(field.shape, Shape::Inline(_));
            assert_eq!(
                field.json.is_empty(),
                inline,
                "{} {}",
                of.name(),
                field.number
            );
        }
    }
}
