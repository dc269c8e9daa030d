//! What a HorizontalPodAutoscaler asks for. Follows `pkg/apis/autoscaling/validation`.

use euston_api::field::{ErrorList, Path};
use euston_api::names::path_segment;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec,
};

use super::metrics;

const SELECT_POLICIES: [&str; 3] = ["Disabled", "Max", "Min"];
const POLICY_TYPES: [&str; 2] = ["Percent", "Pods"];
/// Longest look back, in seconds.
const WINDOW_SECONDS_MAX: i32 = 3600;
/// Longest time that a policy is for, in seconds.
const PERIOD_SECONDS_MAX: i32 = 1800;

pub(super) fn validate(spec: &HorizontalPodAutoscalerSpec, path: &Path, errors: &mut ErrorList) {
    if let Some(min) = spec.min_replicas.filter(|&min| min < 1) {
        let rule = "must be greater than or equal to 1";
        errors.invalid(path.child("minReplicas"), min, rule);
    }
    let here = path.child("maxReplicas");
    let max = spec.max_replicas;
    if max < 1 {
        errors.invalid(here.clone(), max, "must be greater than 0");
    }
    if spec.min_replicas.is_some_and(|min| max < min) {
        errors.invalid(here, max, "must be greater than or equal to `minReplicas`");
    }
    validate_reference(
        &spec.scale_target_ref,
        &path.child("scaleTargetRef"),
        errors,
    );
    let here = path.child("metrics");
    for (index, metric) in spec.metrics.iter().flatten().enumerate() {
        metrics::validate(metric, &here.index(index), errors);
    }
    let here = path.child("behavior");
    if let Some(behavior) = &spec.behavior {
        for (field, rules) in [
            ("scaleUp", &behavior.scale_up),
            ("scaleDown", &behavior.scale_down),
        ] {
            if let Some(rules) = rules {
                validate_rules(rules, &here.child(field), errors);
            }
        }
    }
}

/// An object by kind and name.
pub(super) fn validate_reference(
    reference: &CrossVersionObjectReference,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (field, value) in [("kind", &reference.kind), ("name", &reference.name)] {
        let path = path.child(field);
        if value.is_empty() {
            errors.required(path, "");
        } else {
            errors.invalid_each(&path, value, path_segment(value, false));
        }
    }
}

fn validate_rules(rules: &HPAScalingRules, path: &Path, errors: &mut ErrorList) {
    if let Some(seconds) = rules.stabilization_window_seconds {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.invalid(path, seconds, "must be greater than or equal to zero");
        } else if seconds > WINDOW_SECONDS_MAX {
            let rule = format!("must be less than or equal to {WINDOW_SECONDS_MAX}");
            errors.invalid(path, seconds, rule);
        }
    }
    if let Some(policy) = rules.select_policy.as_deref()
        && !SELECT_POLICIES.contains(&policy)
    {
        errors.not_supported(path.child("selectPolicy"), policy, &SELECT_POLICIES);
    }
    let here = path.child("policies");
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        errors.required(here.clone(), "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        validate_policy(policy, &here.index(index), errors);
    }
    if let Some(tolerance) = &rules.tolerance
        && metrics::sign(tolerance) < 0
    {
        let rule = euston_api::field::NOT_NEGATIVE;
        errors.invalid(path.child("tolerance"), tolerance, rule);
    }
}

fn validate_policy(policy: &HPAScalingPolicy, path: &Path, errors: &mut ErrorList) {
    if !POLICY_TYPES.contains(&policy.type_.as_str()) {
        errors.not_supported(path.child("type"), &policy.type_, &POLICY_TYPES);
    }
    if policy.value <= 0 {
        errors.invalid(
            path.child("value"),
            policy.value,
            "must be greater than zero",
        );
    }
    let seconds = policy.period_seconds;
    let path = path.child("periodSeconds");
    if seconds <= 0 {
        errors.invalid(path, seconds, "must be greater than zero");
    } else if seconds > PERIOD_SECONDS_MAX {
        let rule = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
        errors.invalid(path, seconds, rule);
    }
}
