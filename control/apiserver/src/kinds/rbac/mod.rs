//! Roles and bindings: who may do what.
//! Follows `k8s.io/kubernetes/pkg/apis/rbac` (defaults, validation).

mod binding;
mod role;

pub use binding::{ClusterRoleBindingStrategy, RoleBindingStrategy};
pub use role::{ClusterRoleStrategy, RoleStrategy};

use crate::registry::kind::Kind;

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(ClusterRoleStrategy, "clusterrole", false).decides(),
        Kind::new(ClusterRoleBindingStrategy, "clusterrolebinding", false).decides(),
        Kind::new(RoleStrategy, "role", true).decides(),
        Kind::new(RoleBindingStrategy, "rolebinding", true).decides(),
    ]
}
