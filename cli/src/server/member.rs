//! This server's member of the replicated store, and its network to the others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use euston_tls::{Authority, ClientAuth, PeerIdentity};
use raft_store::{Error, Start, Store};
use raft_store_peer::{Caller, PeerConfig, PeerNetwork, PeerTls};

use crate::place::Place;

/// The organization in the certificates of servers: what may speak as a member of the store.
const SERVERS: &str = "euston:servers";
/// Between attempts of what needs the group, while it has no leader or a learner has not caught up.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a member that leads may take to hand over before it stops.
const HAND_OVER: Duration = Duration::from_secs(2);

/// A running member.
pub(crate) struct Member {
    pub(crate) store: Store,
    network: PeerNetwork,
}

impl Member {
    /// Opens the store in `place`, which begins as `start` says if it is new, and connects it with the others.
    ///
    /// # Errors
    /// When the port is taken, or the store is damaged.
    pub(crate) async fn open(
        name: &str,
        place: &Place,
        authority: &Authority,
        listen: SocketAddr,
        start: Start,
    ) -> anyhow::Result<Self> {
        let identity = authority.ensure_server(
            &place.pki(),
            "peer",
            &format!("euston:server:{name}"),
            &[SERVERS],
            &[listen.ip().to_string()],
        )?;
        let ca_pem = authority.ca_pem();
        let config = PeerConfig {
            tls: Some(PeerTls {
                server: euston_tls::server_config(ca_pem, &identity, ClientAuth::Required)?,
                client: Arc::new(euston_tls::client_config(ca_pem, Some(&identity))?),
                check: Some(Arc::new(is_a_server)),
            }),
            ..PeerConfig::new(listen)
        };
        let network = PeerNetwork::listen(config)
            .await
            .context("cannot talk to other servers; choose another port with --peer-port")?;
        let dir = place.store();
        let config = raft_store::Config {
            start,
            ..raft_store::Config::new(name, &dir)
        };
        let store = Box::pin(Store::open_in_group(config, network.transport()))
            .await
            .with_context(|| format!("cannot open the store in {}", dir.display()))?;
        network.serve(store.inbox())?;
        Ok(Self { store, network })
    }

    /// Hands leadership to another member, if this one has it: faster than the others would find out.
    pub(crate) async fn hand_over(&self) {
        let status = self.store.status();
        let members = self.store.members();
        let heir = members
            .iter()
            .find(|member| !member.learner && member.id != status.member_id);
        let (true, Some(heir)) = (status.leader == Some(status.member_id), heir) else {
            return;
        };
        match tokio::time::timeout(HAND_OVER, self.store.move_leader(heir.id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "leadership was not handed over"),
            Err(_) => tracing::info!("leadership was not handed over within {HAND_OVER:?}"),
        }
    }

    /// Stops the network; the store has been stopped.
    pub(crate) async fn stop(self) {
        self.network.shutdown().await;
    }
}

/// Only servers speak Raft: a node's certificate is signed by the same authority.
fn is_a_server(caller: &Caller<'_>) -> Result<(), String> {
    let subject = caller
        .certificates
        .first()
        .and_then(|certificate| PeerIdentity::from_certificate(certificate));
    match subject {
        Some(subject) if subject.organizations.iter().any(|o| o == SERVERS) => Ok(()),
        Some(subject) => Err(format!(
            "the certificate of {:?} is not a server's",
            subject.common_name
        )),
        None => Err("the certificate does not say who it is".to_owned()),
    }
}

/// Makes this member a full one that the others can reach: tells the group where it is, and asks for its vote until it
/// has one. Ends when that is done.
///
/// # Errors
/// When the store has stopped, or the group knows this member no more.
pub(crate) async fn settle(
    store: Store,
    peer_url: String,
    client_url: String,
) -> anyhow::Result<()> {
    let id = store.status().member_id;
    loop {
        match try_settle(&store, id, &peer_url, &client_url).await {
            Ok(()) => return Ok(()),
            Err(error @ (Error::Stopped { .. } | Error::MemberNotFound { .. })) => {
                return Err(error).context("cannot become a member of the cluster");
            }
            Err(error) => tracing::debug!(%error, "not a full member yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn try_settle(store: &Store, id: u64, peer_url: &str, client_url: &str) -> Result<(), Error> {
    store.read_index().await?;
    let me = store.members().into_iter().find(|member| member.id == id);
    let me = me.ok_or(Error::MemberNotFound { id })?;
    if me.peer_urls != [peer_url] {
        store.member_update(id, vec![peer_url.to_owned()]).await?;
    }
    if me.client_urls != [client_url] || me.name.is_empty() {
        store.publish(vec![client_url.to_owned()]).await?;
    }
    if me.learner {
        store.member_promote(id).await?;
    }
    Ok(())
}
