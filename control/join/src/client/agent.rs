//! A worker joins, or starts again as what it was.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use euston_client::{ServerAddress, connect};
use euston_tls::{Identity, SigningRequest};

use super::JoinError;
use super::contact::{ask, learn_ca};
use super::stored::{IDENTITY, Stored, same_cluster, union};
use crate::token::{JoinToken, Role};
use crate::wire::{AgentRequest, AgentResponse, JOIN_AGENT_PATH};

/// A worker that wants to be part of a cluster.
#[derive(Clone, Debug)]
pub struct AgentJoin {
    /// Servers to ask, any of which will do.
    pub servers: Vec<ServerAddress>,
    /// Needed the first time, and when what is stored will not do any more.
    pub token: Option<JoinToken>,
    /// The node's name.
    pub name: String,
    /// Where others reach it.
    pub addresses: Vec<IpAddr>,
    /// Where key, certificates and the node's secret are kept (readable by the owner alone).
    pub dir: PathBuf,
    /// How long to try where servers cannot be reached or have no leader, such as
    /// [`JOIN_PATIENCE`](super::JOIN_PATIENCE).
    pub patience: Duration,
}

/// A worker that is part of a cluster.
#[derive(Clone, Debug)]
pub struct JoinedAgent {
    /// The node's certificate and key, for `system:node:NAME`; it serves and calls with them.
    pub identity: Identity,
    /// The cluster's CA.
    pub ca_pem: String,
    /// Where the API is reached: the servers that were given, and those that the cluster told of.
    pub servers: Vec<ServerAddress>,
}

/// Starts as the node that is stored in `join.dir`; joins with the token where nothing is stored, or what is
/// stored is over, or not for these addresses.
///
/// # Errors
/// See [`JoinError`].
pub async fn join_agent(join: &AgentJoin) -> Result<JoinedAgent, JoinError> {
    let stored = Stored(&join.dir);
    let known_ca = stored.ca()?;
    if let Some(ca_pem) = &known_ca {
        same_cluster(&join.name, &join.dir, ca_pem, join.token.as_ref())?;
    }
    let needs_token = match (&known_ca, stored.identity()?) {
        (Some(ca_pem), Some(identity)) => match usable(join, &identity)? {
            Ok(()) => {
                return Ok(JoinedAgent {
                    identity,
                    ca_pem: ca_pem.clone(),
                    servers: union(&join.servers, &stored.servers()?),
                });
            }
            Err(why) => why,
        },
        _ => "it has not joined a cluster yet".to_owned(),
    };
    let Some(token) = &join.token else {
        return Err(JoinError::NeedsToken {
            name: join.name.clone(),
            why: needs_token,
            role: Role::Agent,
        });
    };
    tracing::info!(node = %join.name, why = %needs_token, "joining the cluster");
    let servers = union(&join.servers, &stored.servers()?);
    let ca_pem = learn_ca(&servers, token.ca, join.patience).await?;
    let (client, _) = connect(servers.clone(), &ca_pem, None)?;
    // Stored before it is sent: if the answer is lost, the next attempt must know the same secret.
    let secret = stored.node_secret()?;
    let key = SigningRequest::new()?;
    let request = AgentRequest {
        token: token.to_string(),
        name: join.name.clone(),
        addresses: join.addresses.clone(),
        node_secret: secret.to_string(),
        csr: key.csr_pem.clone(),
    };
    let answer: AgentResponse = ask(&client, JOIN_AGENT_PATH, &request, join.patience).await?;
    let identity = key.complete(answer.certificate)?;
    let learnt = answer
        .servers
        .iter()
        .map(|url| url.parse())
        .collect::<Result<Vec<ServerAddress>, _>>()?;
    stored.save_servers(&learnt)?;
    stored.save_ca(&ca_pem)?;
    identity.save(&join.dir, IDENTITY)?;
    Ok(JoinedAgent {
        identity,
        ca_pem,
        servers: union(&join.servers, &learnt),
    })
}

/// Whether a stored identity is this node's and still good; else why not. Another node's is an error, since
/// joining anew in its folder would take over its secret too.
fn usable(join: &AgentJoin, identity: &Identity) -> Result<Result<(), String>, JoinError> {
    let subject = identity.subject()?.common_name;
    if subject != format!("system:node:{}", join.name) {
        return Err(JoinError::OtherData {
            name: join.name.clone(),
            dir: join.dir.display().to_string(),
            why: format!("belongs to {subject:?}"),
        });
    }
    let (_, end) = identity.validity()?;
    if end <= SystemTime::now() {
        return Ok(Err("its certificate has ended".to_owned()));
    }
    let names = identity.names()?;
    let missing = join.addresses.iter().map(IpAddr::to_string);
    let missing: Vec<String> = missing.filter(|a| !names.contains(a)).collect();
    if missing.is_empty() {
        Ok(Ok(()))
    } else {
        Ok(Err(format!(
            "its certificate is not for {}",
            missing.join(", ")
        )))
    }
}
