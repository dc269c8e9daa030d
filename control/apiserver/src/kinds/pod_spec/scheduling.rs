//! Where a pod may run: selectors, tolerations, spread.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::{metadata, names, selector};
use k8s_openapi::api::core::v1::{PodSpec, Toleration, TopologySpreadConstraint};

use super::{affinity, none_or_one_of, one_of, text};

const TAINT_EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const UNSATISFIABLE: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];

pub(super) fn validate(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let here = path.child("nodeSelector");
    metadata::validate_labels(spec.node_selector.as_ref(), &here, errors);
    if let Some(wanted) = &spec.affinity {
        affinity::validate(wanted, &path.child("affinity"), errors);
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    validate_tolerations(tolerations, &path.child("tolerations"), errors);
    let spread = spec
        .topology_spread_constraints
        .as_deref()
        .unwrap_or_default();
    validate_spread(spread, &path.child("topologySpreadConstraints"), errors);
}

/// What a taint does to pods that do not tolerate it.
pub(in super::super) fn validate_taint_effect(effect: &str, path: &Path, errors: &mut ErrorList) {
    one_of(Some(effect), &TAINT_EFFECTS, path.clone(), errors);
}

pub(in super::super) fn validate_tolerations(
    tolerations: &[Toleration],
    path: &Path,
    errors: &mut ErrorList,
) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let key = text(&toleration.key);
        let operator = toleration.operator.as_deref().unwrap_or_default();
        let effect = text(&toleration.effect);
        let value = toleration.value.as_deref().unwrap_or_default();
        match key {
            Some(key) => errors.invalid_each(&path.child("key"), key, names::qualified_name(key)),
            None if operator != "Exists" => errors.invalid(
                path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and \
                 all keys\"",
            ),
            None => {}
        }
        if toleration.toleration_seconds.is_some() && effect != Some("NoExecute") {
            errors.invalid(
                path.child("effect"),
                effect.unwrap_or_default(),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        let here = path.child("operator");
        match operator {
            "" | "Equal" => {
                let problems = names::label_value(value);
                if !problems.is_empty() {
                    errors.invalid(here, value, problems.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let rule = "value must be empty when `operator` is 'Exists'";
                    errors.invalid(here, toleration, rule);
                }
            }
            "Gt" | "Lt" => {
                if value.parse::<i64>().is_err() {
                    errors.invalid(path.child("value"), value, "must be a valid integer");
                }
            }
            other => errors.not_supported(here, other, &["Equal", "Exists", "Lt", "Gt"]),
        }
        if let Some(effect) = effect {
            validate_taint_effect(effect, &path.child("effect"), errors);
        }
    }
}

fn validate_spread(constraints: &[TopologySpreadConstraint], path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        if constraint.max_skew <= 0 {
            errors.invalid(
                path.child("maxSkew"),
                constraint.max_skew,
                "must be greater than zero",
            );
        }
        let key = &constraint.topology_key;
        affinity::validate_topology_key(key, &path.child("topologyKey"), errors);
        let when = constraint.when_unsatisfiable.as_str();
        let here = path.child("whenUnsatisfiable");
        if !UNSATISFIABLE.contains(&when) {
            errors.not_supported(here, when, &UNSATISFIABLE);
        }
        if !seen.insert((key, when)) {
            let both = format!("{{{key}, {when}}}");
            errors.duplicate(path.child("{topologyKey, whenUnsatisfiable}"), both);
        }
        if let Some(domains) = constraint.min_domains {
            let here = path.child("minDomains");
            if domains <= 0 {
                errors.invalid(here.clone(), domains, "must be greater than zero");
            }
            if when != "DoNotSchedule" {
                let rule = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
                );
                errors.invalid(here, domains, rule);
            }
        }
        let policies = [
            ("nodeAffinityPolicy", &constraint.node_affinity_policy),
            ("nodeTaintsPolicy", &constraint.node_taints_policy),
        ];
        for (field, policy) in policies {
            none_or_one_of(
                policy.as_deref(),
                &["Honor", "Ignore"],
                path.child(field),
                errors,
            );
        }
        if let Some(wanted) = &constraint.label_selector {
            selector::validate(wanted, &path.child("labelSelector"), errors);
        }
        for (index, key) in constraint.match_label_keys.iter().flatten().enumerate() {
            let path = path.child("matchLabelKeys").index(index);
            errors.invalid_each(&path, key, names::qualified_name(key));
            if constraint.label_selector.is_none() {
                errors.forbidden(path, "must not be specified when labelSelector is not set");
            }
        }
    }
}
