//! ConfigMap: settings that pods read as variables or files.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// Largest ConfigMap or Secret: all values together, in bytes.
pub(super) const DATA_BYTES_MAX: usize = 1 << 20;

pub(super) const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// The rules of ConfigMaps.
pub struct ConfigMapStrategy;

impl Strategy for ConfigMapStrategy {
    type Object = ConfigMap;

    fn validate(&self, map: &ConfigMap) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut bytes = 0;
        for (key, value) in map.data.iter().flatten() {
            let path = Path::new("data").key(key);
            errors.invalid_each(&path, key, names::config_map_key(key));
            if map
                .binary_data
                .as_ref()
                .is_some_and(|binary| binary.contains_key(key))
            {
                errors.invalid(path, key, "duplicate of key present in binaryData");
            }
            bytes += value.len();
        }
        for (key, value) in map.binary_data.iter().flatten() {
            let path = Path::new("binaryData").key(key);
            errors.invalid_each(&path, key, names::config_map_key(key));
            bytes += value.0.len();
        }
        if bytes > DATA_BYTES_MAX {
            // No one field is at fault; Kubernetes writes it so.
            errors.too_long(Path::new("[]"), DATA_BYTES_MAX);
        }
        errors
    }

    fn validate_update(&self, new: &ConfigMap, old: &ConfigMap) -> ErrorList {
        let mut errors = ErrorList::new();
        if old.immutable == Some(true) {
            let changed = [
                ("immutable", new.immutable != Some(true)),
                ("data", new.data != old.data),
                ("binaryData", new.binary_data != old.binary_data),
            ];
            for (field, changed) in changed {
                if changed {
                    errors.forbidden(Path::new(field), IMMUTABLE);
                }
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Data", "How many keys there are."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, map: &ConfigMap, now: Timestamp) -> Vec<Value> {
        let keys = map.data.as_ref().map_or(0, |d| d.len())
            + map.binary_data.as_ref().map_or(0, |d| d.len());
        vec![
            cells::name(&map.metadata),
            keys.into(),
            cells::age(&map.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_update};
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_and_size_are_bounded() {
        let check =
            |value: Value, expected: &[&str]| check_create(&ConfigMapStrategy, &value, expected);
        check(json!({}), &[]);
        check(
            json!({"data": {"a.b": "x"}, "binaryData": {"c": "AAE="}}),
            &[],
        );
        check(
            json!({"data": {"a b": ""}}),
            &["data[a b]: Invalid value: \"a b\": a valid config key"],
        );
        check(
            json!({"binaryData": {"..": ""}}),
            &["binaryData[..]: Invalid value: \"..\": must not be '..'"],
        );
        check(
            json!({"data": {"a": ""}, "binaryData": {"a": ""}}),
            &["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"],
        );
        check(json!({"data": {"a": "x".repeat(DATA_BYTES_MAX)}}), &[]);
        check(
            json!({"data": {"a": "x".repeat(DATA_BYTES_MAX), "b": "y"}}),
            &["[]: Too long: may not be more than 1048576 bytes"],
        );
    }

    #[test]
    fn an_immutable_one_stays() {
        let check = |old: Value, new: Value, expected: &[&str]| {
            check_update(&ConfigMapStrategy, &old, &new, expected);
        };
        check(
            json!({"data": {"a": "1"}}),
            json!({"data": {"a": "2"}, "immutable": true}),
            &[],
        );
        let fixed = json!({"immutable": true, "data": {"a": "1"}});
        check(fixed.clone(), fixed.clone(), &[]);
        check(
            fixed,
            json!({"data": {"a": "2"}, "binaryData": {"b": ""}}),
            &[
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
                "binaryData: Forbidden: field is immutable when `immutable` is set",
            ],
        );
    }

    #[test]
    fn its_row_counts_keys() {
        let map = json!({
            "metadata": {"name": "m", "creationTimestamp": "1970-01-01T00:00:10Z"},
            "data": {"a": "", "b": ""}, "binaryData": {"c": ""},
        });
        check_row(
            &ConfigMapStrategy,
            &map,
            40,
            &[("Name", "m"), ("Data", "3"), ("Age", "30s")],
        );
    }
}
