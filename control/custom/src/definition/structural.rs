//! What makes a schema structural, and what OpenAPI it may use
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>;
//! `apiextensions-apiserver/pkg/apiserver/schema/validation.go` and `pkg/apis/apiextensions/validation`).

use euston_api::field::{ErrorList, Path};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use crate::schema::{Pruned, Schema, Type, pattern};

/// Where in a schema a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Everything that keeps a schema from being structural, and every wrong bound, default and rule in it.
pub(super) fn validate(props: &JSONSchemaProps, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    node(props, Level::Root, path, &mut errors);
    // What a default is measured by has to be sound itself.
    if errors.is_empty() {
        let schema = Schema::new(props);
        defaults(props, &schema, true, path, &mut errors);
        schema.check_rules(props, path, &mut errors);
    }
    errors
}

fn node(props: &JSONSchemaProps, level: Level, path: &Path, errors: &mut ErrorList) {
    let of = props.type_.as_deref().unwrap_or_default();
    let embedded = props.x_kubernetes_embedded_resource == Some(true);
    let preserve = props.x_kubernetes_preserve_unknown_fields == Some(true);
    let either = props.x_kubernetes_int_or_string == Some(true);
    match (of, level) {
        ("", Level::Root) => errors.required(path.child("type"), "must not be empty at the root"),
        ("", _) if either || preserve => {}
        ("", Level::Item) => errors.required(
            path.child("type"),
            "must not be empty for specified array items",
        ),
        ("", Level::Field) => errors.required(
            path.child("type"),
            "must not be empty for specified object fields",
        ),
        (of, Level::Root) if of != "object" => {
            errors.invalid(path.child("type"), of, "must be object at the root");
        }
        (of, _) if Type::named(of).is_none() => errors.not_supported(
            path.child("type"),
            of,
            &["array", "boolean", "integer", "number", "object", "string"],
        ),
        _ => {}
    }
    if either && !of.is_empty() {
        errors.invalid(
            path.child("type"),
            of,
            "must be empty if x-kubernetes-int-or-string is true",
        );
    }
    if embedded && of != "object" {
        errors.invalid(
            path.child("type"),
            of,
            "must be object if x-kubernetes-embedded-resource is true",
        );
    }
    let no_fields = props.properties.as_ref().is_none_or(|p| p.is_empty());
    if embedded && !preserve && no_fields {
        errors.required(
            path.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        );
    }
    if preserve && !matches!(of, "" | "object" | "array") {
        errors.invalid(
            path.child("type"),
            of,
            "must be object, array or empty if x-kubernetes-preserve-unknown-fields is true",
        );
    }
    unsupported(props, path, errors);
    bounds(props, path, errors);
    list_type(props, of, path, errors);
    let map_path = path.child("x-kubernetes-map-type");
    match props.x_kubernetes_map_type.as_deref() {
        None => {}
        Some("atomic" | "granular") if of == "object" => {}
        Some("atomic" | "granular") => errors.invalid(
            path.child("type"),
            of,
            "must be object if x-kubernetes-map-type is specified",
        ),
        Some(other) => errors.not_supported(map_path, other, &["atomic", "granular"]),
    }
    if level == Level::Root {
        root(props, path, errors);
    }
    children(props, of, path, errors);
    junctors(props, path, errors);
}

fn children(props: &JSONSchemaProps, of: &str, path: &Path, errors: &mut ErrorList) {
    for (name, field) in props.properties.iter().flatten() {
        node(
            field,
            Level::Field,
            &path.child("properties").key(name),
            errors,
        );
    }
    let additional = path.child("additionalProperties");
    match &props.additional_properties {
        None => {}
        Some(_) if props.properties.as_ref().is_some_and(|p| !p.is_empty()) => errors.forbidden(
            additional,
            "additionalProperties and properties are mutual exclusive",
        ),
        Some(JSONSchemaPropsOrBool::Bool(false)) => {
            errors.forbidden(additional, "additionalProperties cannot be set to false");
        }
        Some(JSONSchemaPropsOrBool::Bool(true)) => {}
        Some(JSONSchemaPropsOrBool::Schema(of)) => node(of, Level::Field, &additional, errors),
    }
    match &props.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => {
            node(item, Level::Item, &path.child("items"), errors);
        }
        Some(JSONSchemaPropsOrArray::Schemas(_)) => errors.forbidden(
            path.child("items"),
            "items must be a schema object and not an array",
        ),
        None if of == "array" => errors.required(path.child("items"), "must be specified"),
        None => {}
    }
}

