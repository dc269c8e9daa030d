//! A cluster to join, which goes away when dropped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use euston_apiserver::{ApiServer, MASTERS};
use euston_client::{ServerAddress, connect};
use euston_join::client::{AgentJoin, ServerJoin};
use euston_join::tokens::{self, NewToken};
use euston_join::{Group, GroupError, GroupId, JoinService, JoinToken, Member, Role};
use euston_tls::{Authority, ClientAuth, Fingerprint, ServeLimits};
use jiff::Timestamp;
use raft_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long anything may take on a loaded machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub authority: Arc<Authority>,
    /// All rights, in process.
    pub client: kube::Client,
    pub store: Store,
    pub server: Server,
}

/// One of its API servers.
pub struct Server {
    pub address: SocketAddr,
    pub stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Cluster {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::load_or_create(&dir.path().join("pki")).unwrap());
        let config = raft_store::Config::new("s1", dir.path().join("store"));
        let store = Store::open(config).await.unwrap();
        let (server, client) = serve(&store, &authority, dir.path(), 1).await;
        Cluster {
            dir,
            authority,
            client,
            store,
            server,
        }
    }

    /// One more API server over the same store, on 127.0.0.`number`.
    pub async fn another_server(&self, number: u8) -> Server {
        serve(&self.store, &self.authority, self.dir.path(), number)
            .await
            .0
    }

    pub fn servers(&self) -> Vec<ServerAddress> {
        vec![self.server.address.into()]
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_ca(self.authority.ca_pem()).unwrap()
    }

    pub async fn token(&self, role: Role) -> JoinToken {
        let new = NewToken {
            role,
            ttl: Some(Duration::from_secs(3600)),
            description: "a test's".to_owned(),
            created_by: "a test".to_owned(),
        };
        tokens::create(&self.client, &new, self.fingerprint(), Timestamp::now())
            .await
            .unwrap()
    }

    pub fn agent(&self, name: &str, token: Option<JoinToken>) -> AgentJoin {
        AgentJoin {
            servers: self.servers(),
            token,
            name: name.to_owned(),
            addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7))],
            dir: self.dir.path().join("agents").join(name),
            patience: PATIENCE,
        }
    }

    pub fn joining_server(&self, name: &str, token: Option<JoinToken>) -> ServerJoin {
        ServerJoin {
            servers: self.servers(),
            token,
            name: name.to_owned(),
            peer_url: format!("https://{name}.example:2380"),
            dir: self.dir.path().join("servers").join(name),
            patience: PATIENCE,
        }
    }

    /// An administrator, over TLS.
    pub fn admin(&self) -> kube::Client {
        let identity = self.authority.issue_client("kate", &[MASTERS]).unwrap();
        let ca_pem = self.authority.ca_pem();
        connect(self.servers(), ca_pem, Some(&identity)).unwrap().0
    }
}

async fn serve(
    store: &Store,
    authority: &Arc<Authority>,
    dir: &Path,
    number: u8,
) -> (Server, kube::Client) {
    let stop = CancellationToken::new();
    let images = dir.join(format!("images-{number}"));
    let api = ApiServer::start(euston_apiserver::Config {
        store: store.clone(),
        images: euston_images::Registry::open(&images).unwrap(),
        node_client: None,
        advertise: None,
        shutdown: stop.clone(),
    })
    .await
    .unwrap();
    let client = api.client("system:euston-join", &[MASTERS]);
    let group = Arc::new(StoreGroup(store.clone()));
    let join = JoinService::new(authority.clone(), client.clone(), group);
    let router = api.router().merge(join.router());
    let ip = Ipv4Addr::new(127, 0, 0, number);
    let address = serve_tls(authority, ip, router, stop.clone()).await;
    (Server { address, stop }, client)
}

/// Serves a router with a certificate of `authority`.
pub async fn serve_tls(
    authority: &Authority,
    ip: Ipv4Addr,
    router: axum::Router,
    stop: CancellationToken,
) -> SocketAddr {
    let sans = euston_tls::loopback_sans(4);
    let identity = authority
        .issue_server("kube-apiserver", &[], &sans)
        .unwrap();
    let tls =
        euston_tls::server_config(authority.ca_pem(), &identity, ClientAuth::Optional).unwrap();
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = ServeLimits {
        drain_timeout: Duration::from_millis(100),
        ..ServeLimits::default()
    };
    tokio::spawn(euston_tls::serve(listener, tls, router, limits, stop));
    address
}

/// A group of servers that is a real store.
struct StoreGroup(Store);

fn failed(error: raft_store::Error) -> GroupError {
    use raft_store::Error;
    let text = error.to_string();
    match error {
        Error::MemberNotFound { .. } => GroupError::NotFound(text),
        Error::Unavailable { .. } | Error::NotLeader { .. } => GroupError::Unavailable(text),
        _ if error.outcome_unknown() => GroupError::Unknown(text),
        _ => GroupError::Refused(text),
    }
}

fn member(member: raft_store::Member) -> Member {
    Member {
        id: GroupId(member.id),
        started: !member.name.is_empty(),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
        reachable: None,
    }
}

#[async_trait]
impl Group for StoreGroup {
    fn cluster_id(&self) -> GroupId {
        GroupId(self.0.status().cluster_id)
    }

    async fn members(&self) -> Result<Vec<Member>, GroupError> {
        self.0.read_index().await.map_err(failed)?;
        Ok(self.0.members().into_iter().map(member).collect())
    }

    fn leader(&self) -> Option<GroupId> {
        self.0.status().leader.map(GroupId)
    }

    async fn add_learner(&self, peer_url: &str) -> Result<Member, GroupError> {
        let added = self.0.member_add(vec![peer_url.to_owned()], true).await;
        added.map(member).map_err(failed)
    }

    async fn promote(&self, id: GroupId) -> Result<(), GroupError> {
        self.0.member_promote(id.0).await.map_err(failed)
    }

    async fn remove(&self, id: GroupId) -> Result<(), GroupError> {
        self.0.member_remove(id.0).await.map_err(failed)
    }

    async fn replace(&self, gone: GroupId, peer_url: &str) -> Result<Member, GroupError> {
        let added = self.0.member_replace(gone.0, vec![peer_url.to_owned()]);
        added.await.map(member).map_err(failed)
    }

    async fn move_leader(&self, to: GroupId) -> Result<(), GroupError> {
        self.0.move_leader(to.0).await.map_err(failed)
    }
}
