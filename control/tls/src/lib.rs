//! Certificates, and serving and calling over mutual TLS.
//!
//! One certificate [`Authority`] per cluster signs everything. Who a caller is, is what its client
//! certificate says: the subject's common name is the user, its organizations are the groups, as
//! in <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>.
//! [`serve`] puts that into every request as a [`PeerIdentity`]; [`HttpsClient`] is the other end.

mod authority;
mod client;
mod config;
mod error;
mod files;
mod identity;
mod serve;

pub use authority::{Authority, loopback_sans};
pub use client::{ClientBody, HttpsClient, SendError};
pub use config::{ClientAuth, client_config, server_config};
pub use error::TlsError;
pub use identity::{Identity, PeerIdentity};
pub use serve::{ServeLimits, serve};
