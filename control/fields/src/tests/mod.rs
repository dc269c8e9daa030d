//! Tables over all of the crate: a schema with every kind of list and map, and stories of
//! writers that follow one another.

mod comparing;
mod owning;
mod properties;
mod sets;
mod stories;
mod story;
mod transitions;

use serde_json::{Value, json};

use crate::OpenApi;

/// A custom resource with everything that the walks tell apart.
fn thing() -> OpenApi {
    let scalar = |kind: &str| json!({"type": kind});
    let (string, int) = (scalar("string"), scalar("integer"));
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": string});
    let env = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "properties": {"name": string, "value": string}},
    });
    let spec = json!({"type": "object", "properties": {
        "replicas": int,
        "name": string,
        "paused": scalar("boolean"),
        "struct": {"type": "object", "properties": {
            "a": int, "b": int,
            "deep": {"type": "object", "properties": {"c": int, "d": int}},
        }},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": int, "b": int}},
        "labels": {"type": "object", "additionalProperties": string},
        "wholeLabels": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": string},
        "structs": {"type": "object", "additionalProperties": {
            "type": "object", "properties": {"x": int, "y": int}}},
        "tags": set,
        "numbers": {"type": "array", "x-kubernetes-list-type": "set", "items": int},
        "args": {"type": "array", "items": string},
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["protocol", "port"],
            "items": {"type": "object", "properties": {
                "port": int, "name": string, "protocol": {"type": "string", "default": "TCP"}}},
        },
        "items": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {
                "name": string, "image": string, "value": int, "tags": set, "env": env,
                "inner": {"type": "object", "properties": {"p": int, "q": int}}}},
        },
        "wholeItems": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {"name": string, "value": int}},
        },
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"known": int}},
        "percent": {"x-kubernetes-int-or-string": true},
        "nullable": {"type": "object", "nullable": true, "properties": {"a": int}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true},
    }});
    let condition = json!({"type": "object", "properties": {"type": string, "status": string}});
    let status = json!({"type": "object", "properties": {
        "phase": string,
        "observed": int,
        "conditions": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": condition,
        },
    }});
    let properties = json!({"metadata": metadata(), "spec": spec, "status": status});
    OpenApi::new(&json!({"type": "object", "properties": properties}), None)
}

fn metadata() -> Value {
    let string = json!({"type": "string"});
    json!({"type": "object", "properties": {
        "name": string, "namespace": string, "uid": string, "resourceVersion": string,
        "creationTimestamp": string, "generation": {"type": "integer"},
        "labels": {"type": "object", "additionalProperties": string},
        "annotations": {"type": "object", "additionalProperties": string},
        "finalizers": {"type": "array", "x-kubernetes-list-type": "set", "items": string},
        "ownerReferences": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
            "items": {"type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {"uid": string, "name": string}},
        },
        "managedFields": {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    }})
}

/// `spec` of a thing as JSON text.
fn spec(spec: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"Thing","metadata":{{"name":"t"}},"spec":{spec}}}"#)
}
