//! The table of kinds.

use std::collections::HashMap;
use std::sync::Arc;

use super::kind::{Kind, ProxyTo, Subresource};
use crate::kinds;

/// The kinds that this server was built with.
pub fn builtin() -> Vec<Kind> {
    use Subresource::{Attach, Binding, Exec, Finalize, Log, PortForward, Proxy, Scale, Status};
    vec![
        Kind::new(kinds::namespace::NamespaceStrategy, "namespace", false)
            .short(&["ns"])
            .with(&[Status, Finalize]),
        Kind::new(kinds::node::NodeStrategy, "node", false)
            .short(&["no"])
            .with(&[Status, Proxy(ProxyTo::Node)]),
        Kind::new(kinds::pod::PodStrategy, "pod", true)
            .short(&["po"])
            .in_all()
            .with(&[
                Status,
                Binding,
                Log,
                Exec,
                Attach,
                PortForward,
                Proxy(ProxyTo::Pod),
            ]),
        Kind::new(kinds::config_map::ConfigMapStrategy, "configmap", true).short(&["cm"]),
        Kind::new(kinds::secret::SecretStrategy, "secret", true),
        Kind::new(kinds::service::ServiceStrategy, "service", true)
            .short(&["svc"])
            .in_all()
            .with(&[Status, Proxy(ProxyTo::Service)]),
        Kind::new(
            kinds::service_account::ServiceAccountStrategy,
            "serviceaccount",
            true,
        )
        .short(&["sa"]),
        Kind::new(kinds::event::EventStrategy, "event", true)
            .short(&["ev"])
            .create_on_update(),
        Kind::new(kinds::lease::LeaseStrategy, "lease", true).create_on_update(),
        Kind::new(
            kinds::endpoint_slice::EndpointSliceStrategy,
            "endpointslice",
            true,
        ),
        Kind::new(kinds::deployment::DeploymentStrategy, "deployment", true)
            .short(&["deploy"])
            .in_all()
            .with(&[Status, Scale]),
        Kind::new(kinds::replica_set::ReplicaSetStrategy, "replicaset", true)
            .short(&["rs"])
            .in_all()
            .with(&[Status, Scale]),
    ]
}

/// All kinds, found by group, version and plural.
pub struct Table {
    kinds: Vec<Arc<Kind>>,
    by_path: HashMap<(String, String, String), usize>,
}

impl Table {
    /// A table of `kinds`.
    pub fn new(kinds: Vec<Kind>) -> Self {
        let kinds: Vec<Arc<Kind>> = kinds.into_iter().map(Arc::new).collect();
        let by_path = kinds
            .iter()
            .enumerate()
            .map(|(i, k)| {
                let n = &k.names;
                ((n.group.clone(), n.version.clone(), n.plural.clone()), i)
            })
            .collect();
        Table { kinds, by_path }
    }

    /// Every kind, in the order of registration.
    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// The row of a resource.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<usize> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.by_path.get(&key).copied()
    }

    /// The row of a core or other kind by its group and plural, whatever its version.
    pub fn row_of(&self, group: &str, plural: &str) -> Option<usize> {
        self.kinds
            .iter()
            .position(|k| k.names.group == group && k.names.plural == plural)
    }
}
