//! StorageClass: how volumes are made for claims that name it.

use std::collections::{BTreeMap, BTreeSet};

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{forbid_change, validate_parameters};
use crate::kinds::cells;
use crate::kinds::pod_spec::{none_or_one_of, one_of};
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// Annotations of the class of claims that name none; the second is what it was called before.
const IS_DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const DELETE: &str = "Delete";
const IMMEDIATE: &str = "Immediate";
const BINDING_MODES: [&str; 2] = [IMMEDIATE, "WaitForFirstConsumer"];

/// True for the class of claims that name none.
pub fn is_default(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    let set = |key: &str| {
        annotations
            .and_then(|a| a.get(key))
            .is_some_and(|v| v == "true")
    };
    IS_DEFAULT.iter().any(|key| set(key))
}

/// The rules of StorageClasses.
pub struct StorageClassStrategy;

impl Strategy for StorageClassStrategy {
    type Object = StorageClass;

    fn default(&self, class: &mut StorageClass) {
        class
            .reclaim_policy
            .get_or_insert_with(|| DELETE.to_owned());
        class
            .volume_binding_mode
            .get_or_insert_with(|| IMMEDIATE.to_owned());
    }

    fn validate(&self, class: &StorageClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("provisioner");
        let provisioner = &class.provisioner;
        if provisioner.is_empty() {
            errors.required(path, "");
        } else {
            let problems = names::qualified_name(&provisioner.to_ascii_lowercase());
            errors.invalid_each(&path, provisioner, problems);
        }
        validate_parameters(class.parameters.as_ref(), false, &mut errors);
        let policy = class.reclaim_policy.as_deref();
        none_or_one_of(
            policy,
            &[DELETE, "Retain"],
            Path::new("reclaimPolicy"),
            &mut errors,
        );
        let mode = class.volume_binding_mode.as_deref();
        one_of(
            mode,
            &BINDING_MODES,
            Path::new("volumeBindingMode"),
            &mut errors,
        );
        let topologies = class.allowed_topologies.as_deref().unwrap_or_default();
        validate_topologies(topologies, &mut errors);
        errors
    }

