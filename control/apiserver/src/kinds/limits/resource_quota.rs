//! ResourceQuota: how much all objects of a namespace together may take.

use std::collections::{BTreeMap, BTreeSet};

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, ScopeSelector,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::validate_resource_name;
use crate::kinds::{cells, pod_spec};
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

/// Quotas on pods that end by themselves.
const TERMINATING: &str = "Terminating";
const NOT_TERMINATING: &str = "NotTerminating";
const BEST_EFFORT: &str = "BestEffort";
const NOT_BEST_EFFORT: &str = "NotBestEffort";
const PRIORITY_CLASS: &str = "PriorityClass";
const CROSS_NAMESPACE: &str = "CrossNamespacePodAffinity";
const VOLUME_ATTRIBUTES: &str = "VolumeAttributesClass";
const SCOPES: [&str; 7] = [
    TERMINATING,
    NOT_TERMINATING,
    BEST_EFFORT,
    NOT_BEST_EFFORT,
    PRIORITY_CLASS,
    CROSS_NAMESPACE,
    VOLUME_ATTRIBUTES,
];
/// Scopes of which no pod can be in both.
const CONFLICTS: [(&str, &str); 2] = [
    (BEST_EFFORT, NOT_BEST_EFFORT),
    (TERMINATING, NOT_TERMINATING),
];

/// What a quota may bound and counts in pieces.
const COUNTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const COMPUTE: [&str; 9] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
const STORAGE: &str = "requests.storage";

/// The rules of ResourceQuotas.
pub struct ResourceQuotaStrategy;

impl Strategy for ResourceQuotaStrategy {
    type Object = ResourceQuota;

    fn default(&self, quota: &mut ResourceQuota) {
        let hard = quota.spec.as_mut().and_then(|s| s.hard.as_mut());
        pod_spec::canonical_amounts(hard);
    }

    fn prepare_for_create(&self, quota: &mut ResourceQuota) {
        quota.status = Some(ResourceQuotaStatus::default());
    }

    fn validate(&self, quota: &ResourceQuota) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &quota.spec else {
            return errors;
        };
        let path = Path::new("spec");
        validate_amounts(spec.hard.as_ref(), &path.child("hard"), &mut errors);
        validate_scopes(spec, &path.child("scopes"), &mut errors);
        if let Some(selector) = &spec.scope_selector {
            let path = path.child("scopeSelector");
            validate_selector(selector, spec, &path, &mut errors);
        }
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &ResourceQuota, old: &ResourceQuota) -> ErrorList {
        let mut errors = ErrorList::new();
        let scopes = |quota: &ResourceQuota| -> BTreeSet<String> {
            let spec = quota.spec.as_ref();
            let scopes = spec.and_then(|s| s.scopes.clone());
            scopes.into_iter().flatten().collect()
        };
        let path = Path::new("spec").child("scopes");
        errors.immutable(path, &scopes(new), &scopes(old));
        errors
    }

    fn validate_status_update(&self, new: &ResourceQuota, _old: &ResourceQuota) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        if let Some(status) = &new.status {
            validate_amounts(status.hard.as_ref(), &path.child("hard"), &mut errors);
            validate_amounts(status.used.as_ref(), &path.child("used"), &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Request", "Requests and counts: used and allowed."),
            Column::string("Limit", "Limits: used and allowed."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, quota: &ResourceQuota, now: Timestamp) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let status = quota.status.as_ref();
        let used = status.and_then(|s| s.used.as_ref());
        for (name, hard) in status.and_then(|s| s.hard.as_ref()).into_iter().flatten() {
            let used = used.and_then(|u| u.get(name)).map_or("0", |q| q.0.as_str());
            let cell = format!("{name}: {used}/{}", hard.0);
            if name.starts_with("limits.") {
                limits.push(cell);
            } else {
                requests.push(cell);
            }
        }
        vec![
            cells::name(&quota.metadata),
            requests.join(", ").into(),
            limits.join(", ").into(),
            cells::age(&quota.metadata, now),
        ]
    }
}

