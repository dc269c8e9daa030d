//! Whether a node is there and takes pods.

use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

/// From the start of an agent to its node being Ready. Takes well under a second; a machine that is busy or slow gets
/// this long before something is taken to be broken.
const NODE_READY: Duration = Duration::from_secs(60);

/// Waits until a node is registered and Ready.
///
/// # Errors
/// When that takes longer than a minute, or it cannot be watched.
pub(crate) async fn ready_soon(client: &Client, name: &str) -> anyhow::Result<()> {
    tokio::time::timeout(NODE_READY, ready(client, name))
        .await
        .with_context(|| {
            format!(
                "the node {name} did not become Ready within {NODE_READY:?}; run again with -v to see why"
            )
        })?
}

/// Waits until a node is registered and Ready.
///
/// # Errors
/// When the watch of the node fails, or it is deleted meanwhile.
pub(crate) async fn ready(client: &Client, name: &str) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let ready = await_condition(nodes, name, |node: Option<&Node>| {
        node.is_some_and(is_ready)
    });
    let ready = ready
        .await
        .with_context(|| format!("cannot watch the node {name}"))?;
    if ready.is_none() {
        bail!("the node {name} was deleted while it started");
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
        && !taints
            .into_iter()
            .flatten()
            .any(|t| t.key == euston_api::labels::TAINT_NOT_READY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_ready_when_pods_can_go_there() {
        let not_ready = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        for (status, taints, expect) in [
            (json!({}), json!([]), false),
            (
                json!({"conditions": [{"type": "Ready", "status": "False"}]}),
                json!([]),
                false,
            ),
            (
                json!({"conditions": [{"type": "Ready", "status": "True"}]}),
                json!([]),
                true,
            ),
            (
                json!({"conditions": [{"type": "Ready", "status": "True"}]}),
                not_ready,
                false,
            ),
        ] {
            let node: Node =
                serde_json::from_value(json!({"spec": {"taints": taints}, "status": status}))
                    .unwrap();
            assert_eq!(is_ready(&node), expect, "{status}");
        }
    }
}
