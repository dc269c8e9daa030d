//! Which nodes and neighbours a pod wants.

use euston_api::field::{ErrorList, Path};
use euston_api::{names, selector};
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    PodAffinityTerm, WeightedPodAffinityTerm,
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(affinity: &Affinity, path: &Path, errors: &mut ErrorList) {
    if let Some(nodes) = &affinity.node_affinity {
        validate_nodes(nodes, &path.child("nodeAffinity"), errors);
    }
    let pods = affinity.pod_affinity.as_ref().map(|pods| {
        (
            "podAffinity",
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let others = affinity.pod_anti_affinity.as_ref().map(|pods| {
        (
            "podAntiAffinity",
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (field, required, preferred) in pods.into_iter().chain(others) {
        let path = path.child(field);
        for (index, term) in required.iter().flatten().enumerate() {
            validate_pod_term(term, &path.child(REQUIRED).index(index), errors);
        }
        for (index, term) in preferred.iter().flatten().enumerate() {
            validate_weighted(term, &path.child(PREFERRED).index(index), errors);
        }
    }
}

/// A label that nodes share where they are in the same place.
pub(super) fn validate_topology_key(key: &str, path: &Path, errors: &mut ErrorList) {
    if key.is_empty() {
        errors.required(path.clone(), "can not be empty");
    } else {
        errors.invalid_each(path, key, names::qualified_name(key));
    }
}

/// Which nodes something is at.
pub(in crate::kinds) fn validate_node_selector(
    nodes: &NodeSelector,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child("nodeSelectorTerms");
    if nodes.node_selector_terms.is_empty() {
        errors.required(path.clone(), "must have at least one node selector term");
    }
    for (index, term) in nodes.node_selector_terms.iter().enumerate() {
        validate_node_term(term, &path.index(index), errors);
    }
}

fn validate_nodes(nodes: &NodeAffinity, path: &Path, errors: &mut ErrorList) {
    if let Some(required) = &nodes.required_during_scheduling_ignored_during_execution {
        validate_node_selector(required, &path.child(REQUIRED), errors);
    }
    let preferred = &nodes.preferred_during_scheduling_ignored_during_execution;
    for (index, term) in preferred.iter().flatten().enumerate() {
        let path = path.child(PREFERRED).index(index);
        validate_weight(term.weight, &path, errors);
        validate_node_term(&term.preference, &path.child("preference"), errors);
    }
}

fn validate_weight(weight: i32, path: &Path, errors: &mut ErrorList) {
    if !(1..=100).contains(&weight) {
        errors.invalid(path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn validate_node_term(term: &NodeSelectorTerm, path: &Path, errors: &mut ErrorList) {
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        validate_node_requirement(requirement, &path, errors);
    }
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        let path = path.child("matchFields").index(index);
        validate_node_field(requirement, &path, errors);
    }
}

fn validate_node_requirement(
    requirement: &NodeSelectorRequirement,
    path: &Path,
    errors: &mut ErrorList,
) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let here = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" => {
            if values.is_empty() {
                let rule = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(here, rule);
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let rule = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(here, rule);
            }
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                let rule = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(here, rule);
            }
        }
        other => errors.invalid(
            path.child("operator"),
            other,
            "not a valid selector operator",
        ),
    }
    let key = &requirement.key;
    errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
    for (index, value) in values.iter().enumerate() {
        let here = path.child("values").index(index);
        errors.invalid_each(&here, value, names::label_value(value));
    }
}

fn validate_node_field(requirement: &NodeSelectorRequirement, path: &Path, errors: &mut ErrorList) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" => {
            if values.len() != 1 {
                let rule = "must be only one value when `operator` is 'In' or 'NotIn' for node \
                            field selector";
                errors.required(path.child("values"), rule);
            }
        }
        other => errors.invalid(
            path.child("operator"),
            other,
            "not a valid selector operator",
        ),
    }
    if requirement.key != "metadata.name" {
        let rule = "not a valid field selector key";
        return errors.invalid(path.child("key"), &requirement.key, rule);
    }
    for (index, value) in values.iter().enumerate() {
        let here = path.child("values").index(index);
        errors.invalid_each(&here, value, names::dns1123_subdomain(value));
    }
}

fn validate_weighted(term: &WeightedPodAffinityTerm, path: &Path, errors: &mut ErrorList) {
    validate_weight(term.weight, path, errors);
    validate_pod_term(
        &term.pod_affinity_term,
        &path.child("podAffinityTerm"),
        errors,
    );
}

fn validate_pod_term(term: &PodAffinityTerm, path: &Path, errors: &mut ErrorList) {
    let selectors = [
        ("labelSelector", &term.label_selector),
        ("namespaceSelector", &term.namespace_selector),
    ];
    for (field, wanted) in selectors {
        if let Some(wanted) = wanted {
            selector::validate(wanted, &path.child(field), errors);
        }
    }
    for namespace in term.namespaces.iter().flatten() {
        let path = path.child("namespace");
        errors.invalid_each(&path, namespace, names::dns1123_label(namespace));
    }
    let keys = [
        ("matchLabelKeys", &term.match_label_keys),
        ("mismatchLabelKeys", &term.mismatch_label_keys),
    ];
    for (field, keys) in keys {
        for (index, key) in keys.iter().flatten().enumerate() {
            let path = path.child(field).index(index);
            errors.invalid_each(&path, key, names::qualified_name(key));
            if term.label_selector.is_none() {
                errors.forbidden(path, "must not be specified when labelSelector is not set");
            }
        }
    }
    validate_topology_key(&term.topology_key, &path.child("topologyKey"), errors);
}
