//! Keeps the EndpointSlices of every service that selects pods.

mod plan;
#[cfg(test)]
mod plan_tests;

use std::sync::Arc;
use std::time::Duration;

use euston_api::labels::SERVICE_NAME;
use euston_client::{
    Delta, EventRecorder, EventType, Next, ObjectKey, WorkQueue, WriteFence, errors, reference,
};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use crate::Shared;
use crate::error::{Attempt, Error};
use crate::informers::{BY_SERVICE, service_value};
use crate::pods;
use crate::run::{Reconcile, run_controller};
use crate::writes;

/// Services reconciled at once.
const WORKERS: usize = 8;

/// Pods that become ready wait this long for others, so that a swarm of them costs few writes. A
/// pod that stops serving waits for nothing: requests are on their way to it.
const GATHER: Duration = Duration::from_millis(3);

struct Controller {
    shared: Arc<Shared>,
    recorder: EventRecorder,
    /// Slices written, until the cache has them: otherwise endpoints would be placed twice.
    fence: WriteFence<ObjectKey>,
}

pub(crate) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    shared.informers.services.on_change({
        let queue = queue.clone();
        move |delta| {
            if let Some(service) = delta.latest() {
                queue.add(ObjectKey::of(&service.metadata));
            }
        }
    });
    shared.informers.endpoint_slices.on_change({
        let queue = queue.clone();
        move |delta| {
            for slice in delta.old.into_iter().chain(delta.new) {
                let labels = slice.metadata.labels.as_ref();
                if let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) {
                    queue.add(ObjectKey::new(
                        slice.metadata.namespace.as_deref().unwrap_or_default(),
                        service,
                    ));
                }
            }
        }
    });
    shared.informers.pods.on_change({
        let queue = queue.clone();
        let services = shared.informers.services.clone();
        move |delta| {
            let Some(urgent) = urgency(delta) else { return };
            let namespace = delta
                .latest()
                .and_then(|pod| pod.metadata.namespace.as_deref())
                .unwrap_or_default();
            for service in services.list_namespace(namespace) {
                if delta
                    .old
                    .into_iter()
                    .chain(delta.new)
                    .any(|pod| plan::selects(&service, pod))
                {
                    let key = ObjectKey::of(&service.metadata);
                    if urgent {
                        queue.add(key)
                    } else {
                        queue.add_after(key, GATHER)
                    }
                }
            }
        }
    });
    let controller = Controller {
        recorder: EventRecorder::new(shared.client.clone(), "endpoint-slice-controller", None),
        fence: WriteFence::default(),
        shared: shared.clone(),
    };
    run_controller("endpointslice", queue, WORKERS, &shared, controller).await;
}

/// Whether a change of a pod matters to endpoints, and if so, whether it takes traffic away from it.
fn urgency(delta: &Delta<'_, Pod>) -> Option<bool> {
    let serves = |pod: &Arc<Pod>| {
        pods::is_ready(pod) && !pods::is_terminating(pod) && !pods::is_finished(pod)
    };
    let (Some(old), Some(new)) = (delta.old, delta.new) else {
        return Some(delta.new.is_none());
    };
    let face = |pod: &Arc<Pod>| {
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        (
            pods::is_ready(pod),
            pods::is_terminating(pod),
            pods::is_finished(pod),
            ip,
            pod.metadata.uid.clone(),
        )
    };
    let same = face(old) == face(new)
        && old.metadata.labels == new.metadata.labels
        && pods::node_name(old) == pods::node_name(new);
    (!same).then(|| serves(old) && !serves(new))
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let informers = &self.shared.informers;
        let Some(service) = informers.services.get_key(key) else {
            // Its slices carry an owner reference and are collected.
            self.fence.forget(key);
            return Ok(Next::Done);
        };
        if let Some(wait) = self.fence.behind(key, informers.endpoint_slices.revision()) {
            return Ok(Next::After(wait));
        }
        let slices = informers
            .endpoint_slices
            .by_index(BY_SERVICE, &service_value(&key.namespace, &key.name));
        let mut selected = informers.pods.list_namespace(&key.namespace);
        selected.retain(|pod| plan::selects(&service, pod));
        let plan = plan::plan(&service, &selected, &slices);
        match self.carry_out(key, plan).await {
            Ok(()) => Ok(Next::Done),
            Err(error) if error.api().is_some_and(errors::is_namespace_terminating) => {
                Ok(Next::Done)
            }
            Err(error) => {
                if error
                    .api()
                    .is_some_and(|answer| !errors::is_conflict(answer))
                {
                    self.report(&service, &error);
                }
                Err(error)
            }
        }
    }
}

impl Controller {
    fn report(&self, service: &Service, error: &Error) {
        let message = format!("Error updating Endpoint Slices: {error}");
        self.recorder.event(
            &reference(service),
            EventType::Warning,
            "FailedToUpdateEndpointSlices",
            message,
        );
    }

    async fn carry_out(&self, key: &ObjectKey, plan: plan::Plan) -> Result<(), Error> {
        let api: Api<EndpointSlice> = Api::namespaced(self.shared.client.clone(), &key.namespace);
        let api = &api;
        // What takes traffic away comes first; additions next; slices that nobody is in last.
        let updated = writes::all(plan.update, |slice| async move {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            match api.replace(name, &PostParams::default(), &slice).await {
                Ok(written) => {
                    self.fence.wrote(key.clone(), &written.metadata);
                    Ok(())
                }
                // Deleted a moment ago; when the cache knows too, its endpoints go elsewhere.
                Err(error) if errors::is_not_found(&error) => Err(Error::NotYet(format!(
                    "EndpointSlice {}/{name} is gone already",
                    key.namespace
                ))),
                Err(error) => Err(error)
                    .attempting(|| format!("update EndpointSlice {}/{name}", key.namespace)),
            }
        })
        .await;
        let created = writes::all(plan.create, |slice| async move {
            let written = api
                .create(&PostParams::default(), &slice)
                .await
                .attempting(|| format!("create an EndpointSlice of Service {key}"))?;
            self.fence.wrote(key.clone(), &written.metadata);
            Ok(())
        })
        .await;
        if let Some(error) = updated.failed.into_iter().chain(created.failed).next() {
            return Err(error);
        }
        let deleted = writes::all(plan.delete, |slice| async move {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let preconditions = Preconditions {
                uid: slice.metadata.uid.clone(),
                resource_version: slice.metadata.resource_version.clone(),
            };
            match api
                .delete(name, &DeleteParams::default().preconditions(preconditions))
                .await
            {
                Err(error) if errors::is_not_found(&error) => Ok(()),
                result => result
                    .map(drop)
                    .attempting(|| format!("delete EndpointSlice {}/{name}", key.namespace)),
            }
        })
        .await;
        deleted.failed.into_iter().next().map_or(Ok(()), Err)
    }
}