/// OpenAPI that definitions may not use.
fn unsupported(props: &JSONSchemaProps, path: &Path, errors: &mut ErrorList) {
    let present = [
        ("$ref", props.ref_path.is_some()),
        ("additionalItems", props.additional_items.is_some()),
        (
            "definitions",
            props.definitions.as_ref().is_some_and(|d| !d.is_empty()),
        ),
        (
            "dependencies",
            props.dependencies.as_ref().is_some_and(|d| !d.is_empty()),
        ),
        ("id", props.id.as_ref().is_some_and(|id| !id.is_empty())),
        (
            "patternProperties",
            props
                .pattern_properties
                .as_ref()
                .is_some_and(|p| !p.is_empty()),
        ),
    ];
    for (field, present) in present {
        if present {
            errors.forbidden(path.child(field), format!("{field} is not supported"));
        }
    }
    if props.unique_items == Some(true) {
        errors.forbidden(
            path.child("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
}

/// Bounds that nothing could keep, and patterns that are none.
fn bounds(props: &JSONSchemaProps, path: &Path, errors: &mut ErrorList) {
    for (field, bound) in [
        ("maxItems", props.max_items),
        ("maxLength", props.max_length),
        ("maxProperties", props.max_properties),
        ("minItems", props.min_items),
        ("minLength", props.min_length),
        ("minProperties", props.min_properties),
    ] {
        if let Some(bound) = bound {
            errors.non_negative(path.child(field), bound);
        }
    }
    if let Some(step) = props.multiple_of
        && step <= 0.0
    {
        errors.invalid(path.child("multipleOf"), step, "must be greater than 0");
    }
    if let Some(text) = &props.pattern
        && let Err(why) = pattern(text)
    {
        errors.invalid(
            path.child("pattern"),
            text,
            format!("must be a valid regular expression, but isn't: {why}"),
        );
    }
}

fn list_type(props: &JSONSchemaProps, of: &str, path: &Path, errors: &mut ErrorList) {
    let list = props.x_kubernetes_list_type.as_deref();
    let keys = props
        .x_kubernetes_list_map_keys
        .as_deref()
        .unwrap_or_default();
    let keys_path = path.child("x-kubernetes-list-map-keys");
    let item = match &props.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => Some(item.as_ref()),
        _ => None,
    };
    match list {
        None if !keys.is_empty() => errors.invalid(
            path.child("x-kubernetes-list-type"),
            "",
            "must be map if x-kubernetes-list-map-keys is non-empty",
        ),
        None => return,
        Some("atomic" | "set" | "map") if of != "array" => {
            errors.invalid(
                path.child("type"),
                of,
                "must be array if x-kubernetes-list-type is specified",
            );
            return;
        }
        Some("atomic" | "set" | "map") => {}
        Some(other) => {
            errors.not_supported(
                path.child("x-kubernetes-list-type"),
                other,
                &["atomic", "map", "set"],
            );
            return;
        }
    }
    if list != Some("map") {
        if !keys.is_empty() {
            errors.invalid(
                path.child("x-kubernetes-list-type"),
                list.unwrap_or_default(),
                "must be map if x-kubernetes-list-map-keys is non-empty",
            );
        }
        let scalar = item.is_some_and(|item| {
            let of = item.type_.as_deref().unwrap_or_default();
            let atomic = item.x_kubernetes_list_type.as_deref() == Some("atomic")
                || item.x_kubernetes_map_type.as_deref() == Some("atomic");
            atomic || !matches!(of, "object" | "array")
        });
        if list == Some("set") && item.is_some() && !scalar {
            errors.invalid(
                path.child("items"),
                item.and_then(|i| i.type_.as_deref()).unwrap_or_default(),
                "set items must be scalars or atomic (x-kubernetes-map-type or x-kubernetes-list-type)",
            );
        }
        return;
    }
    if keys.is_empty() {
        errors.required(
            keys_path.clone(),
            "must not be empty if x-kubernetes-list-type is map",
        );
    }
    let Some(item) = item else {
        return;
    };
    let item_path = path.child("items");
    if item.type_.as_deref() != Some("object") {
        errors.invalid(
            item_path.child("type"),
            item.type_.as_deref().unwrap_or_default(),
            "must be object if parent array's x-kubernetes-list-type is map",
        );
    }
    for (i, key) in keys.iter().enumerate() {
        if keys[..i].contains(key) {
            errors.duplicate(keys_path.index(i), key);
        }
        let Some(field) = item.properties.as_ref().and_then(|p| p.get(key)) else {
            errors.invalid(
                keys_path.clone(),
                keys,
                "entries must all be names of item properties",
            );
            continue;
        };
        let field_path = item_path.child("properties").key(key);
        if matches!(field.type_.as_deref(), Some("object" | "array")) {
            errors.invalid(
                field_path.child("type"),
                field.type_.as_deref().unwrap_or_default(),
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            );
        }
        let required = item.required.iter().flatten().any(|r| r == key);
        if !required && field.default.is_none() {
            errors.required(
                field_path.child("default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            );
        }
        if field.nullable == Some(true) {
            errors.forbidden(
                field_path.child("nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            );
        }
    }
}

/// What the schema of a whole object may say of what every object has.
fn root(props: &JSONSchemaProps, path: &Path, errors: &mut ErrorList) {
    let fields = path.child("properties");
    for (name, wanted) in [
        ("metadata", "object"),
        ("apiVersion", "string"),
        ("kind", "string"),
    ] {
        let Some(field) = props.properties.as_ref().and_then(|p| p.get(name)) else {
            continue;
        };
        if field.type_.as_deref() != Some(wanted) {
            errors.invalid(
                fields.key(name).child("type"),
                field.type_.as_deref().unwrap_or_default(),
                format!("must be {wanted}"),
            );
        }
    }
    let Some(metadata) = props.properties.as_ref().and_then(|p| p.get("metadata")) else {
        return;
    };
    let only_names = (metadata.properties.iter().flatten())
        .all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let bounded = metadata.required.as_ref().is_some_and(|r| !r.is_empty())
        || metadata.additional_properties.is_some()
        || metadata.default.is_some()
        || metadata.min_properties.is_some()
        || metadata.max_properties.is_some()
        || metadata.x_kubernetes_preserve_unknown_fields == Some(true)
        || metadata
            .x_kubernetes_validations
            .as_ref()
            .is_some_and(|r| !r.is_empty());
    if !only_names || bounded {
        errors.forbidden(
            fields.key("metadata"),
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        );
    }
}

/// Schemas below `allOf` and the like may bound values only: structure is said outside of them.
fn junctors(props: &JSONSchemaProps, path: &Path, errors: &mut ErrorList) {
    for (name, schemas) in [
        ("allOf", &props.all_of),
        ("anyOf", &props.any_of),
        ("oneOf", &props.one_of),
    ] {
        for (i, of) in schemas.iter().flatten().enumerate() {
            bound(of, props, &path.child(name).index(i), errors);
        }
    }
    if let Some(of) = &props.not {
        bound(of, props, &path.child("not"), errors);
    }
}

fn bound(props: &JSONSchemaProps, outside: &JSONSchemaProps, path: &Path, errors: &mut ErrorList) {
    let said = [
        ("type", props.type_.as_ref().is_some_and(|t| !t.is_empty())),
        ("default", props.default.is_some()),
        (
            "additionalProperties",
            props.additional_properties.is_some(),
        ),
        ("nullable", props.nullable == Some(true)),
        ("title", props.title.as_ref().is_some_and(|t| !t.is_empty())),
        (
            "description",
            props.description.as_ref().is_some_and(|t| !t.is_empty()),
        ),
        (
            "x-kubernetes-preserve-unknown-fields",
            props.x_kubernetes_preserve_unknown_fields == Some(true),
        ),
        (
            "x-kubernetes-embedded-resource",
            props.x_kubernetes_embedded_resource == Some(true),
        ),
        (
            "x-kubernetes-int-or-string",
            props.x_kubernetes_int_or_string == Some(true),
        ),
        (
            "x-kubernetes-list-type",
            props.x_kubernetes_list_type.is_some(),
        ),
        (
            "x-kubernetes-map-type",
            props.x_kubernetes_map_type.is_some(),
        ),
        (
            "x-kubernetes-validations",
            props
                .x_kubernetes_validations
                .as_ref()
                .is_some_and(|r| !r.is_empty()),
        ),
    ];
    // An int-or-string says its two types again, by tradition.
    let traditional = outside.x_kubernetes_int_or_string == Some(true);
    for (field, said) in said {
        if said && !(field == "type" && traditional) {
            errors.forbidden(path.child(field), "must be empty to be structural");
        }
    }
    bounds(props, path, errors);
    for (name, field) in props.properties.iter().flatten() {
        let path = path.child("properties").key(name);
        let additional = match &outside.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(of)) => Some(of.as_ref()),
            _ => None,
        };
        match outside.properties.as_ref().and_then(|p| p.get(name)).or(additional) {
            Some(outside) => bound(field, outside, &path, errors),
            None if outside.x_kubernetes_preserve_unknown_fields == Some(true) => {}
            None => errors.required(
                path,
                "because it is defined in a value validation, it must be specified in the structural schema",
            ),
        }
    }
    if let (
        Some(JSONSchemaPropsOrArray::Schema(item)),
        Some(JSONSchemaPropsOrArray::Schema(outside)),
    ) = (&props.items, &outside.items)
    {
        bound(item, outside, &path.child("items"), errors);
    }
    for (name, schemas) in [
        ("allOf", &props.all_of),
        ("anyOf", &props.any_of),
        ("oneOf", &props.one_of),
    ] {
        for (i, of) in schemas.iter().flatten().enumerate() {
            bound(of, outside, &path.child(name).index(i), errors);
        }
    }
    if let Some(of) = &props.not {
        bound(of, outside, &path.child("not"), errors);
    }
}

/// A default has to be a value of its schema.
fn defaults(
    props: &JSONSchemaProps,
    schema: &Schema,
    root: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    if let Some(default) = &props.default {
        let at = path.child("default");
        if root {
            errors.forbidden(at.clone(), "must not be set at the root");
        }
        let mut value = default.0.clone();
        let mut pruned = Pruned::default();
        if let Value::Object(fields) = &mut value {
            schema.prune(fields, &mut pruned);
        }
        if !pruned.unknown.is_empty() {
            errors.invalid(
                at.clone(),
                &default.0,
                format!(
                    "must not have unknown fields: {}",
                    pruned.unknown.join(", ")
                ),
            );
        }
        schema.default_value(&mut value);
        for error in schema.validate(&value, None).iter() {
            let mut error = error.clone();
            let below = error.path.to_string();
            error.path = match below.as_str() {
                "<nil>" => at.clone(),
                below => at.child(below),
            };
            errors.add(error);
        }
    }
    for (name, field) in props.properties.iter().flatten() {
        if let Some(of) = schema.properties.get(name) {
            defaults(
                field,
                of,
                false,
                &path.child("properties").key(name),
                errors,
            );
        }
    }
    if let Some(JSONSchemaPropsOrBool::Schema(field)) = &props.additional_properties
        && let Some(of) = schema.field("")
    {
        defaults(
            field,
            of,
            false,
            &path.child("additionalProperties"),
            errors,
        );
    }
    if let (Some(JSONSchemaPropsOrArray::Schema(item)), Some(of)) = (&props.items, &schema.items) {
        defaults(item, of, false, &path.child("items"), errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Checks the schema of a field `spec.x`.
    fn check(schema: Value, expect: &[&str]) {
        check_root(
            json!({ "type": "object", "properties": { "x": schema } }),
            &expect
                .iter()
                .map(|e| format!("properties[x].{e}"))
                .collect::<Vec<_>>(),
        );
    }

    fn check_root(schema: Value, expect: &[impl AsRef<str>]) {
        let props: JSONSchemaProps = serde_json::from_value(schema.clone()).unwrap();
        let errors = validate(&props, &Path::new("s"));
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got.len(), expect.len(), "{schema}: {got:?}");
        for (got, expect) in got.iter().zip(expect) {
            let expect = format!("s.{}", expect.as_ref());
            assert!(got.starts_with(&expect), "{schema}: {got} is not {expect}");
        }
    }

    #[test]
    fn the_root_is_an_object_whose_metadata_is_nobodys() {
        check_root(json!({ "type": "object" }), &[] as &[&str]);
        check_root(
            json!({}),
            &["type: Required value: must not be empty at the root"],
        );
        check_root(
            json!({ "type": "array", "items": { "type": "string" } }),
            &["type: Invalid value: \"array\": must be object at the root"],
        );
        check_root(
            json!({ "type": "object", "properties": { "metadata": { "type": "object", "properties": { "name": { "type": "string", "maxLength": 5 } } } } }),
            &[] as &[&str],
        );
        check_root(
            json!({ "type": "object", "properties": { "metadata": { "type": "object", "properties": { "labels": { "type": "object" } } }, "kind": { "type": "integer" } } }),
            &[
                "properties[kind].type: Invalid value: \"integer\": must be string",
                "properties[metadata]: Forbidden: must not specify anything other than name and generateName",
            ],
        );
        check_root(
            json!({ "type": "object", "default": {} }),
            &["default: Forbidden: must not be set at the root"],
        );
    }

    #[test]
    fn every_node_says_its_type() {
        check(json!({ "type": "string" }), &[]);
        check(json!({ "x-kubernetes-int-or-string": true }), &[]);
        check(json!({ "x-kubernetes-preserve-unknown-fields": true }), &[]);
        check(
            json!({}),
            &["type: Required value: must not be empty for specified object fields"],
        );
        check(
            json!({ "type": "array", "items": {} }),
            &["items.type: Required value: must not be empty for specified array items"],
        );
        check(
            json!({ "type": "array" }),
            &["items: Required value: must be specified"],
        );
        check(
            json!({ "type": "text" }),
            &["type: Unsupported value: \"text\": supported values: \"array\""],
        );
        check(
            json!({ "type": "integer", "x-kubernetes-int-or-string": true }),
            &[
                "type: Invalid value: \"integer\": must be empty if x-kubernetes-int-or-string is true",
            ],
        );
        check(
            json!({ "type": "string", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true }),
            &[
                "type: Invalid value: \"string\": must be object if x-kubernetes-embedded-resource",
                "type: Invalid value: \"string\": must be object, array or empty",
            ],
        );
        check(
            json!({ "type": "object", "x-kubernetes-embedded-resource": true }),
            &["properties: Required value: must not be empty if x-kubernetes-embedded-resource"],
        );
    }

    #[test]
    fn what_is_not_supported_is_named() {
        check(
            json!({ "type": "object", "$ref": "#/a", "id": "x", "definitions": { "a": {} }, "patternProperties": { "a": {} }, "dependencies": { "a": ["b"] }, "additionalItems": true }),
            &[
                "$ref: Forbidden: $ref is not supported",
                "additionalItems: Forbidden",
                "definitions: Forbidden",
                "dependencies: Forbidden",
                "id: Forbidden",
                "patternProperties: Forbidden",
            ],
        );
        check(
            json!({ "type": "array", "items": { "type": "string" }, "uniqueItems": true }),
            &["uniqueItems: Forbidden: uniqueItems cannot be set to true"],
        );
        check(
            json!({ "type": "object", "additionalProperties": false }),
            &["additionalProperties: Forbidden: additionalProperties cannot be set to false"],
        );
        check(
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": true }),
            &[
                "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ],
        );
        check(
            json!({ "type": "string", "pattern": "(", "minLength": -1 }),
            &[
                "minLength: Invalid value: -1",
                "pattern: Invalid value: \"(\": must be a valid regular expression",
            ],
        );
    }

    #[test]
    fn lists_are_told_apart_by_what_every_item_has() {
        let list = |extra: Value, item: Value| {
            let mut schema = json!({ "type": "array", "items": item });
            schema
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            schema
        };
        let item = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string" }, "b": { "type": "string" }, "o": { "type": "object" } } });
        let map = |keys: Value| json!({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys });
        check(list(map(json!(["a"])), item.clone()), &[]);
        check(
            list(map(json!([])), item.clone()),
            &["x-kubernetes-list-map-keys: Required value"],
        );
        check(
            list(map(json!(["c"])), item.clone()),
            &[
                "x-kubernetes-list-map-keys: Invalid value: [\"c\"]: entries must all be names of item properties",
            ],
        );
        check(
            list(map(json!(["b"])), item.clone()),
            &[
                "items.properties[b].default: Required value: this property is in x-kubernetes-list-map-keys",
            ],
        );
        check(
            list(map(json!(["a", "o"])), item.clone()),
            &[
                "items.properties[o].type: Invalid value: \"object\": must be a scalar type",
                "items.properties[o].default: Required value",
            ],
        );
        check(
            list(json!({ "x-kubernetes-list-type": "set" }), item),
            &["items: Invalid value: \"object\": set items must be scalars"],
        );
        check(
            list(
                json!({ "x-kubernetes-list-type": "heap" }),
                json!({ "type": "string" }),
            ),
            &["x-kubernetes-list-type: Unsupported value: \"heap\""],
        );
        check(
            json!({ "type": "object", "x-kubernetes-list-type": "set" }),
            &["type: Invalid value: \"object\": must be array if x-kubernetes-list-type"],
        );
        check(
            json!({ "type": "string", "x-kubernetes-map-type": "atomic" }),
            &["type: Invalid value: \"string\": must be object if x-kubernetes-map-type"],
        );
    }

    #[test]
    fn combined_schemas_bound_values_only() {
        check(
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "anyOf": [{ "required": ["a"] }, { "properties": { "a": { "maxLength": 3 } } }] }),
            &[],
        );
        check(
            json!({ "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }] }),
            &[],
        );
        check(
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "oneOf": [{ "type": "object", "properties": { "a": { "default": "x" }, "b": {} } }] }),
            &[
                "oneOf[0].type: Forbidden: must be empty to be structural",
                "oneOf[0].properties[a].default: Forbidden: must be empty to be structural",
                "oneOf[0].properties[b]: Required value",
            ],
        );
        check(
            json!({ "type": "string", "not": { "nullable": true } }),
            &["not.nullable: Forbidden: must be empty to be structural"],
        );
    }

    #[test]
    fn a_default_is_a_value_of_its_schema() {
        check(
            json!({ "type": "integer", "default": 3, "minimum": 1 }),
            &[],
        );
        check(
            json!({ "type": "integer", "default": 0, "minimum": 1 }),
            &["default: Invalid value: 0: in body should be greater than or equal to 1"],
        );
        check(
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "default": { "a": 1, "b": 2 } }),
            &[
                "default: Invalid value: {\"a\":1,\"b\":2}: must not have unknown fields: b",
                "default.a: Invalid value: \"integer\"",
            ],
        );
        check(
            json!({ "type": "array", "items": { "type": "object", "properties": { "a": { "type": "boolean", "default": "yes" } } } }),
            &["items.properties[a].default: Invalid value: \"string\""],
        );
    }
}
