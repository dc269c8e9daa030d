//! Looking after the group of servers: for administrators. What would cost the group its quorum is
//! refused by the group itself, whose sentence is passed on.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};

use super::{Inner, from, only_masters, peer, read};
use crate::group::{GroupId, Member};
use crate::plan;
use crate::refusal::Result;
use crate::wire::{MemberList, ReplaceRequest};

pub(super) async fn list(
    State(inner): State<Arc<Inner>>,
    request: Request,
) -> Result<Json<MemberList>> {
    only_masters(&request)?;
    current(&inner).await
}

pub(super) async fn remove(
    State(inner): State<Arc<Inner>>,
    Path(which): Path<String>,
    request: Request,
) -> Result<Json<MemberList>> {
    let id = meant(&inner, &which, asked_by(&request)?, "remove")
        .await?
        .id;
    inner.group.remove(id).await?;
    current(&inner).await
}

pub(super) async fn promote(
    State(inner): State<Arc<Inner>>,
    Path(which): Path<String>,
    request: Request,
) -> Result<Json<MemberList>> {
    let member = meant(&inner, &which, asked_by(&request)?, "promote").await?;
    // Asked twice is asked once.
    if member.learner {
        inner.group.promote(member.id).await?;
    }
    current(&inner).await
}

pub(super) async fn lead(
    State(inner): State<Arc<Inner>>,
    Path(which): Path<String>,
    request: Request,
) -> Result<Json<MemberList>> {
    let id = meant(&inner, &which, asked_by(&request)?, "lead").await?.id;
    if inner.group.leader() != Some(id) {
        inner.group.move_leader(id).await?;
    }
    current(&inner).await
}

/// Answers with the new member, whose machine then joins with its peer URL.
pub(super) async fn replace(
    State(inner): State<Arc<Inner>>,
    Path(which): Path<String>,
    request: Request,
) -> Result<Json<Member>> {
    let id: GroupId = meant(&inner, &which, asked_by(&request)?, "replace")
        .await?
        .id;
    let wanted: ReplaceRequest = read(request).await?;
    let peer_url = plan::peer_url(&wanted.peer_url)?;
    let _one_at_a_time = inner.places.lock().await;
    Ok(Json(inner.group.replace(id, &peer_url).await?))
}

async fn current(inner: &Inner) -> Result<Json<MemberList>> {
    let mut members = inner.group.members().await?;
    members.sort_by_key(|m| m.id);
    Ok(Json(MemberList {
        cluster_id: inner.group.cluster_id(),
        leader: inner.group.leader(),
        members,
    }))
}

/// An administrator.
struct Asker {
    user: String,
    from: String,
}

fn asked_by(request: &Request) -> Result<Asker> {
    only_masters(request)?;
    Ok(Asker {
        user: peer(request)?.common_name.clone(),
        from: from(request),
    })
}

/// The member that an administrator wants something done to, with a line in the log.
async fn meant(inner: &Inner, which: &str, by: Asker, what: &str) -> Result<Member> {
    let members = inner.group.members().await?;
    let member = plan::find(which, &members)?.clone();
    let Asker { user, from } = by;
    tracing::info!(%what, id = %member.id, name = %member.name, %user, %from, "a change of the group was asked for");
    Ok(member)
}
