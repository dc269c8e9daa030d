//! What is asked, and the sentence that refuses it.

use std::fmt;

use crate::User;

/// What is asked of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Action<'a> {
    /// `get`, `list`, ...
    pub verb: &'a str,
    /// API group; empty for core.
    pub group: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// What hangs below it, or empty.
    pub subresource: &'a str,
    /// Namespace; empty for cluster-wide resources, and for all namespaces.
    pub namespace: &'a str,
    /// Object; empty for all.
    pub name: &'a str,
    /// The field selector of a list or watch, or empty.
    pub fields: &'a str,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// Something of a resource.
    Resource(Action<'a>),
    /// Something of a path that is no resource, such as `/version`.
    Path {
        /// The method in lower case.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

impl Asked<'_> {
    /// The sentence that says that `user` may not, as Kubernetes writes it.
    pub fn refusal(&self, user: &User) -> String {
        format!("User {:?} cannot {self}", user.name)
    }
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self {
            Asked::Path { verb, path } => return write!(f, "{verb} path {path:?}"),
            Asked::Resource(action) => action,
        };
        write!(f, "{} resource \"{}", action.verb, action.resource)?;
        if !action.subresource.is_empty() {
            write!(f, "/{}", action.subresource)?;
        }
        write!(f, "\" in API group {:?} ", action.group)?;
        if action.namespace.is_empty() {
            f.write_str("at the cluster scope")
        } else {
            write!(f, "in the namespace {:?}", action.namespace)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_cannot_do_what_and_where() {
        let check = |asked: Asked<'_>, expect: &str| {
            assert_eq!(asked.refusal(&User::known("bob", [])), expect);
        };
        let action = Action {
            verb: "get",
            resource: "pods",
            subresource: "log",
            namespace: "default",
            ..Action::default()
        };
        check(
            Asked::Resource(action),
            r#"User "bob" cannot get resource "pods/log" in API group "" in the namespace "default""#,
        );
        let action = Action {
            verb: "list",
            group: "apps",
            resource: "deployments",
            ..Action::default()
        };
        check(
            Asked::Resource(action),
            r#"User "bob" cannot list resource "deployments" in API group "apps" at the cluster scope"#,
        );
        let path = Asked::Path {
            verb: "get",
            path: "/metrics",
        };
        check(path, r#"User "bob" cannot get path "/metrics""#);
    }
}
