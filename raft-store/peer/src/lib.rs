//! Carries a replicated store's messages and snapshots between its members, over gRPC (HTTP/2) and mutual TLS.
//!
//! ```text
//! core -- Transport --> queue per member -- one stream each, batched --> Inbox -- core of the other member
//!                       bounded, drops                                   waits for room: flow control reaches back
//!          snapshots: a connection of their own, read and written on threads that may block
//! ```
//! [`PeerNetwork::listen`] takes the port and gives out the [`Transport`] that a store needs to open;
//! [`PeerNetwork::serve`] then takes the [`Inbox`] that the open store gives out.
//!
//! # What it promises
//! - To one member, frames arrive in order and each at most once, over any number of connections. A newer stream of a
//!   member ends the one before, and delivers only when that has delivered its last.
//! - [`Transport::send`] takes a lock, moves the frames and wakes a task. What has no room, and what waits for a member
//!   that cannot be connected to, is dropped and counted; the core is told by [`Inbox::unreachable`].
//! - A member that is down is called again after pauses that grow to [`PeerConfig::backoff_max`], and at once when it
//!   calls itself. So one that starts again is reached as fast as it starts.
//! - Every call begins with who is calling whom in which cluster. What does not fit is refused with a status that names
//!   both sides, and logged once by each.
//! - The end of a snapshot's stream is not the end of the snapshot: only a marker with the right length makes it whole.
//!
//! # What it does not know
//! The meaning of frames; who leads; and whether a member in the table is alive, beyond the connection to it.

mod address;
mod assembly;
mod backoff;
mod config;
mod counters;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod group;
mod handshake;
mod link;
mod network;
mod peer;
mod queue;
mod sender;
mod serve;
mod service;
mod snapshot_in;
mod snapshot_out;
#[cfg(test)]
mod tests;
mod trouble;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use raft_store::{Inbox, Transport};
use tokio::net::TcpListener;
use tokio::time::timeout;

pub use config::{Caller, CheckCaller, PeerConfig, PeerTls};
pub use counters::{Counters, MemberCounters};
pub use error::PeerError;
pub use group::Group;
use network::{Network, NetworkTransport};

/// What HTTP/2 is called in a TLS handshake.
const ALPN: &[u8] = b"h2";
/// How long tasks may take to end in good order.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// The messages, generated from `proto/peer.proto`.
mod proto {
    #![allow(missing_docs, clippy::all)] // generated
    tonic::include_proto!("euston.raft.peer.v1");
}

/// A member's part of the network. Dropped, it ends; [`PeerNetwork::shutdown`] also waits for the end.
pub struct PeerNetwork {
    network: Arc<Network>,
    /// Until serving begins.
    listener: Mutex<Option<TcpListener>>,
}

impl PeerNetwork {
    /// Takes the port. Nothing is accepted and nothing sent before [`PeerNetwork::serve`].
    ///
    /// # Errors
    /// See [`PeerError`].
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn listen(mut config: PeerConfig) -> Result<Self, PeerError> {
        config.check()?;
        if let Some(tls) = &mut config.tls {
            Arc::make_mut(&mut tls.server).alpn_protocols = vec![ALPN.to_vec()];
            Arc::make_mut(&mut tls.client).alpn_protocols = vec![ALPN.to_vec()];
        }
        let failed = |source| PeerError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            network: Arc::new(Network::new(config, address)),
            listener: Mutex::new(Some(listener)),
        })
    }

    /// Where it listens, with the port that was chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.network.address
    }

    /// What the store sends with. Usable at once: what is sent before [`PeerNetwork::serve`] waits in the queues.
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(NetworkTransport(Arc::clone(&self.network)))
    }

    /// Begins to take calls for `inbox` and to call other members in its name. The network holds `inbox` until it ends.
    ///
    /// # Errors
    /// [`PeerError::NotWaiting`] when called twice, or after the end.
    pub fn serve(&self, inbox: Inbox) -> Result<(), PeerError> {
        let listener = self.listener.lock().take();
        let Some(listener) = listener.filter(|_| !self.network.stop.is_cancelled()) else {
            return Err(PeerError::NotWaiting {
                address: self.network.address,
            });
        };
        self.network.set_inbox(inbox.clone());
        let serving = serve::run(Arc::clone(&self.network), inbox, listener);
        self.network.spawn(serving);
        Ok(())
    }

    /// Asks the member of a running group at a peer url who the members are: for one that is about to join, before it
    /// serves. The answer comes from what that member knows, and waits for nobody.
    ///
    /// # Errors
    /// [`PeerError::Ask`] if it cannot be reached, or does not answer within some seconds.
    pub async fn ask_members(&self, url: &str) -> Result<Group, PeerError> {
        group::ask(url, &self.network.config).await
    }

    /// What has passed so far.
    pub fn counters(&self) -> Counters {
        self.network.counters()
    }

    /// Ends all connections, and streams that are being received in good order. When it returns, the port is free and the
    /// inbox is let go of; snapshots that were being sent have been reported as failed.
    pub async fn shutdown(&self) {
        drop(self.listener.lock().take());
        let network = &self.network;
        network.stop.cancel();
        network.tasks.close();
        if timeout(SHUTDOWN_MAX, network.tasks.wait()).await.is_err() {
            network.force.cancel();
            network.tasks.wait().await;
        }
        network.forget_inbox();
    }
}

impl Drop for PeerNetwork {
    fn drop(&mut self) {
        self.network.stop.cancel();
        self.network.forget_inbox();
    }
}

impl std::fmt::Debug for PeerNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerNetwork")
            .field("address", &self.network.address)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
