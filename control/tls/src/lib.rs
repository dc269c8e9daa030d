//! Certificates, and serving and calling over mutual TLS.
//!
//! One certificate [`Authority`] per cluster signs everything. Who a caller is, is what its client
//! certificate says: the subject's common name is the user, its organizations are the groups, as
//! in <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>.
//! [`serve`] puts that into every request as a [`PeerIdentity`]; [`HttpsClient`] is the other end.

mod activity;
mod authority;
mod client;
mod config;
mod csr;
mod error;
pub mod files;
mod fingerprint;
mod identity;
mod peers;
mod request;
mod serve;
mod trust;

pub use authority::{Authority, loopback_sans};
pub use client::{ClientBody, HttpsClient, SendError};
pub use config::{ClientAuth, client_config, server_config};
pub use csr::SigningRequest;
pub use error::{TlsError, chain};
pub use fingerprint::Fingerprint;
pub use identity::{Identity, PeerCertificate, PeerIdentity};
pub use request::{RequestedSubject, read_bundle, read_request};
pub use serve::{ServeLimits, serve};
pub use trust::{FetchCaError, fetch_ca};
