//! Role and ClusterRole: what may be done.

use euston_api::field::{ErrorList, Path};
use euston_api::names::NameRule;
use euston_api::selector;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::kinds::cells;
use crate::registry::strategy::{Column, NAME, Strategy};

const COLUMNS: &[Column] = &[
    NAME,
    Column {
        kind: "date",
        ..Column::string("Created At", "When it was created.")
    },
];

fn row(meta: &ObjectMeta) -> Vec<Value> {
    let created = meta.creation_timestamp.as_ref();
    let created = created.map(|t| t.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    vec![cells::name(meta), created.unwrap_or_default().into()]
}

fn validate(rules: Option<&Vec<PolicyRule>>, namespaced: bool, errors: &mut ErrorList) {
    let empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let path = Path::new("rules").index(index);
        if rule.verbs.is_empty() {
            errors.required(path.child("verbs"), "verbs must contain at least one value");
        }
        if !empty(&rule.non_resource_urls) {
            let path = path.child("nonResourceURLs");
            let urls = &rule.non_resource_urls;
            if namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.invalid(path.clone(), urls, why);
            }
            if !empty(&rule.api_groups) || !empty(&rule.resources) || !empty(&rule.resource_names) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(path, urls, why);
            }
            continue;
        }
        if empty(&rule.api_groups) {
            let why = "resource rules must supply at least one api group";
            errors.required(path.child("apiGroups"), why);
        }
        if empty(&rule.resources) {
            let why = "resource rules must supply at least one resource";
            errors.required(path.child("resources"), why);
        }
    }
}

/// The rules of Roles.
pub struct RoleStrategy;

impl Strategy for RoleStrategy {
    type Object = Role;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn validate(&self, role: &Role) -> ErrorList {
        let mut errors = ErrorList::new();
        validate(role.rules.as_ref(), true, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, role: &Role, _now: Timestamp) -> Vec<Value> {
        row(&role.metadata)
    }
}

/// The rules of ClusterRoles.
pub struct ClusterRoleStrategy;

impl Strategy for ClusterRoleStrategy {
    type Object = ClusterRole;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn validate(&self, role: &ClusterRole) -> ErrorList {
        let mut errors = ErrorList::new();
        validate(role.rules.as_ref(), false, &mut errors);
        if let Some(aggregation) = &role.aggregation_rule {
            let path = Path::new("aggregationRule").child("clusterRoleSelectors");
            let selectors = aggregation
                .cluster_role_selectors
                .as_deref()
                .unwrap_or_default();
            if selectors.is_empty() {
                let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.required(path.clone(), why);
            }
            for (index, selector) in selectors.iter().enumerate() {
                selector::validate(selector, &path.index(index), &mut errors);
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, role: &ClusterRole, _now: Timestamp) -> Vec<Value> {
        row(&role.metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row};
    use serde_json::json;

    #[test]
    fn rules_name_verbs_and_either_resources_or_paths() {
        let check = |rule: Value, of_role: &[&str], of_cluster: &[&str]| {
            let role = json!({ "rules": [rule] });
            check_create(&RoleStrategy, &role, of_role);
            check_create(&ClusterRoleStrategy, &role, of_cluster);
        };
        let pods = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        check(pods, &[], &[]);
        let no_verbs = ["rules[0].verbs: Required value: verbs must contain"];
        check(
            json!({"verbs": [], "apiGroups": [""], "resources": ["pods"]}),
            &no_verbs,
            &no_verbs,
        );
        let lacking = [
            "rules[0].apiGroups: Required value: resource rules must supply",
            "rules[0].resources: Required value: resource rules must supply",
        ];
        check(json!({"verbs": ["get"]}), &lacking, &lacking);
        check(
            json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]}),
            &["rules[0].nonResourceURLs: Invalid value: [\"/healthz\"]: namespaced rules"],
            &[],
        );
        check(
            json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}),
            &[
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules",
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both",
            ],
            &["rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both"],
        );
        check_create(&RoleStrategy, &json!({}), &[]);
    }

    #[test]
    fn aggregation_needs_selectors() {
        let check = |selectors: Value, expected: &[&str]| {
            let role = json!({ "aggregationRule": { "clusterRoleSelectors": selectors } });
            check_create(&ClusterRoleStrategy, &role, expected);
        };
        check(json!([{"matchLabels": {"a": "b"}}]), &[]);
        check(
            json!([]),
            &["aggregationRule.clusterRoleSelectors: Required value: at least one"],
        );
        check(
            json!([{"matchLabels": {"a b": "c"}}]),
            &["aggregationRule.clusterRoleSelectors[0].matchLabels: Invalid value: \"a b\""],
        );
    }

    #[test]
    fn its_row_says_when_it_was_made() {
        let role = json!({"metadata": {"name": "r", "creationTimestamp": "2026-01-02T03:04:05Z"}});
        let row = [("Name", "r"), ("Created At", "2026-01-02T03:04:05Z")];
        check_row(&RoleStrategy, &role, 0, &row);
        check_row(&ClusterRoleStrategy, &role, 0, &row);
    }
}
