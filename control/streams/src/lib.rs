//! Kubernetes' streams, the serving side: exec, attach and port-forward over WebSocket and
//! SPDY/3.1, and logs over WebSocket. Knows nothing of pods, and runs nothing.
//!
//! The way through this crate:
//!
//! 1. [`negotiate`] reads the head of a request: which wire the client wants,
//!    and what to answer.
//! 2. [`CommandSession`], [`ForwardSession`] and [`ReadingSession`] make of the upgraded connection what it is for,
//!    whatever the wire: standard streams and how it ended, connections to ports, or one stream out.
//! 3. Below them, `mux` is what the wires have in common: streams with back-pressure. `spdy` and
//!    `ws` are the wires. In each, frames and messages are pure; one task per connection moves them.
//!
//! Whatever a client sends is bounded: frames, header blocks, messages, streams, and what waits to
//! be read or sent. What breaks the protocol ends its connection with a close that says why.

#![allow(
    clippy::result_large_err,
    reason = "a refusal is an answer with its headers, and ends its request"
)]

mod alive;
mod command;
mod forward;
mod mux;
mod negotiate;
mod outcome;
mod reading;
pub mod spdy;
mod ws;

pub use command::{Asked, Channel, CommandSession};
pub use forward::{Forward, ForwardSession, ports};
pub use mux::{Gone, Inbox, Outbox};
pub use negotiate::{Agreed, Purpose, Refusal, negotiate, strip_token, wanted_upgrade};
pub use outcome::Outcome;
pub use reading::ReadingSession;

use std::time::Duration;

/// The header by which a node tells the API server that an answer to a proxied request is its own,
/// not that of what stands behind: a refusal, in a sentence.
pub const UNDELIVERED: &str = "euston-undelivered";

/// A session that did not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The client is gone.
    #[error("the client closed the connection before the session began")]
    Lost,
    /// The client did not open the streams that it asked for in time.
    #[error("the client did not open its streams within {} s", .0.as_secs())]
    Streams(Duration),
}
