//! A server joins the group, or starts again as the member that it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use euston_client::{ServerAddress, connect};
use euston_tls::Authority;
use euston_tls::files::{self, Access};
use serde::{Deserialize, Serialize};

use super::JoinError;
use super::contact::{ask, learn_ca};
use super::stored::same_cluster;
use crate::group::{GroupId, Member};
use crate::token::{JoinToken, Role};
use crate::wire::{JOIN_SERVER_PATH, ServerRequest, ServerResponse};

/// A server that wants to be a member of a group.
#[derive(Clone, Debug)]
pub struct ServerJoin {
    /// Servers to ask, any of which will do.
    pub servers: Vec<ServerAddress>,
    /// A server's token; needed the first time.
    pub token: Option<JoinToken>,
    /// The server's name.
    pub name: String,
    /// Where other members reach it: `https://HOST:PORT`.
    pub peer_url: String,
    /// Where the CA and the place in the group are kept (readable by the owner alone).
    pub dir: PathBuf,
    /// How long to try where servers cannot be reached or have no leader, such as
    /// [`JOIN_PATIENCE`](super::JOIN_PATIENCE).
    pub patience: Duration,
}

/// A server that has a place in the group. It is a learner until it is promoted.
#[derive(Debug)]
pub struct JoinedServer {
    /// The cluster's CA, with its key: a server signs its own certificates, and those of agents.
    pub authority: Authority,
    /// The group.
    pub cluster_id: GroupId,
    /// What this server is in it.
    pub member_id: GroupId,
    /// The members at the time of joining, this one among them: where a new store finds the group.
    pub members: Vec<Member>,
}

const PLACE_FILE: &str = "member.json";

/// What is kept of the place in the group. It is written last: where it is, all is.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Place {
    name: String,
    peer_url: String,
    cluster_id: GroupId,
    member_id: GroupId,
    members: Vec<Member>,
}

/// Starts as the member that is stored in `join.dir`; joins with the token where nothing is stored. A machine
/// that asks twice before its store ever ran gets the same place.
///
/// # Errors
/// See [`JoinError`].
pub async fn join_server(join: &ServerJoin) -> Result<JoinedServer, JoinError> {
    if let Some(place) = load(join)? {
        let authority = Authority::load_or_create(&join.dir)?;
        same_cluster(
            &join.name,
            &join.dir,
            authority.ca_pem(),
            join.token.as_ref(),
        )?;
        return Ok(JoinedServer {
            authority,
            cluster_id: place.cluster_id,
            member_id: place.member_id,
            members: place.members,
        });
    }
    let Some(token) = &join.token else {
        return Err(JoinError::NeedsToken {
            name: join.name.clone(),
            why: "it has not joined a group of servers yet".to_owned(),
            role: Role::Server,
        });
    };
    if token.role != Role::Server {
        // Said here already, so that nothing is sent in vain.
        return Err(JoinError::NeedsToken {
            name: join.name.clone(),
            why: format!("the token {} is an {}'s", token.id, token.role),
            role: Role::Server,
        });
    }
    tracing::info!(server = %join.name, "joining the group of servers");
    let ca_pem = learn_ca(&join.servers, token.ca, join.patience).await?;
    let (client, _) = connect(join.servers.clone(), &ca_pem, None)?;
    let request = ServerRequest {
        token: token.to_string(),
        name: join.name.clone(),
        peer_url: join.peer_url.clone(),
    };
    let answer: ServerResponse = ask(&client, JOIN_SERVER_PATH, &request, join.patience).await?;
    if answer.ca != ca_pem {
        return Err(JoinError::Answer(
            "the server gave another CA certificate than it began with".to_owned(),
        ));
    }
    let authority = Authority::import(&join.dir, &answer.ca, &answer.ca_key)?;
    let place = Place {
        name: join.name.clone(),
        peer_url: join.peer_url.clone(),
        cluster_id: answer.cluster_id,
        member_id: answer.member_id,
        members: answer.members.clone(),
    };
    save(&join.dir, &place)?;
    Ok(JoinedServer {
        authority,
        cluster_id: answer.cluster_id,
        member_id: answer.member_id,
        members: answer.members,
    })
}

fn load(join: &ServerJoin) -> Result<Option<Place>, JoinError> {
    let path = join.dir.join(PLACE_FILE);
    let Some(text) = files::read(&path)? else {
        return Ok(None);
    };
    let place: Place = serde_json::from_str(&text)
        .map_err(|e| JoinError::Answer(format!("{} is damaged: {e}", path.display())))?;
    if (&place.name, &place.peer_url) != (&join.name, &join.peer_url) {
        return Err(JoinError::OtherData {
            name: join.name.clone(),
            dir: join.dir.display().to_string(),
            why: format!(
                "belongs to the server {} with the peer URL {}, and this one is {} with {}",
                place.name, place.peer_url, join.name, join.peer_url
            ),
        });
    }
    Ok(Some(place))
}

fn save(dir: &Path, place: &Place) -> Result<(), JoinError> {
    let text = serde_json::to_string_pretty(place)
        .map_err(|e| JoinError::Answer(format!("the place in the group cannot be stored: {e}")))?;
    Ok(files::write(
        &dir.join(PLACE_FILE),
        &text,
        Access::Everyone,
    )?)
}
