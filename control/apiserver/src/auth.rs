//! Who asks, and whether they may.
//!
//! Identity comes from client certificates (common name and organizations) or, for
//! the parts of this process, from the in-process client that they were handed.
//! Until RBAC objects are served, the rules are those of Kubernetes' built-in
//! identities: masters may all, nodes and the scheduler what they need, everybody
//! known may discover, and the anonymous learn health and version.

use euston_tls::PeerIdentity;

/// Members may do everything.
pub const MASTERS: &str = "system:masters";
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Empty for the anonymous.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    /// The user of a request, from what the listener or the in-process client left in it.
    pub fn of(extensions: &http::Extensions) -> Self {
        if let Some(user) = extensions.get::<User>() {
            return user.clone();
        }
        match extensions.get::<PeerIdentity>() {
            Some(peer) => User {
                name: peer.common_name.clone(),
                groups: peer.organizations.clone(),
            },
            None => User {
                name: String::new(),
                groups: Vec::new(),
            },
        }
    }

    /// True if nobody known asks.
    pub fn is_anonymous(&self) -> bool {
        self.name.is_empty()
    }

    fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What is asked of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// `get`, `list`, ...
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// What hangs below it, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Object, or empty.
    pub name: &'a str,
}

impl Action<'_> {
    /// Another verb for the same thing.
    #[must_use]
    pub fn to(self, verb: &'static str) -> Self {
        Action { verb, ..self }
    }
}

/// True if `user` may do `action`.
pub fn allowed(user: &User, action: Action<'_>) -> bool {
    if user.in_group(MASTERS) || user.name == CONTROLLER_MANAGER {
        return true;
    }
    let reads = matches!(action.verb, "get" | "list" | "watch");
    if user.name == SCHEDULER {
        return scheduler_may(action, reads);
    }
    match user.name.strip_prefix(NODE_PREFIX) {
        Some(node) if user.in_group(NODES) => node_may(node, action, reads),
        _ => false,
    }
}

fn scheduler_may(action: Action<'_>, reads: bool) -> bool {
    match (action.resource, action.subresource) {
        ("secrets", _) => false,
        ("events", "") => matches!(action.verb, "create" | "patch" | "update") || reads,
        ("pods", "binding") => action.verb == "create",
        ("pods", "status") => true,
        ("leases", "") => true,
        _ => reads,
    }
}

/// What a node's agent needs. Its own Node and Lease; the pods' status and their
/// removal; and reading what pods refer to.
fn node_may(node: &str, action: Action<'_>, reads: bool) -> bool {
    match (action.group, action.resource, action.subresource) {
        ("", "nodes", "" | "status") if !reads => {
            action.verb == "create" || (action.name == node && action.verb != "delete")
        }
        ("coordination.k8s.io", "leases", "") => {
            action.namespace == "kube-node-lease"
                && (action.verb == "create" || action.name == node)
        }
        ("", "events", "") => matches!(action.verb, "create" | "patch" | "update") || reads,
        ("", "pods", "status") => true,
        ("", "pods", "") => reads || action.verb == "delete",
        (
            "",
            "nodes" | "services" | "configmaps" | "secrets" | "namespaces" | "serviceaccounts",
            "",
        ) => reads,
        ("discovery.k8s.io", "endpointslices", "") => reads,
        _ => false,
    }
}

/// The sentence that refuses `action`.
pub fn refusal(user: &User, action: Action<'_>) -> String {
    let who = if user.is_anonymous() {
        "system:anonymous"
    } else {
        &user.name
    };
    let resource = if action.subresource.is_empty() {
        action.resource.to_owned()
    } else {
        format!("{}/{}", action.resource, action.subresource)
    };
    let place = if action.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", action.namespace)
    };
    format!(
        "User {who:?} cannot {} resource {resource:?} in API group {:?} {place}",
        action.verb, action.group
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(user: &str, group: &str, action: &str, expect: bool) {
        let user = User {
            name: user.to_owned(),
            groups: vec![group.to_owned()],
        };
        let mut words = action.split_whitespace();
        let verb = words.next().unwrap();
        let (resource, name) = (words.next().unwrap(), words.next().unwrap_or(""));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let group = match resource {
            "leases" => "coordination.k8s.io",
            "endpointslices" => "discovery.k8s.io",
            "deployments" => "apps",
            _ => "",
        };
        let namespace = if resource == "leases" {
            "kube-node-lease"
        } else {
            "default"
        };
        let action = Action {
            verb,
            group,
            resource,
            subresource,
            namespace,
            name,
        };
        assert_eq!(allowed(&user, action), expect, "{user:?} {action:?}");
    }

    #[test]
    fn everybody_may_what_they_need_and_no_more() {
        check("kubernetes-admin", MASTERS, "delete nodes n", true);
        check("nobody", "", "get pods p", false);
        check("", "", "get pods p", false);
        check("system:kube-scheduler", "", "create pods/binding p", true);
        check("system:kube-scheduler", "", "delete pods p", false);
        check("system:kube-scheduler", "", "get secrets s", false);
        check("system:node:a", NODES, "update nodes a", true);
        check("system:node:a", NODES, "update nodes b", false);
        check("system:node:a", NODES, "delete nodes a", false);
        check("system:node:a", NODES, "patch pods/status p", true);
        check("system:node:a", NODES, "create pods p", false);
        check("system:node:a", NODES, "create pods/binding p", false);
        check("system:node:a", NODES, "update leases a", true);
        check("system:node:a", NODES, "update leases b", false);
        check("system:node:a", NODES, "list endpointslices", true);
        check("system:node:a", NODES, "list deployments", false);
        // The name alone, without the group that the CA signs for, is nothing.
        check("system:node:a", "", "update nodes a", false);
    }
}
