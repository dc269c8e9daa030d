//! Rolls deployments out: makes ReplicaSets and sizes them.

mod plan;
mod revision;
mod rolling;
mod status;

#[cfg(test)]
mod plan_tests;

use std::sync::Arc;

use euston_api::owners;
use euston_api::selector::LabelSelector;
use euston_client::{
    EventRecorder, EventType, Next, ObjectKey, WorkQueue, WriteFence, errors, reference,
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use crate::Shared;
use crate::claim::{claims, concerned, controller_key, settle};
use crate::error::{Attempt, Error, unless_gone};
use crate::informers::{BY_CONTROLLER, orphans_of};
use crate::pods;
use crate::run::{Reconcile, run_controller};

/// Deployments reconciled at once.
const WORKERS: usize = 8;

struct Controller {
    shared: Arc<Shared>,
    recorder: EventRecorder,
    /// ReplicaSets written, until the cache has them: no plan is made on their older selves.
    fence: WriteFence<ObjectKey>,
}

pub(crate) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    shared.informers.deployments.on_change({
        let queue = queue.clone();
        move |delta| {
            if let Some(deployment) = delta.latest() {
                queue.add(ObjectKey::of(&deployment.metadata));
            }
        }
    });
    shared.informers.replica_sets.on_change({
        let queue = queue.clone();
        let deployments = shared.informers.deployments.clone();
        move |delta| {
            let candidates = |namespace: &str| deployments.list_namespace(namespace);
            for key in concerned(delta, candidates, |d: &Deployment| &d.spec.selector) {
                queue.add(key);
            }
        }
    });
    shared.informers.pods.on_change({
        let queue = queue.clone();
        let replica_sets = shared.informers.replica_sets.clone();
        move |delta| {
            // Only a Recreate waits for pods themselves: for the end of the last old one.
            if let Some(pod) = delta.old
                && delta.new.is_none_or(|pod| pods::is_finished(pod))
                && let Some(key) = deployment_of(pod, |key| replica_sets.get_key(key))
            {
                queue.add(key);
            }
        }
    });
    let controller = Controller {
        recorder: EventRecorder::new(shared.client.clone(), "deployment-controller", None),
        fence: WriteFence::default(),
        shared: shared.clone(),
    };
    run_controller("deployment", queue, WORKERS, &shared, controller).await;
}

fn deployment_of(
    pod: &Pod,
    get: impl Fn(&ObjectKey) -> Option<Arc<ReplicaSet>>,
) -> Option<ObjectKey> {
    let rs = get(&controller_key::<ReplicaSet>(&pod.metadata)?)?;
    controller_key::<Deployment>(&rs.metadata)
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let informers = &self.shared.informers;
        let Some(deployment) = informers.deployments.get_key(key) else {
            self.fence.forget(key);
            return Ok(Next::Done);
        };
        let selector =
            LabelSelector::from_api(Some(&deployment.spec.selector)).map_err(|source| {
                Error::Selector {
                    object: format!("Deployment {key}"),
                    source,
                }
            })?;
        if selector.is_everything() {
            let message =
                "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event(
                &reference(&*deployment),
                EventType::Warning,
                "SelectingAll",
                message,
            );
            return Ok(Next::Done);
        }
        if let Some(wait) = self.fence.behind(key, informers.replica_sets.revision()) {
            return Ok(Next::After(wait));
        }
        let mut candidates = informers.replica_sets.by_index(
            BY_CONTROLLER,
            deployment.metadata.uid.as_deref().unwrap_or_default(),
        );
        candidates.extend(
            informers
                .replica_sets
                .by_index(BY_CONTROLLER, &orphans_of(&key.namespace)),
        );
        let claims = claims(&deployment.metadata, &selector, candidates);
        let sets = settle(&self.shared.client, &*deployment, claims).await?;
        let sets = sets.iter().map(|rs| (**rs).clone()).collect();
        let pods_left = |rs: &ReplicaSet| {
            let pods = informers.pods.by_index(
                BY_CONTROLLER,
                rs.metadata.uid.as_deref().unwrap_or_default(),
            );
            pods.iter().any(|pod| !pods::is_finished(pod))
        };
        let plan = plan::plan(&deployment, sets, pods_left, Timestamp::now());
        let next = plan.look_again.map_or(Next::Done, Next::After);
        self.carry_out(key, &deployment, plan).await?;
        Ok(next)
    }
}

impl Controller {
    async fn carry_out(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        plan: plan::Plan,
    ) -> Result<(), Error> {
        let about = reference(deployment);
        let sets: Api<ReplicaSet> = Api::namespaced(self.shared.client.clone(), &key.namespace);
        if let Some(rs) = &plan.create {
            match self.create(key, deployment, &sets, rs).await? {
                Created::Now => {}
                // The cache will show it; the plan was made without it.
                Created::Before => return Ok(()),
            }
        }
        for update in &plan.updates {
            let name = update.rs.metadata.name.as_deref().unwrap_or_default();
            let written = sets
                .replace(name, &PostParams::default(), &update.rs)
                .await
                .attempting(|| format!("update ReplicaSet {}/{name}", key.namespace))?;
            self.fence.wrote(key.clone(), &written.metadata);
            if let Some(event) = &update.event {
                self.recorder.event(
                    &about,
                    EventType::Normal,
                    "ScalingReplicaSet",
                    event.as_str(),
                );
            }
        }
        for rs in &plan.deletes {
            let name = rs.metadata.name.as_deref().unwrap_or_default();
            let preconditions = Preconditions {
                uid: rs.metadata.uid.clone(),
                resource_version: rs.metadata.resource_version.clone(),
            };
            let params = DeleteParams::background().preconditions(preconditions);
            unless_gone(sets.delete(name, &params).await)
                .attempting(|| format!("delete old ReplicaSet {}/{name}", key.namespace))?;
        }
        self.write_deployment(key, deployment, plan).await
    }

