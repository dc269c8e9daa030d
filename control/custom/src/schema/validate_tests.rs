use serde_json::json;

use super::super::schema_of;
use super::*;

/// Checks a value at `spec.x` against a schema for it.
fn check(schema: Value, value: Value, expect: &[&str]) {
    check_step(schema, None, value, expect);
}

fn check_step(schema: Value, old: Option<Value>, value: Value, expect: &[&str]) {
    let whole = schema_of(json!({ "type": "object", "properties": {
        "spec": { "type": "object", "properties": { "x": schema } },
    } }));
    let object = |x: &Value| json!({ "spec": { "x": x } });
    let old = old.as_ref().map(object);
    let errors = whole.validate(&object(&value), old.as_ref());
    let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(got, expect, "{value}");
}

#[test]
fn types_are_checked() {
    for (of, good, bad, got) in [
        ("string", json!("a"), json!(1), "integer"),
        ("integer", json!(1), json!(1.5), "number"),
        ("integer", json!(2.0), json!("2"), "string"),
        ("number", json!(1.5), json!(true), "boolean"),
        ("boolean", json!(false), json!(0), "integer"),
        ("array", json!([]), json!({}), "object"),
        ("object", json!({}), json!([]), "array"),
        ("string", json!(""), json!(null), "null"),
    ] {
        check(json!({ "type": of }), good, &[]);
        let error =
            format!("spec.x: Invalid value: {got:?}: spec.x in body must be of type {of}: {got:?}");
        check(json!({ "type": of }), bad, &[&error]);
    }
    check(
        json!({ "type": "string", "nullable": true }),
        json!(null),
        &[],
    );
    let either = json!({ "x-kubernetes-int-or-string": true });
    check(either.clone(), json!(80), &[]);
    check(either.clone(), json!("http"), &[]);
    check(
        either,
        json!(true),
        &[
            "spec.x: Invalid value: \"boolean\": spec.x in body must be of type integer,string: \"boolean\"",
        ],
    );
}

#[test]
fn numbers_keep_their_bounds() {
    let of = |extra: Value| {
        let mut schema = json!({ "type": "integer" });
        schema
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        schema
    };
    check(of(json!({ "minimum": 1, "maximum": 3 })), json!(1), &[]);
    check(
        of(json!({ "minimum": 1 })),
        json!(0),
        &["spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1"],
    );
    check(
        of(json!({ "minimum": 1, "exclusiveMinimum": true })),
        json!(1),
        &["spec.x: Invalid value: 1: spec.x in body should be greater than 1"],
    );
    check(
        of(json!({ "maximum": 10 })),
        json!(11),
        &["spec.x: Invalid value: 11: spec.x in body should be less than or equal to 10"],
    );
    check(
        of(json!({ "maximum": 10, "exclusiveMaximum": true })),
        json!(10),
        &["spec.x: Invalid value: 10: spec.x in body should be less than 10"],
    );
    check(
        of(json!({ "multipleOf": 5 })),
        json!(12),
        &["spec.x: Invalid value: 12: spec.x in body should be a multiple of 5"],
    );
    check(
        json!({ "type": "number", "multipleOf": 0.1 }),
        json!(0.3),
        &[],
    );
    check(
        of(json!({ "format": "int32" })),
        json!(3_000_000_000_u64),
        &[
            "spec.x: Invalid value: 3000000000: Checked value must be of type integer with format int32 in spec.x",
        ],
    );
}

