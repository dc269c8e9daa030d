//! What the network of a node learns from the API: Services, their endpoints, and other nodes.

use crate::node::Node;
use crate::transport::Transport;
use euston_client::{Informer, Selection};
use euston_network::NodePortEvent;
use k8s_openapi::api::core::v1::{Node as ApiNode, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The handlers run on the informers' tasks and only touch tables in memory.
pub(crate) fn start(node: &Arc<Node>, transport: Arc<Transport>, stop: &CancellationToken) {
    let client = || node.config.client.clone();
    let table = node.net.table().clone();
    Informer::<Service>::start(client(), Selection::all(), stop.clone()).on_change(move |delta| {
        match (delta.new, delta.old) {
            (Some(service), _) => table.apply_service(service),
            (None, Some(old)) => {
                if let (Some(namespace), Some(name)) = (&old.metadata.namespace, &old.metadata.name)
                {
                    table.remove_service(namespace, name);
                }
            }
            (None, None) => {}
        }
    });
    let table = node.net.table().clone();
    Informer::<EndpointSlice>::start(client(), Selection::all(), stop.clone()).on_change(
        move |delta| match (delta.new, delta.old) {
            (Some(slice), _) => table.apply_slice(slice),
            (None, Some(old)) => {
                if let (Some(namespace), Some(name)) = (&old.metadata.namespace, &old.metadata.name)
                {
                    table.remove_slice(namespace, name);
                }
            }
            (None, None) => {}
        },
    );
    let me = node.clone();
    Informer::<ApiNode>::start(client(), Selection::all(), stop.clone()).on_change(move |delta| {
        let Some(name) = delta
            .latest()
            .and_then(|node| node.metadata.name.as_deref())
        else {
            return;
        };
        match delta.new {
            Some(node) => {
                if name == me.config.node_name {
                    me.take_range(node);
                }
                let range = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref());
                if let Some(Ok(range)) = range.map(str::parse) {
                    me.net.set_node(name, range);
                }
                let agent = agent_of(node);
                let before = delta.old.and_then(|old| agent_of(old));
                if before != agent {
                    transport.set(name, agent);
                }
            }
            None => {
                me.net.remove_node(name);
                transport.set(name, None);
            }
        }
    });
}

/// `ADDRESS:PORT` of a node's agent.
fn agent_of(node: &ApiNode) -> Option<String> {
    let status = node.status.as_ref()?;
    let address = status
        .addresses
        .iter()
        .flatten()
        .find(|address| address.type_ == "InternalIP")?;
    let port = status
        .daemon_endpoints
        .as_ref()?
        .kubelet_endpoint
        .as_ref()?
        .port;
    let ip: std::net::IpAddr = address.address.parse().ok()?;
    Some(std::net::SocketAddr::new(ip, u16::try_from(port).ok()?).to_string())
}

/// Tells people about node ports that cannot be opened.
pub(crate) async fn report_listeners(node: Arc<Node>, mut news: mpsc::Receiver<NodePortEvent>) {
    loop {
        let event = tokio::select! {
            event = news.recv() => event,
            () = node.shutdown.cancelled() => return,
        };
        match event {
            None => return,
            Some(NodePortEvent::Opened(port)) => tracing::debug!(port, "node port open"),
            Some(NodePortEvent::Closed(port)) => tracing::debug!(port, "node port closed"),
            Some(NodePortEvent::Failed { port, why }) => {
                tracing::warn!(port, why, "cannot serve a node port; it is tried again");
            }
        }
    }
}
