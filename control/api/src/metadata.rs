//! What `metadata` may hold. Follows `k8s.io/apimachinery/pkg/api/validation`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::field::{ErrorList, Path};
use crate::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use crate::names::{self, NameRule};

/// All annotations of an object together, keys and values, in bytes.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
/// Longest name of a field manager, in bytes.
const MANAGER_BYTES_MAX: usize = 128;

/// Everything wrong with the metadata of an object that is to be stored.
pub fn validate(meta: &ObjectMeta, namespaced: bool, rule: NameRule, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(prefix) = non_empty(&meta.generate_name) {
        errors.invalid_each(
            &path.child("generateName"),
            prefix,
            rule.check(prefix, true),
        );
    }
    match non_empty(&meta.name) {
        None => errors.required(path.child("name"), "name or generateName is required"),
        Some(name) => errors.invalid_each(&path.child("name"), name, rule.check(name, false)),
    }
    let namespace_path = path.child("namespace");
    match (namespaced, non_empty(&meta.namespace)) {
        (true, None) => errors.required(namespace_path, ""),
        (true, Some(namespace)) => {
            errors.invalid_each(&namespace_path, namespace, names::dns1123_label(namespace));
        }
        (false, Some(_)) => errors.forbidden(namespace_path, "not allowed on this type"),
        (false, None) => {}
    }
    if let Some(generation) = meta.generation {
        errors.non_negative(path.child("generation"), generation);
    }
    validate_labels(meta.labels.as_ref(), &path.child("labels"), &mut errors);
    validate_annotations(
        meta.annotations.as_ref(),
        &path.child("annotations"),
        &mut errors,
    );
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    validate_owners(owners, &path.child("ownerReferences"), &mut errors);
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    validate_finalizers(finalizers, &path.child("finalizers"), &mut errors);
    validate_managers(meta, &path.child("managedFields"), &mut errors);
    errors
}

/// Everything wrong with the step from `old` metadata to `new`.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if old.deletion_timestamp.is_some() {
        let had = old.finalizers.as_deref().unwrap_or_default();
        let added: Vec<&String> = new
            .finalizers
            .iter()
            .flatten()
            .filter(|f| !had.contains(f))
            .collect();
        if !added.is_empty() {
            errors.forbidden(
                path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new \
                     finalizers {added:?}"
                ),
            );
        }
    }
    if new.generation.unwrap_or_default() < old.generation.unwrap_or_default() {
        errors.invalid(
            path.child("generation"),
            new.generation,
            "must not be decremented",
        );
    }
    errors.immutable(path.child("name"), &new.name, &old.name);
    errors.immutable(path.child("namespace"), &new.namespace, &old.namespace);
    errors.immutable(path.child("uid"), &new.uid, &old.uid);
    errors.immutable(
        path.child("creationTimestamp"),
        &new.creation_timestamp,
        &old.creation_timestamp,
    );
    errors.immutable(
        path.child("deletionTimestamp"),
        &new.deletion_timestamp,
        &old.deletion_timestamp,
    );
    errors.immutable(
        path.child("deletionGracePeriodSeconds"),
        &new.deletion_grace_period_seconds,
        &old.deletion_grace_period_seconds,
    );
    errors
}

/// Adds an error for each bad key and value.
pub fn validate_labels(
    labels: Option<&BTreeMap<String, String>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (key, value) in labels.into_iter().flatten() {
        errors.invalid_each(path, key, names::qualified_name(key));
        errors.invalid_each(path, value, names::label_value(value));
    }
}

/// Adds an error for each bad key, and one if all together are too long.
pub fn validate_annotations(
    annotations: Option<&BTreeMap<String, String>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        // The rule is case-insensitive for annotations.
        errors.invalid_each(path, key, names::qualified_name(&key.to_ascii_lowercase()));
        bytes += key.len() + value.len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path.clone(), ANNOTATIONS_BYTES_MAX);
    }
}

