//! ClusterRoles that are made of others.
//! Follows <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles>.

use std::collections::BTreeMap;

use euston_api::selector::LabelSelector;
use k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole, PolicyRule};

/// The rules that an aggregated role has: those of all other roles that a selector matches, in the order of the roles'
/// names, each once. A selector that cannot be read matches nothing.
pub fn rules<'a>(
    own_name: &str,
    aggregation: &AggregationRule,
    roles: impl IntoIterator<Item = &'a ClusterRole>,
) -> Vec<PolicyRule> {
    let selectors: Vec<LabelSelector> = aggregation
        .cluster_role_selectors
        .iter()
        .flatten()
        .filter_map(|selector| LabelSelector::from_api(Some(selector)).ok())
        .collect();
    let none = BTreeMap::new();
    let mut matching: BTreeMap<&str, &ClusterRole> = BTreeMap::new();
    for role in roles {
        let name = role.metadata.name.as_deref().unwrap_or_default();
        let labels = role.metadata.labels.as_ref().unwrap_or(&none);
        if name != own_name && selectors.iter().any(|s| s.matches(labels)) {
            matching.insert(name, role);
        }
    }
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in matching.values().flat_map(|r| r.rules.iter().flatten()) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::rule;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self as meta, ObjectMeta};

    fn role(name: &str, label: &str, rules: &[&str]) -> ClusterRole {
        ClusterRole {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([(label.to_owned(), "true".to_owned())].into()),
                ..ObjectMeta::default()
            },
            rules: Some(rules.iter().map(|r| rule(r)).collect()),
            ..ClusterRole::default()
        }
    }

    #[test]
    fn rules_come_from_all_that_match_once_and_in_order() {
        let select = |label: &str| meta::LabelSelector {
            match_labels: Some([(label.to_owned(), "true".to_owned())].into()),
            ..meta::LabelSelector::default()
        };
        let aggregation = AggregationRule {
            cluster_role_selectors: Some(vec![select("x"), select("y")]),
        };
        let roles = [
            role("b", "x", &["get - pods", "list - pods"]),
            role("a", "y", &["list - pods", "get - nodes"]),
            role("c", "z", &["* * *"]),
            role("self", "x", &["* * *"]),
        ];
        assert_eq!(
            rules("self", &aggregation, &roles),
            [rule("list - pods"), rule("get - nodes"), rule("get - pods")]
        );
        assert_eq!(rules("self", &AggregationRule::default(), &roles), []);
    }
}
