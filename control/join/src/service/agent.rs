//! Workers: letting them in, renewing their certificates, telling them where the servers are.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use euston_tls::{Authority, PeerCertificate, TlsError};
use http::header;

use super::{Inner, from, peer, read};
use crate::claim;
use crate::group::Member;
use crate::plan;
use crate::refusal::{Refusal, Result};
use crate::secret::Secret;
use crate::wire::{Addresses, AgentRequest, AgentResponse, RenewRequest, RenewResponse};

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// The CA's certificate, for somebody who knows its fingerprint.
pub(super) async fn ca(State(inner): State<Arc<Inner>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/x-pem-file")];
    (kind, inner.authority.ca_pem().to_owned()).into_response()
}

pub(super) async fn join(
    State(inner): State<Arc<Inner>>,
    request: Request,
) -> Result<Json<AgentResponse>> {
    let from = from(&request);
    let asked: AgentRequest = read(request).await?;
    let admitted = admit(&inner, &asked).await;
    match &admitted {
        Ok(_) => tracing::info!(node = %asked.name, %from, "a node joined"),
        Err(why) => {
            let why = &why.message;
            tracing::warn!(node = ?asked.name, %from, %why, "a node was refused");
        }
    }
    admitted.map(Json)
}

async fn admit(inner: &Inner, asked: &AgentRequest) -> Result<AgentResponse> {
    let (role, token) = inner.check_token(&asked.token).await?;
    let members = inner.group.members().await?;
    let names = plan::node_names(&asked.name, &asked.addresses, role, &members)?;
    let secret = node_secret(&asked.node_secret)?;
    // Before the name is taken, so that a request that cannot be signed takes none.
    let certificate = sign(&inner.authority, &asked.csr, &asked.name, &names)?;
    claim::take(&inner.client, &asked.name, &secret).await?;
    tracing::info!(node = %asked.name, %token, %role, "a token was used");
    Ok(AgentResponse {
        certificate,
        servers: urls(&members),
    })
}

/// A new certificate for whoever holds one that is still good: the same subject, the same names.
pub(super) async fn renew(
    State(inner): State<Arc<Inner>>,
    request: Request,
) -> Result<Json<RenewResponse>> {
    let from = from(&request);
    let peer = peer(&request)?.clone();
    let is_node = peer.organizations == [NODES];
    let Some(node) = peer
        .common_name
        .strip_prefix(NODE_PREFIX)
        .filter(|_| is_node)
    else {
        return Err(Refusal::forbidden(format!(
            "{:?} is no node, and only nodes' certificates are renewed here; servers sign their own",
            peer.common_name
        )));
    };
    let certificate = request.extensions().get::<PeerCertificate>();
    let names = certificate
        .ok_or_else(|| Refusal::internal("the connection's certificate is not at hand"))?
        .names()
        .map_err(|e| Refusal::internal(e.to_string()))?;
    let asked: RenewRequest = read(request).await?;
    let renewed = async {
        claim::check(&inner.client, node, &node_secret(&asked.node_secret)?).await?;
        sign(&inner.authority, &asked.csr, node, &names)
    };
    match renewed.await {
        Ok(certificate) => {
            tracing::info!(%node, %from, "a node's certificate was renewed");
            Ok(Json(RenewResponse { certificate }))
        }
        Err(why) => {
            tracing::warn!(%node, %from, why = %why.message, "a node's certificate was not renewed");
            Err(why)
        }
    }
}

/// Where the API is reached: for nodes, whose list grows old.
pub(super) async fn servers(
    State(inner): State<Arc<Inner>>,
    request: Request,
) -> Result<Json<Addresses>> {
    peer(&request)?;
    let members = inner.group.members().await?;
    Ok(Json(Addresses {
        servers: urls(&members),
    }))
}

/// A learner serves as well as any other, once it has started.
fn urls(members: &[Member]) -> Vec<String> {
    let urls = members.iter().flat_map(|m| m.client_urls.iter().cloned());
    urls.collect()
}

fn node_secret(text: &str) -> Result<Secret> {
    text.parse()
        .map_err(|e| Refusal::invalid(format!("the node's secret is unusable: {e}")))
}

fn sign(authority: &Authority, csr: &str, node: &str, names: &[String]) -> Result<String> {
    let subject = format!("{NODE_PREFIX}{node}");
    authority
        .sign_csr(csr, &subject, &[NODES], names)
        .map_err(|e| match e {
            TlsError::Unusable { .. } => Refusal::bad_request(e.to_string()),
            e => Refusal::internal(e.to_string()),
        })
}
