//! One member of a group, whole: the store, the network to the other members, and the server for clients.
//!
//! ```text
//! listen for members -> [ask who the members are, to join] -> open the store -> serve members -> serve clients -> publish
//! ```

mod config;
mod join;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use raft_store::{Error, OpenError, Start, StopCause, Store};
use raft_store_peer::{PeerConfig, PeerError, PeerNetwork};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use config::{InitialState, MemberConfig, MemberTls, initial_cluster};

use crate::{EtcdError, EtcdServer};

/// Between attempts to tell the group this member's name and where its clients reach it. Until there is a leader, none
/// succeeds.
const PUBLISH_PAUSE: Duration = Duration::from_millis(500);
/// For another member to take over when this one stops: some elections' time. If none does, they elect one when it has gone.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

/// Why a member could not be started, or ended.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The configuration contradicts itself.
    #[error("{what}")]
    Config {
        /// What is wrong, and what to give instead.
        what: String,
    },
    /// The address for clients cannot be listened at.
    #[error("cannot listen for clients at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The network between members cannot be started.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// No member of the group knows of this one.
    #[error(
        "cannot join: no member of the group knows one with the peer url {own}; tell the group of it first (etcdctl member add), then start it ({last})"
    )]
    NotAdded {
        /// This member's peer urls.
        own: String,
        /// What came of the last question.
        last: String,
    },
    /// The store cannot be opened.
    #[error("cannot open the store: {0}")]
    Open(#[from] OpenError),
    /// Clients cannot be served.
    #[error(transparent)]
    Serve(#[from] EtcdError),
    /// The member stopped by itself.
    #[error("the member has stopped: {0}")]
    Stopped(StopCause),
}

/// A running member. Dropped, it stops at once; [`Member::shutdown`] stops it in good order.
pub struct Member {
    store: Store,
    network: PeerNetwork,
    client_address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), EtcdError>>,
    _publishing: AbortOnDropHandle<()>,
}

impl Member {
    /// Starts a member. When this returns, clients are served, as far as they can be without a leader.
    ///
    /// A new data directory begins as `config` says; an existing one goes on as what it is. A member that is to join a
    /// running group asks the other members that [`MemberConfig::initial_cluster`] lists, at their peer urls, who belongs to
    /// the group, and finds its own id by its peer url; so the group must have been told of it before.
    ///
    /// # Errors
    /// See [`MemberError`].
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn start(mut config: MemberConfig) -> Result<Self, MemberError> {
        config.check()?;
        // First of all: a port that is taken is the commonest of mistakes, and nothing is begun yet.
        let failed = |source| MemberError::Listen {
            address: config.listen_client,
            source,
        };
        let clients = TcpListener::bind(config.listen_client)
            .await
            .map_err(failed)?;
        let client_address = clients.local_addr().map_err(failed)?;
        let network = PeerNetwork::listen(PeerConfig {
            tls: config.tls.as_ref().map(|tls| tls.peer.clone()),
            ..PeerConfig::new(config.listen_peer)
        })
        .await?;
        config.store.start = match config.state {
            InitialState::New => Start::Group {
                token: config.token.clone(),
                members: config.initial_cluster.clone(),
            },
            InitialState::Existing if config.store.is_begun() => Start::Alone,
            InitialState::Existing => join::ask(&network, &config).await?,
        };
        let mut client_urls = config.advertise_client;
        if client_urls.is_empty() {
            client_urls = vec![config::url(client_address, config.tls.is_some())];
        }
        let store = Store::open_in_group(config.store, network.transport()).await?;
        network.serve(store.inbox())?;
        let mut serve = config.serve;
        serve.tls = config.tls.map(|tls| tls.clients);
        let stop = CancellationToken::new();
        let server = EtcdServer::new(store.clone(), serve);
        let serving = tokio::spawn(server.serve(clients, stop.clone().cancelled_owned()));
        let publishing = tokio::spawn(publish(store.clone(), client_urls));
        let status = store.status();
        tracing::info!(
            name = status.name,
            member = format_args!("{:016x}", status.member_id),
            cluster = format_args!("{:016x}", status.cluster_id),
            clients = %client_address,
            members = %network.local_addr(),
            "the member serves"
        );
        Ok(Self {
            store,
            network,
            client_address,
            stop,
            serving,
            _publishing: AbortOnDropHandle::new(publishing),
        })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where clients are served, with the port that was chosen.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where other members are, with the port that was chosen.
    pub fn peer_address(&self) -> SocketAddr {
        self.network.local_addr()
    }

    /// Runs until `shutdown` is ready, then stops in good order.
    ///
    /// # Errors
    /// [`MemberError::Stopped`] if the member stops by itself: its disk failed, or it was removed from the group.
    pub async fn run(self, shutdown: impl Future) -> Result<(), MemberError> {
        let cause = tokio::select! {
            _ = shutdown => None,
            cause = self.store.stopped() => Some(cause),
        };
        self.shutdown().await?;
        cause.map_or(Ok(()), |cause| Err(MemberError::Stopped(cause)))
    }

    /// Stops in good order: hands leadership to another member, answers the calls that are under way, and lets go of the
    /// data directory and the ports.
    ///
    /// # Errors
    /// [`MemberError::Serve`] if clients could not be served.
    pub async fn shutdown(self) -> Result<(), MemberError> {
        // If it takes too long, the others elect a leader by themselves.
        let _ = timeout(HAND_OVER_MAX, hand_over(&self.store)).await;
        self.stop.cancel();
        let served = self.serving.await;
        self.store.shutdown().await;
        self.network.shutdown().await;
        match served {
            Ok(served) => Ok(served?),
            Err(error) => Err(MemberError::Config {
                what: format!("serving clients ended: {error}"),
            }),
        }
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member")
            .field("store", &self.store)
            .field("client_address", &self.client_address)
            .finish_non_exhaustive()
    }
}

/// Tells the group this member's name and where its clients reach it, until it knows.
async fn publish(store: Store, client_urls: Vec<String>) {
    loop {
        match store.publish(client_urls.clone()).await {
            Ok(()) => return,
            Err(Error::Stopped { .. }) => return,
            Err(error) => {
                tracing::debug!(%error, "the group does not know yet where this member serves")
            }
        }
        sleep(PUBLISH_PAUSE).await;
    }
}

/// Lets another member lead, if this one does.
async fn hand_over(store: &Store) {
    let status = store.status();
    if status.leader != Some(status.member_id) || status.stopped.is_some() {
        return;
    }
    let others = store.members().into_iter();
    for other in others.filter(|other| !other.learner && other.id != status.member_id) {
        // One that is down, or lags, is passed over.
        let moved = timeout(HAND_OVER_MAX / 3, store.move_leader(other.id)).await;
        if matches!(moved, Ok(Ok(()))) {
            return;
        }
    }
}
