//! Serves a replicated store to clients of etcd: its v3 API over gRPC, so that `etcdctl` and any client library work.
//!
//! ```text
//! client -- HTTP/2 --> serve -> route -> kv, watch, lease, cluster, maintenance -> Store
//!                                          `- translate: pure, requests and answers, errors in etcd's words
//! ```
//! [`EtcdServer`] serves a [`Store`] that runs in this process. [`Member`] is all that one member of a group needs: the
//! store, the network to the others, and a server for clients.
//!
//! # What is as in etcd
//! Requests, answers, and the codes and texts of errors, which clients match on; so the sources of etcd 3.4 are what this
//! crate follows ([`API_VERSION`]). Followers serve reads and watches and forward writes.
//!
//! # What is not
//! - Users and roles: who may connect may do everything. Calls of etcd's Auth service are answered with "authentication
//!   is not enabled".
//! - A watch can start behind a compaction, not at it: the events of the compacted revision itself are gone. A watch that
//!   is cancelled for that is told the first revision that it can start from.
//! - Learners serve reads and watches as other members do; etcd's refuse.
//! - A snapshot is this store's own, not a bolt file: `etcdctl snapshot save` fetches it, `etcdctl snapshot status` and
//!   `restore` cannot read it.
//! - A hash is that of the keys at a revision alone, wherever they were compacted; it can be compared between members
//!   of this store, not with etcd's.

mod cluster;
mod codec;
mod config;
mod context;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod kv;
mod leader;
mod lease;
mod maintenance;
mod member;
mod plain;
mod route;
mod serve;
mod snapshot;
mod translate;
mod watch;

use std::future::Future;
use std::sync::Arc;

use raft_store::Store;
use tokio::net::TcpListener;

pub use config::EtcdConfig;
pub use error::EtcdError;
pub use member::{InitialState, Member, MemberConfig, MemberError, MemberTls, initial_cluster};

/// The version of etcd that clients are told: the one whose API is served. Some look at it to learn what they can ask for;
/// 3.4.31 is the first of its line whose progress reports can be relied on, as these can.
pub const API_VERSION: &str = "3.4.31";
/// The version of all members together, as clients are told.
pub const CLUSTER_VERSION: &str = "3.4.0";

/// The messages and clients of etcd's API, generated from `proto/rpc.proto`.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Keys and events of etcd's API, generated from `proto/kv.proto`.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Serves the clients of one member.
pub struct EtcdServer {
    store: Store,
    config: EtcdConfig,
}

impl EtcdServer {
    /// A server for the clients of `store`.
    pub fn new(store: Store, config: EtcdConfig) -> Self {
        Self { store, config }
    }

    /// Serves until `shutdown` is ready: then takes no more connections, ends streams with "server stopped", answers
    /// what is under way, and returns. The store goes on.
    ///
    /// # Errors
    /// See [`EtcdError`]; nothing was served then.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future,
    ) -> Result<(), EtcdError> {
        let Self { store, mut config } = self;
        let address = listener.local_addr()?;
        match &mut config.tls {
            Some(tls) => {
                let protocols = [serve::ALPN_H2, serve::ALPN_H1];
                Arc::make_mut(tls).alpn_protocols = protocols.map(<[u8]>::to_vec).to_vec();
            }
            None if !address.ip().is_loopback() => {
                return Err(EtcdError::PlainBeyondLoopback { address });
            }
            None => {}
        }
        let context = Arc::new(context::Context::new(store, config));
        Arc::new(serve::Server::new(context))
            .run(listener, shutdown)
            .await;
        Ok(())
    }
}

impl std::fmt::Debug for EtcdServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdServer")
            .field("store", &self.store)
            .field("config", &self.config)
            .finish()
    }
}
