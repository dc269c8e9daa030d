//! Why a network could not be started.

use std::net::SocketAddr;

/// Why a network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The address cannot be listened at.
    #[error("cannot listen for other members at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// Without TLS, the address would let everyone write to the store.
    #[error(
        "refusing to listen for other members at {address} without TLS: give certificates, or a loopback address, or allow plain connections from everywhere"
    )]
    PlainBeyondLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The configuration contradicts itself.
    #[error("{what}")]
    Config {
        /// What is wrong.
        what: String,
    },
    /// A member could not be asked who the members are.
    #[error("could not ask the member at {url} who the members of its group are: {why}")]
    Ask {
        /// Where it was to be called.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// Serving was begun before, or the network was shut down.
    #[error("the network at {address} serves already or was shut down")]
    NotWaiting {
        /// Where it listens.
        address: SocketAddr,
    },
}
