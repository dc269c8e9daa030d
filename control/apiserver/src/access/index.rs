//! Roles and bindings, as the caches have them.

use euston_access::{Policy, Scope};
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::storage::{Derive, Entry, ObjectKey};

/// Follows [`super::DECIDING`]'s first four: roles, then bindings, of the cluster and of namespaces.
#[derive(Default)]
pub struct PolicyIndex(pub Policy);

/// What decides, of a role.
#[derive(Deserialize)]
struct Role {
    #[serde(default)]
    rules: Option<Vec<PolicyRule>>,
}

/// What decides, of a binding.
#[derive(Deserialize)]
struct Binding {
    #[serde(rename = "roleRef")]
    role: RoleRef,
    #[serde(default)]
    subjects: Option<Vec<Subject>>,
}

/// An object that cannot be read grants nothing.
fn read<T: DeserializeOwned>(entry: Option<&Entry>) -> Option<T> {
    let entry = entry?;
    serde_json::from_slice(&entry.value)
        .inspect_err(|error| {
            tracing::error!(key = entry.key.as_str(), %error, "a stored role or binding cannot be decoded");
        })
        .ok()
}

impl Derive for PolicyIndex {
    fn take(&mut self, source: usize, key: &ObjectKey, object: Option<&Entry>) {
        let (scope, name) = match key.as_str().split_once('/') {
            Some((namespace, name)) => (Scope::Namespace(namespace), name),
            None => (Scope::Cluster, key.as_str()),
        };
        let (_, plural) = super::DECIDING[source];
        if plural.ends_with("bindings") {
            let binding: Option<Binding> = read(object);
            let bound = binding
                .as_ref()
                .map(|b| (&b.role, b.subjects.as_deref().unwrap_or_default()));
            self.0.set_binding(scope, name, bound);
        } else {
            let role: Option<Role> = read(object);
            let rules = role.map(|role| role.rules.unwrap_or_default());
            self.0.set_role(scope, name, rules);
        }
    }
}