fn validate_owners(owners: &[OwnerReference], path: &Path, errors: &mut ErrorList) {
    let mut controller: Option<&str> = None;
    for owner in owners {
        // `v1` or `group/v1`; a version must stand there.
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        let required = [
            (
                "apiVersion",
                &owner.api_version,
                version,
                "version must not be empty",
            ),
            (
                "kind",
                &owner.kind,
                owner.kind.as_str(),
                "must not be empty",
            ),
            (
                "name",
                &owner.name,
                owner.name.as_str(),
                "must not be empty",
            ),
            ("uid", &owner.uid, owner.uid.as_str(), "must not be empty"),
        ];
        for (field, value, part, rule) in required {
            if part.is_empty() {
                errors.invalid(path.child(field), value, rule);
            }
        }
        if owner.api_version.matches('/').count() > 1 {
            errors.invalid(
                path.child("apiVersion"),
                &owner.api_version,
                format!("unexpected GroupVersion string: {}", owner.api_version),
            );
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            errors.invalid(
                path.clone(),
                owner,
                "/v1, Kind=Event is disallowed from being an owner",
            );
        }
        if owner.controller == Some(true) {
            if let Some(other) = controller {
                errors.invalid(
                    path.clone(),
                    owners,
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in \
                         references for {other} and {}",
                        owner.name
                    ),
                );
            } else {
                controller = Some(&owner.name);
            }
        }
    }
}

fn validate_finalizers(finalizers: &[String], path: &Path, errors: &mut ErrorList) {
    for finalizer in finalizers {
        errors.invalid_each(path, finalizer, names::qualified_name(finalizer));
    }
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has(FINALIZER_ORPHAN) && has(FINALIZER_FOREGROUND) {
        errors.invalid(
            path.clone(),
            finalizers,
            format!("finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set"),
        );
    }
}

fn validate_managers(meta: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    for (index, entry) in meta.managed_fields.iter().flatten().enumerate() {
        let path = path.index(index);
        let operation = entry.operation.as_deref().unwrap_or_default();
        if operation != "Apply" && operation != "Update" {
            errors.invalid(
                path.child("operation"),
                operation,
                "must be `Apply` or `Update`",
            );
        }
        if let Some(fields_type) = &entry.fields_type
            && fields_type != "FieldsV1"
        {
            errors.invalid(path.child("fieldsType"), fields_type, "must be `FieldsV1`");
        }
        let manager = entry.manager.as_deref().unwrap_or_default();
        if manager.len() > MANAGER_BYTES_MAX {
            errors.too_long(path.child("manager"), MANAGER_BYTES_MAX);
        }
        if let Some(bad) = manager.chars().find(|c| c.is_control()) {
            errors.invalid(
                path.child("manager"),
                manager,
                format!(
                    "invalid character {:?} (at position {:?})",
                    bad,
                    manager.find(bad)
                ),
            );
        }
    }
}

