//! Removes pods that nothing else will: on nodes that are gone, terminating without ever having
//! had a node, and old finished ones above a number.
//!
//! Follows `pkg/controller/podgc` of Kubernetes.

use std::sync::Arc;
use std::time::Duration;

use euston_client::{EventRecorder, EventType, Next, ObjectKey, WorkQueue, reference, run_workers};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, PatchParams, Preconditions};

use crate::Shared;
use crate::error::{Attempt, Error, unless_gone};
use crate::informers::BY_NODE;
use crate::pods::{self, disruption_note};
use crate::writes;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// A pod that may have to go by itself.
    Pod(ObjectKey),
    /// All finished pods: there may be too many.
    Finished,
}

/// Finished pods are counted this long after one more has finished, not after each.
const COUNT_AFTER: Duration = Duration::from_secs(5);

pub(super) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<Work> = WorkQueue::default();
    shared.informers.pods.on_change({
        let queue = queue.clone();
        let nodes = shared.informers.nodes.clone();
        move |delta| {
            let Some(pod) = delta.new else { return };
            let lost = pods::node_name(pod).map_or(pods::is_terminating(pod), |node| {
                nodes.get("", node).is_none()
            });
            if lost {
                queue.add(Work::Pod(ObjectKey::of(&pod.metadata)));
            }
            if pods::is_finished(pod) && !delta.old.is_some_and(|old| pods::is_finished(old)) {
                queue.add_after(Work::Finished, COUNT_AFTER);
            }
        }
    });
    shared.informers.nodes.on_change({
        let queue = queue.clone();
        let pods = shared.informers.pods.clone();
        let grace = shared.options.missing_node_grace;
        move |delta| {
            if let (Some(gone), None) = (delta.old, delta.new) {
                for pod in pods.by_index(BY_NODE, gone.metadata.name.as_deref().unwrap_or_default())
                {
                    // A node that merely re-registers is back within the grace.
                    queue.add_after(Work::Pod(ObjectKey::of(&pod.metadata)), grace);
                }
            }
        }
    });
    let collector = Arc::new(PodCollector {
        recorder: EventRecorder::new(shared.client.clone(), "pod-garbage-collector", None),
        shared: shared.clone(),
        missing_since: parking_lot::Mutex::default(),
    });
    let reconcile = move |work: Work| {
        let collector = collector.clone();
        async move {
            match work {
                Work::Pod(key) => collector.look_at(&key).await,
                Work::Finished => collector.thin_out().await,
            }
        }
    };
    run_workers(
        "pod-garbage-collector",
        queue,
        4,
        shared.shutdown.clone(),
        reconcile,
    )
    .await;
}

struct PodCollector {
    shared: Arc<Shared>,
    recorder: EventRecorder,
    /// When each missing node was first missed; an entry lives while pods of it are looked at.
    missing_since: parking_lot::Mutex<std::collections::HashMap<String, tokio::time::Instant>>,
}

impl PodCollector {
    async fn look_at(&self, key: &ObjectKey) -> Result<Next, Error> {
        let Some(pod) = self.shared.informers.pods.get_key(key) else {
            return Ok(Next::Done);
        };
        let Some(node) = pods::node_name(&pod) else {
            if pods::is_terminating(&pod) {
                self.remove(
                    &pod,
                    key,
                    "it is being deleted and was never on a node",
                    None,
                )
                .await?;
            }
            return Ok(Next::Done);
        };
        if self.shared.informers.nodes.get("", node).is_some() {
            self.missing_since.lock().remove(node);
            return Ok(Next::Done);
        }
        let missing_for = self
            .missing_since
            .lock()
            .entry(node.to_owned())
            .or_insert_with(tokio::time::Instant::now)
            .elapsed();
        let left = self
            .shared
            .options
            .missing_node_grace
            .saturating_sub(missing_for);
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        let api: Api<Node> = Api::all(self.shared.client.clone());
        let live = api
            .get_metadata_opt(node)
            .await
            .attempting(|| format!("read Node {node}, which pod {key} is bound to"))?;
        if live.is_some() {
            return Ok(Next::Done);
        }
        let message = format!("PodGC: node {node} no longer exists");
        self.remove(&pod, key, "its node is gone", Some(&message))
            .await?;
        Ok(Next::Done)
    }

    /// Deletes a pod at once: there is no node that could end it in order.
    async fn remove(
        &self,
        pod: &Pod,
        key: &ObjectKey,
        why: &str,
        disruption: Option<&str>,
    ) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &key.namespace);
        if let Some(message) = disruption.filter(|_| !pods::is_finished(pod)) {
            let about = disruption_note(pod, Some("Failed"), "DeletionByPodGC", message);
            let marked = api
                .patch_status(&key.name, &PatchParams::default(), &about)
                .await;
            let marked =
                unless_gone(marked).attempting(|| format!("mark pod {key} as failed: {why}"))?;
            if marked.is_none() {
                return Ok(());
            }
        }
        let preconditions = Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams::default()
            .grace_period(0)
            .preconditions(preconditions);
        let deleted = unless_gone(api.delete(&key.name, &params).await)
            .attempting(|| format!("delete pod {key}: {why}"))?;
        if let Some(message) = disruption.filter(|_| deleted.is_some()) {
            self.recorder
                .event(&reference(pod), EventType::Normal, "PodGC", message);
        }
        Ok(())
    }

    async fn thin_out(&self) -> Result<Next, Error> {
        let mut finished = self.shared.informers.pods.list();
        finished.retain(|pod| pods::is_finished(pod) && !pods::is_terminating(pod));
        let surplus = oldest_surplus(finished, self.shared.options.terminated_pods_max);
        let outcome = writes::all(surplus, |pod| async move {
            self.remove(
                &pod,
                &ObjectKey::of(&pod.metadata),
                "there are too many finished pods",
                None,
            )
            .await
        })
        .await;
        outcome
            .failed
            .into_iter()
            .next()
            .map_or(Ok(Next::Done), Err)
    }
}

/// The oldest of `finished` beyond `most`; none if `most` is 0.
fn oldest_surplus(mut finished: Vec<Arc<Pod>>, most: usize) -> Vec<Arc<Pod>> {
    let surplus = finished.len().saturating_sub(most);
    if most == 0 || surplus == 0 {
        return Vec::new();
    }
    finished.sort_by_cached_key(|pod| {
        (
            pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            pod.metadata.name.clone(),
        )
    });
    finished.truncate(surplus);
    finished
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{at, pod};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn the_oldest_finished_pods_go() {
        let finished: Vec<Arc<Pod>> = [("c", 3), ("a", 1), ("b", 2), ("d", 3)]
            .into_iter()
            .map(|(name, second)| {
                let mut pod = pod(name, false);
                pod.metadata.creation_timestamp = Some(Time(at(second)));
                Arc::new(pod)
            })
            .collect();
        for (most, expect) in [
            (0, vec![]),
            (4, vec![]),
            (9, vec![]),
            (3, vec!["a"]),
            (1, vec!["a", "b", "c"]),
        ] {
            let gone = oldest_surplus(finished.clone(), most);
            let names: Vec<_> = gone
                .iter()
                .filter_map(|pod| pod.metadata.name.as_deref())
                .collect();
            assert_eq!(names, expect, "at most {most}");
        }
    }
}
