//! What is said between a machine that joins and the cluster: JSON under `/euston/v1`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::group::{GroupId, Member};

/// The CA certificate, PEM; for anybody.
pub const CA_PATH: &str = "/euston/v1/ca";
/// [`AgentRequest`] to [`AgentResponse`].
pub(crate) const JOIN_AGENT_PATH: &str = "/euston/v1/join/agent";
/// [`ServerRequest`] to [`ServerResponse`].
pub(crate) const JOIN_SERVER_PATH: &str = "/euston/v1/join/server";
/// [`RenewRequest`] to [`RenewResponse`].
pub(crate) const RENEW_PATH: &str = "/euston/v1/renew";
/// [`Addresses`], for whoever has a certificate.
pub(crate) const SERVERS_PATH: &str = "/euston/v1/servers";
/// [`MemberList`], for administrators.
pub(crate) const MEMBERS_PATH: &str = "/euston/v1/members";

/// The largest body of a request. A signing request has less than 1 KiB.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// A worker that asks to be let in.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentRequest {
    pub(crate) token: String,
    pub(crate) name: String,
    /// What its certificate is to be good for, beside its name.
    pub(crate) addresses: Vec<IpAddr>,
    /// What only this machine knows, so that nobody else takes its name.
    pub(crate) node_secret: String,
    pub(crate) csr: String,
}

/// A worker that was let in.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentResponse {
    pub(crate) certificate: String,
    /// Where the API is reached.
    pub(crate) servers: Vec<String>,
}

/// A server that asks to be let in. It sends no signing request, for it gets the CA's key and signs its
/// certificates itself.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServerRequest {
    pub(crate) token: String,
    pub(crate) name: String,
    pub(crate) peer_url: String,
}

/// A server that was let in.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerResponse {
    pub(crate) ca: String,
    pub(crate) ca_key: String,
    pub(crate) cluster_id: GroupId,
    pub(crate) member_id: GroupId,
    pub(crate) members: Vec<Member>,
}

/// A worker whose certificate grows old.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RenewRequest {
    pub(crate) node_secret: String,
    pub(crate) csr: String,
}

/// Its new one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RenewResponse {
    pub(crate) certificate: String,
}

/// Where the API is reached.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Addresses {
    pub(crate) servers: Vec<String>,
}

/// The group of servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberList {
    /// The group.
    pub cluster_id: GroupId,
    /// Who leads, where there is a leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<GroupId>,
    /// All members, by id.
    pub members: Vec<Member>,
}

/// A machine that takes the place of a member.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReplaceRequest {
    pub(crate) peer_url: String,
}
