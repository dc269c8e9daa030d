//! Lease: who leads, and which nodes are alive.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use super::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The rules of Leases.
pub struct LeaseStrategy;

impl Strategy for LeaseStrategy {
    type Object = Lease;

    fn validate(&self, lease: &Lease) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &lease.spec else {
            return errors;
        };
        let path = Path::new("spec");
        if let Some(seconds) = spec.lease_duration_seconds
            && seconds <= 0
        {
            errors.invalid(
                path.child("leaseDurationSeconds"),
                seconds,
                "must be greater than 0",
            );
        }
        if let Some(transitions) = spec.lease_transitions {
            errors.non_negative(path.child("leaseTransitions"), transitions.into());
        }
        match spec.strategy.as_deref() {
            Some(strategy) if strategy != "OldestEmulationVersion" => {
                let problems = names::qualified_name(strategy);
                errors.invalid_each(&path.child("strategy"), strategy, problems);
            }
            None if spec
                .preferred_holder
                .as_deref()
                .is_some_and(|h| !h.is_empty()) =>
            {
                errors.forbidden(
                    path.child("preferredHolder"),
                    "may only be specified when `strategy` is defined",
                );
            }
            _ => {}
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Holder", "The identity of the holder of the lease."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, lease: &Lease, now: Timestamp) -> Vec<Value> {
        let holder = lease
            .spec
            .as_ref()
            .and_then(|s| s.holder_identity.as_deref());
        vec![
            cells::name(&lease.metadata),
            holder.unwrap_or_default().into(),
            cells::age(&lease.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row};
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_positive() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&LeaseStrategy, &json!({"spec": spec}), expected);
        };
        check_create(&LeaseStrategy, &json!({}), &[]);
        check(
            json!({"leaseDurationSeconds": 40, "leaseTransitions": 0, "holderIdentity": "n"}),
            &[],
        );
        check(
            json!({"leaseDurationSeconds": 0, "leaseTransitions": -1}),
            &[
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
        check(
            json!({"preferredHolder": "x"}),
            &["spec.preferredHolder: Forbidden: may only be"],
        );
        check(
            json!({"preferredHolder": "x", "strategy": "OldestEmulationVersion"}),
            &[],
        );
        check(
            json!({"strategy": "a b"}),
            &["spec.strategy: Invalid value: \"a b\": name part"],
        );
        let lease = json!({"metadata": {"name": "n"}, "spec": {"holderIdentity": "me"}});
        check_row(
            &LeaseStrategy,
            &lease,
            0,
            &[("Name", "n"), ("Holder", "me")],
        );
    }
}
