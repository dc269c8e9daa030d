//! ResourceClaim: devices that somebody asks for, and what they got.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimStatus};
use serde_json::Value;

use super::devices::{default_claim, validate_claim};
use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

/// Pods that may share what a claim got.
const CONSUMERS_MAX: usize = 256;

/// The rules of ResourceClaims.
pub struct ResourceClaimStrategy;

impl Strategy for ResourceClaimStrategy {
    type Object = ResourceClaim;

    fn default(&self, claim: &mut ResourceClaim) {
        if let Some(spec) = &mut claim.spec {
            default_claim(spec);
        }
    }

    fn prepare_for_create(&self, claim: &mut ResourceClaim) {
        claim.status = Some(ResourceClaimStatus::default());
    }

    fn validate(&self, claim: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(spec) = &claim.spec {
            validate_claim(spec, &Path::new("spec"), &mut errors);
        }
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &ResourceClaim, old: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(Path::new("spec"), &new.spec, &old.spec);
        errors
    }

    fn validate_status_update(&self, new: &ResourceClaim, old: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = ResourceClaimStatus::default();
        let new = new.status.as_ref().unwrap_or(&default);
        let old = old.status.as_ref().unwrap_or(&default);
        let path = Path::new("status");
        let consumers = new.reserved_for.as_deref().unwrap_or_default();
        let here = path.child("reservedFor");
        if consumers.len() > CONSUMERS_MAX {
            errors.too_many(here.clone(), consumers.len(), CONSUMERS_MAX);
        }
        let mut seen = BTreeSet::new();
        for (index, consumer) in consumers.iter().enumerate() {
            let path = here.index(index);
            for (field, value) in [
                ("resource", &consumer.resource),
                ("name", &consumer.name),
                ("uid", &consumer.uid),
            ] {
                if value.is_empty() {
                    errors.required(path.child(field), "");
                }
            }
            if !seen.insert(&consumer.uid) {
                errors.duplicate(path.child("uid"), &consumer.uid);
            }
        }
        if new.allocation.is_none() && !consumers.is_empty() {
            errors.forbidden(here, "may not be specified when `allocated` is not set");
        }
        // What was given may be taken back, and not exchanged under a pod's feet.
        if old.allocation.is_some() && new.allocation.is_some() {
            let path = path.child("allocation");
            errors.immutable(path, &new.allocation, &old.allocation);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("State", "Whether it got its devices, and who uses them."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, claim: &ResourceClaim, now: Timestamp) -> Vec<Value> {
        let default = ResourceClaimStatus::default();
        let status = claim.status.as_ref().unwrap_or(&default);
        let mut states = Vec::new();
        if claim.metadata.deletion_timestamp.is_some() {
            states.push("deleted");
        }
        if status.allocation.is_some() {
            states.push("allocated");
        } else if states.is_empty() {
            states.push("pending");
        }
        if status.reserved_for.as_ref().is_some_and(|r| !r.is_empty()) {
            states.push("reserved");
        }
        vec![
            cells::name(&claim.metadata),
            states.join(",").into(),
            cells::age(&claim.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, compare, created, object};
    use serde_json::json;

    fn claim(requests: Value) -> Value {
        json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}})
    }

    #[test]
    fn requests_are_complete_and_told_apart() {
        let check = |requests: Value, expected: &[&str]| {
            check_create(&ResourceClaimStrategy, &claim(requests), expected);
        };
        let at = |rest: &str| format!("spec.devices.requests{rest}");
        let gpu = json!({"deviceClassName": "gpu"});
        check(json!([{"name": "a", "exactly": gpu}]), &[]);
        check(
            json!([{"name": "a", "firstAvailable": [{"name": "x", "deviceClassName": "gpu"}]}]),
            &[],
        );
        check(
            json!([{"name": "A"}, {"name": "a", "exactly": gpu}, {"name": "a", "exactly": {"deviceClassName": ""}}]),
            &[
                &at("[0].name: Invalid value: \"A\""),
                &at(
                    "[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                ),
                &at("[2].name: Duplicate value: \"a\""),
                &at("[2].exactly.deviceClassName: Required value"),
            ],
        );
        check(
            json!([{"name": "a", "exactly": {"deviceClassName": "g", "allocationMode": "All", "count": 2}}, {"name": "b", "exactly": {"deviceClassName": "g", "count": -1}}]),
            &[
                &at(
                    "[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
                ),
                &at("[1].exactly.count: Invalid value: -1: must be greater than zero"),
            ],
        );
        check(
            json!([{"name": "a", "exactly": {"deviceClassName": "g", "allocationMode": "Some", "tolerations": [{"operator": "Like", "effect": "x"}, {"value": "v"}]}}]),
            &[
                &at("[0].exactly.allocationMode: Unsupported value: \"Some\""),
                &at("[0].exactly.tolerations[0].operator: Unsupported value: \"Like\""),
                &at("[0].exactly.tolerations[0].effect: Unsupported value: \"x\""),
                &at(
                    "[0].exactly.tolerations[1].key: Required value: required for operator `Equal`",
                ),
            ],
        );
        let mut bound = claim(json!([{"name": "a", "exactly": gpu}]));
        bound["spec"]["devices"]["constraints"] =
            json!([{"requests": ["b"]}, {"matchAttribute": "model"}]);
        check_create(
            &ResourceClaimStrategy,
            &bound,
            &[
                "spec.devices.constraints[0].requests[0]: Invalid value: \"b\": must be the name of a request in the claim",
                "spec.devices.constraints[0]: Required value: exactly one of `matchAttribute` or `distinctAttribute`",
                "spec.devices.constraints[1].matchAttribute: Invalid value: \"model\": must include the domain",
            ],
        );
        let made = created(
            &ResourceClaimStrategy,
            &claim(json!([{"name": "a", "exactly": gpu}])),
        );
        let made = serde_json::to_value(made).unwrap();
        assert_eq!(
            made["spec"]["devices"]["requests"][0]["exactly"],
            json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1})
        );
    }

