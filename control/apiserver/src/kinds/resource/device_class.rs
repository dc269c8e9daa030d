//! DeviceClass: devices of one sort, and how they are set up.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::resource::v1::DeviceClass;
use serde_json::Value;

use super::devices::{validate_config, validate_selectors};
use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy, counts_spec_changes};

/// The rules of DeviceClasses.
pub struct DeviceClassStrategy;

impl Strategy for DeviceClassStrategy {
    type Object = DeviceClass;

    fn validate(&self, class: &DeviceClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &class.spec else {
            return errors;
        };
        let path = Path::new("spec");
        validate_selectors(spec.selectors.as_deref(), &path, &mut errors);
        for (index, config) in spec.config.iter().flatten().enumerate() {
            let path = path.child("config").index(index);
            validate_config(config.opaque.as_ref(), &path, &mut errors);
        }
        if let Some(name) = &spec.extended_resource_name {
            let path = path.child("extendedResourceName");
            errors.invalid_each(&path, name, names::qualified_name(name));
            if !name.contains('/') {
                errors.invalid(path, name, "must be a valid extended resource name");
            }
        }
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, AGE];
        COLUMNS
    }

    fn row(&self, class: &DeviceClass, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&class.metadata),
            cells::age(&class.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row};
    use serde_json::json;

    #[test]
    fn a_class_says_which_devices() {
        let check = |spec: Value, expected: &[&str]| {
            let value = json!({"metadata": {"name": "gpu"}, "spec": spec});
            check_create(&DeviceClassStrategy, &value, expected);
        };
        check(json!({}), &[]);
        check(
            json!({"selectors": [{"cel": {"expression": "true"}}], "extendedResourceName": "example.com/gpu"}),
            &[],
        );
        check(
            json!({"selectors": [{}, {"cel": {"expression": ""}}], "config": [{}], "extendedResourceName": "gpu"}),
            &[
                "spec.selectors[0].cel: Required value",
                "spec.selectors[1].cel.expression: Required value",
                "spec.config[0].opaque: Required value",
                "spec.extendedResourceName: Invalid value: \"gpu\": must be a valid extended resource name",
            ],
        );
        check_row(
            &DeviceClassStrategy,
            &json!({"metadata": {"name": "gpu"}}),
            0,
            &[("Name", "gpu")],
        );
    }
}
