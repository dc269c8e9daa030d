//! Tokens: service accounts' signed ones, and the plain ones that nodes join with.
//!
//! ```text
//! key        the key pair that signs and verifies, and how it is published
//! claims     what a token says, and whether that is good now
//! request    what may be asked of a new token
//! bootstrap  tokens that are Secrets (`ID.SECRET`)
//! ```

pub mod bootstrap;
pub mod claims;
pub mod key;
pub mod request;

pub use claims::{Claims, Named};
pub use key::SigningKey;

/// Whose tokens these are, and for whom, unless the request says so: the address at which pods know the API.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
