//! OpenAPI 3.0, a document per group and version.

use serde_json::{Map, Value, json};

use super::definitions::{self, INT_OR_STRING, KINDS, QUANTITY, kind_json};
use super::operations::{self, Answer, Body, Operation, PATCH_TYPES, Parameter};
use super::{API_VERSION, ResourceDoc};

const REFERENCE: &str = "#/components/schemas/";

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
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": API_VERSION },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn definition(name: &str, schema: Value) -> Value {
    let description = schema["description"].clone();
    match name {
        INT_OR_STRING => json!({
            "description": description,
            "format": "int-or-string",
            "oneOf": [{ "type": "integer" }, { "type": "string" }],
        }),
        QUANTITY => json!({
            "description": description,
            "oneOf": [{ "type": "string" }, { "type": "number" }],
        }),
        _ => rewrite(schema),
    }
}

/// References may have no siblings in 3.0, so they move into an `allOf`.
fn rewrite(schema: Value) -> Value {
    match schema {
        Value::Object(map) => {
            let mut out = Map::with_capacity(map.len());
            let alone = map.len() == 1;
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(to)) => {
                        let reference = format!("{REFERENCE}{}", definitions::target(&to));
                        match alone {
                            true => out.insert(key, reference.into()),
                            false => out.insert("allOf".into(), json!([{ "$ref": reference }])),
                        };
                    }
                    (_, value) => {
                        out.insert(key, rewrite(value));
                    }
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.into_iter().map(rewrite).collect(),
        scalar => scalar,
    }
}

fn parameter(of: &Parameter, place: &str) -> Value {
    let mut value = json!({
        "name": of.name,
        "in": place,
        "description": of.description,
        "schema": { "type": of.of, "uniqueItems": true },
    });
    if place == "path" {
        value["required"] = true.into();
    }
    value
}

fn operation(of: &Operation) -> Value {
    let (group, version, kind) = &of.kind;
    let mut value = json!({
        "tags": [of.tag],
        "description": of.description,
        "operationId": of.id,
        "parameters": of.query.iter().map(|p| parameter(p, "query")).collect::<Vec<_>>(),
        "responses": of.answers.iter().map(|(code, description, answer)| {
            ((*code).to_owned(), json!({
                "description": description,
                "content": content(answer, of.streams),
            }))
        }).collect::<Map<_, _>>(),
        "x-kubernetes-action": of.action,
        KINDS: kind_json(group, version, kind),
    });
    if let Some(body) = &of.body {
        value["requestBody"] = request_body(body);
    }
    value
}

fn reference(name: &str) -> Value {
    json!({ "schema": { "$ref": format!("{REFERENCE}{name}") } })
}

fn request_body(body: &Body) -> Value {
    match body {
        Body::Object(name) => json!({ "content": { "*/*": reference(name) }, "required": true }),
        Body::DeleteOptions => {
            json!({ "content": { "*/*": reference(definitions::DELETE_OPTIONS) } })
        }
        Body::Patch => {
            let content: Map<String, Value> = PATCH_TYPES
                .iter()
                .map(|of| ((*of).to_owned(), reference(definitions::PATCH)))
                .collect();
            json!({ "content": content, "required": true })
        }
    }
}

fn content(answer: &Answer, streams: bool) -> Value {
    match answer {
        Answer::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Answer::Object(name) => {
            let schema = reference(name);
            let mut types = vec!["application/json", "application/yaml"];
            if streams {
                types.push("application/json;stream=watch");
            }
            types
                .into_iter()
                .map(|of| (of.to_owned(), schema.clone()))
                .collect()
        }
    }
}
