//! What agents may, by the pods that the cache has on their nodes.

use std::sync::Arc;

use euston_access::node::{self, Graph, References, Referred, Verdict};
use euston_access::{Action, User};
use k8s_openapi::api::authentication::v1::TokenRequestSpec;
use serde::Deserialize;

use super::Access;
use crate::error::{ApiError, Result};
use crate::storage::{Derive, Entry, ObjectKey, ResourceCache};

/// Follows the pods.
#[derive(Default)]
pub struct NodeIndex(pub Graph);

impl Derive for NodeIndex {
    fn take(&mut self, _source: usize, key: &ObjectKey, object: Option<&Entry>) {
        let (namespace, name) = key.as_str().split_once('/').unwrap_or_default();
        let Some(entry) = object else {
            self.0.remove(namespace, name);
            return;
        };
        // Most changes of pods are of their status: nothing of a placed pod matters here any more.
        if self.0.is_placed(namespace, name) {
            return;
        }
        match serde_json::from_slice::<References>(&entry.value) {
            Ok(pod) => self.0.place(namespace, name, &pod),
            Err(error) => {
                tracing::error!(key = entry.key.as_str(), %error, "a stored pod cannot be decoded");
            }
        }
    }
}

/// Whose a PersistentVolume is.
#[derive(Deserialize)]
struct Volume {
    spec: VolumeSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeSpec {
    claim_ref: Option<ClaimRef>,
}

#[derive(Deserialize)]
struct ClaimRef {
    namespace: String,
    name: String,
}

fn claim_of(volumes: Option<&Arc<ResourceCache>>, name: &str) -> Option<ClaimRef> {
    let entry = volumes?.get(&ObjectKey::new(None, name))?;
    let volume: Volume = serde_json::from_slice(&entry.value).ok()?;
    volume.spec.claim_ref
}

impl Access {
    /// Whether the rules for nodes let `user` act; `Err` with the reason if not, which is empty for those who are no
    /// node.
    pub(super) fn node_may(
        &self,
        user: &User,
        action: &Action<'_>,
    ) -> std::result::Result<(), String> {
        let Some(node) = user.node() else {
            return Err(String::new());
        };
        let space = action.namespace;
        let yes = match node::verdict(node, action) {
            Verdict::Allowed => true,
            Verdict::IfReferred(what, name) => self.nodes.now().0.refers(node, what, space, name),
            Verdict::IfOwnPod(name) => self.nodes.now().0.is_on(node, space, name),
            Verdict::IfVolume(name) => claim_of(self.volumes.as_ref(), name).is_some_and(|claim| {
                let graph = self.nodes.now();
                graph
                    .0
                    .refers(node, Referred::Claim, &claim.namespace, &claim.name)
            }),
            Verdict::No(why) => return Err(why.to_owned()),
        };
        if yes {
            Ok(())
        } else {
            Err(format!(
                "no relationship found between node {node:?} and this object"
            ))
        }
    }

    /// Refuses a node a token that is not for a pod on it.
    ///
    /// # Errors
    /// 403 with the reason.
    pub fn may_have_token(
        &self,
        by: &User,
        namespace: &str,
        account: &str,
        spec: &TokenRequestSpec,
    ) -> Result<()> {
        let Some(node) = by.node() else {
            return Ok(());
        };
        let refused = |why: &str| Err(ApiError::forbidden("", "serviceaccounts", account, why));
        let Some(bound) = spec.bound_object_ref.as_ref().filter(|bound| {
            bound.kind.as_deref() == Some("Pod") && bound.api_version.as_deref() == Some("v1")
        }) else {
            return refused("node requested token not bound to a pod");
        };
        let name = bound.name.as_deref().unwrap_or_default();
        if name.is_empty() || bound.uid.as_deref().is_none_or(str::is_empty) {
            return refused("node requested token with a pod binding without a name or a uid");
        }
        if !self.nodes.now().0.is_on(node, namespace, name) {
            return refused("node requested token bound to a pod scheduled on a different node");
        }
        Ok(())
    }
}
