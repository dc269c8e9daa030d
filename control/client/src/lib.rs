//! What every in-cluster client shares: [`Informer`] (one list and watch, any number of readers),
//! [`WorkQueue`] (deduplicated keys with back-off), [`EventRecorder`] (core/v1 Events) and the
//! small vocabulary around them.
//!
//! Everything here talks only through [`kube::Client`], so that each part of the cluster that uses
//! it is a standing test of the API's compatibility.

mod backoff;
mod changes;
mod connect;
pub mod errors;
mod event_log;
mod events;
mod fence;
mod informer;
mod key;
mod queue;
mod store;
mod workers;

pub use backoff::Backoff;
pub use changes::{ChangeBatch, Changes};
pub use connect::{AddressError, DEFAULT_PORT, ServerAddress, Servers, connect};
pub use events::{EventRecorder, EventType, reference};
pub use fence::WriteFence;
pub use informer::{Informer, InformerBuilder, Selection};
pub use key::{ObjectKey, revision_of};
pub use queue::{Claim, RateLimit, WorkQueue};
pub use store::Delta;
pub use workers::{Next, run_workers};