    fn validate_update(&self, new: &StorageClass, old: &StorageClass) -> ErrorList {
        let mut errors = ErrorList::new();
        forbid_change("parameters", &new.parameters, &old.parameters, &mut errors);
        forbid_change(
            "provisioner",
            &new.provisioner,
            &old.provisioner,
            &mut errors,
        );
        forbid_change(
            "reclaimPolicy",
            &new.reclaim_policy,
            &old.reclaim_policy,
            &mut errors,
        );
        errors.immutable(
            Path::new("volumeBindingMode"),
            &new.volume_binding_mode,
            &old.volume_binding_mode,
        );
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Provisioner", "Who makes the volumes."),
            Column::string(
                "ReclaimPolicy",
                "What becomes of a volume whose claim is gone.",
            ),
            Column::string("VolumeBindingMode", "When a claim gets its volume."),
            Column::string("AllowVolumeExpansion", "True if claims may grow."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, class: &StorageClass, now: Timestamp) -> Vec<Value> {
        let mut name = class.metadata.name.clone().unwrap_or_default();
        if is_default(&class.metadata) {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            class.provisioner.as_str().into(),
            class.reclaim_policy.as_deref().unwrap_or(DELETE).into(),
            class
                .volume_binding_mode
                .as_deref()
                .unwrap_or(IMMEDIATE)
                .into(),
            class.allow_volume_expansion.unwrap_or_default().into(),
            cells::age(&class.metadata, now),
        ]
    }
}

fn validate_topologies(terms: &[TopologySelectorTerm], errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, term) in terms.iter().enumerate() {
        let path = Path::new("allowedTopologies").index(index);
        let mut wanted = BTreeMap::new();
        let path = path.child("matchLabelExpressions");
        for (index, expression) in term.match_label_expressions.iter().flatten().enumerate() {
            let path = path.index(index);
            let mut values = BTreeSet::new();
            if expression.values.is_empty() {
                errors.required(path.child("values"), "");
            }
            for (index, value) in expression.values.iter().enumerate() {
                if !values.insert(value) {
                    errors.duplicate(path.child("values").index(index), value);
                }
            }
            let key = &expression.key;
            errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
            if wanted.insert(key, values).is_some() {
                errors.duplicate(path.child("key"), key);
            }
        }
        if !seen.insert(wanted) {
            errors.duplicate(path, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PARAMETER_BYTES_MAX, PARAMETERS_MAX};
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, created, merged};
    use serde_json::json;

    fn class(patch: Value) -> Value {
        merged(
            &json!({"metadata": {"name": "fast"}, "provisioner": "example.com/disk"}),
            &patch,
        )
    }

    #[test]
    fn a_provisioner_is_named() {
        let check = |patch: Value, expected: &[&str]| {
            check_create(&StorageClassStrategy, &class(patch), expected);
        };
        check(json!({}), &[]);
        check(
            json!({"provisioner": "kubernetes.io/no-provisioner", "reclaimPolicy": "Retain"}),
            &[],
        );
        check(json!({"provisioner": ""}), &["provisioner: Required value"]);
        check(
            json!({"provisioner": "a b"}),
            &["provisioner: Invalid value: \"a b\": name part"],
        );
        check(
            json!({"reclaimPolicy": "Recycle", "volumeBindingMode": "Later"}),
            &[
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
                "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            ],
        );
        check(
            json!({"parameters": {"": "x"}}),
            &["parameters: Invalid value: \"\": field can not be empty."],
        );
        check(
            json!({"parameters": {"a": "x".repeat(PARAMETER_BYTES_MAX)}}),
            &["parameters: Too long: may not be more than 262144 bytes"],
        );
        let many: serde_json::Map<String, Value> = (0..=PARAMETERS_MAX)
            .map(|i| (i.to_string(), json!("x")))
            .collect();
        check(
            json!({"parameters": many}),
            &["parameters: Too long: may not be more than 512"],
        );
    }

    #[test]
    fn topologies_are_told_apart() {
        let check = |topologies: Value, expected: &[&str]| {
            let value = class(json!({"allowedTopologies": topologies}));
            check_create(&StorageClassStrategy, &value, expected);
        };
        let term =
            |values: &[&str]| json!({"matchLabelExpressions": [{"key": "zone", "values": values}]});
        check(json!([term(&["a", "b"]), term(&["c"])]), &[]);
        check(
            json!([term(&["a", "b"]), term(&["b", "a"])]),
            &["allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\""],
        );
        check(
            json!([term(&["a", "a"]), term(&[])]),
            &[
                "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
                "allowedTopologies[1].matchLabelExpressions[0].values: Required value",
            ],
        );
        check(
            json!([{"matchLabelExpressions": [{"key": "a b", "values": ["x"]}, {"key": "a b", "values": ["x"]}]}]),
            &[
                "allowedTopologies[0].matchLabelExpressions[0].key: Invalid value: \"a b\"",
                "allowedTopologies[0].matchLabelExpressions[1].key: Invalid value: \"a b\"",
                "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"a b\"",
            ],
        );
    }

    #[test]
    fn how_volumes_are_made_stays() {
        let check = |patch: Value, expected: &[&str]| {
            check_update(
                &StorageClassStrategy,
                &class(json!({})),
                &class(patch),
                expected,
            );
        };
        check(
            json!({"allowVolumeExpansion": true, "mountOptions": ["ro"]}),
            &[],
        );
        check(
            json!({"parameters": {"a": "b"}, "provisioner": "x", "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}),
            &[
                "parameters: Forbidden: updates to parameters are forbidden.",
                "provisioner: Forbidden: updates to provisioner are forbidden.",
                "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
                "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
            ],
        );
        let made = created(&StorageClassStrategy, &class(json!({})));
        assert_eq!(made.reclaim_policy.as_deref(), Some("Delete"));
        assert_eq!(made.volume_binding_mode.as_deref(), Some("Immediate"));
    }

    #[test]
    fn its_row_says_which_is_the_default() {
        let check = |annotation: Value, name: &str| {
            let value = class(json!({"metadata": {"annotations": annotation}}));
            let expected = [
                ("Name", name),
                ("Provisioner", "example.com/disk"),
                ("ReclaimPolicy", "Delete"),
                ("VolumeBindingMode", "Immediate"),
                ("AllowVolumeExpansion", "false"),
            ];
            check_row(&StorageClassStrategy, &value, 0, &expected);
        };
        check(json!({}), "fast");
        check(json!({(IS_DEFAULT[0]): "false"}), "fast");
        check(json!({(IS_DEFAULT[0]): "true"}), "fast (default)");
        check(json!({(IS_DEFAULT[1]): "true"}), "fast (default)");
    }
}
