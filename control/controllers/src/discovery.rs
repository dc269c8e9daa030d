//! Which kinds the API serves, for controllers that handle all of them.

use kube::core::PartialObjectMeta;
use kube::core::discovery::{Scope, verbs};
use kube::core::{ApiResource, DynamicObject};
use kube::discovery::Discovery;
use kube::{Api, Client};

use crate::error::{Attempt, Error};

/// Metadata of an object of any kind.
pub(crate) type Meta = PartialObjectMeta<DynamicObject>;

/// A kind that can be listed and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) watchable: bool,
    pub(crate) delete_collection: bool,
}

impl Kind {
    /// `pods`, or `deployments.apps`: how kubectl and messages name it.
    pub(crate) fn qualified(&self) -> String {
        let ApiResource { plural, group, .. } = &self.resource;
        if group.is_empty() {
            plural.clone()
        } else {
            format!("{plural}.{group}")
        }
    }

    /// Reads and writes metadata of objects of this kind.
    pub(crate) fn api(&self, client: &Client, namespace: &str) -> Api<Meta> {
        if self.namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(client.clone(), &self.resource)
        }
    }
}

/// All kinds that can be listed and deleted, each once, in its most stable version.
pub(crate) async fn discover(client: &Client) -> Result<Vec<Kind>, Error> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // A server without the aggregated form still has the older one.
        Err(_) => Discovery::new(client.clone())
            .run()
            .await
            .attempting(|| "discover the kinds of the API".to_owned())?,
    };
    let mut kinds: Vec<Kind> = discovery
        .groups()
        .flat_map(|group| group.resources_by_stability())
        .filter(|(resource, capabilities)| {
            let can = |verb| capabilities.supports_operation(verb);
            // The same Events are served by two groups; one of them is enough.
            can(verbs::LIST) && can(verbs::DELETE) && resource.group != "events.k8s.io"
        })
        .map(|(resource, capabilities)| Kind {
            namespaced: capabilities.scope == Scope::Namespaced,
            watchable: capabilities.supports_operation(verbs::WATCH),
            delete_collection: capabilities.supports_operation(verbs::DELETE_COLLECTION),
            resource,
        })
        .collect();
    kinds.sort_by_key(Kind::qualified);
    Ok(kinds)
}
