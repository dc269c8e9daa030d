use serde_json::{Value, json};

use super::*;

fn sound() -> Value {
    json!({
        "metadata": { "name": "shirts.stable.example.com" },
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": { "plural": "shirts", "singular": "shirt", "kind": "Shirt", "listKind": "ShirtList", "shortNames": ["sh"], "categories": ["all"] },
            "conversion": { "strategy": "None" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": { "color": { "type": "string" }, "size": { "type": "object" }, "replicas": { "type": "integer" } } },
                    "status": { "type": "object", "properties": { "replicas": { "type": "integer" } } },
                } } },
                "selectableFields": [{ "jsonPath": ".spec.color" }],
                "additionalPrinterColumns": [{ "name": "Color", "type": "string", "jsonPath": ".spec.color" }],
                "subresources": { "status": {}, "scale": { "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector" } },
            }],
        },
    })
}

/// Checks the sound definition with one value put elsewhere; null takes a field away.
fn check(pointer: &str, value: Value, expect: &[&str]) {
    let mut definition = sound();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = definition.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Array(list), value) => list.push(value),
        (Value::Object(map), Value::Null) => {
            map.remove(field);
        }
        (Value::Object(map), value) => {
            map.insert(field.to_owned(), value);
        }
        _ => unreachable!(),
    }
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    let errors = validate(&definition);
    let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(got.len(), expect.len(), "{pointer}: {got:?}");
    for (got, expect) in got.iter().zip(expect) {
        assert!(got.starts_with(expect), "{pointer}: {got}");
    }
}

#[test]
fn a_sound_definition_has_nothing_wrong() {
    check("/spec/scope", json!("Cluster"), &[]);
}

#[test]
fn names_and_groups_are_names() {
    check(
        "/metadata/name",
        json!("x"),
        &["metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group"],
    );
    check(
        "/spec/group",
        json!("stable"),
        &[
            "metadata.name: Invalid value",
            "spec.group: Invalid value: \"stable\": should be a domain with at least one dot",
        ],
    );
    check(
        "/spec/scope",
        json!("Everywhere"),
        &[
            "spec.scope: Unsupported value: \"Everywhere\": supported values: \"Cluster\", \"Namespaced\"",
        ],
    );
    check(
        "/spec/names/kind",
        json!("Shirt_"),
        &["spec.names.kind: Invalid value: \"Shirt_\""],
    );
    check(
        "/spec/names/listKind",
        json!("Shirt"),
        &["spec.names.listKind: Invalid value: \"Shirt\": kind and listKind may not be the same"],
    );
    check(
        "/spec/names/shortNames",
        json!(["sh", "S"]),
        &["spec.names.shortNames[1]: Invalid value: \"S\""],
    );
    check(
        "/spec/names/categories",
        json!(["a b"]),
        &["spec.names.categories[0]: Invalid value"],
    );
    check(
        "/spec/preserveUnknownFields",
        json!(true),
        &["spec.preserveUnknownFields: Invalid value: true: cannot set to true"],
    );
}

#[test]
fn groups_of_kubernetes_own_are_for_the_approved() {
    let check = |annotation: Option<&str>, expect: Option<&str>| {
        let mut definition = sound();
        definition["metadata"]["name"] = "shirts.stable.k8s.io".into();
        definition["spec"]["group"] = "stable.k8s.io".into();
        if let Some(value) = annotation {
            definition["metadata"]["annotations"] = json!({ "api-approved.kubernetes.io": value });
        }
        let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
        let errors = validate(&definition);
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        match expect {
            None => assert!(got.is_empty(), "{got:?}"),
            Some(expect) => assert!(got.len() == 1 && got[0].contains(expect), "{got:?}"),
        }
    };
    let at = "metadata.annotations[api-approved.kubernetes.io]";
    check(None, Some(&format!("{at}: Required value")));
    check(Some("yes"), Some(&format!("{at}: Invalid value: \"yes\"")));
    check(
        Some("https://github.com/kubernetes/kubernetes/pull/1"),
        None,
    );
    check(Some("unapproved, experimental"), None);
}

#[test]
fn one_version_is_stored_and_each_has_a_schema() {
    let second = |name: &str, storage: bool| json!({ "name": name, "served": true, "storage": storage, "schema": { "openAPIV3Schema": { "type": "object" } } });
    check("/spec/versions/-", second("v2", false), &[]);
    check(
        "/spec/versions/-",
        second("v2", true),
        &[
            "spec.versions: Invalid value: [\"v1\",\"v2\"]: must have exactly one version marked as storage version",
        ],
    );
    check(
        "/spec/versions/-",
        second("v1", false),
        &["spec.versions: Invalid value: [\"v1\",\"v1\"]: must contain unique version names"],
    );
    check(
        "/spec/versions/-",
        second("2", false),
        &["spec.versions[1].name: Invalid value: \"2\""],
    );
    check(
        "/spec/versions/0/storage",
        json!(false),
        &["spec.versions: Invalid value"],
    );
    check(
        "/spec/versions/0/schema",
        Value::Null,
        &[
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            "spec.versions[0].selectableFields[0].jsonPath: Invalid value",
        ],
    );
    check(
        "/spec/versions/0/deprecationWarning",
        json!("old"),
        &[
            "spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions",
        ],
    );
    check(
        "/status",
        json!({ "storedVersions": ["v0"], "conditions": [], "acceptedNames": { "plural": "", "kind": "" } }),
        &["status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions"],
    );
}

