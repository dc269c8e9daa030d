//! The metadata of objects inside objects (`x-kubernetes-embedded-resource`).

use euston_api::field::{ErrorKind, ErrorList, FieldError, Path};
use euston_api::names::NameRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

/// The fields of `ObjectMeta`.
pub const FIELDS: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Drops what no metadata has, and calls `note` for each.
pub(crate) fn drop_unknown(object: &mut Map<String, Value>, mut note: impl FnMut(&str)) {
    let Some(Value::Object(meta)) = object.get_mut("metadata") else {
        return;
    };
    meta.retain(|field, _| {
        let known = FIELDS.contains(&field.as_str());
        if !known {
            note(field);
        }
        known
    });
}

/// Everything wrong with an embedded object's kind and metadata.
pub(crate) fn validate(object: &Map<String, Value>, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["apiVersion", "kind"] {
        let path = at.child(field);
        match object.get(field) {
            None => errors.required(path, "must not be empty"),
            Some(Value::String(text)) if text.is_empty() => {
                errors.required(path, "must not be empty");
            }
            Some(Value::String(text)) => {
                let problems = match field {
                    "kind" => euston_api::names::dns1035_label(&text.to_lowercase()),
                    _ if text.matches('/').count() > 1 => {
                        vec![format!("unexpected GroupVersion string: {text}")]
                    }
                    _ => Vec::new(),
                };
                errors.invalid_each(&path, text, problems);
            }
            Some(other) => errors.add(FieldError {
                kind: ErrorKind::TypeInvalid,
                path,
                value: Some(other.to_string()),
                detail: "must be a string".to_owned(),
            }),
        }
    }
    let path = at.child("metadata");
    match object.get("metadata") {
        None => {}
        Some(meta) => match serde_json::from_value::<ObjectMeta>(meta.clone()) {
            Ok(mut meta) => {
                // A template's name is optional, and its namespace is the object's own affair.
                if meta.name.as_deref().unwrap_or_default().is_empty() {
                    meta.name = Some("a".to_owned());
                }
                let namespaced = meta.namespace.is_some();
                let rule = NameRule::Dns1123Subdomain;
                let found = euston_api::metadata::validate(&meta, namespaced, rule, &path);
                errors.extend(found);
            }
            Err(error) => errors.invalid(path, meta, error.to_string()),
        },
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(object: Value, expect: &[&str]) {
        let errors = validate(object.as_object().unwrap(), &Path::new("spec.template"));
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got.len(), expect.len(), "{object}: {got:?}");
        for (got, expect) in got.iter().zip(expect) {
            assert!(got.starts_with(expect), "{got}");
        }
    }

    #[test]
    fn an_embedded_object_says_what_it_is() {
        check(
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "labels": { "a": "b" } } }),
            &[],
        );
        check(json!({ "apiVersion": "v1", "kind": "Pod" }), &[]);
        check(
            json!({}),
            &[
                "spec.template.apiVersion: Required value: must not be empty",
                "spec.template.kind: Required value: must not be empty",
            ],
        );
        check(
            json!({ "apiVersion": 1, "kind": "", "metadata": { "labels": { "a": "no space" } } }),
            &[
                "spec.template.apiVersion: Invalid value: 1: must be a string",
                "spec.template.kind: Required value",
                "spec.template.metadata.labels: Invalid value: \"no space\"",
            ],
        );
        check(
            json!({ "apiVersion": "a/b/c", "kind": "Pod", "metadata": { "name": 1 } }),
            &[
                "spec.template.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string",
                "spec.template.metadata: Invalid value: {\"name\":1}: invalid type",
            ],
        );
    }
}
