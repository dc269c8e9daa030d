//! Keeps the number of pods of each ReplicaSet.

mod plan;
mod template;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use euston_api::owners;
use euston_api::selector::LabelSelector;
use euston_client::{
    Delta, EventRecorder, EventType, Next, ObjectKey, WorkQueue, WriteFence, errors, reference,
    revision_of,
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, Resource};
use parking_lot::Mutex;

use crate::Shared;
use crate::claim::{claims, concerned, settle};
use crate::error::{Attempt, Error};
use crate::informers::{BY_CONTROLLER, orphans_of};
use crate::pods;
use crate::run::{Reconcile, run_controller};
use crate::writes;
use plan::Failure;

/// ReplicaSets reconciled at once.
const WORKERS: usize = 8;

/// Pods that merely change their readiness come in swarms; their ReplicaSet looks at them together.
const SETTLE: Duration = Duration::from_millis(10);

struct Controller {
    shared: Arc<Shared>,
    recorder: EventRecorder,
    /// Pods created, until the cache has them.
    fence: WriteFence<ObjectKey>,
    /// Uids of pods whose deletion was asked for and that the cache still shows alive. Bounded by
    /// deletions in flight: the pod's next event takes its uid out.
    doomed: Arc<Mutex<HashSet<String, RandomState>>>,
    /// ReplicaSets with a creation whose outcome is unknown: they look at the API itself once.
    /// Bounded by the number of ReplicaSets.
    unsure: Mutex<HashSet<ObjectKey, RandomState>>,
}

pub(crate) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    let doomed: Arc<Mutex<HashSet<String, RandomState>>> = Arc::default();
    shared.informers.replica_sets.on_change({
        let queue = queue.clone();
        move |delta| {
            if let Some(rs) = delta.latest() {
                queue.add(ObjectKey::of(&rs.metadata));
            }
        }
    });
    shared.informers.pods.on_change({
        let (queue, doomed) = (queue.clone(), doomed.clone());
        let replica_sets = shared.informers.replica_sets.clone();
        move |delta| {
            if let Some(pod) = delta.old
                && delta.new.is_none_or(|new| {
                    new.metadata.uid != pod.metadata.uid || pods::is_terminating(new)
                })
                && let Some(uid) = &pod.metadata.uid
            {
                doomed.lock().remove(uid);
            }
            let candidates = |namespace: &str| replica_sets.list_namespace(namespace);
            for key in concerned(delta, candidates, |rs: &ReplicaSet| &rs.spec.selector) {
                if is_swarm_change(delta) {
                    queue.add_after(key, SETTLE)
                } else {
                    queue.add(key)
                }
            }
        }
    });
    let controller = Controller {
        recorder: EventRecorder::new(shared.client.clone(), "replicaset-controller", None),
        fence: WriteFence::default(),
        doomed,
        unsure: Mutex::default(),
        shared: shared.clone(),
    };
    run_controller("replicaset", queue, WORKERS, &shared, controller).await;
}

/// An update after which the pod still counts as it did before.
fn is_swarm_change(delta: &Delta<'_, Pod>) -> bool {
    match (delta.old, delta.new) {
        (Some(old), Some(new)) => pods::is_active(old) && pods::is_active(new),
        _ => false,
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let informers = &self.shared.informers;
        let Some(rs) = informers.replica_sets.get_key(key) else {
            self.fence.forget(key);
            self.unsure.lock().remove(key);
            return Ok(Next::Done);
        };
        let selector =
            LabelSelector::from_api(Some(&rs.spec.selector)).map_err(|source| Error::Selector {
                object: format!("ReplicaSet {key}"),
                source,
            })?;
        if self.unsure.lock().contains(key) {
            self.look_again(key, &rs).await?;
        }
        if let Some(wait) = self.fence.behind(key, informers.pods.revision()) {
            // The pods' next events bring us back; this is for the case that they never come.
            return Ok(Next::After(wait));
        }
        let owned = self.owned(&rs, &selector).await?;
        let now = Timestamp::now();
        let surplus = owned.iter().filter(|pod| pods::is_active(pod)).count() > plan::desired(&rs);
        let neighbours = if surplus {
            self.deployment_pods(&rs)
        } else {
            Vec::new()
        };
        let mut crowding: HashMap<&str, usize> = HashMap::new();
        for node in neighbours
            .iter()
            .filter(|pod| pods::is_active(pod))
            .filter_map(|pod| pods::node_name(pod))
        {
            *crowding.entry(node).or_default() += 1;
        }
        let plan = plan::plan(&rs, &owned, &crowding, now);
        let result = if plan.create > 0 {
            self.create(key, &rs, plan.create).await
        } else {
            self.delete(&rs, plan.delete).await
        };
        let failure = result.as_ref().err().map(|(failure, _)| failure.clone());
        let (status, next) = plan::status(&rs, &self.without_doomed(owned), failure, now);
        self.write_status(&rs, status).await?;
        match result {
            Err((_, error)) => Err(error),
            Ok(()) => Ok(next.map_or(Next::Done, Next::After)),
        }
    }
}