    #[test]
    fn what_was_given_stays() {
        let one = claim(json!([{"name": "a", "exactly": {"deviceClassName": "g"}}]));
        let other = claim(json!([{"name": "b", "exactly": {"deviceClassName": "g"}}]));
        check_update(
            &ResourceClaimStrategy,
            &one,
            &other,
            &["spec: Invalid value: {"],
        );
        let check = |old: Value, new: Value, expected: &[&str]| {
            let (old, new) = (json!({"status": old}), json!({"status": new}));
            let errors = ResourceClaimStrategy.validate_status_update(&object(&new), &object(&old));
            compare(&new, &errors, expected);
        };
        let pod = json!({"resource": "pods", "name": "p", "uid": "1"});
        check(
            json!({}),
            json!({"allocation": {}, "reservedFor": [pod]}),
            &[],
        );
        check(json!({"allocation": {}}), json!({}), &[]);
        check(
            json!({}),
            json!({"reservedFor": [pod, pod, {"resource": "", "name": "", "uid": "2"}]}),
            &[
                "status.reservedFor[1].uid: Duplicate value: \"1\"",
                "status.reservedFor[2].resource: Required value",
                "status.reservedFor[2].name: Required value",
                "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
            ],
        );
        check(
            json!({"allocation": {}}),
            json!({"allocation": {"nodeSelector": {"nodeSelectorTerms": []}}}),
            &["status.allocation: Invalid value: {"],
        );
        let row = |status: Value, expected: &str| {
            check_row(
                &ResourceClaimStrategy,
                &json!({"status": status}),
                0,
                &[("State", expected)],
            );
        };
        row(json!({}), "pending");
        row(json!({"allocation": {}}), "allocated");
        row(
            json!({"allocation": {}, "reservedFor": [pod]}),
            "allocated,reserved",
        );
    }
}
