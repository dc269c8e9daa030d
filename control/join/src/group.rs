//! The group of servers, as this crate needs it. Whoever runs the store implements it.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The id of a member, or of a group. Shown in hexadecimal, as etcd's tools do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for GroupId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `from_str_radix` would take a sign.
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("{text:?} is not an id: hexadecimal digits"));
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|e| format!("{text:?} is not an id: {e}"))
    }
}

impl Serialize for GroupId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GroupId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Given once and never again.
    pub id: GroupId,
    /// The server's name; empty until it has started for the first time.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where the API is reached on it (`https://HOST:PORT`); empty until it has started for the first time.
    pub client_urls: Vec<String>,
    /// Whether it follows without having a vote.
    pub learner: bool,
    /// Whether it ever ran. One that did may have promised things to the group that only its data
    /// directory remembers, so nobody else may take its id.
    pub started: bool,
    /// Whether it can be reached now, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
}

/// Why the group did not do what was asked. Each holds a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// There is no such member.
    #[error("{0}")]
    NotFound(String),
    /// The group will not do it as things stand: it would lose its quorum, a learner is not ready, a member
    /// exists already.
    #[error("{0}")]
    Refused(String),
    /// There is no leader, or no quorum. Nothing has changed; it may work later or at another server.
    #[error("{0}")]
    Unavailable(String),
    /// Whether it happened is unknown; ask for the members.
    #[error("{0}")]
    Unknown(String),
}

/// What joining and membership need of the replicated store. All calls end within the store's own time limit.
#[async_trait]
pub trait Group: Send + Sync + 'static {
    /// The group's id.
    fn cluster_id(&self) -> GroupId;

    /// All members, as of now: not what a member that lags behind believes.
    ///
    /// # Errors
    /// [`GroupError::Unavailable`] where the group cannot confirm it.
    async fn members(&self) -> Result<Vec<Member>, GroupError>;

    /// Who leads, as far as this member knows.
    fn leader(&self) -> Option<GroupId>;

    /// Tells the group of a new member without a vote. The id was never used before.
    ///
    /// # Errors
    /// See [`GroupError`]; `Refused` where a member with this URL exists.
    async fn add_learner(&self, peer_url: &str) -> Result<Member, GroupError>;

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// See [`GroupError`].
    async fn promote(&self, id: GroupId) -> Result<(), GroupError>;

    /// Removes a member for good.
    ///
    /// # Errors
    /// See [`GroupError`].
    async fn remove(&self, id: GroupId) -> Result<(), GroupError>;

    /// Puts a new member, with a new id, into the place of another in one step.
    ///
    /// # Errors
    /// See [`GroupError`].
    async fn replace(&self, gone: GroupId, peer_url: &str) -> Result<Member, GroupError>;

    /// Hands leadership to a member, and returns when it leads.
    ///
    /// # Errors
    /// See [`GroupError`].
    async fn move_leader(&self, to: GroupId) -> Result<(), GroupError>;
}
