//! Why clients cannot be served.

use std::net::SocketAddr;

/// Why clients cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// Without TLS, the address would let everyone read and write the store.
    #[error(
        "refusing to serve clients at {address} without TLS: give certificates (--cert, --key), or listen on a loopback address"
    )]
    PlainBeyondLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The listener does not say where it listens.
    #[error("the listener for clients cannot be used: {0}")]
    Listener(#[from] std::io::Error),
}