fn non_empty(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn shown(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn check(value: Value, expected: &[&str]) {
        let errors = validate(
            &meta(value.clone()),
            true,
            NameRule::Dns1123Subdomain,
            &Path::new("metadata"),
        );
        let shown = shown(&errors);
        assert_eq!(shown.len(), expected.len(), "{value}: {shown:?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(
                shown.starts_with(expected),
                "{value}: {shown:?} is not {expected:?}"
            );
        }
    }

    #[test]
    fn names_and_namespaces() {
        check(json!({"name": "a", "namespace": "b"}), &[]);
        check(
            json!({"namespace": "b"}),
            &["metadata.name: Required value: name or generateName is required"],
        );
        check(
            json!({"name": "a"}),
            &["metadata.namespace: Required value"],
        );
        check(
            json!({"name": "A_b", "namespace": "x.y"}),
            &[
                "metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must",
                "metadata.namespace: Invalid value: \"x.y\": must not contain dots",
            ],
        );
        check(
            json!({"name": "a", "namespace": "b", "generateName": "A-"}),
            &["metadata.generateName: Invalid value: \"A-\""],
        );
        let errors = validate(
            &meta(json!({"name": "a", "namespace": "b"})),
            false,
            NameRule::Dns1123Label,
            &Path::new("metadata"),
        );
        assert_eq!(
            shown(&errors),
            ["metadata.namespace: Forbidden: not allowed on this type"]
        );
    }

    #[test]
    fn labels_and_annotations() {
        check(
            json!({"name": "a", "namespace": "b", "labels": {"a b": "c d"}}),
            &[
                "metadata.labels: Invalid value: \"a b\": name part must consist",
                "metadata.labels: Invalid value: \"c d\": a valid label must be",
            ],
        );
        check(
            json!({"name": "a", "namespace": "b", "annotations": {"Example.com/A": "x y\n"}}),
            &[],
        );
        check(
            json!({"name": "a", "namespace": "b", "annotations": {"a/b/c": ""}}),
            &["metadata.annotations: Invalid value: \"a/b/c\""],
        );
        check(
            json!({"name": "a", "namespace": "b", "annotations": {"k": "x".repeat(ANNOTATIONS_BYTES_MAX)}}),
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
        check(
            json!({"name": "a", "namespace": "b", "annotations": {"k": "x".repeat(ANNOTATIONS_BYTES_MAX - 1)}}),
            &[],
        );
    }

    #[test]
    fn owners() {
        let owner = |name: &str, controller: bool| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "u", "controller": controller});
        let with =
            |owners: Value| json!({"name": "a", "namespace": "b", "ownerReferences": owners});
        check(with(json!([owner("x", true), owner("y", false)])), &[]);
        check(
            with(json!([owner("x", true), owner("y", true)])),
            &["metadata.ownerReferences: Invalid value: [{"],
        );
        check(
            with(json!([{"apiVersion": "apps/", "kind": "", "name": "", "uid": ""}])),
            &[
                "metadata.ownerReferences.apiVersion: Invalid value: \"apps/\": version must not be empty",
                "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.name: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
            ],
        );
        check(
            with(json!([{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}])),
            &["metadata.ownerReferences: Invalid value: {"],
        );
        check(
            with(json!([{"apiVersion": "a/b/c", "kind": "K", "name": "e", "uid": "u"}])),
            &[
                "metadata.ownerReferences.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion",
            ],
        );
    }

    #[test]
    fn finalizers_and_managers() {
        let with = |field: &str, value: Value| json!({"name": "a", "namespace": "b", field: value});
        check(with("finalizers", json!(["example.com/a", "orphan"])), &[]);
        check(
            with("finalizers", json!(["a b"])),
            &["metadata.finalizers: Invalid value: \"a b\""],
        );
        check(
            with("finalizers", json!(["orphan", "foregroundDeletion"])),
            &[
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and",
            ],
        );
        check(
            with(
                "managedFields",
                json!([{"operation": "Apply", "fieldsType": "FieldsV1"}]),
            ),
            &[],
        );
        check(
            with(
                "managedFields",
                json!([{"operation": "x", "fieldsType": "y", "manager": "m".repeat(129)}]),
            ),
            &[
                "metadata.managedFields[0].operation: Invalid value: \"x\": must be `Apply` or `Update`",
                "metadata.managedFields[0].fieldsType: Invalid value: \"y\": must be `FieldsV1`",
                "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes",
            ],
        );
        check(
            with("generation", json!(-1)),
            &["metadata.generation: Invalid value: -1: must be greater"],
        );
    }

    #[test]
    fn what_identifies_an_object_never_changes() {
        let old = json!({"name": "a", "namespace": "b", "uid": "u", "generation": 2});
        let deleting = json!({"name": "a", "finalizers": ["f/x"], "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let cases = [
            (old.clone(), old.clone(), vec![]),
            (
                json!({"name": "c", "namespace": "b", "uid": "u", "generation": 2}),
                old.clone(),
                vec!["metadata.name: Invalid value: \"c\": field is immutable"],
            ),
            (
                json!({"name": "a", "namespace": "b", "uid": "v", "generation": 1}),
                old,
                vec![
                    "metadata.generation: Invalid value: 1: must not be decremented",
                    "metadata.uid: Invalid value: \"v\": field is immutable",
                ],
            ),
            (
                json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}),
                deleting.clone(),
                vec![],
            ),
            (
                json!({"name": "a", "finalizers": ["f/x", "f/y"], "deletionTimestamp": "2026-01-01T00:00:00Z"}),
                deleting,
                vec![
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers [\"f/y\"]",
                ],
            ),
        ];
        for (new, old, expected) in cases {
            let errors = validate_update(&meta(new.clone()), &meta(old), &Path::new("metadata"));
            assert_eq!(shown(&errors), expected, "{new}");
        }
    }
}