#[test]
fn paths_lead_where_they_may() {
    let scale = "/spec/versions/0/subresources/scale";
    for (field, value, expect) in [
        ("specReplicasPath", "", "Required value"),
        (
            "specReplicasPath",
            ".status.replicas",
            "Invalid value: \".status.replicas\": should be a json path under .spec",
        ),
        (
            "specReplicasPath",
            ".spec.a[0]",
            "Invalid value: \".spec.a[0]\": should be a json path without array notation",
        ),
        (
            "statusReplicasPath",
            "status",
            "Invalid value: \"status\": is an invalid json path",
        ),
        (
            "labelSelectorPath",
            ".metadata.labels",
            "Invalid value: \".metadata.labels\": should be a json path under .spec or .status",
        ),
    ] {
        let expect = format!("spec.versions[0].subresources.scale.{field}: {expect}");
        check(&format!("{scale}/{field}"), json!(value), &[&expect]);
    }
    let columns = "spec.versions[0].additionalPrinterColumns[0]";
    check(
        "/spec/versions/0/additionalPrinterColumns/0/type",
        json!("text"),
        &[&format!("{columns}.type: Unsupported value: \"text\"")],
    );
    check(
        "/spec/versions/0/additionalPrinterColumns/0/jsonPath",
        json!("spec"),
        &[&format!(
            "{columns}.jsonPath: Invalid value: \"spec\": is an invalid json path"
        )],
    );
    let selectable = |paths: Value| {
        paths
            .as_array()
            .unwrap()
            .iter()
            .map(|p| json!({ "jsonPath": p }))
            .collect::<Value>()
    };
    for (paths, expect) in [
        (
            json!([".spec.size"]),
            "[0].jsonPath: Invalid value: \".spec.size\": must point to a field of type",
        ),
        (
            json!([".spec.none"]),
            "[0].jsonPath: Invalid value: \".spec.none\": must point to a field of type",
        ),
        (
            json!([".metadata.name"]),
            "[0].jsonPath: Invalid value: \".metadata.name\": must not point to fields in metadata",
        ),
        (
            json!([".spec.color", ".spec.color"]),
            "[1].jsonPath: Duplicate value: \".spec.color\"",
        ),
        (
            json!([".spec.color[0]"]),
            "[0].jsonPath: Invalid value: \".spec.color[0]\": is an invalid path",
        ),
    ] {
        let expect = format!("spec.versions[0].selectableFields{expect}");
        check(
            "/spec/versions/0/selectableFields",
            selectable(paths),
            &[&expect],
        );
    }
}

#[test]
fn a_webhook_says_where_it_is() {
    check(
        "/spec/conversion",
        json!({ "strategy": "Webhook", "webhook": { "clientConfig": { "url": "https://a" }, "conversionReviewVersions": ["v1"] } }),
        &[],
    );
    for (conversion, expect) in [
        (
            json!({ "strategy": "Magic" }),
            "spec.conversion.strategy: Unsupported value: \"Magic\"",
        ),
        (
            json!({ "strategy": "Webhook" }),
            "spec.conversion.webhook.clientConfig: Required value",
        ),
        (
            json!({ "strategy": "Webhook", "webhook": { "clientConfig": { "url": "https://a" }, "conversionReviewVersions": [] } }),
            "spec.conversion.webhook.conversionReviewVersions: Required value",
        ),
        (
            json!({ "strategy": "None", "webhook": { "conversionReviewVersions": ["v1"] } }),
            "spec.conversion.webhook: Forbidden",
        ),
    ] {
        check("/spec/conversion", conversion, &[expect]);
    }
}

#[test]
fn what_is_served_keeps_its_identity() {
    let old = |established: &str| {
        let mut old = sound();
        old["status"] = json!({ "conditions": [{ "type": "Established", "status": established }], "storedVersions": ["v1"], "acceptedNames": { "plural": "", "kind": "" } });
        serde_json::from_value::<CustomResourceDefinition>(old).unwrap()
    };
    let mut new = old("True");
    new.spec.scope = "Cluster".into();
    new.spec.names.kind = "Jersey".into();
    assert!(validate_update(&new, &old("False")).is_empty());
    let got: Vec<String> = validate_update(&new, &old("True"))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        got,
        [
            "spec.scope: Invalid value: \"Cluster\": field is immutable",
            "spec.names.kind: Invalid value: \"Jersey\": field is immutable",
        ]
    );
    let mut status = old("True");
    assert!(validate_status_update(&status).is_empty());
    status.status.as_mut().unwrap().stored_versions = Some(vec!["v9".into()]);
    let got: Vec<String> = validate_status_update(&status)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        got,
        [
            "status.storedVersions[0]: Invalid value: \"v9\": must appear in spec.versions",
            "status.storedVersions: Invalid value: [\"v9\"]: must have the storage version v1",
        ]
    );
}
