//! Brings pod statuses to the API server: the newest one per pod, many pods at a time.

use ahash::AHashMap;
use euston_client::errors;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Patches in flight: enough that a thousand pods become Ready within a second over a round trip of
/// tens of milliseconds. More would only queue up in the API server.
const IN_FLIGHT_MAX: usize = 64;
/// Waits after a patch that failed, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// A patch without an answer for this long is sent again.
const PATCH_TIMEOUT: Duration = Duration::from_secs(15);

/// Which pod a status belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodId {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) uid: Arc<str>,
}

#[derive(Default)]
struct Entry {
    /// Not sent yet. There is at most one per pod: a newer one replaces it.
    next: Option<PodStatus>,
}

/// Writes statuses. Cloning shares it.
#[derive(Clone)]
pub(crate) struct StatusWriter {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    /// Pods with a status that is being sent.
    entries: Mutex<AHashMap<Arc<str>, Entry>>,
    permits: Semaphore,
    settled: Notify,
}

impl StatusWriter {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            inner: Arc::new(Inner {
                client,
                entries: Mutex::default(),
                permits: Semaphore::new(IN_FLIGHT_MAX),
                settled: Notify::new(),
            }),
        }
    }

    /// Takes the status of a pod as it is now.
    pub(crate) fn submit(&self, id: &PodId, status: PodStatus) {
        let mut entries = self.inner.entries.lock();
        if let Some(entry) = entries.get_mut(&id.uid) {
            entry.next = Some(status);
            return;
        }
        entries.insert(id.uid.clone(), Entry { next: Some(status) });
        drop(entries);
        tokio::spawn(self.inner.clone().send(id.clone()));
    }

    /// Waits until what was submitted for a pod has been taken by the API server, or the pod is
    /// gone there; at most this long.
    pub(crate) async fn settled(&self, uid: &str, at_most: Duration) {
        let wait = async {
            loop {
                let settled = self.inner.settled.notified();
                tokio::pin!(settled);
                settled.as_mut().enable();
                if !self.inner.entries.lock().contains_key(uid) {
                    return;
                }
                settled.await;
            }
        };
        // Deleting the pod matters more than its last status.
        let _ = tokio::time::timeout(at_most, wait).await;
    }
}

impl Inner {
    async fn send(self: Arc<Self>, id: PodId) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &id.namespace);
        let mut retry = RETRY_FIRST;
        loop {
            let status = {
                let mut entries = self.entries.lock();
                match entries.get_mut(&id.uid).and_then(|entry| entry.next.take()) {
                    Some(status) => status,
                    None => {
                        entries.remove(&id.uid);
                        break;
                    }
                }
            };
            // The semaphore is never closed.
            let permit = self.permits.acquire().await;
            let patch = Patch::Strategic(patch(&id, &status));
            let params = PatchParams::default();
            let sent =
                tokio::time::timeout(PATCH_TIMEOUT, api.patch_status(&id.name, &params, &patch))
                    .await;
            drop(permit);
            let error = match sent {
                Ok(Ok(_)) => {
                    retry = RETRY_FIRST;
                    continue;
                }
                // The pod is gone, or another one has its name.
                Ok(Err(error)) if errors::is_not_found(&error) || errors::is_conflict(&error) => {
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {PATCH_TIMEOUT:?}"),
            };
            tracing::warn!(pod = %id.name, namespace = %id.namespace, %error, "cannot write a pod's status; it is tried again");
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(RETRY_MOST);
            if let Some(entry) = self.entries.lock().get_mut(&id.uid) {
                entry.next.get_or_insert(status);
            }
        }
        self.settled.notify_waiters();
    }
}

/// The strategic merge patch that makes the pod's status this one and leaves conditions of others
/// alone. What is absent has to be said, or it would stay.
fn patch(id: &PodId, status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        for name in ["reason", "message"] {
            fields.entry(name).or_insert(Value::Null);
        }
        if let Some(Value::Array(conditions)) = fields.get_mut("conditions") {
            for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
                for name in ["reason", "message"] {
                    condition.entry(name).or_insert(Value::Null);
                }
            }
        }
        if let Some(Value::Array(ips)) = fields.get_mut("podIPs") {
            // Merged by address otherwise: a pod that got another one would have two.
            ips.insert(0, json!({"$patch": "replace"}));
        }
    }
    json!({"metadata": {"uid": &*id.uid}, "status": value})
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodCondition, PodIP};

    #[test]
    fn patches_say_what_is_gone() {
        let id = PodId {
            namespace: "shop".into(),
            name: "p".into(),
            uid: "u1".into(),
        };
        let status = PodStatus {
            phase: Some("Running".into()),
            conditions: Some(vec![PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                ..PodCondition::default()
            }]),
            pod_ips: Some(vec![PodIP {
                ip: "10.128.0.2".into(),
            }]),
            ..PodStatus::default()
        };
        assert_eq!(
            patch(&id, &status),
            json!({"metadata": {"uid": "u1"}, "status": {
                "phase": "Running", "reason": null, "message": null,
                "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}],
                "podIPs": [{"$patch": "replace"}, {"ip": "10.128.0.2"}]
            }})
        );
    }
}
