//! Who asks, and whether they may.
//!
//! A decision is made from what this server's caches hold: no I/O, and no copy of a rule. Whoever takes a right away
//! is answered when this server knows it; other servers follow with their caches.

mod index;
mod masquerade;
mod review;

use std::sync::Arc;

use euston_access::user::MASTERS;
use euston_access::{Asked, Policy, User};
use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::MappedRwLockReadGuard;

use crate::error::{ApiError, Result};
use crate::registry::table::Table;
use crate::storage::{Derived, Storage};
use index::PolicyIndex;

pub use review::user_info;

/// The kinds that decisions are made from, by group and plural. A write to one of them is answered when this
/// server's cache holds it.
pub const DECIDING: &[(&str, &str)] = &[
    (euston_access::defaults::GROUP, "clusterroles"),
    (euston_access::defaults::GROUP, "clusterrolebindings"),
    (euston_access::defaults::GROUP, "roles"),
    (euston_access::defaults::GROUP, "rolebindings"),
];

/// What may be said of a request before it is looked at.
pub struct Access {
    policy: Derived<PolicyIndex>,
}

/// Whether something is allowed, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// If not, nobody forbids it: nobody allows it.
    pub allowed: bool,
    /// By which binding, or why not; may be empty.
    pub reason: String,
}

impl Access {
    /// Follows the caches of `storage`, whose kinds are `table`'s.
    ///
    /// # Errors
    /// 500 if a kind is missing that decisions are made from.
    pub fn new(table: &Table, storage: &Storage) -> Result<Self> {
        let cache = |(group, plural): &(&str, &str)| {
            let row = table.row_of(group, plural).ok_or_else(|| {
                ApiError::internal(format!("the kind {plural}.{group} is not registered"))
            })?;
            Ok(storage.cache(row).clone())
        };
        let sources = DECIDING.iter().map(cache).collect::<Result<Vec<_>>>()?;
        Ok(Access {
            policy: Derived::new(sources),
        })
    }

    /// The roles and bindings as of now.
    pub fn policy(&self) -> MappedRwLockReadGuard<'_, Policy> {
        MappedRwLockReadGuard::map(self.policy.now(), |index| &index.0)
    }

    /// True if `user` may do what is asked.
    pub fn may(&self, user: &User, asked: &Asked<'_>) -> bool {
        user.is_master() || self.policy().allows(user, asked).is_some()
    }

    /// As [`may`](Self::may), with the reason.
    pub fn decide(&self, user: &User, asked: &Asked<'_>) -> Decision {
        let grant = |reason: String| Decision {
            allowed: true,
            reason,
        };
        let policy = self.policy();
        if let Some(found) = policy.allows(user, asked) {
            return grant(found.to_string());
        }
        if user.is_master() {
            return grant(format!("the group {MASTERS} may do everything"));
        }
        Decision {
            allowed: false,
            reason: String::new(),
        }
    }

    /// Refuses what `user` may not.
    ///
    /// # Errors
    /// 403 with Kubernetes' sentence.
    pub fn authorize(&self, user: &User, asked: &Asked<'_>) -> Result<()> {
        if self.may(user, asked) {
            return Ok(());
        }
        let why = asked.refusal(user);
        Err(match asked {
            Asked::Resource(action) => {
                ApiError::forbidden(action.group, action.resource, action.name, &why)
            }
            Asked::Path { .. } => ApiError::forbidden_path(&why),
        })
    }

    /// Every rule that holds for `user` in `namespace`.
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<PolicyRule> {
        let policy = self.policy();
        policy
            .rules_of(user, namespace)
            .into_iter()
            .cloned()
            .collect()
    }
}

/// Who asks, before anybody is impersonated.
pub fn authenticate(extensions: &http::Extensions) -> Arc<User> {
    // A part of this process, with the identity that it was handed.
    if let Some(user) = extensions.get::<Arc<User>>() {
        return user.clone();
    }
    match extensions.get::<euston_tls::PeerIdentity>() {
        Some(peer) => Arc::new(User::known(
            peer.common_name.clone(),
            peer.organizations.iter().cloned(),
        )),
        None => Arc::new(User::anonymous()),
    }
}
