//! OpenAPI 2.0 (Swagger): one document for everything. Older clients, and kubectl when v3
//! does not tell it what it needs.

use serde_json::{Map, Value, json};

use super::definitions::{self, INT_OR_STRING, KINDS, QUANTITY, kind_json};
use super::operations::{self, Answer, Body, Operation, PATCH_TYPES, Parameter};
use super::{API_VERSION, ResourceDoc};

const REFERENCE: &str = "#/definitions/";

/// The document of these kinds.
pub(super) fn document(resources: &[&ResourceDoc]) -> Value {
    let definitions = definitions::collect(resources);
    let paths: Map<String, Value> = operations::paths(resources, &definitions)
        .into_iter()
        .map(|path| (path.path.clone(), path.item(operation, parameter)))
        .collect();
    let schemas: Map<String, Value> = definitions
        .schemas
        .into_iter()
        .map(|(name, value)| {
            let value = definition(&name, value);
            (name, value)
        })
        .collect();
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": API_VERSION },
        "paths": paths,
        "definitions": schemas,
    })
}

fn definition(name: &str, schema: Value) -> Value {
    let description = schema["description"].clone();
    match name {
        INT_OR_STRING => {
            json!({ "description": description, "type": "string", "format": "int-or-string" })
        }
        QUANTITY => json!({ "description": description, "type": "string" }),
        _ => {
            let mut schema = rewrite(schema);
            simplify(&mut schema);
            schema
        }
    }
}

/// Drops what 2.0 has no words for, or what kubectl misreads in it: combined schemas, nullable values, and
/// the fields of objects that keep unknown ones. Schemas of custom resources have these
/// (`apiextensions-apiserver/pkg/controller/openapi/v2`).
fn simplify(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    for word in ["allOf", "anyOf", "oneOf", "not"] {
        schema.remove(word);
    }
    let set = |word: &str| schema.get(word) == Some(&Value::Bool(true));
    let (nullable, open) = (set("nullable"), set("x-kubernetes-preserve-unknown-fields"));
    if nullable {
        schema.remove("nullable");
        schema.remove("type");
    }
    if nullable || open {
        for word in ["properties", "items", "additionalProperties", "required"] {
            schema.remove(word);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(simplify);
    }
    for word in ["items", "additionalProperties"] {
        schema.get_mut(word).into_iter().for_each(simplify);
    }
}

fn rewrite(schema: Value) -> Value {
    match schema {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("$ref", Value::String(to)) => {
                    let reference = format!("{REFERENCE}{}", definitions::target(&to));
                    (key, reference.into())
                }
                (_, value) => (key, rewrite(value)),
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(rewrite).collect(),
        scalar => scalar,
    }
}

fn parameter(of: &Parameter, place: &str) -> Value {
    let mut value = json!({
        "name": of.name,
        "in": place,
        "description": of.description,
        "type": of.of,
        "uniqueItems": true,
    });
    if place == "path" {
        value["required"] = true.into();
    }
    value
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{REFERENCE}{name}") })
}

fn operation(of: &Operation) -> Value {
    let mut parameters: Vec<Value> = of.query.iter().map(|p| parameter(p, "query")).collect();
    let mut consumes = json!(["*/*"]);
    match &of.body {
        None => {}
        Some(Body::Object(name)) => parameters.push(
            json!({ "name": "body", "in": "body", "required": true, "schema": reference(name) }),
        ),
        Some(Body::Patch) => {
            consumes = json!(PATCH_TYPES);
            let schema = reference(definitions::PATCH);
            parameters
                .push(json!({ "name": "body", "in": "body", "required": true, "schema": schema }));
        }
        Some(Body::DeleteOptions) => {
            let schema = reference(definitions::DELETE_OPTIONS);
            parameters.push(json!({ "name": "body", "in": "body", "schema": schema }));
        }
    }
    let responses: Map<String, Value> = of
        .answers
        .iter()
        .map(|(code, description, answer)| {
            let schema = match answer {
                Answer::Object(name) => reference(name),
                Answer::Text => json!({ "type": "string" }),
            };
            (
                (*code).to_owned(),
                json!({ "description": description, "schema": schema }),
            )
        })
        .collect();
    let text = of
        .answers
        .iter()
        .any(|(.., answer)| matches!(answer, Answer::Text));
    let produces = match (text, of.streams) {
        (true, _) => json!(["text/plain"]),
        (false, false) => json!(["application/json", "application/yaml"]),
        (false, true) => {
            json!([
                "application/json",
                "application/yaml",
                "application/json;stream=watch"
            ])
        }
    };
    let (group, version, kind) = &of.kind;
    json!({
        "tags": [of.tag],
        "description": of.description,
        "operationId": of.id,
        "schemes": ["https"],
        "consumes": consumes,
        "produces": produces,
        "parameters": parameters,
        "responses": responses,
        "x-kubernetes-action": of.action,
        KINDS: kind_json(group, version, kind),
    })
}
