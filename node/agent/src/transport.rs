//! The way to pods of other nodes: HTTP/2 over mutual TLS to the agent there.

use ahash::AHashMap;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use euston_network::tunnel::{self, WireError};
use euston_network::{Body, RemoteTransport, Undelivered};
use euston_tls::HttpsClient;
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Knows where the agents of other nodes listen.
pub(crate) struct Transport {
    client: HttpsClient,
    /// Node name to `ADDRESS:PORT`.
    agents: ArcSwap<AHashMap<String, Arc<str>>>,
}

impl Transport {
    pub(crate) fn new(client: HttpsClient) -> Self {
        Self {
            client,
            agents: ArcSwap::default(),
        }
    }

    /// Takes note of a node's agent, or of its end.
    pub(crate) fn set(&self, node: &str, agent: Option<String>) {
        self.agents.rcu(|agents| {
            let mut agents = AHashMap::clone(agents);
            match &agent {
                Some(agent) => agents.insert(node.to_owned(), agent.as_str().into()),
                None => agents.remove(node),
            };
            agents
        });
    }
}

#[async_trait]
impl RemoteTransport for Transport {
    async fn send(
        &self,
        node: &str,
        to: SocketAddr,
        request: Request<Body>,
    ) -> Result<Response<Body>, Undelivered> {
        let agent = self.agents.load().get(node).cloned();
        let Some(agent) = agent else {
            return Err(Undelivered::Refused {
                request: Box::new(request),
                why: "its node is not known",
            });
        };
        let client = self.client.clone();
        tunnel::exchange(to, request, move |wire| post(client, agent, wire)).await
    }
}

async fn post(
    client: HttpsClient,
    agent: Arc<str>,
    mut wire: Request<Body>,
) -> Result<Response<Body>, WireError> {
    *wire.uri_mut() = Uri::builder()
        .scheme("https")
        .authority(&*agent)
        .path_and_query(tunnel::PATH)
        .build()
        .map_err(|error| WireError::NotConnected(error.to_string()))?;
    match client.send(wire).await {
        Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
        Err(error) if error.is_connect() => Err(WireError::NotConnected(error.to_string())),
        Err(error) => Err(WireError::Broken(error.to_string())),
    }
}
