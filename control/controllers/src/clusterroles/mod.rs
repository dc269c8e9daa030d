//! ClusterRoles that are made of others: their rules follow those that their selectors match.

use std::sync::Arc;

use euston_access::aggregate;
use euston_client::{Next, ObjectKey, WorkQueue};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::Shared;
use crate::error::{Attempt, Error};
use crate::run::{Reconcile, run_controller};

/// There are a handful of such roles.
const WORKERS: usize = 1;

struct Aggregation {
    shared: Arc<Shared>,
}

pub(crate) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    shared.informers.cluster_roles.on_change({
        let (queue, shared) = (queue.clone(), Arc::downgrade(&shared));
        move |_| {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            // Any role may be a part of any of them.
            let roles = shared.informers.cluster_roles.list();
            for role in roles.iter().filter(|role| role.aggregation_rule.is_some()) {
                queue.add(ObjectKey::of(&role.metadata));
            }
        }
    });
    let controller = Aggregation {
        shared: shared.clone(),
    };
    run_controller(
        "clusterrole-aggregation",
        queue,
        WORKERS,
        &shared,
        controller,
    )
    .await;
}

impl Reconcile for Aggregation {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let informer = &self.shared.informers.cluster_roles;
        let Some(role) = informer.get("", &key.name) else {
            return Ok(Next::Done);
        };
        let Some(aggregation) = &role.aggregation_rule else {
            return Ok(Next::Done);
        };
        let all = informer.list();
        let rules = aggregate::rules(&key.name, aggregation, all.iter().map(|role| &**role));
        if role.rules.as_deref().unwrap_or_default() == rules {
            return Ok(Next::Done);
        }
        let version = &role.metadata.resource_version;
        let patch = json!({ "metadata": { "resourceVersion": version }, "rules": rules });
        Api::<ClusterRole>::all(self.shared.client.clone())
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .attempting(|| format!("write the aggregated rules of ClusterRole {}", key.name))?;
        Ok(Next::Done)
    }
}
