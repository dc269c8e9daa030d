//! SPDY/3.1, as far as Kubernetes' streams use it: the serving side of a connection.
//!
//! Follows the SPDY draft 3.1 (<https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>).
//! `frame` and `headers` are the wire, `machine` decides what a frame means, `window` what may be
//! sent, and `connection` moves the bytes.

pub(crate) mod connection;
mod dictionary;
pub mod frame;
mod headers;
mod machine;
pub(crate) mod window;

pub use headers::{BlockError, Headers};