/// True for what has no domain and may be bounded.
fn is_standard(name: &str) -> bool {
    COUNTS.contains(&name)
        || COMPUTE.contains(&name)
        || name == STORAGE
        || ["hugepages-", "requests.hugepages-", "limits.hugepages-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// True for what only whole numbers of make sense.
fn is_counted(name: &str) -> bool {
    COUNTS.contains(&name)
        || name.starts_with("count/")
        || name.ends_with(".storageclass.storage.k8s.io/persistentvolumeclaims")
}

fn validate_amounts(
    amounts: Option<&BTreeMap<String, Quantity>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (name, amount) in amounts.into_iter().flatten() {
        let path = path.key(name);
        let rule = "must be a standard resource for quota";
        validate_resource_name(name, is_standard, rule, &path, errors);
        // The rules of the counted are this kind's own; those of amounts are a container's.
        let counted = if is_counted(name) { "pods" } else { "cpu" };
        pod_spec::validate_amount(counted, amount, &path, errors);
    }
}

/// True if objects of this scope have the resource at all.
fn applies(scope: &str, resource: &str) -> bool {
    let of_a_pod = resource == "pods" || COMPUTE.contains(&resource);
    match scope {
        BEST_EFFORT => resource == "pods",
        VOLUME_ATTRIBUTES => resource == "persistentvolumeclaims" || resource == STORAGE,
        _ => of_a_pod,
    }
}

/// True if the quota bounds what objects of this scope do not have.
fn misapplied(scope: &str, spec: &ResourceQuotaSpec) -> bool {
    let hard = spec.hard.iter().flatten();
    hard.into_iter()
        .any(|(name, _)| is_standard(name) && !applies(scope, name))
}

fn has_conflict<'a>(scopes: impl Iterator<Item = &'a str>) -> bool {
    let scopes: BTreeSet<&str> = scopes.collect();
    CONFLICTS
        .iter()
        .any(|(one, other)| scopes.contains(one) && scopes.contains(other))
}

fn validate_scopes(spec: &ResourceQuotaSpec, path: &Path, errors: &mut ErrorList) {
    let scopes = spec.scopes.as_deref().unwrap_or_default();
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            errors.invalid(path.clone(), scopes, "unsupported scope");
        } else if misapplied(scope, spec) {
            let rule = "unsupported scope applied to resource";
            errors.invalid(path.clone(), scopes, rule);
        }
    }
    if has_conflict(scopes.iter().map(String::as_str)) {
        errors.invalid(path.clone(), scopes, "conflicting scopes");
    }
}

