//! Who asks, and whether they may.
//!
//! A decision is made from what this server's caches hold: no I/O, and no copy of a rule. Whoever takes a right away
//! is answered when this server knows it; other servers follow with their caches.

mod index;
mod masquerade;
mod nodes;
mod review;
mod tokens;

use std::sync::Arc;

use euston_access::user::MASTERS;
use euston_access::{Asked, Policy, User};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::MappedRwLockReadGuard;

use crate::error::{ApiError, Result};
use crate::registry::table::Table;
use crate::storage::{Derived, ResourceCache, Storage};
use index::PolicyIndex;
use nodes::NodeIndex;
use tokens::Tokens;

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
    nodes: Derived<NodeIndex>,
    /// PersistentVolumes, where that kind is served.
    volumes: Option<Arc<ResourceCache>>,
    tokens: Tokens,
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
    /// Follows the caches of `storage`, whose kinds are `table`'s. `keys_url` is where others find the keys that
    /// tokens are signed with.
    ///
    /// # Errors
    /// The store's; 500 if a kind is missing that decisions are made from.
    pub async fn start(table: &Table, storage: &Storage, keys_url: String) -> Result<Self> {
        let cache = |(group, plural): (&str, &str)| {
            table
                .row_of(group, plural)
                .map(|row| row.cache)
                .ok_or_else(|| {
                    ApiError::internal(format!("the kind {plural}.{group} is not registered"))
                })
        };
        let sources = DECIDING
            .iter()
            .copied()
            .map(cache)
            .collect::<Result<Vec<_>>>()?;
        Ok(Access {
            policy: Derived::new(sources),
            nodes: Derived::new(vec![cache(("", "pods"))?]),
            volumes: table.row_of("", "persistentvolumes").map(|row| row.cache),
            tokens: Tokens::start(table, storage, keys_url).await?,
        })
    }

    /// Bearer tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The roles and bindings as of now.
    pub fn policy(&self) -> MappedRwLockReadGuard<'_, Policy> {
        MappedRwLockReadGuard::map(self.policy.now(), |index| &index.0)
    }

    /// True if `user` may do what is asked.
    pub fn may(&self, user: &User, asked: &Asked<'_>) -> bool {
        user.is_master()
            || self.rules_allow(user, asked)
            || self.policy().allows(user, asked).is_some()
    }

    /// True if the rules for nodes allow it.
    fn rules_allow(&self, user: &User, asked: &Asked<'_>) -> bool {
        match asked {
            Asked::Resource(action) => self.node_may(user, action).is_ok(),
            Asked::Path { .. } => false,
        }
    }

    /// As [`may`](Self::may), with the reason.
    pub fn decide(&self, user: &User, asked: &Asked<'_>) -> Decision {
        let decision = |allowed: bool, reason: String| Decision { allowed, reason };
        if let Some(found) = self.policy().allows(user, asked) {
            return decision(true, found.to_string());
        }
        if user.is_master() {
            return decision(true, format!("the group {MASTERS} may do everything"));
        }
        match asked {
            Asked::Resource(action) => match self.node_may(user, action) {
                Ok(()) => decision(true, String::new()),
                Err(why) => decision(false, why),
            },
            Asked::Path { .. } => decision(false, String::new()),
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
        let mut why = asked.refusal(user);
        if let Asked::Resource(action) = asked
            && let Err(reason) = self.node_may(user, action)
            && !reason.is_empty()
        {
            why.push_str(": ");
            why.push_str(&reason);
        }
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

impl Access {
    /// Who asks, before anybody is impersonated: by certificate, else by token, else nobody known.
    ///
    /// # Errors
    /// 401 for a token that shows nobody.
    pub fn authenticate(&self, request: &Parts) -> Result<Arc<User>> {
        // A part of this process, with the identity that it was handed.
        if let Some(user) = request.extensions.get::<Arc<User>>() {
            return Ok(user.clone());
        }
        if let Some(peer) = request.extensions.get::<euston_tls::PeerIdentity>() {
            let groups = peer.organizations.iter().cloned();
            return Ok(Arc::new(User::known(peer.common_name.clone(), groups)));
        }
        match bearer(&request.headers) {
            None => Ok(Arc::new(User::anonymous())),
            Some(token) => self.tokens.user(token).map_err(|why| {
                tracing::debug!(why, "a bearer token is refused");
                ApiError::unauthorized()
            }),
        }
    }
}

/// The token that a request shows (RFC 6750).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .trim()
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
