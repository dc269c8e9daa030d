//! The joining side: first contact, what is stored, and how it stays valid.

mod agent;
mod contact;
mod members;
mod renewal;
mod server;
mod stored;

use std::time::Duration;

use euston_client::AddressError;
use euston_tls::TlsError;

pub use agent::{AgentJoin, JoinedAgent, join_agent};
pub use contact::JOIN_PATIENCE;
pub use members::{
    MembersError, list_members, move_leader, promote_member, remove_member, replace_member,
};
pub use renewal::{Renewal, keep_current};
pub use server::{JoinedServer, ServerJoin, join_server};

/// Why a machine did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No server answered, or none that is the cluster of the token.
    #[error("cannot join: no server let this machine learn its CA: {}", .0.join("; "))]
    NoContact(Vec<String>),
    /// A server answered and refused.
    #[error("cannot join: the cluster refuses: {0}")]
    Refused(String),
    /// No server could take the request within the time that there is.
    #[error("cannot join within {}s: {last}", .patience.as_secs())]
    Timeout {
        /// How long it was tried.
        patience: Duration,
        /// What was wrong in the end.
        last: String,
    },
    /// What is stored cannot be used and there is no token to join anew.
    #[error(
        "cannot start as {name}: {why}; give --token, which on a machine of the cluster `euston token create --role {role}` makes"
    )]
    NeedsToken {
        /// Who is starting.
        name: String,
        /// Why a token is needed.
        why: String,
        /// The role of the token.
        role: crate::Role,
    },
    /// The data folder is somebody else's.
    #[error(
        "cannot start as {name}: the folder {dir} {why}; use another folder, or remove this one to start afresh"
    )]
    OtherData {
        /// Who is starting.
        name: String,
        /// The folder.
        dir: String,
        /// Whose it is.
        why: String,
    },
    /// A server's answer makes no sense.
    #[error("cannot join: {0}")]
    Answer(String),
    /// Certificates or files.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address in what a server or a file said.
    #[error(transparent)]
    Address(#[from] AddressError),
}
