//! The Kubernetes API over the replicated store.
//!
//! ```text
//! endpoints   HTTP: a file per verb, none knows a kind
//!   -> registry    one generic store x a small Strategy per kind
//!        -> admission   namespaces, service addresses
//!        -> storage     bytes with preconditions; caches that serve reads and watches
//! custom      kinds that are defined while the server serves
//! kinds       the strategies: defaults, validation, columns
//! schema, patch, openapi   facts about the types, and what is made of them
//! ```

mod access;
mod admission;
mod bootstrap;
mod custom;
mod endpoints;
mod error;
mod kinds;
pub mod openapi;
pub mod patch;
mod registry;
pub mod schema;
mod server;
mod storage;
mod upkeep;

pub use endpoints::GIT_VERSION;
pub use error::ApiError;
pub use euston_access::user::MASTERS;
pub use server::{ApiServer, Config};
pub use storage::ImageCatalog;
