//! Servers: a place in the group, and the CA's key.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};

use super::{Inner, from, read};
use crate::group::{GroupError, GroupId};
use crate::plan::{self, Place};
use crate::refusal::{Refusal, Result};
use crate::token::Role;
use crate::wire::{ServerRequest, ServerResponse};

pub(super) async fn join(
    State(inner): State<Arc<Inner>>,
    request: Request,
) -> Result<Json<ServerResponse>> {
    let from = from(&request);
    let asked: ServerRequest = read(request).await?;
    let admitted = admit(&inner, &asked).await;
    match &admitted {
        Ok(admitted) => {
            let (server, url, id) = (&asked.name, &asked.peer_url, admitted.member_id);
            tracing::info!(%server, %url, %id, %from, "a server joined");
        }
        Err(why) => {
            let (server, url, why) = (&asked.name, &asked.peer_url, &why.message);
            tracing::warn!(?server, ?url, %from, %why, "a server was refused");
        }
    }
    admitted.map(Json)
}

async fn admit(inner: &Inner, asked: &ServerRequest) -> Result<ServerResponse> {
    let (role, token) = inner.check_token(&asked.token).await?;
    if role != Role::Server {
        return Err(Refusal::forbidden(format!(
            "the token {token} is an {role}'s and does not let a server in; `euston token create --role server` makes \
             one that does"
        )));
    }
    let peer_url = plan::peer_url(&asked.peer_url)?;
    let member_id = take_place(inner, &asked.name, &peer_url).await?;
    tracing::info!(server = %asked.name, %token, "a token was used");
    Ok(ServerResponse {
        ca: inner.authority.ca_pem().to_owned(),
        ca_key: inner.authority.key_pem(),
        cluster_id: inner.group.cluster_id(),
        member_id,
        members: inner.group.members().await?,
    })
}

/// The member that the server is. Asked again before it has started, it is the same.
async fn take_place(inner: &Inner, name: &str, peer_url: &str) -> Result<GroupId> {
    let _one_at_a_time = inner.places.lock().await;
    let members = inner.group.members().await?;
    match plan::place(name, peer_url, &members)? {
        Place::Waiting(id) => Ok(id),
        Place::New => match inner.group.add_learner(peer_url).await {
            Ok(member) => Ok(member.id),
            // It may have asked another server at the same moment.
            Err(GroupError::Refused(why)) => {
                let members = inner.group.members().await?;
                match plan::place(name, peer_url, &members)? {
                    Place::Waiting(id) => Ok(id),
                    Place::New => Err(Refusal::conflict(why)),
                }
            }
            Err(e) => Err(e.into()),
        },
    }
}
