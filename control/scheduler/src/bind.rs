//! Making a decision true: one POST to the pod's binding subresource.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use serde::de::IgnoredAny;

use crate::pod::PodInfo;

/// A binding takes milliseconds; one that takes this long is given up, and tried anew.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How a binding ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The API server has recorded the node.
    Bound,
    /// The pod is gone, or is no longer the one that was decided about.
    Gone,
    /// Somebody was faster, or the decision was overtaken: look again.
    Conflict(String),
    /// It is not known whether the API server has recorded it; what the pod shows will tell.
    Failed(String),
}

/// A finished binding.
pub(crate) struct Bound {
    pub(crate) pod: Arc<PodInfo>,
    pub(crate) node: Arc<str>,
    pub(crate) outcome: Outcome,
}

/// Binds the pod to the node. The UID makes the API server refuse a decision about an earlier pod
/// of the same name.
pub(crate) async fn bind(client: Client, pod: Arc<PodInfo>, node: Arc<str>) -> Bound {
    let posted = tokio::time::timeout(TIMEOUT, post(client, &pod, &node));
    // A panic below must not leave the pod assumed for ever.
    let outcome = match AssertUnwindSafe(posted).catch_unwind().await {
        Ok(Ok(Ok(()))) => Outcome::Bound,
        Ok(Ok(Err(e))) => judge(&e),
        Ok(Err(_)) => Outcome::Failed(format!("no answer within {TIMEOUT:?}")),
        Err(_) => Outcome::Failed("the client panicked".to_owned()),
    };
    Bound { pod, node, outcome }
}

async fn post(client: Client, pod: &PodInfo, node: &str) -> Result<(), kube::Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(pod.key.name.to_string()),
            namespace: Some(pod.key.namespace.to_string()),
            uid: Some(pod.uid.clone()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let pods: Api<Pod> = Api::namespaced(client, &pod.key.namespace);
    // The answer is a Status that says nothing beyond its code.
    pods.create_subresource("binding", &pod.key.name, &PostParams::default(), &binding)
        .await
        .map(|IgnoredAny| ())
}

fn judge(error: &kube::Error) -> Outcome {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => Outcome::Gone,
            409 => Outcome::Conflict(status.message.clone()),
            _ => Outcome::Failed(status.message.clone()),
        },
        other => Outcome::Failed(other.to_string()),
    }
}
