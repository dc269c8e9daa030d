//! DeviceTaintRule: a taint that an administrator puts on devices.

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::resource::v1::{DeviceTaintRule, DeviceTaintRuleStatus};
use serde_json::Value;

use super::devices::{validate_driver, validate_taint};
use crate::kinds::pod_spec::text;
use crate::kinds::{cells, conditions};
use crate::registry::strategy::{
    AGE, Column, NAME, Strategy, counts_spec_changes, keeps_status_apart,
};

/// The rules of DeviceTaintRules.
pub struct DeviceTaintRuleStrategy;

impl Strategy for DeviceTaintRuleStrategy {
    type Object = DeviceTaintRule;

    fn prepare_for_create(&self, rule: &mut DeviceTaintRule) {
        rule.status = Some(DeviceTaintRuleStatus::default());
    }

    fn validate(&self, rule: &DeviceTaintRule) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let selector = rule.spec.device_selector.as_ref();
        if let Some(driver) = selector.and_then(|s| text(&s.driver)) {
            let path = path.child("deviceSelector").child("driver");
            validate_driver(driver, &path, &mut errors);
        }
        validate_taint(&rule.spec.taint, &path.child("taint"), &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_status_update(&self, new: &DeviceTaintRule, _old: &DeviceTaintRule) -> ErrorList {
        let mut errors = ErrorList::new();
        let conditions = new.status.as_ref().and_then(|s| s.conditions.as_deref());
        conditions::validate(conditions, &mut errors);
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, AGE];
        COLUMNS
    }

    fn row(&self, rule: &DeviceTaintRule, now: Timestamp) -> Vec<Value> {
        vec![cells::name(&rule.metadata), cells::age(&rule.metadata, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row};
    use serde_json::json;

    #[test]
    fn a_taint_is_complete() {
        let check = |spec: Value, expected: &[&str]| {
            let value = json!({"metadata": {"name": "r"}, "spec": spec});
            check_create(&DeviceTaintRuleStrategy, &value, expected);
        };
        check(json!({"taint": {"key": "a", "effect": "NoSchedule"}}), &[]);
        check(
            json!({"deviceSelector": {"driver": "A"}, "taint": {"key": "", "value": "a b", "effect": ""}}),
            &[
                "spec.deviceSelector.driver: Invalid value: \"A\"",
                "spec.taint.key: Required value",
                "spec.taint.value: Invalid value: \"a b\"",
                "spec.taint.effect: Required value",
            ],
        );
        check_row(
            &DeviceTaintRuleStrategy,
            &json!({"metadata": {"name": "r"}}),
            0,
            &[("Name", "r")],
        );
    }
}