    async fn write_deployment(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        plan: plan::Plan,
    ) -> Result<(), Error> {
        let api: Api<Deployment> = Api::namespaced(self.shared.client.clone(), &key.namespace);
        let mut wanted = deployment.clone();
        if let Some(revision) = plan.revision {
            let patch = json!({"metadata": {
                "resourceVersion": deployment.metadata.resource_version,
                "annotations": {euston_api::labels::DEPLOYMENT_REVISION: revision},
            }});
            wanted = api
                .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .attempting(|| format!("note the revision on Deployment {key}"))?;
        }
        if deployment
            .status
            .as_ref()
            .is_some_and(|old| status::same(old, &plan.status))
        {
            return Ok(());
        }
        wanted.status = Some(plan.status);
        match api
            .replace_status(&key.name, &PostParams::default(), &wanted)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if errors::is_not_found(&error) => Ok(()),
            Err(error) => {
                Err(error).attempting(|| format!("update the status of Deployment {key}"))
            }
        }
    }

    async fn create(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        sets: &Api<ReplicaSet>,
        rs: &ReplicaSet,
    ) -> Result<Created, Error> {
        let name = rs.metadata.name.as_deref().unwrap_or_default();
        let attempt = || format!("create ReplicaSet {}/{name}", key.namespace);
        match sets.create(&PostParams::default(), rs).await {
            Ok(created) => {
                self.fence.wrote(key.clone(), &created.metadata);
                if rolling::size(rs) > 0 {
                    let message = format!(
                        "Scaled up replica set {name} from 0 to {}",
                        rolling::size(rs)
                    );
                    self.recorder.event(
                        &reference(deployment),
                        EventType::Normal,
                        "ScalingReplicaSet",
                        message,
                    );
                }
                Ok(Created::Now)
            }
            Err(error) if errors::is_already_exists(&error) => {
                let existing = sets.get_opt(name).await.attempting(attempt)?;
                let ours = existing.as_ref().is_some_and(|existing| {
                    owners::is_controlled_by(
                        &existing.metadata,
                        deployment.metadata.uid.as_deref().unwrap_or_default(),
                    ) && revision::same_template(&deployment.spec.template, existing)
                });
                if let Some(existing) = existing.filter(|_| ours) {
                    self.fence.wrote(key.clone(), &existing.metadata);
                    return Ok(Created::Before);
                }
                // Another template hashes to the same name: count it, which gives another name.
                let mut collided = deployment.clone();
                let status = collided.status.get_or_insert_default();
                status.collision_count =
                    Some(status.collision_count.unwrap_or_default().saturating_add(1));
                let api: Api<Deployment> =
                    Api::namespaced(self.shared.client.clone(), &key.namespace);
                api.replace_status(&key.name, &PostParams::default(), &collided)
                    .await
                    .attempting(|| format!("count a hash collision of Deployment {key}"))?;
                Err(Error::NotYet(format!(
                    "ReplicaSet {}/{name} belongs to something else; another name is tried",
                    key.namespace
                )))
            }
            Err(error) if errors::is_namespace_terminating(&error) => Ok(Created::Before),
            Err(error) => {
                self.report_failed_create(key, deployment, name, &error)
                    .await;
                Err(error).attempting(attempt)
            }
        }
    }

    /// Tells the user on the deployment itself why there is no ReplicaSet.
    async fn report_failed_create(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        name: &str,
        error: &kube::Error,
    ) {
        let reason = errors::status(error)
            .map_or_else(|| error.to_string(), |status| status.message.clone());
        let message = format!("Failed to create new replica set \"{name}\": {reason}");
        self.recorder.event(
            &reference(deployment),
            EventType::Warning,
            "ReplicaSetCreateError",
            message.as_str(),
        );
        if !status::has_deadline(deployment) {
            return;
        }
        let mut conditions = status::Conditions::of(deployment, Timestamp::now());
        conditions.set(
            status::PROGRESSING,
            "False",
            "ReplicaSetCreateError",
            message,
        );
        let wanted_status =
            status::finish(deployment.status.clone().unwrap_or_default(), conditions);
        if deployment
            .status
            .as_ref()
            .is_some_and(|old| status::same(old, &wanted_status))
        {
            return;
        }
        let mut wanted = deployment.clone();
        wanted.status = Some(wanted_status);
        let api: Api<Deployment> = Api::namespaced(self.shared.client.clone(), &key.namespace);
        // A courtesy on top of the event; the failed reconcile is retried anyway.
        if let Err(error) = api
            .replace_status(&key.name, &PostParams::default(), &wanted)
            .await
        {
            tracing::debug!(deployment = %key, %error, "cannot note the failure on the deployment");
        }
    }
}

enum Created {
    /// By this call.
    Now,
    /// By an earlier one that the cache does not show yet (or not at all: the namespace is going).
    Before,
}
