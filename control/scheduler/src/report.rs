//! Telling people why a pod waits: an event, and the condition `PodScheduled`.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::pod::PodInfo;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the pod already says that it is unschedulable for that reason.
pub(crate) fn says(pod: &Pod, message: &str) -> bool {
    pod.status
        .as_ref()
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|c| {
            c.type_ == "PodScheduled"
                && c.status == "False"
                && c.reason.as_deref() == Some("Unschedulable")
                && c.message.as_deref() == Some(message)
        })
}

/// Writes the condition. A failure is not repeated here: the next attempt to schedule the pod finds
/// the condition missing, and writes it then.
pub(crate) async fn write_condition(client: Client, pod: &PodInfo, message: String) {
    let now = jiff::Timestamp::now();
    let now = now.round(jiff::Unit::Second).unwrap_or(now);
    let patch = json!({
        // Fences the write against a later pod of the same name.
        "metadata": {"uid": pod.uid},
        "status": {"conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": now.to_string(),
        }]},
    });
    let pods: Api<Pod> = Api::namespaced(client, &pod.key.namespace);
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let write = pods.patch_status(&pod.key.name, &params, &patch);
    match tokio::time::timeout(TIMEOUT, write).await {
        Ok(Ok(_)) => {}
        Ok(Err(e)) => {
            tracing::debug!(pod = %pod.key, error = %e, "cannot write that the pod is unschedulable");
        }
        Err(_) => {
            tracing::debug!(pod = %pod.key, "no answer to writing that the pod is unschedulable");
        }
    }
}
