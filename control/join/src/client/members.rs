//! Looking after the group of servers from outside, with an administrator's client.

use http::Method;
use kube::Client;

use super::contact::{Failure, once};
use crate::group::Member;
use crate::wire::{MEMBERS_PATH, MemberList, ReplaceRequest};

const NO_BODY: Option<&()> = None;

/// What the cluster, or the way to it, said to a wish about its group of servers.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {why}")]
pub struct MembersError {
    action: String,
    why: String,
}

/// The members.
///
/// # Errors
/// With the cluster's sentence, or why it could not be asked.
pub async fn list_members(client: &Client) -> Result<MemberList, MembersError> {
    let answer = once(client, Method::GET, MEMBERS_PATH, NO_BODY).await;
    answer.map_err(failed("list the members".to_owned()))
}

/// Removes a member for good, by name or id. Answers with those that stay.
///
/// # Errors
/// As [`list_members`].
pub async fn remove_member(client: &Client, which: &str) -> Result<MemberList, MembersError> {
    let failed = failed(format!("remove the member {which}"));
    let path = path(which, "");
    let answer = once(client, Method::DELETE, &path, NO_BODY).await;
    answer.map_err(failed)
}

/// Gives a learner a vote.
///
/// # Errors
/// As [`list_members`].
pub async fn promote_member(client: &Client, which: &str) -> Result<MemberList, MembersError> {
    let failed = failed(format!("promote the member {which}"));
    let path = path(which, "/promote");
    let answer = once(client, Method::POST, &path, NO_BODY).await;
    answer.map_err(failed)
}

/// Hands leadership to a member.
///
/// # Errors
/// As [`list_members`].
pub async fn move_leader(client: &Client, which: &str) -> Result<MemberList, MembersError> {
    let failed = failed(format!("make the member {which} lead"));
    let path = path(which, "/lead");
    let answer = once(client, Method::POST, &path, NO_BODY).await;
    answer.map_err(failed)
}

/// Puts a new member into the place of another. Answers with the new one; the machine at `peer_url` then joins
/// as usual.
///
/// # Errors
/// As [`list_members`].
pub async fn replace_member(
    client: &Client,
    which: &str,
    peer_url: &str,
) -> Result<Member, MembersError> {
    let request = ReplaceRequest {
        peer_url: peer_url.to_owned(),
    };
    let failed = failed(format!("replace the member {which} by {peer_url}"));
    let path = path(which, "/replace");
    let answer = once(client, Method::POST, &path, Some(&request)).await;
    answer.map_err(failed)
}

fn failed(action: String) -> impl FnOnce(Failure) -> MembersError {
    |failure| MembersError {
        action,
        why: failure.message(),
    }
}

/// Names of servers and ids need no escape in a path. What else somebody types becomes `-`s, which is no
/// member's name, so that the cluster's answer lists those that there are.
fn path(which: &str, action: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let which: String = which
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    let which = if which.is_empty() { "-" } else { &which };
    format!("{MEMBERS_PATH}/{which}{action}")
}
