//! Starting and stopping the parts, in the order that they need each other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use euston_agent::Agent;
use euston_images::Alone;
use kube::Client;

use super::nodes;
use crate::args::{DevArgs, NODES_MAX};
use crate::kubeconfig;
use crate::place::Place;
use crate::plane::{self, Parts, Pki, Plane};

/// For all pods of a node to end.
const AGENT_STOP: Duration = Duration::from_secs(5);

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) place: Place,
    /// Where the API is served.
    pub(crate) url: String,
    /// The API, in process, with all rights.
    pub(crate) admin: Client,
    agents: Vec<Agent>,
    plane: Plane,
}

/// Starts everything. What does not need each other starts at the same time.
///
/// # Errors
/// When a part cannot start; what was started by then ends with the process.
pub(crate) async fn start(args: &DevArgs) -> anyhow::Result<(Cluster, Parts)> {
    let place = Place::open(args.data_dir.as_deref(), "euston-dev-")?;
    // The port first: the most likely thing to be in the way, and the cheapest to find out.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.api_port));
    let listener = plane::listen(address).await?;
    let code = place.code_cache();
    let (store, runtime) = tokio::try_join!(open_store(&place), plane::make_runtime(&code))?;
    let images = plane::open_registry(&place.images(), &store, Arc::new(Alone)).await?;
    // A handful of signatures and small files; not worth a thread of its own.
    let pki = Pki::open(&place.pki(), &euston_tls::loopback_sans(NODES_MAX))?;
    let url = format!("https://{address}");
    let ca_pem = pki.authority.ca_pem();
    kubeconfig::write(
        &place.kubeconfig(),
        &kubeconfig::render(&url, ca_pem, &pki.admin),
    )?;
    let mut parts = Parts::default();
    let config = plane::Config {
        store,
        images,
        pki: &pki,
        listener,
        advertise: (IpAddr::V4(Ipv4Addr::LOCALHOST), args.api_port),
    };
    let plane = Box::pin(Plane::start(config, &mut parts, |_| Router::new())).await?;
    let agents = nodes::start(args, &place, &url, &pki.authority, &runtime).await?;
    let cluster = Cluster {
        admin: plane.admin(),
        url,
        agents,
        plane,
        place,
    };
    Ok((cluster, parts))
}

impl Cluster {
    /// Stops in the reverse order, so that each part can still reach what it needs to end well.
    pub(crate) async fn stop(mut self, parts: Parts) {
        let agents = self.agents.drain(..).map(|agent| async move {
            agent.shutdown(AGENT_STOP).await;
        });
        futures::future::join_all(agents).await;
        self.plane.stop(parts).await;
        self.place.close();
    }
}

async fn open_store(place: &Place) -> anyhow::Result<raft_store::Store> {
    let dir = place.store();
    let config = raft_store::Config::new("dev", &dir);
    Box::pin(raft_store::Store::open(config))
        .await
        .with_context(|| format!("cannot open the store in {}", dir.display()))
}
