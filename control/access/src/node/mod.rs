//! What an agent may: its own node, the pods on it, and what those refer to.
//! Follows <https://kubernetes.io/docs/reference/access-authn-authz/node/>
//! (`k8s.io/kubernetes/plugin/pkg/auth/authorizer/node`).

mod graph;

use euston_api::selector::FieldSelector;

pub use graph::{Graph, References, Referred};

use crate::Action;

/// The namespace of nodes' heartbeats.
pub const LEASES: &str = "kube-node-lease";

/// What the rules for nodes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It may.
    Allowed,
    /// It may if a pod on the node refers to this object of the action's namespace.
    IfReferred(Referred, &'a str),
    /// It may if the pod of this name is on the node.
    IfOwnPod(&'a str),
    /// It may if the PersistentVolume of this name belongs to a claim that a pod on the node refers to.
    IfVolume(&'a str),
    /// Nothing allows it here; roles may.
    No(&'static str),
}

/// What the rules say of an action of `node`.
pub fn verdict<'a>(node: &str, action: &Action<'a>) -> Verdict<'a> {
    use Verdict::{Allowed, IfOwnPod, IfReferred, IfVolume, No};
    let own = action.name == node;
    let allowed = |yes: bool, why: &'static str| if yes { Allowed } else { No(why) };
    let reads = matches!(action.verb, "get" | "list" | "watch");
    let writes = matches!(action.verb, "create" | "update" | "patch");
    match (action.group, action.resource, action.subresource) {
        ("", "secrets" | "configmaps", "") => {
            let what = if action.resource == "secrets" {
                Referred::Secret
            } else {
                Referred::ConfigMap
            };
            if !reads {
                No("can only read resources of this type")
            } else if action.name.is_empty() || action.namespace.is_empty() {
                No("can only read namespaced object of this type")
            } else {
                IfReferred(what, action.name)
            }
        }
        ("", "persistentvolumeclaims", "") if action.verb == "get" && !action.name.is_empty() => {
            IfReferred(Referred::Claim, action.name)
        }
        ("", "persistentvolumeclaims", "status")
            if matches!(action.verb, "update" | "patch" | "get") =>
        {
            IfReferred(Referred::Claim, action.name)
        }
        ("", "persistentvolumes", "") if action.verb == "get" && !action.name.is_empty() => {
            IfVolume(action.name)
        }
        ("", "serviceaccounts", "token") if action.verb == "create" => {
            IfReferred(Referred::Account, action.name)
        }
        ("", "serviceaccounts", "") if action.verb == "get" && !action.name.is_empty() => {
            IfReferred(Referred::Account, action.name)
        }
        ("coordination.k8s.io", "leases", "") => {
            let mine = action.verb == "create" || own;
            let verb = writes || matches!(action.verb, "get" | "delete");
            allowed(
                action.namespace == LEASES && mine && verb,
                "can only access node lease with the same name as the requesting node",
            )
        }
        ("storage.k8s.io", "csinodes", "") => allowed(
            (writes || matches!(action.verb, "get" | "delete")) && (action.verb == "create" || own),
            "can only access CSINode with the same name as the requesting node",
        ),
        // Admission sees what is written: its own node, its own pods.
        ("", "nodes", "") if action.verb == "create" => Allowed,
        ("", "nodes", "") if reads || writes => allowed(
            own,
            "can only read and write the Node API object with the same name as the requesting node",
        ),
        ("", "nodes", "status") => allowed(
            own && matches!(action.verb, "update" | "patch"),
            "can only update the status of its own Node API object",
        ),
        ("", "pods", "") => match action.verb {
            "get" if !action.name.is_empty() => IfOwnPod(action.name),
            "list" | "watch" => allowed(
                selects(action.fields, "spec.nodeName", node),
                "can only list/watch pods with spec.nodeName field selector",
            ),
            // Admission sees whose it is; one that is gone is not found, and not forbidden.
            "create" | "delete" => Allowed,
            _ => No("can only read, create mirror and delete pods"),
        },
        ("", "pods", "status") if matches!(action.verb, "update" | "patch") => Allowed,
        ("", "pods", "eviction") if action.verb == "create" => Allowed,
        ("", "services", "")
        | ("node.k8s.io", "runtimeclasses", "")
        | ("storage.k8s.io", "csidrivers", "") => {
            allowed(reads, "can only read resources of this type")
        }
        ("", "endpoints", "") => {
            allowed(action.verb == "get", "can only get resources of this type")
        }
        ("" | "events.k8s.io", "events", "") => allowed(writes, "can only write events"),
        ("authentication.k8s.io", "tokenreviews", "")
        | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => {
            allowed(
                action.verb == "create",
                "can only create resources of this type",
            )
        }
        ("certificates.k8s.io", "certificatesigningrequests", "") => allowed(
            reads || action.verb == "create",
            "can only read and create resources of this type",
        ),
        _ => No(""),
    }
}

fn selects(fields: &str, field: &str, value: &str) -> bool {
    !fields.is_empty()
        && FieldSelector::parse(fields).is_ok_and(|s| s.required_value(field) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Asked;
    use crate::rule::tests::asked;

    fn said(text: &str, namespace: &str, fields: &str) -> String {
        let Asked::Resource(action) = asked(text) else {
            panic!("{text} is a path");
        };
        let action = Action {
            namespace,
            fields,
            ..action
        };
        match verdict("n", &action) {
            Verdict::Allowed => "yes".to_owned(),
            Verdict::No(_) => "no".to_owned(),
            Verdict::IfReferred(what, name) => format!("{what:?} {name}"),
            Verdict::IfOwnPod(name) => format!("pod {name}"),
            Verdict::IfVolume(name) => format!("volume {name}"),
        }
    }

    #[test]
    fn a_node_may_what_concerns_it() {
        let check = |text: &str, expect: &str| assert_eq!(said(text, "ns", ""), expect, "{text}");
        for verb in ["get", "list", "watch"] {
            check(&format!("{verb} - secrets s"), "Secret s");
            check(&format!("{verb} - configmaps c"), "ConfigMap c");
            check(&format!("{verb} - secrets"), "no");
            check(&format!("{verb} - configmaps"), "no");
            check(&format!("{verb} - services"), "yes");
            check(&format!("{verb} node.k8s.io runtimeclasses"), "yes");
            check(&format!("{verb} - nodes n"), "yes");
            check(&format!("{verb} - nodes m"), "no");
            check(&format!("{verb} - nodes"), "no");
            check(&format!("{verb} apps deployments"), "no");
            check(&format!("{verb} - pods/log p"), "no");
            check(&format!("{verb} - serviceaccounts/token a"), "no");
            check(
                &format!("{verb} certificates.k8s.io certificatesigningrequests"),
                "yes",
            );
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            check(&format!("{verb} - secrets s"), "no");
            check(&format!("{verb} - configmaps c"), "no");
            check(&format!("{verb} - services s"), "no");
            check(
                &format!("{verb} rbac.authorization.k8s.io clusterroles r"),
                "no",
            );
            check(
                &format!("{verb} - nodes m"),
                if verb == "create" { "yes" } else { "no" },
            );
        }
        check("get - persistentvolumeclaims c", "Claim c");
        check("list - persistentvolumeclaims", "no");
        check("update - persistentvolumeclaims c", "no");
        check("patch - persistentvolumeclaims/status c", "Claim c");
        check("get - persistentvolumes v", "volume v");
        check("list - persistentvolumes", "no");
        check("create - serviceaccounts/token a", "Account a");
        check("get - serviceaccounts a", "Account a");
        check("list - serviceaccounts", "no");
        check("create - nodes", "yes");
        check("update - nodes n", "yes");
        check("delete - nodes n", "no");
        check("patch - nodes/status n", "yes");
        check("patch - nodes/status m", "no");
        check("get - nodes/proxy n", "no");
        check("create - pods", "yes");
        check("create - pods/binding p", "no");
        check("create - pods/exec p", "no");
        check("create - pods/eviction p", "yes");
        check("get - pods p", "pod p");
        check("update - pods p", "no");
        check("delete - pods p", "yes");
        check("deletecollection - pods", "no");
        check("patch - pods/status p", "yes");
        check("list - pods", "no");
        check("create - events", "yes");
        check("patch events.k8s.io events e", "yes");
        check("delete - events e", "no");
        check(
            "create certificates.k8s.io certificatesigningrequests",
            "yes",
        );
        check(
            "update certificates.k8s.io certificatesigningrequests/approval c",
            "no",
        );
        check("create authorization.k8s.io subjectaccessreviews", "yes");
        check("create authentication.k8s.io tokenreviews", "yes");
        check("get storage.k8s.io csinodes n", "yes");
        check("get storage.k8s.io csinodes m", "no");
        check("impersonate - users root", "no");
    }

    #[test]
    fn leases_are_its_own_in_their_namespace() {
        let check = |text: &str, namespace: &str, expect: &str| {
            assert_eq!(said(text, namespace, ""), expect, "{text} {namespace}");
        };
        for verb in ["get", "update", "patch", "delete"] {
            check(
                &format!("{verb} coordination.k8s.io leases n"),
                LEASES,
                "yes",
            );
            check(
                &format!("{verb} coordination.k8s.io leases m"),
                LEASES,
                "no",
            );
            check(
                &format!("{verb} coordination.k8s.io leases n"),
                "kube-system",
                "no",
            );
        }
        check("create coordination.k8s.io leases", LEASES, "yes");
        check("create coordination.k8s.io leases", "default", "no");
        check("list coordination.k8s.io leases", LEASES, "no");
    }

    #[test]
    fn pods_are_listed_by_node_only() {
        let check = |fields: &str, expect: &str| {
            for verb in ["list", "watch"] {
                assert_eq!(
                    said(&format!("{verb} - pods"), "", fields),
                    expect,
                    "{fields}"
                );
            }
        };
        check("spec.nodeName=n", "yes");
        check("spec.nodeName==n,status.phase!=Failed", "yes");
        check("spec.nodeName=m", "no");
        check("spec.nodeName!=n", "no");
        check("metadata.name=n", "no");
        check("", "no");
        check("=,", "no");
    }
}
