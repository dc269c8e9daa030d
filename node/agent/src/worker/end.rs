//! How a pod's worker leaves: after its pod, or before it.

use super::{LOG_CLOSE, Worker};
use crate::node::Node;
use crate::pod::status::phase;
use crate::status_writer::PodId;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use std::time::Duration;

/// The last status has this long to arrive before the pod is deleted all the same.
const LAST_STATUS: Duration = Duration::from_secs(10);
/// The agent shuts down: containers have this long.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

impl Worker {
    /// The pod has ended and was deleted: tell the API, which then forgets it.
    pub(super) async fn bury(&mut self, gone: bool) {
        if !gone {
            self.report(self.node.now());
            self.node.statuses.settled(&self.id.uid, LAST_STATUS).await;
            delete(&self.node, &self.id).await;
        }
        let dir = self.dir.clone();
        // What cannot be removed now is removed when the agent starts again.
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(dir)).await;
    }

    /// The agent shuts down: containers stop, and the API keeps the pod as it is.
    pub(super) async fn leave(mut self) {
        let stops = self
            .running
            .iter_mut()
            .filter_map(Option::take)
            .map(|running| async move {
                if let Some((_, listener)) = &running.listener {
                    listener.drain(SHUTDOWN_GRACE).await;
                }
                let _ = tokio::time::timeout(
                    SHUTDOWN_GRACE,
                    running.live.container.stop(SHUTDOWN_GRACE),
                )
                .await;
                running.log.close(LOG_CLOSE).await;
            });
        futures::future::join_all(stops).await;
        tracing::debug!(pod = %self.id.name, phase = phase(&self.desire, &self.observed), "left as it is");
    }
}

/// Removes a pod from the API for good, if it is still the same one.
pub(crate) async fn delete(node: &Node, id: &PodId) {
    let api: Api<Pod> = Api::namespaced(node.config.client.clone(), &id.namespace);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(id.uid.to_string()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let mut wait = Duration::from_millis(200);
    while !node.shutdown.is_cancelled() {
        match tokio::time::timeout(LAST_STATUS, api.delete(&id.name, &params)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error))
                if euston_client::errors::is_not_found(&error)
                    || euston_client::errors::is_conflict(&error) =>
            {
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(pod = %id.name, %error, "cannot delete a pod that has ended; it is tried again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_STATUS);
    }
}
