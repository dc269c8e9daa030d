//! The roles and bindings that every cluster has, and how they are kept.
//! Follows <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>.

mod bindings;
mod nodes;
mod parts;
mod users;

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::aggregate;
use crate::rule::{covers, grains};

/// The API group of all of them.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// With the value `false`, a role or binding is left alone at start.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";

const READ: &str = "get,list,watch";
const WRITE: &str = "create,delete,deletecollection,patch,update";
const READ_WRITE: &str = "create,delete,deletecollection,get,list,patch,update,watch";

/// A rule: verbs; then group and resources (and names), or paths. Lists are separated by commas.
enum Grants {
    /// Verbs, group, resources.
    On(&'static str, &'static str, &'static str),
    /// Verbs, group, resources, names.
    Named(&'static str, &'static str, &'static str, &'static str),
    /// Verbs, paths.
    Paths(&'static str, &'static str),
}

struct RoleRow {
    name: &'static str,
    /// `admin`: it is part of that aggregated role.
    part_of: &'static str,
    /// `admin`: it is the aggregated role, made of parts.
    made_of: &'static str,
    rules: &'static [Grants],
}

const fn role(name: &'static str, rules: &'static [Grants]) -> RoleRow {
    RoleRow {
        name,
        part_of: "",
        made_of: "",
        rules,
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

impl Grants {
    fn rule(&self) -> PolicyRule {
        match *self {
            Grants::On(verbs, group, resources) => PolicyRule {
                verbs: list(verbs),
                api_groups: Some(list(group)),
                resources: Some(list(resources)),
                ..PolicyRule::default()
            },
            Grants::Named(verbs, group, resources, names) => PolicyRule {
                resource_names: Some(list(names)),
                ..Grants::On(verbs, group, resources).rule()
            },
            Grants::Paths(verbs, paths) => PolicyRule {
                verbs: list(verbs),
                non_resource_urls: Some(list(paths)),
                ..PolicyRule::default()
            },
        }
    }
}

fn meta(name: &str) -> ObjectMeta {
    let pair = |(k, v): (&str, &str)| BTreeMap::from([(k.to_owned(), v.to_owned())]);
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(pair(BOOTSTRAPPING)),
        annotations: Some(pair((AUTO_UPDATE, "true"))),
        ..ObjectMeta::default()
    }
}

impl RoleRow {
    fn role(&self) -> ClusterRole {
        let mut metadata = meta(self.name);
        let label = |to: &str| (format!("{AGGREGATE_TO}{to}"), "true".to_owned());
        if !self.part_of.is_empty() {
            let labels = metadata.labels.get_or_insert_default();
            labels.extend([label(self.part_of)]);
        }
        let aggregation_rule = (!self.made_of.is_empty()).then(|| AggregationRule {
            cluster_role_selectors: Some(vec![LabelSelector {
                match_labels: Some([label(self.made_of)].into()),
                ..LabelSelector::default()
            }]),
        });
        ClusterRole {
            metadata,
            aggregation_rule,
            rules: Some(self.rules.iter().map(Grants::rule).collect()),
        }
    }
}

/// Every ClusterRole, the aggregated ones with the rules that they are made of here.
pub fn cluster_roles() -> Vec<ClusterRole> {
    let tables = [users::ROLES, parts::ROLES, nodes::ROLES];
    let mut roles: Vec<ClusterRole> = tables.into_iter().flatten().map(RoleRow::role).collect();
    // In the order of the table: what `admin` is made of comes before it.
    for index in 0..roles.len() {
        let role = &roles[index];
        if let Some(aggregation) = &role.aggregation_rule {
            let name = role.metadata.name.as_deref().unwrap_or_default();
            let rules = aggregate::rules(name, aggregation, &roles);
            roles[index].rules = Some(rules);
        }
    }
    roles
}

/// Every ClusterRoleBinding.
pub fn cluster_role_bindings() -> Vec<ClusterRoleBinding> {
    let row = |(name, role, subjects): &(&str, &str, &[(&str, &str)])| ClusterRoleBinding {
        metadata: meta(name),
        role_ref: RoleRef {
            api_group: Some(GROUP.to_owned()),
            kind: "ClusterRole".to_owned(),
            name: (*role).to_owned(),
        },
        subjects: Some(
            subjects
                .iter()
                .map(|(kind, name)| subject(kind, name))
                .collect(),
        ),
    };
    bindings::BINDINGS.iter().map(row).collect()
}

fn subject(kind: &str, name: &str) -> Subject {
    let (group, namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (None, Some(namespace.to_owned()), name),
        None => (Some(GROUP.to_owned()), None, name),
    };
    Subject {
        api_group: group,
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace,
    }
}

/// True if an administrator said that this object is theirs.
fn left_alone(meta: &ObjectMeta) -> bool {
    let auto = meta.annotations.as_ref().and_then(|a| a.get(AUTO_UPDATE));
    auto.is_some_and(|value| value == "false")
}

/// Adds to `have` what it lacks of `want`; true if it did.
fn add_meta(have: &mut ObjectMeta, want: &ObjectMeta) -> bool {
    let pairs = [
        (&mut have.labels, &want.labels),
        (&mut have.annotations, &want.annotations),
    ];
    let mut added = false;
    for (have, want) in pairs {
        for (key, value) in want.iter().flatten() {
            let have = have.get_or_insert_default();
            if !have.contains_key(key) {
                have.insert(key.clone(), value.clone());
                added = true;
            }
        }
    }
    added
}

/// What a stored role becomes at start: missing permissions come back, others stay. `None` if it is right as it is,
/// or left alone.
pub fn restored_role(stored: &ClusterRole, want: &ClusterRole) -> Option<ClusterRole> {
    if left_alone(&stored.metadata) {
        return None;
    }
    let mut role = stored.clone();
    let mut changed = add_meta(&mut role.metadata, &want.metadata);
    if want.aggregation_rule.is_some() {
        // Its rules are made by the controller.
        if role.aggregation_rule.is_none() {
            role.aggregation_rule = want.aggregation_rule.clone();
            changed = true;
        }
        return changed.then_some(role);
    }
    let rules = role.rules.get_or_insert_default();
    for rule in want.rules.iter().flatten() {
        let held = |grain| rules.iter().any(|have| covers(have, &grain));
        if !grains(rule).all(held) {
            rules.push(rule.clone());
            changed = true;
        }
    }
    changed.then_some(role)
}

/// What becomes of a stored binding at start.
#[derive(Debug, PartialEq)]
pub enum Restored {
    /// Nothing.
    Right,
    /// It gets the subjects that it lacks.
    Changed(Box<ClusterRoleBinding>),
    /// It binds another role, which cannot be changed: it is deleted and created.
    Replaced,
}

/// As [`restored_role`], for a binding.
pub fn restored_binding(stored: &ClusterRoleBinding, want: &ClusterRoleBinding) -> Restored {
    if left_alone(&stored.metadata) {
        return Restored::Right;
    }
    if stored.role_ref != want.role_ref {
        return Restored::Replaced;
    }
    let mut binding = stored.clone();
    let mut changed = add_meta(&mut binding.metadata, &want.metadata);
    let subjects = binding.subjects.get_or_insert_default();
    for subject in want.subjects.iter().flatten() {
        if !subjects.contains(subject) {
            subjects.push(subject.clone());
            changed = true;
        }
    }
    if changed {
        Restored::Changed(Box::new(binding))
    } else {
        Restored::Right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Scope;
    use crate::rule::tests::{asked, rule};
    use crate::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
    use crate::{Policy, User};

    fn policy() -> Policy {
        let mut policy = Policy::default();
        for role in cluster_roles() {
            let name = role.metadata.name.unwrap();
            policy.set_role(Scope::Cluster, &name, role.rules);
        }
        for binding in cluster_role_bindings() {
            let subjects = binding.subjects.unwrap();
            let name = binding.metadata.name.unwrap();
            let bound = Some((&binding.role_ref, subjects.as_slice()));
            policy.set_binding(Scope::Cluster, &name, bound);
        }
        policy
    }

    #[test]
    fn every_binding_has_its_role_and_no_name_stands_twice() {
        let roles = cluster_roles();
        let mut names: Vec<_> = roles
            .iter()
            .map(|r| r.metadata.name.clone().unwrap())
            .collect();
        for binding in cluster_role_bindings() {
            assert!(names.contains(&binding.role_ref.name), "{binding:?}");
        }
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(all > 30, "{all}");
    }

    #[test]
    fn built_in_identities_may_what_they_need_and_no_more() {
        let policy = policy();
        let check = |user: &User, yes: &[&str], no: &[&str]| {
            for (expect, list) in [(true, yes), (false, no)] {
                for text in list {
                    let got = policy.allows(user, &asked(text)).is_some();
                    assert_eq!(got, expect, "{}: {text}", user.name);
                }
            }
        };
        let nobody = User::anonymous();
        assert_eq!(nobody.name, ANONYMOUS);
        assert_eq!(nobody.groups, [UNAUTHENTICATED]);
        check(
            &nobody,
            &[
                "get /healthz",
                "get /livez",
                "get /readyz",
                "get /version",
                "get /version/",
            ],
            &[
                "get /",
                "get /api",
                "get /apis",
                "get /openapi/v2",
                "get /metrics",
                "post /healthz",
                "get - pods",
            ],
        );
        let bob = User::known("bob", []);
        assert_eq!(bob.groups, [AUTHENTICATED]);
        check(
            &bob,
            &[
                "get /healthz",
                "get /api",
                "get /apis/apps/v1",
                "get /openapi/v3",
                "create authorization.k8s.io selfsubjectaccessreviews",
                "create authorization.k8s.io selfsubjectrulesreviews",
                "create authentication.k8s.io selfsubjectreviews",
            ],
            &[
                "get - pods",
                "create authorization.k8s.io subjectaccessreviews",
                "create authentication.k8s.io tokenreviews",
                "get /v2/",
                "get /openid/v1/jwks",
            ],
        );
        check(
            &User::service_account("ns", "sa", ""),
            &[
                "get /openid/v1/jwks",
                "get /.well-known/openid-configuration",
                "get /api",
            ],
            &["get - pods", "get - secrets"],
        );
        check(
            &User::known("system:kube-scheduler", []),
            &[
                "create - pods/binding",
                "patch - pods/status",
                "delete - pods",
                "watch - nodes",
                "create events.k8s.io events",
            ],
            &["get - secrets", "create - pods", "update - nodes"],
        );
        check(
            &User::known("system:kube-controller-manager", []),
            &[
                "list - pods",
                "create - serviceaccounts/token",
                "create coordination.k8s.io leases",
            ],
            &["create - pods"],
        );
        check(
            &User::known("root", ["system:masters".to_owned()]),
            &["delete - nodes", "x y z", "post /x"],
            &[],
        );
        check(
            &User::known("system:node:n", ["system:nodes".to_owned()]),
            &[
                "list - services",
                "watch discovery.k8s.io endpointslices",
                "list - nodes",
                "get /v2/x/manifests/v1",
            ],
            &["get - secrets", "put /v2/x/manifests/v1", "list - pods"],
        );
        check(
            &User::known(
                "system:bootstrap:abcdef",
                ["system:bootstrappers".to_owned()],
            ),
            &[
                "create certificates.k8s.io certificatesigningrequests",
                "get certificates.k8s.io certificatesigningrequests",
            ],
            &[
                "update certificates.k8s.io certificatesigningrequests/approval",
                "list - nodes",
            ],
        );
    }

    #[test]
    fn aggregated_roles_hold_each_other() {
        let mut policy = policy();
        let in_a = Scope::Namespace("ns");
        for role in ["admin", "edit", "view"] {
            let text = format!("{role} ClusterRole/{role} u:{role}");
            crate::policy::tests::bind(&mut policy, in_a, &text);
        }
        let check = |text: &str, admin: bool, edit: bool, view: bool| {
            for (role, expect) in [("admin", admin), ("edit", edit), ("view", view)] {
                let user = User::known(role, []);
                assert_eq!(
                    policy.allows(&user, &asked(text)).is_some(),
                    expect,
                    "{role}: {text}"
                );
            }
        };
        check("get - pods", true, true, true);
        check("get - pods/log", true, true, true);
        check("watch apps deployments", true, true, true);
        check("get - secrets", true, true, false);
        check("create - pods", true, true, false);
        check("create - pods/exec", true, true, false);
        check("get - pods/exec", true, true, false);
        check("create - pods/eviction", true, true, false);
        check("patch apps deployments/scale", true, true, false);
        check("create - serviceaccounts/token", true, true, false);
        check("impersonate - serviceaccounts", true, true, false);
        check(
            "create rbac.authorization.k8s.io rolebindings",
            true,
            false,
            false,
        );
        check("get rbac.authorization.k8s.io roles", true, false, false);
        check(
            "create authorization.k8s.io localsubjectaccessreviews",
            true,
            false,
            false,
        );
        check(
            "create rbac.authorization.k8s.io clusterroles",
            false,
            false,
            false,
        );
        check("create - resourcequotas", false, false, false);
        check("get - resourcequotas", true, true, true);
        check("update - namespaces", false, false, false);
        check("get - nodes", false, false, false);
    }

    #[test]
    fn stored_roles_get_back_what_they_lost_and_keep_what_they_gained() {
        let want = ClusterRole {
            metadata: meta("r"),
            rules: Some(vec![rule("get,list - pods"), rule("get - nodes")]),
            ..ClusterRole::default()
        };
        let check = |stored: &[&str], auto: &str, expect: Option<&[&str]>| {
            let mut role = want.clone();
            let annotations = role.metadata.annotations.as_mut().unwrap();
            annotations.insert(AUTO_UPDATE.to_owned(), auto.to_owned());
            role.rules = Some(stored.iter().map(|t| rule(t)).collect());
            let got = restored_role(&role, &want).map(|r| r.rules.unwrap());
            let expect = expect.map(|e| e.iter().map(|t| rule(t)).collect::<Vec<_>>());
            assert_eq!(got, expect, "{stored:?}");
        };
        check(&["get,list - pods", "get - nodes"], "true", None);
        check(&["* * *"], "true", None);
        check(
            &["get,list - pods"],
            "true",
            Some(&["get,list - pods", "get - nodes"]),
        );
        check(
            &["get - nodes", "get - pods"],
            "true",
            Some(&["get - nodes", "get - pods", "get,list - pods"]),
        );
        check(&[], "true", Some(&["get,list - pods", "get - nodes"]));
        check(&[], "false", None);
        let mut role = want.clone();
        role.metadata.labels = None;
        assert_eq!(restored_role(&role, &want), Some(want.clone()));
    }

    #[test]
    fn stored_bindings_get_back_their_subjects() {
        let want = &cluster_role_bindings()[0];
        assert_eq!(restored_binding(want, want), Restored::Right);
        let mut stored = want.clone();
        stored.subjects = Some(vec![subject("User", "ann")]);
        let Restored::Changed(changed) = restored_binding(&stored, want) else {
            panic!("it lacks a subject");
        };
        assert_eq!(changed.subjects.map(|s| s.len()), Some(2));
        stored.role_ref.name = "other".to_owned();
        assert_eq!(restored_binding(&stored, want), Restored::Replaced);
        stored.metadata.annotations = Some([(AUTO_UPDATE.to_owned(), "false".to_owned())].into());
        assert_eq!(restored_binding(&stored, want), Restored::Right);
    }
}
