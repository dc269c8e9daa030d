//! How servers and agents join a cluster.
//!
//! A [`JoinToken`] says which cluster (the CA's fingerprint) and proves that its holder may come in. The
//! machine that joins fetches the CA's certificate and knows it by the fingerprint; from then on every
//! connection is verified, and only then the token is sent ([`client`]). The cluster
//! ([`JoinService`]) checks the token against what it keeps of it ([`tokens`]), and answers:
//!
//! - an agent with a certificate for a key that the agent made and keeps, in the name of its node,
//!   which from then on belongs to that machine (`claim.rs`);
//! - a server with the CA's key, and a place in the group of servers (a [`Group`]).
//!
//! What is decided about either is in `plan.rs`, without I/O. Once in, a machine needs no token again:
//! it goes on with what it has stored, and renews its certificate before that ends.

mod claim;
pub mod client;
mod group;
mod limit;
mod plan;
mod refusal;
mod secret;
mod service;
mod token;
pub mod tokens;
mod wire;

pub use group::{Group, GroupError, GroupId, Member};
pub use secret::{Secret, SecretHash};
pub use service::JoinService;
pub use token::{JoinToken, ParseTokenError, Role, TokenId};
pub use wire::{CA_PATH, MemberList};
