//! Roles and bindings, indexed by subject: a decision is a few look-ups and no copy.
//! Follows `k8s.io/kubernetes/pkg/registry/rbac/validation`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};

use crate::rule;
use crate::user::service_account_name;
use crate::{Asked, User};

/// Where roles and bindings live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope<'a> {
    /// ClusterRoles, ClusterRoleBindings.
    Cluster,
    /// Roles, RoleBindings of a namespace.
    Namespace(&'a str),
}

/// All roles and bindings. One writer keeps it; deciding only reads.
#[derive(Debug, Default)]
pub struct Policy {
    cluster: Place,
    namespaces: HashMap<String, Place>,
}

/// The roles and bindings of one scope.
#[derive(Debug, Default)]
struct Place {
    roles: HashMap<String, Vec<PolicyRule>>,
    bindings: HashMap<String, Arc<Bound>>,
    users: HashMap<String, Vec<Arc<Bound>>>,
    groups: HashMap<String, Vec<Arc<Bound>>>,
}

#[derive(Debug)]
struct Bound {
    name: String,
    role: String,
    /// In a namespace, whether the role is the namespace's own or the cluster's.
    of_cluster: bool,
    /// User names, then group names.
    users: Vec<String>,
    groups: Vec<String>,
}

/// Which binding allows something.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    bound: &'a Bound,
    namespace: Option<&'a str>,
    subject: Holder<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Holder<'a> {
    User(&'a str),
    Group(&'a str),
}

impl fmt::Display for Grant<'_> {
    /// `RBAC: allowed by RoleBinding "b/ns" of Role "r" to User "u"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RBAC: allowed by ")?;
        match self.namespace {
            Some(namespace) => write!(f, "RoleBinding \"{}/{namespace}\"", self.bound.name)?,
            None => write!(f, "ClusterRoleBinding {:?}", self.bound.name)?,
        }
        let kind = if self.bound.of_cluster {
            "ClusterRole"
        } else {
            "Role"
        };
        write!(f, " of {kind} {:?} to ", self.bound.role)?;
        match self.subject {
            Holder::User(name) => match crate::user::service_account_of(name) {
                Some((namespace, name)) => write!(f, "ServiceAccount \"{name}/{namespace}\""),
                None => write!(f, "User {name:?}"),
            },
            Holder::Group(name) => write!(f, "Group {name:?}"),
        }
    }
}

