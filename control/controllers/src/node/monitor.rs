//! Notices nodes that fall silent, by their leases, and nodes that come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use euston_api::labels::NAMESPACE_NODE_LEASE;
use euston_api::time::whole_seconds;
use euston_client::{EventRecorder, EventType, Next, ObjectKey, WorkQueue, errors, reference};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::lifecycle::{self, is_ready};
use crate::Shared;
use crate::error::{Attempt, Error};
use crate::informers::BY_NODE;
use crate::pods;
use crate::run::{Reconcile, run_controller};
use crate::writes;

/// Nodes looked at at once.
const WORKERS: usize = 8;

/// When each node was last heard of, by this process's own clock: clocks of nodes are not trusted.
/// Nodes count as heard when this controller starts. Bounded by the number of nodes and leases.
type Heard = Arc<Mutex<HashMap<String, Instant, RandomState>>>;

struct Controller {
    shared: Arc<Shared>,
    recorder: EventRecorder,
    heard: Heard,
}

pub(super) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    let heard: Heard = Arc::default();
    shared.informers.leases.on_change({
        let heard = heard.clone();
        // Renewals only move the clock on; the deadline computed before is looked at when it comes.
        move |delta| {
            let renewed = |lease: &k8s_openapi::api::coordination::v1::Lease| {
                lease.spec.as_ref().and_then(|spec| spec.renew_time.clone())
            };
            if let Some(lease) = delta.new
                && lease.metadata.namespace.as_deref() == Some(NAMESPACE_NODE_LEASE)
                && delta.old.is_none_or(|old| renewed(old) != renewed(lease))
                && let Some(name) = &lease.metadata.name
            {
                heard.lock().insert(name.clone(), Instant::now());
            }
        }
    });
    shared.informers.nodes.on_change({
        let (queue, heard) = (queue.clone(), heard.clone());
        let nodes = shared.informers.nodes.clone();
        move |delta| {
            let Some(node) = delta.latest() else { return };
            let name = node.metadata.name.clone().unwrap_or_default();
            match delta.new {
                None => {
                    heard.lock().remove(&name);
                }
                Some(new) if delta.old.is_none_or(|old| spoke(old, new)) => {
                    heard.lock().insert(name, Instant::now());
                }
                Some(_) => {}
            }
            queue.add(ObjectKey::of(&node.metadata));
            // Whether others can take its pods decides about each node's taints.
            if delta.old.is_some_and(|old| is_ready(old))
                != delta.new.is_some_and(|new| is_ready(new))
            {
                for other in nodes.list() {
                    queue.add(ObjectKey::of(&other.metadata));
                }
            }
        }
    });
    let controller = Controller {
        recorder: EventRecorder::new(shared.client.clone(), "node-controller", None),
        heard,
        shared: shared.clone(),
    };
    run_controller("node-monitor", queue, WORKERS, &shared, controller).await;
}

/// Whether the node itself wrote: a newer heartbeat, which nobody else moves.
fn spoke(old: &Node, new: &Node) -> bool {
    let heartbeat =
        |node: &Node| lifecycle::ready(node).and_then(|ready| ready.last_heartbeat_time.clone());
    old.metadata.uid != new.metadata.uid || heartbeat(old) != heartbeat(new)
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let name = &*key.name;
        let informers = &self.shared.informers;
        let Some(node) = informers.nodes.get("", name) else {
            return Ok(Next::Done);
        };
        if node.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let now = Timestamp::now();
        let silent_for = self
            .heard
            .lock()
            .entry(name.to_owned())
            .or_insert_with(Instant::now)
            .elapsed();
        let another_ready = informers
            .nodes
            .list()
            .iter()
            .any(|other| other.metadata.name.as_deref() != Some(name) && is_ready(other));
        let plan = lifecycle::plan(
            &node,
            silent_for,
            self.shared.options.node_monitor_grace,
            another_ready,
            now,
        );
        // Pods first: traffic must not wait for the paperwork.
        if plan.silent {
            self.mark_pods_unready(name, now).await?;
        }
        let mut current = (*node).clone();
        if let Some(conditions) = plan.conditions {
            current = self.write_conditions(name, current, conditions).await?;
            let silence = format!("Node {name} status is now: NodeNotReady");
            self.recorder.event(
                &reference(&*node),
                EventType::Normal,
                "NodeNotReady",
                silence,
            );
        }
        if let Some(taints) = plan.taints {
            let api: Api<Node> = Api::all(self.shared.client.clone());
            let patch = json!({
                "metadata": {"resourceVersion": current.metadata.resource_version}, "spec": {"taints": taints},
            });
            match api
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                Ok(_) => {}
                Err(error) if errors::is_not_found(&error) => {}
                Err(error) => {
                    return Err(error).attempting(|| format!("update the taints of Node {name}"));
                }
            }
        }
        Ok(plan.look_again.map_or(Next::Done, |wait| {
            Next::After(wait + Duration::from_millis(1))
        }))
    }
}

impl Controller {
    /// Bound to the resourceVersion: if the node has spoken meanwhile, this fails and is thought over.
    async fn write_conditions(
        &self,
        name: &str,
        mut node: Node,
        conditions: Vec<k8s_openapi::api::core::v1::NodeCondition>,
    ) -> Result<Node, Error> {
        node.status.get_or_insert_default().conditions = Some(conditions);
        let api: Api<Node> = Api::all(self.shared.client.clone());
        api.replace_status(name, &PostParams::default(), &node)
            .await
            .attempting(|| format!("mark Node {name} as unknown"))
    }

    /// Takes pods of a silent node out of service: endpoints leave within milliseconds.
    async fn mark_pods_unready(&self, node: &str, now: Timestamp) -> Result<(), Error> {
        let mut ready = self.shared.informers.pods.by_index(BY_NODE, node);
        ready.retain(|pod| pods::is_ready(pod));
        let outcome = writes::all(ready, |pod| async move {
            let (namespace, name) = (
                pod.metadata.namespace.as_deref().unwrap_or_default(),
                pod.metadata.name.as_deref().unwrap_or_default(),
            );
            let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), namespace);
            let patch = json!({
                "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
                "status": {"conditions": [{
                    "type": pods::READY, "status": "False", "reason": "NodeNotReady",
                    "message": "The node of this pod does not answer.", "lastTransitionTime": whole_seconds(now),
                }]},
            });
            match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(_) => {
                    self.recorder.event(&reference(&*pod), EventType::Warning, "NodeNotReady", "Node is not ready");
                    Ok(())
                }
                Err(error) if errors::is_not_found(&error) => Ok(()),
                Err(error) => Err(error).attempting(|| format!("mark pod {namespace}/{name} on silent Node {node} as not ready")),
            }
        })
        .await;
        outcome.failed.into_iter().next().map_or(Ok(()), Err)
    }
}
