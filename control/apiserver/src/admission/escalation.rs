//! Nobody grants what they do not hold themselves.
//! Follows `k8s.io/kubernetes/pkg/registry/rbac/*/policybased`.

use std::sync::Arc;

use euston_access::{Action, Asked, Scope, User, defaults, escalate};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::plugin::{Plugin, Request};
use crate::access::Access;
use crate::error::{ApiError, Result};
use crate::registry::object::AnyObject;
use crate::registry::{Part, Resource};

/// Refuses new or changed roles and bindings that give more than who writes them holds.
pub struct Escalation {
    /// Who may do what.
    pub access: Arc<Access>,
}

impl Plugin for Escalation {
    fn permit(&self, request: &Request<'_>, by: &User, object: &dyn AnyObject) -> Result<()> {
        if by.is_master() || request.part != Part::Main {
            return Ok(());
        }
        check(&self.access, by, request.resource, object, request.old)
    }
}

/// 403 with what is missing; 404 for a role that is not there, to whoever may not bind it anyway.
fn check(
    access: &Access,
    by: &User,
    resource: Resource<'_>,
    new: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
) -> Result<()> {
    let check = Check {
        access,
        by,
        resource,
        name: new.meta().name.as_deref().unwrap_or_default(),
        namespace: new.meta().namespace.as_deref().unwrap_or_default(),
    };
    let (new, old) = (new.as_any(), old.map(AnyObject::as_any));
    if let Some(role) = new.downcast_ref::<Role>() {
        let before = old.and_then(|o| o.downcast_ref::<Role>());
        let same = before.is_some_and(|before| before.rules == role.rules);
        return check.role(same, role.rules.as_deref());
    }
    if let Some(role) = new.downcast_ref::<ClusterRole>() {
        let before = old.and_then(|o| o.downcast_ref::<ClusterRole>());
        let same = before
            .is_some_and(|b| b.rules == role.rules && b.aggregation_rule == role.aggregation_rule);
        check.role(same, role.rules.as_deref())?;
        if !same && role.aggregation_rule.is_some() {
            // Whatever will be labelled so: everything.
            return check.role(false, Some(&everything()));
        }
        return Ok(());
    }
    if let Some(binding) = new.downcast_ref::<RoleBinding>() {
        let before = old.and_then(|o| o.downcast_ref::<RoleBinding>());
        let before = before.map(|b| (&b.role_ref, b.subjects.as_deref()));
        return check.binding((&binding.role_ref, binding.subjects.as_deref()), before);
    }
    if let Some(binding) = new.downcast_ref::<ClusterRoleBinding>() {
        let before = old.and_then(|o| o.downcast_ref::<ClusterRoleBinding>());
        let before = before.map(|b| (&b.role_ref, b.subjects.as_deref()));
        return check.binding((&binding.role_ref, binding.subjects.as_deref()), before);
    }
    Ok(())
}

fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_owned()];
    [
        PolicyRule {
            verbs: all(),
            api_groups: Some(all()),
            resources: Some(all()),
            ..PolicyRule::default()
        },
        PolicyRule {
            verbs: all(),
            non_resource_urls: Some(all()),
            ..PolicyRule::default()
        },
    ]
}

struct Check<'a> {
    access: &'a Access,
    by: &'a User,
    resource: Resource<'a>,
    name: &'a str,
    namespace: &'a str,
}

impl Check<'_> {
    fn role(&self, same: bool, rules: Option<&[PolicyRule]>) -> Result<()> {
        if same || self.may("escalate", &self.resource.kind.names.plural, self.name) {
            return Ok(());
        }
        self.holds(rules.unwrap_or_default())
    }

    fn binding(
        &self,
        new: (&RoleRef, Option<&[Subject]>),
        old: Option<(&RoleRef, Option<&[Subject]>)>,
    ) -> Result<()> {
        if old == Some(new) {
            return Ok(());
        }
        let (role, _) = new;
        let of_cluster = role.kind == "ClusterRole";
        let plural = if of_cluster { "clusterroles" } else { "roles" };
        if self.may("bind", plural, &role.name) {
            return Ok(());
        }
        let scope = match self.namespace {
            "" => Scope::Cluster,
            namespace => Scope::Namespace(namespace),
        };
        let policy = self.access.policy();
        let rules = policy
            .role(scope, of_cluster, &role.name)
            .ok_or_else(|| ApiError::not_found(defaults::GROUP, plural, &role.name))?;
        let held = policy.rules_of(self.by, self.namespace);
        escalate::check(self.by, &held, rules).map_err(|why| self.refused(&why))
    }

    fn holds(&self, rules: &[PolicyRule]) -> Result<()> {
        let policy = self.access.policy();
        let held = policy.rules_of(self.by, self.namespace);
        escalate::check(self.by, &held, rules).map_err(|why| self.refused(&why))
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let action = Action {
            verb,
            group: defaults::GROUP,
            resource,
            subresource: "",
            namespace: self.namespace,
            name,
            fields: "",
        };
        self.access.may(self.by, &Asked::Resource(action))
    }

    fn refused(&self, why: &str) -> ApiError {
        let names = &self.resource.kind.names;
        ApiError::forbidden(&names.group, &names.plural, self.name, why)
    }
}