impl Place {
    fn remove_binding(&mut self, name: &str) {
        let Some(old) = self.bindings.remove(name) else {
            return;
        };
        let lists = [
            (&mut self.users, &old.users),
            (&mut self.groups, &old.groups),
        ];
        for (map, names) in lists {
            for subject in names {
                if let Some(list) = map.get_mut(subject) {
                    list.retain(|bound| !Arc::ptr_eq(bound, &old));
                    if list.is_empty() {
                        map.remove(subject);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.bindings.is_empty()
    }

    /// Every binding that names the user, with the subject by which it does.
    fn bound_to<'a>(
        &'a self,
        user: &'a User,
    ) -> impl Iterator<Item = (&'a Arc<Bound>, Holder<'a>)> {
        let own = self.users.get(&user.name).into_iter().flatten();
        let own = own.map(|bound| (bound, Holder::User(&user.name)));
        let shared = user.groups.iter().flat_map(|group| {
            let bound = self.groups.get(group).into_iter().flatten();
            bound.map(move |bound| (bound, Holder::Group(group)))
        });
        own.chain(shared)
    }
}

impl Policy {
    /// Puts a role in, or takes it out.
    pub fn set_role(&mut self, scope: Scope<'_>, name: &str, rules: Option<Vec<PolicyRule>>) {
        let place = self.place_mut(scope);
        match rules {
            Some(rules) => {
                place.roles.insert(name.to_owned(), rules);
            }
            None => {
                place.roles.remove(name);
            }
        }
        self.tidy(scope);
    }

    /// Puts a binding in, or takes it out.
    pub fn set_binding(
        &mut self,
        scope: Scope<'_>,
        name: &str,
        binding: Option<(&RoleRef, &[Subject])>,
    ) {
        let place = self.place_mut(scope);
        place.remove_binding(name);
        if let Some((role, subjects)) = binding {
            let (mut users, mut groups) = (Vec::new(), Vec::new());
            for subject in subjects {
                match subject.kind.as_str() {
                    "User" => users.push(subject.name.clone()),
                    "Group" => groups.push(subject.name.clone()),
                    "ServiceAccount" => {
                        let namespace = match (subject.namespace.as_deref(), scope) {
                            (Some(namespace), _) if !namespace.is_empty() => namespace,
                            (_, Scope::Namespace(namespace)) => namespace,
                            (_, Scope::Cluster) => continue,
                        };
                        users.push(service_account_name(namespace, &subject.name));
                    }
                    _ => {}
                }
            }
            for names in [&mut users, &mut groups] {
                names.sort_unstable();
                names.dedup();
            }
            let bound = Arc::new(Bound {
                name: name.to_owned(),
                role: role.name.clone(),
                of_cluster: role.kind == "ClusterRole",
                users,
                groups,
            });
            for user in &bound.users {
                place
                    .users
                    .entry(user.clone())
                    .or_default()
                    .push(bound.clone());
            }
            for group in &bound.groups {
                place
                    .groups
                    .entry(group.clone())
                    .or_default()
                    .push(bound.clone());
            }
            place.bindings.insert(name.to_owned(), bound);
        }
        self.tidy(scope);
    }

    fn place_mut(&mut self, scope: Scope<'_>) -> &mut Place {
        match scope {
            Scope::Cluster => &mut self.cluster,
            Scope::Namespace(namespace) => self.namespaces.entry(namespace.to_owned()).or_default(),
        }
    }

    /// Forgets a namespace of which nothing is left.
    fn tidy(&mut self, scope: Scope<'_>) {
        if let Scope::Namespace(namespace) = scope
            && self.namespaces.get(namespace).is_some_and(Place::is_empty)
        {
            self.namespaces.remove(namespace);
        }
    }

    /// The rules of the role that a binding in `scope` refers to; `None` if there is no such role.
    pub fn role(&self, scope: Scope<'_>, of_cluster: bool, name: &str) -> Option<&[PolicyRule]> {
        let place = match scope {
            Scope::Namespace(namespace) if !of_cluster => self.namespaces.get(namespace)?,
            Scope::Cluster | Scope::Namespace(_) => &self.cluster,
        };
        place.roles.get(name).map(Vec::as_slice)
    }

    /// Calls `visit` with every rule that holds for `user` in `namespace` (in none: the cluster's alone), with the
    /// binding that grants it, until `visit` says that it is enough.
    fn visit<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
        mut visit: impl FnMut(&'a PolicyRule, Grant<'a>) -> bool,
    ) {
        let own = match namespace {
            "" => None,
            namespace => self.namespaces.get(namespace).map(|p| (p, Some(namespace))),
        };
        for (place, namespace) in [(&self.cluster, None)].into_iter().chain(own) {
            for (bound, subject) in place.bound_to(user) {
                let scope = namespace.map_or(Scope::Cluster, Scope::Namespace);
                let rules = self.role(scope, bound.of_cluster, &bound.role);
                let grant = Grant {
                    bound,
                    namespace,
                    subject,
                };
                for rule in rules.into_iter().flatten() {
                    if visit(rule, grant) {
                        return;
                    }
                }
            }
        }
    }

    /// The binding by which `user` may do what is asked; `None` if there is none.
    pub fn allows<'a>(&'a self, user: &'a User, asked: &Asked<'a>) -> Option<Grant<'a>> {
        let namespace = match asked {
            Asked::Resource(action) => action.namespace,
            Asked::Path { .. } => "",
        };
        let mut found = None;
        self.visit(user, namespace, |rule, grant| {
            if rule::allows(rule, asked) {
                found = Some(grant);
            }
            found.is_some()
        });
        found
    }

