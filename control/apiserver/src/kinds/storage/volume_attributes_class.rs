//! VolumeAttributesClass: settings of a volume that may change while it is used.

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use serde_json::Value;

use super::{forbid_change, validate_driver_name, validate_parameters};
use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The rules of VolumeAttributesClasses.
pub struct VolumeAttributesClassStrategy;

impl Strategy for VolumeAttributesClassStrategy {
    type Object = VolumeAttributesClass;

    fn validate(&self, class: &VolumeAttributesClass) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_driver_name(&class.driver_name, &Path::new("driverName"), &mut errors);
        validate_parameters(class.parameters.as_ref(), true, &mut errors);
        errors
    }

    fn validate_update(
        &self,
        new: &VolumeAttributesClass,
        old: &VolumeAttributesClass,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        forbid_change(
            "driverName",
            &new.driver_name,
            &old.driver_name,
            &mut errors,
        );
        forbid_change("parameters", &new.parameters, &old.parameters, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("DriverName", "The driver that knows the settings."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, class: &VolumeAttributesClass, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&class.metadata),
            class.driver_name.as_str().into(),
            cells::age(&class.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update};
    use serde_json::json;

    #[test]
    fn a_class_says_what_and_stays() {
        let good =
            json!({"metadata": {"name": "c"}, "driverName": "a.b", "parameters": {"iops": "1"}});
        check_create(&VolumeAttributesClassStrategy, &good, &[]);
        check_create(
            &VolumeAttributesClassStrategy,
            &json!({"driverName": "a b"}),
            &[
                "driverName: Invalid value: \"a b\": a lowercase",
                "parameters: Required value: must contain at least one key/value pair",
            ],
        );
        check_update(
            &VolumeAttributesClassStrategy,
            &good,
            &json!({"driverName": "c", "parameters": {"iops": "2"}}),
            &[
                "driverName: Forbidden: updates to driverName are forbidden.",
                "parameters: Forbidden: updates to parameters are forbidden.",
            ],
        );
        check_row(
            &VolumeAttributesClassStrategy,
            &good,
            0,
            &[("Name", "c"), ("DriverName", "a.b")],
        );
    }
}