fn validate_selector(
    selector: &ScopeSelector,
    spec: &ResourceQuotaSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child("matchExpressions");
    let requirements = selector.match_expressions.as_deref().unwrap_or_default();
    for requirement in requirements {
        let scope = requirement.scope_name.as_str();
        if !SCOPES.contains(&scope) {
            errors.invalid(path.child("scopeName"), scope, "unsupported scope");
        } else if misapplied(scope, spec) {
            let rule = "unsupported scope applied to resource";
            errors.invalid(path.clone(), selector, rule);
        }
        let named = [PRIORITY_CLASS, VOLUME_ATTRIBUTES].contains(&scope);
        let operator = requirement.operator.as_str();
        let values = requirement.values.as_deref().unwrap_or_default();
        if SCOPES.contains(&scope) && !named && operator != "Exists" {
            errors.invalid(
                path.child("operator"),
                operator,
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                 ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                 ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            );
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                path.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                path.child("values"),
                values,
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.invalid(
                    path.child("operator"),
                    other,
                    "not a valid selector operator",
                );
            }
        }
    }
    if has_conflict(requirements.iter().map(|r| r.scope_name.as_str())) {
        errors.invalid(path, selector, "conflicting scopes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update};
    use serde_json::json;

    fn quota(spec: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": spec})
    }

    #[test]
    fn bounds_are_of_known_things() {
        let check = |hard: Value, expected: &[&str]| {
            let spec = json!({"hard": hard});
            check_create(&ResourceQuotaStrategy, &quota(spec), expected);
        };
        check_create(&ResourceQuotaStrategy, &json!({}), &[]);
        check(
            json!({
                "pods": "10", "cpu": "500m", "requests.memory": "1Gi", "limits.cpu": "2",
                "count/deployments.apps": "3", "services.nodeports": "0", "requests.storage": "1Ti",
                "gold.storageclass.storage.k8s.io/requests.storage": "1Ti",
                "requests.nvidia.com/gpu": "4", "hugepages-2Mi": "4Mi",
            }),
            &[],
        );
        check(
            json!({"beds": "1"}),
            &["spec.hard[beds]: Invalid value: \"beds\": must be a standard resource for quota"],
        );
        check(
            json!({"a b": "1"}),
            &["spec.hard[a b]: Invalid value: \"a b\": name part"],
        );
        check(
            json!({"cpu": "-1"}),
            &["spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
        );
        check(
            json!({"pods": "1500m"}),
            &["spec.hard[pods]: Invalid value: \"1500m\": must be an integer"],
        );
        check(
            json!({"count/jobs.batch": "500m"}),
            &["spec.hard[count/jobs.batch]: Invalid value: \"500m\": must be an integer"],
        );
        check(
            json!({"secrets": "many"}),
            &["spec.hard[secrets]: Invalid value: \"many\""],
        );
    }

    #[test]
    fn scopes_fit_what_is_bounded() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&ResourceQuotaStrategy, &quota(spec), expected);
        };
        check(
            json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotTerminating"]}),
            &[],
        );
        check(
            json!({"scopes": ["Nice"]}),
            &["spec.scopes: Invalid value: [\"Nice\"]: unsupported scope"],
        );
        check(
            json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}),
            &[
                "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource",
            ],
        );
        check(
            json!({"scopes": ["Terminating", "NotTerminating"]}),
            &[
                "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes",
            ],
        );
        let selector =
            |requirement: Value| json!({"scopeSelector": {"matchExpressions": [requirement]}});
        let at = |rest: &str| format!("spec.scopeSelector.matchExpressions{rest}");
        check(
            selector(json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]})),
            &[],
        );
        check(
            selector(json!({"scopeName": "PriorityClass", "operator": "In"})),
            &[&at(
                ".values: Required value: must be at least one value when",
            )],
        );
        check(
            selector(json!({"scopeName": "PriorityClass", "operator": "Exists", "values": ["x"]})),
            &[&at(
                ".values: Invalid value: [\"x\"]: must be no value when",
            )],
        );
        check(
            selector(json!({"scopeName": "BestEffort", "operator": "In", "values": ["x"]})),
            &[&at(
                ".operator: Invalid value: \"In\": must be 'Exist' when scope is any of",
            )],
        );
        check(
            selector(json!({"scopeName": "Nice", "operator": "Is"})),
            &[
                &at(".scopeName: Invalid value: \"Nice\": unsupported scope"),
                &at(".operator: Invalid value: \"Is\": not a valid selector operator"),
            ],
        );
        check_update(
            &ResourceQuotaStrategy,
            &quota(json!({"scopes": ["Terminating", "BestEffort"]})),
            &quota(json!({"scopes": ["BestEffort", "Terminating"]})),
            &[],
        );
        check_update(
            &ResourceQuotaStrategy,
            &quota(json!({"scopes": ["Terminating"]})),
            &quota(json!({})),
            &["spec.scopes: Invalid value: []: field is immutable"],
        );
    }

    #[test]
    fn its_row_sets_used_against_allowed() {
        let value = json!({"metadata": {"name": "q"}, "status": {
            "hard": {"limits.cpu": "2", "pods": "10", "requests.cpu": "1"}, "used": {"pods": "3", "limits.cpu": "500m"},
        }});
        let row = [
            ("Name", "q"),
            ("Request", "pods: 3/10, requests.cpu: 0/1"),
            ("Limit", "limits.cpu: 500m/2"),
        ];
        check_row(&ResourceQuotaStrategy, &value, 0, &row);
    }
}
