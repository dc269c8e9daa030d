//! Starting and stopping a server's parts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use euston_agent::{Agent, AgentConfig};
use euston_apiserver::{ApiServer, MASTERS};
use euston_images::{HttpSiblings, Siblings};
use euston_join::JoinService;
use euston_join::client::{JOIN_PATIENCE, ServerJoin, join_server};
use euston_sandbox::Runtime;
use euston_tls::HttpsClient;
use kube::Client;
use raft_store::{Start, Store};

use super::group::StoreGroup;
use super::member::{self, Member};
use super::{STILL_WAITING, backup, may_everything};
use crate::args::ServerArgs;
use crate::place::Place;
use crate::plane::{self, Parts, Pki, Plane};
use crate::{kubeconfig, machine};

/// For all pods of the node to end.
const AGENT_STOP: Duration = Duration::from_secs(20);
/// The `kubernetes` Service's address, under which pods reach the API.
const SERVICE_IP: &str = "10.96.0.1";

/// Where a server's data come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// They were here.
    Back,
    /// There are none: it is the first of a new cluster.
    First,
    /// There are none: it gets them from the others.
    Joined,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) place: Place,
    /// Where the API is served.
    pub(crate) api: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// The API, in process, with all rights.
    pub(crate) admin: Client,
    pub(crate) ca_pem: String,
    pub(crate) agent: Option<Agent>,
    pub(crate) plane: Plane,
    member: Member,
}

/// Starts everything.
///
/// # Errors
/// When a part cannot start; what was started by then ends with the process.
pub(crate) async fn start(args: &ServerArgs) -> anyhow::Result<(Server, Parts)> {
    let name = machine::name(args.name.as_deref())?;
    let address = machine::address(args.address)?;
    let (api, peer) = (
        SocketAddr::new(address, args.api_port),
        SocketAddr::new(address, args.peer_port),
    );
    let place = Place::open(Some(&args.data_dir), "")?;
    // The port first: the most likely thing to be in the way, and the cheapest to find out.
    let listener = plane::listen(api).await?;
    let (origin, start) = begin(args, &name, &place, peer).await?;
    let pki = Pki::open(&place.pki(), &sans(args, &name, api))?;
    let code = place.code_cache();
    let (member, runtime) = tokio::try_join!(
        Member::open(&name, &place, &pki.authority, peer, start),
        async {
            if args.no_agent {
                return Ok(None);
            }
            plane::make_runtime(&code).await.map(Some)
        },
    )?;
    let url = format!("https://{api}");
    let ca_pem = pki.authority.ca_pem().to_owned();
    kubeconfig::write(
        &place.kubeconfig(),
        &kubeconfig::render(&url, &ca_pem, &pki.admin),
    )?;
    has_leader(&member.store).await?;
    let others = siblings(&member.store, &pki)?;
    let images = plane::open_registry(&place.images(), &member.store, others).await?;

    let mut parts = Parts::default();
    let config = plane::Config {
        store: member.store.clone(),
        images: images.clone(),
        pki: &pki,
        listener,
        advertise: (address, args.api_port),
    };
    let (store, authority) = (member.store.clone(), pki.authority.clone());
    let plane = Box::pin(Plane::start(config, &mut parts, move |api: &ApiServer| {
        let client = api.client("system:euston:join", &[MASTERS]);
        let group = Arc::new(StoreGroup(store.clone()));
        JoinService::new(authority, client, group)
            .router()
            .merge(backup::router(store))
            .merge(images.sibling_router(may_everything))
    }))
    .await?;
    let (store, ending) = (member.store.clone(), plane.ending());
    let (peer_url, client_url) = (format!("https://{peer}"), url);
    parts.spawn("membership", async move {
        tokio::select! {
            settled = member::settle(store, peer_url, client_url) => settled?,
            () = ending.cancelled() => return anyhow::Ok(()),
        }
        ending.cancelled().await;
        Ok(())
    });
    let agent = match runtime {
        Some(runtime) => Some(node(args, &name, api, &place, &pki, runtime).await?),
        None => None,
    };
    let server = Server {
        admin: plane.admin(),
        name,
        origin,
        place,
        api,
        peer,
        ca_pem,
        agent,
        plane,
        member,
    };
    Ok((server, parts))
}