impl Controller {
    /// Everything that belongs to `rs`, without the pods whose deletion is under way.
    async fn owned(
        &self,
        rs: &ReplicaSet,
        selector: &LabelSelector,
    ) -> Result<Vec<Arc<Pod>>, Error> {
        let informer = &self.shared.informers.pods;
        let mut candidates = informer.by_index(
            BY_CONTROLLER,
            rs.metadata.uid.as_deref().unwrap_or_default(),
        );
        candidates.extend(informer.by_index(
            BY_CONTROLLER,
            &orphans_of(rs.metadata.namespace.as_deref().unwrap_or_default()),
        ));
        let mut claims = claims(&rs.metadata, selector, candidates);
        // Finished pods are nobody's replicas; they are not worth adopting.
        claims.adopt.retain(|pod| pods::is_active(pod));
        let owned = settle(&self.shared.client, rs, claims).await?;
        Ok(self.without_doomed(owned))
    }

    fn without_doomed(&self, mut owned: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
        let doomed = self.doomed.lock();
        if !doomed.is_empty() {
            owned.retain(|pod| {
                !pod.metadata
                    .uid
                    .as_ref()
                    .is_some_and(|uid| doomed.contains(uid))
            });
        }
        owned
    }

    /// The pods of all ReplicaSets that the owner of `rs` controls; only needed to choose among surplus pods.
    fn deployment_pods(&self, rs: &ReplicaSet) -> Vec<Arc<Pod>> {
        let informers = &self.shared.informers;
        let siblings = match owners::controller_of(&rs.metadata) {
            Some(owner) => informers.replica_sets.by_index(BY_CONTROLLER, &owner.uid),
            None => Vec::new(),
        };
        let own = rs.metadata.uid.as_deref().unwrap_or_default();
        let uids = siblings
            .iter()
            .filter_map(|rs| rs.metadata.uid.as_deref())
            .filter(|uid| *uid != own)
            .chain([own]);
        uids.flat_map(|uid| informers.pods.by_index(BY_CONTROLLER, uid))
            .collect()
    }

    async fn create(
        &self,
        key: &ObjectKey,
        rs: &ReplicaSet,
        count: usize,
    ) -> Result<(), (Failure, Error)> {
        let body =
            template::encode(rs).map_err(|error| (failure("FailedCreate", &error), error))?;
        let about = reference(rs);
        let outcome = writes::slow_start(count, |_| {
            template::post(&self.shared.client, &key.namespace, &body)
        })
        .await;
        for created in &outcome.done {
            self.fence.wrote(key.clone(), created);
            let name = created.name.as_deref().unwrap_or_default();
            self.recorder.event(
                &about,
                EventType::Normal,
                "SuccessfulCreate",
                format!("Created pod: {name}"),
            );
        }
        if outcome
            .failed
            .iter()
            .filter_map(Error::api)
            .any(errors::outcome_unknown)
        {
            self.unsure.lock().insert(key.clone());
        }
        let Some(error) = outcome.failed.into_iter().next() else {
            return Ok(());
        };
        if error.api().is_some_and(errors::is_namespace_terminating) {
            // Everything here is about to go, this ReplicaSet included.
            return Ok(());
        }
        let reason = error.api().map_or_else(|| error.to_string(), explain);
        self.recorder.event(
            &about,
            EventType::Warning,
            "FailedCreate",
            format!("Error creating: {reason}"),
        );
        Err((failure("FailedCreate", &error), error))
    }

