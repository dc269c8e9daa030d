//! Gives each node its range of pod addresses.

use std::collections::HashMap;
use std::sync::Arc;

use euston_client::{EventRecorder, EventType, Next, ObjectKey, WorkQueue, errors, reference};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use super::ipam::Network;
use crate::Shared;
use crate::error::{Attempt, Error};
use crate::run::{Reconcile, run_controller};

struct Controller {
    shared: Arc<Shared>,
    recorder: EventRecorder,
    network: Network,
    /// Ranges given that the cache does not show yet, by the node's uid. Bounded by the number of nodes.
    given: Mutex<HashMap<String, String>>,
}

pub(super) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    shared.informers.nodes.on_change({
        let queue = queue.clone();
        move |delta| match delta.new {
            Some(node) if range_of(node).is_none() => queue.add(ObjectKey::of(&node.metadata)),
            _ => {}
        }
    });
    let (address, prefix) = shared.options.pod_network;
    let controller = Controller {
        recorder: EventRecorder::new(shared.client.clone(), "cidrAllocator", None),
        network: Network {
            address,
            prefix,
            node_prefix: shared.options.node_prefix,
        },
        given: Mutex::default(),
        shared: shared.clone(),
    };
    // One at a time: two workers could choose the same range.
    run_controller("node-ranges", queue, 1, &shared, controller).await;
}

fn range_of(node: &Node) -> Option<&str> {
    node.spec
        .as_ref()?
        .pod_cidr
        .as_deref()
        .filter(|range| !range.is_empty())
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let name = &*key.name;
        let nodes = self.shared.informers.nodes.list();
        let Some(node) = nodes
            .iter()
            .find(|node| node.metadata.name.as_deref() == Some(name))
        else {
            return Ok(Next::Done);
        };
        if range_of(node).is_some() {
            return Ok(Next::Done);
        }
        let uid = node.metadata.uid.clone().unwrap_or_default();
        let range = {
            let mut given = self.given.lock();
            given.retain(|uid, _| {
                nodes
                    .iter()
                    .any(|node| node.metadata.uid.as_ref() == Some(uid) && range_of(node).is_none())
            });
            match given.get(&uid) {
                Some(range) => Some(range.clone()),
                None => {
                    let taken = nodes
                        .iter()
                        .filter_map(|node| range_of(node))
                        .chain(given.values().map(String::as_str));
                    self.network.lowest_free(taken)
                }
            }
        };
        let Some(range) = range else {
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            self.recorder.event(
                &reference(&**node),
                EventType::Warning,
                "CIDRNotAvailable",
                message,
            );
            return Err(Error::NotYet(format!(
                "no range of pod addresses is left for Node {name}"
            )));
        };
        self.given.lock().insert(uid.clone(), range.clone());
        let api: Api<Node> = Api::all(self.shared.client.clone());
        // The uid makes sure that a node of that name registered anew gets its own range.
        let patch =
            json!({"metadata": {"uid": uid}, "spec": {"podCIDR": range, "podCIDRs": [range]}});
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => Ok(Next::Done),
            Err(error) if errors::is_not_found(&error) => Ok(Next::Done),
            Err(error) => {
                Err(error).attempting(|| format!("give Node {name} the pod range {range}"))
            }
        }
    }
}