impl Server {
    /// Stops in the reverse order, so that each part can still reach what it needs to end well.
    pub(crate) async fn stop(self, parts: Parts) {
        if let Some(agent) = self.agent {
            agent.shutdown(AGENT_STOP).await;
        }
        self.member.hand_over().await;
        self.plane.stop(parts).await;
        self.member.stop().await;
    }
}

/// Finds out how the store begins; asks the cluster to be let in where that is wanted and has not been done.
async fn begin(
    args: &ServerArgs,
    name: &str,
    place: &Place,
    peer: SocketAddr,
) -> anyhow::Result<(Origin, Start)> {
    if raft_store::Config::new(name, place.store()).is_begun() {
        return Ok((Origin::Back, Start::Alone));
    }
    let peer_url = format!("https://{peer}");
    if args.join.is_empty() {
        let start = Start::Group {
            // No other group has it, whatever its servers are called.
            token: uuid::Uuid::new_v4().to_string(),
            members: vec![(name.to_owned(), vec![peer_url])],
        };
        return Ok((Origin::First, start));
    }
    let join = ServerJoin {
        servers: machine::servers(&args.join)?,
        token: machine::token(args.token.as_deref())?,
        name: name.to_owned(),
        peer_url,
        dir: place.pki(),
        patience: JOIN_PATIENCE,
    };
    let joined = join_server(&join).await?;
    let members = joined.members.into_iter().map(|member| raft_store::Member {
        id: member.id.0,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
    });
    let start = Start::Join {
        cluster_id: joined.cluster_id.0,
        member_id: joined.member_id.0,
        members: members.collect(),
    };
    Ok((Origin::Joined, start))
}

/// The other servers, as far as images need them.
fn siblings(store: &Store, pki: &Pki) -> anyhow::Result<Arc<dyn Siblings>> {
    let client = HttpsClient::new(pki.authority.ca_pem(), Some(&pki.node_client))?;
    let (store, me) = (store.clone(), store.status().member_id);
    let list = move || {
        let members = store.members().into_iter();
        let others = members.filter(|member| member.id != me);
        others
            .filter_map(|member| member.client_urls.into_iter().next())
            .collect()
    };
    let send = move |request| {
        let client = client.clone();
        async move { client.send(request).await }
    };
    Ok(Arc::new(HttpSiblings::new(list, send)))
}

/// What the API server's certificate is good for.
fn sans(args: &ServerArgs, name: &str, api: SocketAddr) -> Vec<String> {
    let mut sans = euston_tls::loopback_sans(1);
    sans.extend([api.ip().to_string(), name.to_owned(), SERVICE_IP.to_owned()]);
    sans.extend(args.tls_san.iter().cloned());
    sans.sort();
    sans.dedup();
    sans
}

/// Waits until the group has a leader, and says what it waits for.
async fn has_leader(store: &Store) -> anyhow::Result<()> {
    let mut leadership = store.leadership();
    loop {
        let there_is = leadership.wait_for(|now| now.leader.is_some());
        tokio::select! {
            there_is = tokio::time::timeout(STILL_WAITING, there_is) => {
                if there_is.is_ok() {
                    return Ok(());
                }
            }
            cause = store.stopped() => return Err(cause).context("the store has stopped"),
        }
        let others: Vec<String> = store
            .members()
            .iter()
            .filter(|member| member.id != store.status().member_id)
            .map(|member| format!("{} ({})", member.name, member.peer_urls.join(", ")))
            .collect();
        tracing::warn!(
            "waiting for a majority of servers to be up; the others are {}",
            others.join(", ")
        );
    }
}

/// Starts the node of this server.
async fn node(
    args: &ServerArgs,
    name: &str,
    api: SocketAddr,
    place: &Place,
    pki: &Pki,
    runtime: Runtime,
) -> anyhow::Result<Agent> {
    let address = api.ip();
    let identity = pki.authority.ensure_server(
        &place.pki(),
        "node",
        &format!("system:node:{name}"),
        &["system:nodes"],
        &[address.to_string(), name.to_owned()],
    )?;
    let ca_pem = pki.authority.ca_pem();
    // Its own server is the one that is up whenever it is.
    let (client, _) = euston_client::connect(vec![api.into()], ca_pem, Some(&identity))?;
    let data_dir = place.node(name);
    let mut config = AgentConfig::new(name, address, data_dir, client, ca_pem, identity);
    config.port = args.agent_port;
    config.runtime = Some(runtime);
    Box::pin(Agent::start(config))
        .await
        .with_context(|| format!("cannot start the node {name}"))
}
