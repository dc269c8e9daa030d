//! PodDisruptionBudget: how many of some pods may be evicted at a time. Follows
//! `pkg/apis/policy/validation`.

use euston_api::field::{ErrorList, Path};
use euston_api::int_or_percent::{validate_at_most_all, validate_non_negative};
use euston_api::selector;
use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{
    PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::kinds::{cells, conditions};
use crate::registry::strategy::{
    AGE, Column, NAME, Strategy, counts_spec_changes, keeps_status_apart,
};

const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

/// The rules of PodDisruptionBudgets.
pub(super) struct BudgetStrategy;

impl Strategy for BudgetStrategy {
    type Object = PodDisruptionBudget;

    fn prepare_for_create(&self, budget: &mut PodDisruptionBudget) {
        budget.status = Some(PodDisruptionBudgetStatus::default());
    }

    fn validate(&self, budget: &PodDisruptionBudget) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(spec) = &budget.spec {
            validate_spec(spec, &Path::new("spec"), &mut errors);
        }
        errors
    }

    keeps_status_apart!();

    fn validate_status_update(
        &self,
        new: &PodDisruptionBudget,
        _old: &PodDisruptionBudget,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(status) = &new.status else {
            return errors;
        };
        let path = Path::new("status");
        conditions::validate(status.conditions.as_deref(), &mut errors);
        for (field, count) in [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ] {
            errors.non_negative(path.child(field), count.unwrap_or_default().into());
        }
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Min Available", "Pods that have to stay."),
            Column::string("Max Unavailable", "Pods that may be missing."),
            Column::integer("Allowed Disruptions", "Pods that may be evicted now."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, budget: &PodDisruptionBudget, now: Timestamp) -> Vec<Value> {
        let spec = budget.spec.as_ref();
        let amount = |amount: Option<&IntOrString>| match amount {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(text)) => text.clone(),
            None => "N/A".to_owned(),
        };
        let allowed = budget.status.as_ref().and_then(|s| s.disruptions_allowed);
        vec![
            cells::name(&budget.metadata),
            amount(spec.and_then(|s| s.min_available.as_ref())).into(),
            amount(spec.and_then(|s| s.max_unavailable.as_ref())).into(),
            allowed.unwrap_or_default().into(),
            cells::age(&budget.metadata, now),
        ]
    }
}

fn validate_spec(spec: &PodDisruptionBudgetSpec, path: &Path, errors: &mut ErrorList) {
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        let rule = "minAvailable and maxUnavailable cannot be both set";
        errors.invalid(path.clone(), spec, rule);
    }
    for (field, amount) in [
        ("minAvailable", &spec.min_available),
        ("maxUnavailable", &spec.max_unavailable),
    ] {
        if let Some(amount) = amount {
            validate_non_negative(amount, &path.child(field), errors);
            validate_at_most_all(amount, &path.child(field), errors);
        }
    }
    if let Some(wanted) = &spec.selector {
        selector::validate(wanted, &path.child("selector"), errors);
    }
    if let Some(policy) = spec.unhealthy_pod_eviction_policy.as_deref()
        && !POLICIES.contains(&policy)
    {
        let path = path.child("unhealthyPodEvictionPolicy");
        errors.not_supported(path, policy, &POLICIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_status};
    use serde_json::json;

    fn budget(spec: Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": spec})
    }

    #[test]
    fn what_is_wrong_is_told_by_path() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&BudgetStrategy, &budget(spec), expected);
        };
        check(json!({}), &[]);
        check(
            json!({"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}),
            &[],
        );
        check(
            json!({"maxUnavailable": "100%", "unhealthyPodEvictionPolicy": "AlwaysAllow"}),
            &[],
        );
        check(
            json!({"minAvailable": 1, "maxUnavailable": 1}),
            &[
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
            ],
        );
        check(
            json!({"minAvailable": -1}),
            &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(
            json!({"maxUnavailable": "101%"}),
            &["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"],
        );
        check(
            json!({"maxUnavailable": "half"}),
            &["spec.maxUnavailable: Invalid value: \"half\": a valid percent string"],
        );
        check(
            json!({"unhealthyPodEvictionPolicy": "Never", "selector": {"matchLabels": {"a b": ""}}}),
            &[
                "spec.selector.matchLabels: Invalid value: \"a b\": name part",
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ],
        );
    }

    #[test]
    fn a_status_is_held_to_its_rules() {
        let whole = |status: Value| json!({"metadata": {"name": "web"}, "status": status});
        let check = |status: Value, expected: &[&str]| {
            check_status(&BudgetStrategy, &whole(json!({})), &whole(status), expected);
        };
        let condition = json!({"type": "DisruptionAllowed", "status": "True", "reason": "Enough",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        check(
            json!({"disruptionsAllowed": 1, "currentHealthy": 3, "conditions": [condition]}),
            &[],
        );
        let mut bad = condition.clone();
        bad["status"] = json!("Maybe");
        bad["reason"] = json!("");
        check(
            json!({"disruptionsAllowed": -1, "expectedPods": -2, "conditions": [condition, bad]}),
            &[
                "status.conditions[1].type: Duplicate value: \"DisruptionAllowed\"",
                "status.conditions[1].status: Unsupported value: \"Maybe\"",
                "status.conditions[1].reason: Required value",
                "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
                "status.expectedPods: Invalid value: -2",
            ],
        );
    }

    #[test]
    fn its_row_tells_what_is_allowed() {
        let mut value = budget(json!({"minAvailable": "50%"}));
        value["status"] = json!({"disruptionsAllowed": 2});
        let expected = [
            ("Min Available", "50%"),
            ("Max Unavailable", "N/A"),
            ("Allowed Disruptions", "2"),
        ];
        check_row(&BudgetStrategy, &value, 0, &expected);
        let max = budget(json!({"maxUnavailable": 1}));
        check_row(
            &BudgetStrategy,
            &max,
            0,
            &[("Min Available", "N/A"), ("Max Unavailable", "1")],
        );
    }
}