#[test]
fn texts_keep_their_bounds() {
    check(
        json!({ "type": "string", "minLength": 2 }),
        json!("é"),
        &["spec.x: Invalid value: \"é\": spec.x in body should be at least 2 chars long"],
    );
    check(
        json!({ "type": "string", "maxLength": 2 }),
        json!("abc"),
        &["spec.x: Too long: may not be more than 2 bytes"],
    );
    check(
        json!({ "type": "string", "pattern": "^a+$" }),
        json!("ab"),
        &["spec.x: Invalid value: \"ab\": spec.x in body should match '^a+$'"],
    );
    check(
        json!({ "type": "string", "format": "date-time" }),
        json!("now"),
        &["spec.x: Invalid value: \"now\": spec.x in body must be of type date-time: \"now\""],
    );
    check(
        json!({ "type": "string", "enum": ["a", "b"] }),
        json!("c"),
        &["spec.x: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
    check(
        json!({ "type": "integer", "enum": [1, 2] }),
        json!(3),
        &["spec.x: Unsupported value: 3: supported values: \"1\", \"2\""],
    );
}

#[test]
fn lists_and_maps_keep_their_bounds() {
    let numbers =
        json!({ "type": "array", "items": { "type": "integer" }, "minItems": 1, "maxItems": 2 });
    check(numbers.clone(), json!([1]), &[]);
    check(
        numbers.clone(),
        json!([]),
        &["spec.x: Invalid value: []: spec.x in body should have at least 1 items"],
    );
    check(
        numbers,
        json!([1, 2, "3"]),
        &[
            "spec.x: Too many: 3: must have at most 2 items",
            "spec.x[2]: Invalid value: \"string\": spec.x[2] in body must be of type integer: \"string\"",
        ],
    );
    check(
        json!({ "type": "array", "uniqueItems": true, "items": { "type": "string" } }),
        json!(["a", "a"]),
        &["spec.x: Invalid value: [\"a\",\"a\"]: spec.x in body shouldn't contain duplicates"],
    );
    let object = json!({ "type": "object", "required": ["a", "b"], "properties": { "a": { "type": "string" }, "b": { "type": "string" } } });
    check(
        object,
        json!({ "b": 1 }),
        &[
            "spec.x.a: Required value",
            "spec.x.b: Invalid value: \"integer\": spec.x.b in body must be of type string: \"integer\"",
        ],
    );
    let map = json!({ "type": "object", "additionalProperties": { "type": "integer" }, "minProperties": 1, "maxProperties": 1 });
    check(
        map.clone(),
        json!({}),
        &["spec.x: Invalid value: {}: spec.x in body should have at least 1 properties"],
    );
    check(
        map,
        json!({ "a": 1, "b": "x" }),
        &[
            "spec.x: Too many: 2: must have at most 1 items",
            "spec.x.b: Invalid value: \"string\": spec.x.b in body must be of type integer: \"string\"",
        ],
    );
}

#[test]
fn schemas_are_combined() {
    let either = json!({ "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "string" } }, "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] });
    check(either.clone(), json!({ "a": "1" }), &[]);
    check(
        either.clone(),
        json!({}),
        &[
            "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found none valid",
        ],
    );
    check(
        either,
        json!({ "a": "1", "b": "2" }),
        &[
            "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    check(
        json!({ "type": "integer", "anyOf": [{ "minimum": 10 }, { "maximum": 1 }] }),
        json!(5),
        &["<nil>: Invalid value: \"\": \"spec.x\" must validate at least one schema (anyOf)"],
    );
    check(
        json!({ "type": "integer", "allOf": [{ "minimum": 10 }, { "multipleOf": 2 }] }),
        json!(5),
        &[
            "spec.x: Invalid value: 5: spec.x in body should be greater than or equal to 10",
            "spec.x: Invalid value: 5: spec.x in body should be a multiple of 2",
        ],
    );
    check(
        json!({ "type": "string", "not": { "enum": ["root"] } }),
        json!("root"),
        &["<nil>: Invalid value: \"\": \"spec.x\" must not validate the schema (not)"],
    );
}

#[test]
fn what_did_not_change_is_not_held_against_an_update() {
    let small = json!({ "type": "object", "properties": { "a": { "type": "integer", "maximum": 5 }, "b": { "type": "integer" } } });
    check_step(
        small.clone(),
        Some(json!({ "a": 9, "b": 1 })),
        json!({ "a": 9, "b": 2 }),
        &[],
    );
    check_step(
        small,
        Some(json!({ "a": 9 })),
        json!({ "a": 10 }),
        &["spec.x.a: Invalid value: 10: spec.x.a in body should be less than or equal to 5"],
    );
    let keyed = json!({ "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": { "type": "object", "properties": {
        "k": { "type": "string" }, "v": { "type": "string", "maxLength": 1 },
    } } });
    check_step(
        keyed,
        Some(json!([{ "k": "a", "v": "long" }])),
        json!([{ "k": "b", "v": "x" }, { "k": "a", "v": "long" }]),
        &[],
    );
    let plain = json!({ "type": "array", "items": { "type": "string", "maxLength": 1 } });
    check_step(
        plain,
        Some(json!(["long"])),
        json!(["long", "b"]),
        &["spec.x[0]: Too long: may not be more than 1 bytes"],
    );
}
