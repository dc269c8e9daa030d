//! Who asks.

use std::collections::BTreeMap;

/// Members may do everything; no rule is looked at.
pub const MASTERS: &str = "system:masters";
/// Everybody whom an authenticator knows.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everybody else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of everybody else.
pub const ANONYMOUS: &str = "system:anonymous";
/// Agents.
pub const NODES: &str = "system:nodes";
/// What comes before a node's name in its user's.
pub const NODE_PREFIX: &str = "system:node:";
/// All service accounts; with `:NAMESPACE`, those of one namespace.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// What comes before `NAMESPACE:NAME` in a service account's user name.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// A user, as an authenticator found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Never empty.
    pub name: String,
    /// Tells users of the same name apart over time; empty if nobody does.
    pub uid: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` included.
    pub groups: Vec<String>,
    /// What else is known: for a pod's token, which pod.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user whom an authenticator knows.
    pub fn known(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        User {
            name: name.into(),
            groups,
            ..User::default()
        }
    }

    /// Somebody who shows nothing.
    pub fn anonymous() -> Self {
        User {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..User::default()
        }
    }

    /// The user of a service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        User {
            uid: uid.to_owned(),
            ..User::known(
                service_account_name(namespace, name),
                service_account_groups(namespace),
            )
        }
    }

    /// True if the user is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// True if nothing is denied to the user.
    pub fn is_master(&self) -> bool {
        self.is_in(MASTERS)
    }

    /// The node whose agent this is. The name alone, without the group that the CA signs for, is nothing.
    pub fn node(&self) -> Option<&str> {
        let node = self.name.strip_prefix(NODE_PREFIX)?;
        (!node.is_empty() && self.is_in(NODES)).then_some(node)
    }
}

/// The user name of a service account.
pub fn service_account_name(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")
}

/// The groups of a service account of `namespace`.
pub fn service_account_groups(namespace: &str) -> [String; 2] {
    [
        SERVICE_ACCOUNTS.to_owned(),
        format!("{SERVICE_ACCOUNTS}:{namespace}"),
    ]
}

/// Namespace and name of a service account's user name.
pub fn service_account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_name_and_group() {
        let check = |name: &str, group: &str, expect: Option<&str>| {
            let user = User::known(name, [group.to_owned()]);
            assert_eq!(user.node(), expect, "{name} {group}");
        };
        check("system:node:a", NODES, Some("a"));
        check("system:node:a", "", None);
        check("system:node:", NODES, None);
        check("a", NODES, None);
    }

    #[test]
    fn service_accounts_are_users() {
        let user = User::service_account("ns", "sa", "u");
        assert_eq!(user.name, "system:serviceaccount:ns:sa");
        for group in [SERVICE_ACCOUNTS, "system:serviceaccounts:ns", AUTHENTICATED] {
            assert!(user.is_in(group), "{group}");
        }
        assert_eq!(service_account_of(&user.name), Some(("ns", "sa")));
        for name in [
            "ns:sa",
            "system:serviceaccount:ns",
            "system:serviceaccount::sa",
            "system:serviceaccount:ns:",
            "system:serviceaccount:ns:sa:x",
        ] {
            assert_eq!(service_account_of(name), None, "{name}");
        }
    }
}
