//! Evicts pods from nodes whose `NoExecute` taints they do not tolerate (any longer).

use std::sync::Arc;

use euston_client::{EventRecorder, EventType, Next, ObjectKey, WorkQueue, reference};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::Api;
use kube::api::{DeleteParams, PatchParams, Preconditions};

use super::eviction::{Verdict, verdict};
use super::lifecycle::NO_EXECUTE;
use crate::Shared;
use crate::error::{Attempt, Error, unless_gone};
use crate::informers::BY_NODE;
use crate::pods::{self, disruption_note};
use crate::run::{Reconcile, run_controller};

/// Pods evicted at once.
const WORKERS: usize = 16;

pub(super) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    shared.informers.nodes.on_change({
        let queue = queue.clone();
        let pods = shared.informers.pods.clone();
        move |delta| {
            let (Some(node), before) = (delta.new, delta.old.map(|old| executing(old))) else {
                return;
            };
            if before.unwrap_or_default() != executing(node) {
                for pod in pods.by_index(BY_NODE, node.metadata.name.as_deref().unwrap_or_default())
                {
                    queue.add(ObjectKey::of(&pod.metadata));
                }
            }
        }
    });
    shared.informers.pods.on_change({
        let queue = queue.clone();
        let nodes = shared.informers.nodes.clone();
        move |delta| {
            let Some(pod) = delta.new else { return };
            let Some(node) = pods::node_name(pod) else {
                return;
            };
            let moved = delta.old.is_none_or(|old| {
                pods::node_name(old) != Some(node) || tolerations(old) != tolerations(pod)
            });
            if moved
                && nodes
                    .get("", node)
                    .is_some_and(|node| !executing(&node).is_empty())
            {
                queue.add(ObjectKey::of(&pod.metadata));
            }
        }
    });
    let controller = Controller {
        recorder: EventRecorder::new(shared.client.clone(), "taint-eviction-controller", None),
        shared: shared.clone(),
    };
    run_controller("taint-eviction", queue, WORKERS, &shared, controller).await;
}

fn executing(node: &Node) -> Vec<Taint> {
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    taints
        .filter(|taint| taint.effect == NO_EXECUTE)
        .cloned()
        .collect()
}

fn tolerations(pod: &Pod) -> Option<&Vec<k8s_openapi::api::core::v1::Toleration>> {
    pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref())
}

struct Controller {
    shared: Arc<Shared>,
    recorder: EventRecorder,
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let informers = &self.shared.informers;
        let Some(pod) = informers.pods.get_key(key) else {
            return Ok(Next::Done);
        };
        let Some(node_name) = pods::node_name(&pod).filter(|_| pods::is_active(&pod)) else {
            return Ok(Next::Done);
        };
        let Some(node) = informers.nodes.get("", node_name) else {
            return Ok(Next::Done);
        };
        match verdict(&pod, &executing(&node), Timestamp::now()) {
            Verdict::Stay => return Ok(Next::Done),
            Verdict::LeaveIn(left) => return Ok(Next::After(left)),
            Verdict::Leave => {}
        }
        // The node may have recovered and this copy not know it yet: an eviction cannot be undone.
        let nodes: Api<Node> = Api::all(self.shared.client.clone());
        let live = nodes
            .get_opt(node_name)
            .await
            .attempting(|| format!("read Node {node_name} before evicting pod {key} from it"))?;
        let still = live.is_some_and(|node| {
            verdict(&pod, &executing(&node), Timestamp::now()) == Verdict::Leave
        });
        if !still {
            return Ok(Next::Done);
        }
        self.evict(key, &pod).await?;
        Ok(Next::Done)
    }
}

impl Controller {
    async fn evict(&self, key: &ObjectKey, pod: &Pod) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.event(
            &reference(pod),
            EventType::Normal,
            "TaintManagerEviction",
            message,
        );
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &key.namespace);
        let note = "Taint manager: deleting due to NoExecute taint";
        let about = disruption_note(pod, None, "DeletionByTaintManager", note);
        let noted = api
            .patch_status(&key.name, &PatchParams::default(), &about)
            .await;
        let noted =
            unless_gone(noted).attempting(|| format!("note on pod {key} why it is evicted"))?;
        if noted.is_none() {
            return Ok(());
        }
        let preconditions = Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams::default().preconditions(preconditions);
        unless_gone(api.delete(&key.name, &params).await)
            .attempting(|| format!("evict pod {key}"))?;
        Ok(())
    }
}