    async fn delete(
        &self,
        rs: &ReplicaSet,
        surplus: Vec<Arc<Pod>>,
    ) -> Result<(), (Failure, Error)> {
        let api: Api<Pod> = Api::namespaced(
            self.shared.client.clone(),
            rs.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let about = reference(rs);
        let (api, about) = (&api, &about);
        let outcome = writes::all(surplus, |pod| async move {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            // Before the request: the watch may be quicker than the answer.
            self.doomed.lock().insert(uid.clone());
            let preconditions = Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            };
            match api
                .delete(name, &DeleteParams::default().preconditions(preconditions))
                .await
            {
                Ok(_) => {
                    self.recorder.event(
                        about,
                        EventType::Normal,
                        "SuccessfulDelete",
                        format!("Deleted pod: {name}"),
                    );
                    self.settled(&pod, &uid);
                    Ok(())
                }
                Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => {
                    self.settled(&pod, &uid);
                    Ok(())
                }
                Err(error) => {
                    self.doomed.lock().remove(&uid);
                    let message = format!("Error deleting: {}", explain(&error));
                    self.recorder
                        .event(about, EventType::Warning, "FailedDelete", message);
                    Err(error).attempting(|| {
                        format!(
                            "delete pod {name} of ReplicaSet {}",
                            ObjectKey::of(&rs.metadata)
                        )
                    })
                }
            }
        })
        .await;
        match outcome.failed.into_iter().next() {
            Some(error) => Err((failure("FailedDelete", &error), error)),
            None => Ok(()),
        }
    }

    /// Forgets a doomed pod that the cache already knows to be gone or going: its event came before
    /// the answer and will not come again.
    fn settled(&self, pod: &Pod, uid: &str) {
        let cached = self
            .shared
            .informers
            .pods
            .get_key(&ObjectKey::of(&pod.metadata));
        if cached.is_none_or(|now| {
            now.metadata.uid.as_deref() != Some(uid) || pods::is_terminating(&now)
        }) {
            self.doomed.lock().remove(uid);
        }
    }

    /// After a creation whose outcome is unknown: reads from the API which pods exist, so that the
    /// fence waits for every one of them.
    async fn look_again(&self, key: &ObjectKey, rs: &ReplicaSet) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &key.namespace);
        let labels = euston_api::selector::format_label_selector(&rs.spec.selector);
        let list = api
            .list_metadata(&ListParams::default().labels(&labels))
            .await
            .attempting(|| format!("list the pods of ReplicaSet {key}"))?;
        let uid = rs.metadata.uid.as_deref().unwrap_or_default();
        let newest = list
            .items
            .into_iter()
            .filter(|pod| owners::is_controlled_by(&pod.metadata, uid))
            .max_by_key(|pod| revision_of(&pod.metadata));
        if let Some(pod) = newest {
            self.fence.wrote(key.clone(), &pod.metadata);
        }
        self.unsure.lock().remove(key);
        Ok(())
    }

    async fn write_status(&self, rs: &ReplicaSet, status: ReplicaSetStatus) -> Result<(), Error> {
        if rs
            .status
            .as_ref()
            .is_some_and(|old| plan::same_status(old, &status))
        {
            return Ok(());
        }
        let mut wanted = rs.clone();
        wanted.status = Some(status);
        let name = rs.meta().name.as_deref().unwrap_or_default();
        let api: Api<ReplicaSet> = Api::namespaced(
            self.shared.client.clone(),
            rs.metadata.namespace.as_deref().unwrap_or_default(),
        );
        match api
            .replace_status(name, &PostParams::default(), &wanted)
            .await
        {
            Ok(_) => Ok(()),
            // Whatever changed it is on its way to the cache and brings us back.
            Err(error) if errors::is_not_found(&error) => Ok(()),
            Err(error) => Err(error).attempting(|| {
                format!(
                    "update the status of ReplicaSet {}",
                    ObjectKey::of(&rs.metadata)
                )
            }),
        }
    }
}

fn failure(reason: &'static str, error: &Error) -> Failure {
    Failure {
        reason,
        message: error.api().map_or_else(|| error.to_string(), explain),
    }
}

/// The server's own sentence, where it sent one.
fn explain(error: &kube::Error) -> String {
    errors::status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}
