//! What a user would grant and does not hold itself.
//! Follows <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::User;
use crate::rule::{self, Grain};

/// Most comparisons of a check. A role of some thousand rules stays far below it, and a role made to keep a server
/// busy is refused.
const COMPARISONS_MAX: usize = 2_000_000;

/// Refuses to grant `granted` unless `held` covers all of it.
///
/// # Errors
/// The sentence that tells `user` what is missing, in Kubernetes' words.
pub fn check(user: &User, held: &[&PolicyRule], granted: &[PolicyRule]) -> Result<(), String> {
    let mut comparisons = 0usize;
    let mut missing = Vec::new();
    for grain in granted.iter().flat_map(rule::grains) {
        comparisons += held.len() + 1;
        if comparisons > COMPARISONS_MAX {
            return Err(format!(
                "user {:?} (groups={}) is attempting to grant RBAC permissions too many to be checked; use fewer or \
                 wider rules, or have somebody grant them who may \"escalate\"",
                user.name,
                rule::quoted(&user.groups)
            ));
        }
        if !held.iter().any(|rule| rule::covers(rule, &grain)) {
            missing.push(grain);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        rule::quoted(&user.groups),
        gathered(&missing).join("\n")
    ))
}

/// The grains as rules with many verbs, in order.
fn gathered(grains: &[Grain<'_>]) -> Vec<String> {
    let mut resources: BTreeMap<(&str, &str, Option<&str>), Vec<String>> = BTreeMap::new();
    let mut rules: Vec<String> = Vec::new();
    for grain in grains {
        match *grain {
            Grain::Resource {
                group,
                resource,
                name,
                verb,
            } => {
                let verbs = resources.entry((group, resource, name)).or_default();
                if !verbs.iter().any(|v| v == verb) {
                    verbs.push(verb.to_owned());
                }
            }
            Grain::Path { url, verb } => rules.push(rule::compact(&PolicyRule {
                non_resource_urls: Some(vec![url.to_owned()]),
                verbs: vec![verb.to_owned()],
                ..PolicyRule::default()
            })),
        }
    }
    rules.extend(
        resources
            .into_iter()
            .map(|((group, resource, name), verbs)| {
                rule::compact(&PolicyRule {
                    api_groups: Some(vec![group.to_owned()]),
                    resources: Some(vec![resource.to_owned()]),
                    resource_names: name.map(|name| vec![name.to_owned()]),
                    verbs,
                    ..PolicyRule::default()
                })
            }),
    );
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::rule;

    fn check(held: &[&str], granted: &[&str], missing: &[&str]) {
        let held: Vec<PolicyRule> = held.iter().map(|t| rule(t)).collect();
        let held: Vec<&PolicyRule> = held.iter().collect();
        let granted: Vec<PolicyRule> = granted.iter().map(|t| rule(t)).collect();
        let user = User::known("bob", ["devs".to_owned()]);
        let expect = if missing.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "user \"bob\" (groups=[\"devs\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{}",
                missing.join("\n")
            ))
        };
        assert_eq!(super::check(&user, &held, &granted), expect);
    }

    #[test]
    fn what_is_not_held_is_named() {
        check(&[], &[], &[]);
        check(&["get - pods"], &["get - pods"], &[]);
        check(
            &[],
            &["get,list - pods"],
            &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#],
        );
        check(
            &["get - pods"],
            &["get,list - pods,secrets"],
            &[
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#,
            ],
        );
        // Several rules together may cover one.
        check(
            &["get - pods", "list - pods", "get,list - secrets"],
            &["get,list - pods,secrets"],
            &[],
        );
        check(
            &["get - secrets =a"],
            &["get - secrets =a,b"],
            &[r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}"#],
        );
        check(
            &["* * *"],
            &["get - pods", "get /healthz"],
            &[r#"{NonResourceURLs:["/healthz"], Verbs:["get"]}"#],
        );
        check(&["* * *", "* *"], &["* * *", "* *"], &[]);
        check(
            &["get * *"],
            &["* * *"],
            &[r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#],
        );
        // A rule without resources grants nothing.
        let nothing = PolicyRule {
            verbs: vec!["get".to_owned()],
            ..PolicyRule::default()
        };
        assert_eq!(
            super::check(&User::known("bob", []), &[], &[nothing]),
            Ok(())
        );
    }

    #[test]
    fn a_role_made_to_take_for_ever_is_refused() {
        let many: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
        let role = PolicyRule {
            api_groups: Some(many.clone()),
            resources: Some(many.clone()),
            verbs: many,
            ..PolicyRule::default()
        };
        let all = rule("* * *");
        let error = super::check(&User::known("bob", []), &[&all], &[role]).unwrap_err();
        assert!(error.contains("too many to be checked"), "{error}");
    }
}