    /// Every rule that holds for `user` in `namespace`.
    pub fn rules_of<'a>(&'a self, user: &'a User, namespace: &'a str) -> Vec<&'a PolicyRule> {
        let mut rules = Vec::new();
        self.visit(user, namespace, |rule, _| {
            rules.push(rule);
            false
        });
        rules
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rule::tests::{asked, rule};

    /// A binding: `NAME KIND/ROLE SUBJECT...`, where a subject is `u:NAME`, `g:NAME` or `s:NAMESPACE:NAME`.
    pub(crate) fn bind(policy: &mut Policy, scope: Scope<'_>, text: &str) {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap();
        let (kind, role) = words.next().unwrap().split_once('/').unwrap();
        let role = RoleRef {
            kind: kind.to_owned(),
            name: role.to_owned(),
            ..RoleRef::default()
        };
        let subjects: Vec<Subject> = words
            .map(|word| {
                let (kind, name) = word.split_once(':').unwrap();
                let (kind, namespace, name) = match kind {
                    "u" => ("User", None, name),
                    "g" => ("Group", None, name),
                    _ => {
                        let (namespace, name) = name.split_once(':').unwrap();
                        ("ServiceAccount", Some(namespace.to_owned()), name)
                    }
                };
                Subject {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    namespace,
                    ..Subject::default()
                }
            })
            .collect();
        policy.set_binding(scope, name, Some((&role, &subjects)));
    }

    fn policy() -> Policy {
        let mut policy = Policy::default();
        let roles = [
            (Scope::Cluster, "reader", "get,list - pods"),
            (Scope::Cluster, "health", "get /healthz"),
            (Scope::Namespace("a"), "reader", "get - secrets"),
            (Scope::Namespace("b"), "writer", "* - configmaps"),
        ];
        for (scope, name, text) in roles {
            policy.set_role(scope, name, Some(vec![rule(text)]));
        }
        let (cluster, a, b) = (Scope::Cluster, Scope::Namespace("a"), Scope::Namespace("b"));
        bind(
            &mut policy,
            cluster,
            "everywhere ClusterRole/reader u:ann g:readers",
        );
        bind(
            &mut policy,
            cluster,
            "health ClusterRole/health g:system:unauthenticated",
        );
        bind(&mut policy, a, "pods ClusterRole/reader u:bob s:b:robot");
        bind(&mut policy, a, "own Role/reader u:bob s::local");
        bind(&mut policy, b, "own Role/writer u:bob g:readers");
        bind(&mut policy, b, "nothing Role/missing u:bob");
        // Paths are the cluster's: a binding in a namespace gives none.
        bind(&mut policy, b, "paths ClusterRole/health u:bob");
        policy
    }

    fn check(policy: &Policy, user: &User, namespace: &str, text: &str, expect: Option<&str>) {
        let asked = match asked(text) {
            Asked::Resource(action) => Asked::Resource(crate::Action {
                namespace,
                ..action
            }),
            path => path,
        };
        let got = policy.allows(user, &asked).map(|grant| grant.to_string());
        let expect = expect.map(|e| format!("RBAC: allowed by {e}"));
        assert_eq!(got, expect, "{} {namespace:?} {text}", user.name);
    }

    #[test]
    fn bindings_decide_by_user_group_and_service_account() {
        let policy = policy();
        let ann = User::known("ann", []);
        let bob = User::known("bob", []);
        let eve = User::known("eve", ["readers".to_owned()]);
        let robot = User::service_account("b", "robot", "");
        let local = User::service_account("a", "local", "");
        let nobody = User::anonymous();
        let check = |user: &User, namespace: &str, text: &str, expect: Option<&str>| {
            check(&policy, user, namespace, text, expect);
        };
        let everywhere = "ClusterRoleBinding \"everywhere\" of ClusterRole \"reader\" to ";
        let to_ann = format!("{everywhere}User \"ann\"");
        let to_readers = format!("{everywhere}Group \"readers\"");
        for namespace in ["", "a", "b", "c"] {
            check(&ann, namespace, "get - pods", Some(&to_ann));
            check(&eve, namespace, "list - pods x", Some(&to_readers));
            check(&ann, namespace, "get - secrets", None);
            check(&nobody, namespace, "get - pods", None);
        }
        let in_a = "RoleBinding \"pods/a\" of ClusterRole \"reader\" to ";
        check(
            &bob,
            "a",
            "get - pods",
            Some(&format!("{in_a}User \"bob\"")),
        );
        check(
            &robot,
            "a",
            "get - pods",
            Some(&format!("{in_a}ServiceAccount \"robot/b\"")),
        );
        check(&bob, "b", "get - pods", None);
        check(&bob, "", "get - pods", None);
        let own = Some("RoleBinding \"own/a\" of Role \"reader\" to User \"bob\"");
        check(&bob, "a", "get - secrets s", own);
        check(&bob, "b", "get - secrets s", None);
        let own = Some("RoleBinding \"own/a\" of Role \"reader\" to ServiceAccount \"local/a\"");
        check(&local, "a", "get - secrets s", own);
        let own = Some("RoleBinding \"own/b\" of Role \"writer\" to Group \"readers\"");
        check(&eve, "b", "delete - configmaps x", own);
        check(&eve, "a", "delete - configmaps x", None);
        let health = "ClusterRoleBinding \"health\" of ClusterRole \"health\" to Group \"system:unauthenticated\"";
        check(&nobody, "", "get /healthz", Some(health));
        check(&nobody, "", "get /version", None);
        check(&bob, "", "get /healthz", None);
    }

    #[test]
    fn what_is_taken_out_allows_nothing_any_more() {
        let mut policy = policy();
        let ann = User::known("ann", []);
        let bob = User::known("bob", []);
        let (cluster, a, b) = (Scope::Cluster, Scope::Namespace("a"), Scope::Namespace("b"));
        // Another role of the same name, another list of subjects.
        policy.set_role(cluster, "reader", Some(vec![rule("get - services")]));
        check(&policy, &ann, "a", "get - pods", None);
        bind(
            &mut policy,
            cluster,
            "everywhere ClusterRole/reader g:readers",
        );
        check(&policy, &ann, "a", "get - services", None);
        policy.set_binding(a, "own", None);
        check(&policy, &bob, "a", "get - secrets", None);
        policy.set_role(b, "writer", None);
        check(&policy, &bob, "b", "get - configmaps", None);
        for (scope, name) in [
            (a, "pods"),
            (b, "own"),
            (b, "nothing"),
            (b, "paths"),
            (cluster, "everywhere"),
            (cluster, "health"),
        ] {
            policy.set_binding(scope, name, None);
            policy.set_binding(scope, name, None);
        }
        policy.set_role(a, "reader", None);
        assert!(policy.namespaces.is_empty());
        assert!(policy.cluster.users.is_empty() && policy.cluster.groups.is_empty());
        assert!(policy.rules_of(&bob, "a").is_empty());
    }

    #[test]
    fn a_subject_named_twice_counts_once() {
        let mut policy = policy();
        bind(
            &mut policy,
            Scope::Cluster,
            "twice ClusterRole/reader u:tom u:tom g:tom",
        );
        let tom = User::known("tom", ["tom".to_owned()]);
        assert_eq!(policy.rules_of(&tom, "").len(), 2);
        policy.set_binding(Scope::Cluster, "twice", None);
        assert_eq!(policy.rules_of(&tom, "").len(), 0);
    }
}
