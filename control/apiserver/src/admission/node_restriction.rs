//! NodeRestriction: an agent writes its own node and the pods on it, and nothing that would draw others' pods to it.
//! Follows `k8s.io/kubernetes/plugin/pkg/admission/noderestriction`.

use std::collections::BTreeMap;

use euston_access::User;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::plugin::{Plugin, Request};
use crate::error::Result;
use crate::registry::object::AnyObject;
use crate::registry::{Part, Resource};

/// Labels of Kubernetes' own domains that an agent may set on its node.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// And those below these.
const OWN_PREFIXES: &[&str] = &["kubelet.kubernetes.io/", "node.kubernetes.io/"];

/// Refuses agents what is not their own affair.
pub struct NodeRestriction;

/// What an agent does with an object.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Create,
    Update(Part),
    Delete,
}

impl Plugin for NodeRestriction {
    fn permit(&self, request: &Request<'_>, by: &User, object: &dyn AnyObject) -> Result<()> {
        let does = if request.creates() {
            Does::Create
        } else {
            Does::Update(request.part)
        };
        check(by, request, does, object)
    }

    fn delete(&self, resource: Resource<'_>, object: &dyn AnyObject) -> Result<()> {
        match resource.by {
            Some(by) => check(by, &Request::create(resource), Does::Delete, object),
            None => Ok(()),
        }
    }
}

fn check(by: &User, request: &Request<'_>, does: Does, object: &dyn AnyObject) -> Result<()> {
    let Some(me) = by.node() else {
        return Ok(());
    };
    let old = request.old;
    let name = object.meta().name.as_deref().unwrap_or_default();
    let refused = |why: String| Err(request.forbidden(object, &why));
    let was = old.unwrap_or(object).as_any();
    if let Some(pod) = was.downcast_ref::<Pod>() {
        let place = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
        return match does {
            Does::Create => refused(format!(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node {me:?} can only create mirror pods, and this cluster has no static pods"
            )),
            Does::Update(_) if place != Some(me) => refused(format!(
                "node {me:?} can only update pod status for pods with spec.nodeName set to itself"
            )),
            Does::Delete if place != Some(me) => refused(format!(
                "node {me:?} can only delete pods with spec.nodeName set to itself"
            )),
            _ => Ok(()),
        };
    }
    if was.is::<Lease>() {
        return if name == me {
            Ok(())
        } else {
            refused(
                "can only access node lease with the same name as the requesting node".to_owned(),
            )
        };
    }
    if let Some(new) = object.as_any().downcast_ref::<Node>() {
        if name != me {
            return refused(format!(
                "node {me:?} is not allowed to modify node {name:?}"
            ));
        }
        let before = old.and_then(|o| o.as_any().downcast_ref::<Node>());
        if does == Does::Update(Part::Main) && before.map(taints) != Some(taints(new)) {
            return refused(format!("node {me:?} is not allowed to modify taints"));
        }
        let empty = BTreeMap::new();
        let labels = |node: Option<&Node>| {
            let labels = node.and_then(|n| n.metadata.labels.as_ref());
            labels.unwrap_or(&empty).clone()
        };
        let foreign = foreign_labels(&labels(Some(new)), &labels(before));
        if !foreign.is_empty() {
            return refused(format!(
                "is not allowed to modify labels: {}",
                foreign.join(", ")
            ));
        }
    }
    Ok(())
}

fn taints(node: &Node) -> &[k8s_openapi::api::core::v1::Taint] {
    let spec = node.spec.as_ref();
    spec.and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

/// The labels that differ and are not the agent's to change, in order.
fn foreign_labels(new: &BTreeMap<String, String>, old: &BTreeMap<String, String>) -> Vec<String> {
    let mut changed: Vec<&String> = new
        .keys()
        .chain(old.keys())
        .filter(|key| new.get(*key) != old.get(*key))
        .filter(|key| !is_own_label(key))
        .collect();
    changed.sort_unstable();
    changed.dedup();
    changed.into_iter().cloned().collect()
}

/// Labels outside of Kubernetes' domains are free.
fn is_own_label(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else {
        return true;
    };
    let within = |of: &str| {
        domain
            .strip_suffix(of)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    !within("node-restriction.kubernetes.io")
        && (OWN_LABELS.contains(&key)
            || OWN_PREFIXES
                .iter()
                .any(|p| key.starts_with(p) || key.contains(&format!(".{p}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_draw_pods_are_not_an_agents_to_set() {
        let check = |key: &str, own: bool| assert_eq!(is_own_label(key), own, "{key}");
        for key in OWN_LABELS {
            check(key, true);
        }
        check("zone", true);
        check("example.com/x", true);
        check("mykubernetes.io/x", true);
        check("node.kubernetes.io/x", true);
        check("a.kubelet.kubernetes.io/x", true);
        check("node-role.kubernetes.io/control-plane", false);
        check("node-restriction.kubernetes.io/x", false);
        check("a.node-restriction.kubernetes.io/x", false);
        check("kubernetes.io/role", false);
        check("k8s.io/x", false);
        check("a.k8s.io/x", false);
    }

    #[test]
    fn only_changed_labels_count() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let role = ("node-role.kubernetes.io/x", "");
        let none: [String; 0] = [];
        assert_eq!(foreign_labels(&labels(&[role]), &labels(&[role])), none);
        assert_eq!(foreign_labels(&labels(&[role]), &labels(&[])), [role.0]);
        assert_eq!(foreign_labels(&labels(&[]), &labels(&[role])), [role.0]);
        let (one, two) = (
            labels(&[(role.0, "1")]),
            labels(&[(role.0, "2"), ("a", "b")]),
        );
        assert_eq!(foreign_labels(&one, &two), [role.0]);
    }
}
