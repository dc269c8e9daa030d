//! Starting and stopping the parts, in the order that they need each other.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use euston_agent::Agent;
use euston_apiserver::ApiServer;
use euston_images::Registry;
use euston_sandbox::{Runtime, RuntimeConfig};
use euston_tls::{Authority, ClientAuth, HttpsClient, Identity, ServeLimits};
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::nodes;
use super::place::Place;
use crate::args::{DevArgs, NODES_MAX};
use crate::kubeconfig;

const MASTERS: &str = "system:masters";
/// Requests in flight at the end; watches end at once, for the API server is told first.
const DRAIN: Duration = Duration::from_secs(2);
/// For all pods of a node to end, and then for each of the other parts.
const AGENT_STOP: Duration = Duration::from_secs(5);
const PART_STOP: Duration = Duration::from_secs(5);

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) place: Place,
    /// Where the API is served.
    pub(crate) url: String,
    /// The API, in process, with all rights.
    pub(crate) admin: Client,
    agents: Vec<Agent>,
    store: raft_store::Store,
    /// Ends controllers and scheduler.
    working: CancellationToken,
    /// Ends watches, and then the server.
    serving: CancellationToken,
}

/// Parts that run until they are told to stop; one that ends earlier is a failure.
pub(crate) struct Parts {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Parts {
    fn spawn<E: Into<anyhow::Error>>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let part = Box::pin(part);
        self.tasks
            .spawn(async move { (name, part.await.map_err(Into::into)) });
    }

    /// Waits for a part to end although nobody asked it to.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok((name, Err(e)))) => e.context(format!("the {name} failed")),
            Some(Ok((name, Ok(())))) => anyhow!("the {name} ended unexpectedly"),
            Some(Err(e)) => anyhow!("a part of the cluster broke: {e}"),
            None => anyhow!("no part of the cluster runs"),
        }
    }
}

/// What the certificate authority issues for one cluster.
struct Pki {
    authority: Authority,
    server: Identity,
    admin: Identity,
    apiserver_client: Identity,
}

impl Pki {
    fn open(place: &Place) -> anyhow::Result<Self> {
        let dir = place.pki();
        let authority = Authority::load_or_create(&dir)?;
        let sans = euston_tls::loopback_sans(NODES_MAX);
        Ok(Self {
            server: authority.ensure_server(&dir, "apiserver", "kube-apiserver", &[], &sans)?,
            admin: authority.ensure_client(&dir, "admin", "kubernetes-admin", &[MASTERS])?,
            apiserver_client: authority.ensure_client(
                &dir,
                "apiserver-node-client",
                "system:kube-apiserver",
                &[MASTERS],
            )?,
            authority,
        })
    }
}

/// Starts everything. What does not need each other starts at the same time.
///
/// # Errors
/// When a part cannot start; what was started by then ends with the process.
pub(crate) async fn start(args: &DevArgs) -> anyhow::Result<(Cluster, Parts)> {
    let place = Place::open(args.data_dir.as_deref())?;
    // The port first: the most likely thing to be in the way, and the cheapest to find out.
    let listener = listen(args.api_port).await?;
    let (store, registry, runtime, pki) = tokio::try_join!(
        open_store(&place),
        open_registry(&place),
        make_runtime(&place),
        make_pki(&place),
    )?;
    let url = format!("https://127.0.0.1:{}", args.api_port);
    let ca_pem = pki.authority.ca_pem().to_owned();
    kubeconfig::write(
        &place.kubeconfig(),
        &kubeconfig::render(&url, &ca_pem, &pki.admin),
    )?;

    let (working, serving) = (CancellationToken::new(), CancellationToken::new());
    let node_client = HttpsClient::new(&ca_pem, Some(&pki.apiserver_client))?;
    let api = Box::pin(ApiServer::start(euston_apiserver::Config {
        store: store.clone(),
        images: registry,
        node_client: Some(node_client),
        advertise: Some((IpAddr::V4(Ipv4Addr::LOCALHOST), args.api_port)),
        shutdown: serving.clone(),
    }))
    .await
    .map_err(|e| anyhow!("cannot start the API server: {e}"))?;
    let mut parts = Parts {
        tasks: JoinSet::new(),
    };
    let tls = euston_tls::server_config(&ca_pem, &pki.server, ClientAuth::Optional)?;
    let limits = ServeLimits {
        drain_timeout: DRAIN,
        ..ServeLimits::default()
    };
    parts.spawn(
        "API server",
        euston_tls::serve(listener, tls, api.router(), limits, serving.clone()),
    );
    let controllers = api.client("system:kube-controller-manager", &[MASTERS]);
    let options = euston_controllers::Options {
        ca_pem,
        ..Default::default()
    };
    parts.spawn(
        "controllers",
        euston_controllers::run(controllers, options, working.clone()),
    );
    let scheduler = api.client("system:kube-scheduler", &[MASTERS]);
    parts.spawn(
        "scheduler",
        euston_scheduler::run(
            scheduler,
            euston_scheduler::Options::default(),
            working.clone(),
        ),
    );
    let agents = nodes::start(args, &place, &url, &pki.authority, &runtime).await?;
    let cluster = Cluster {
        admin: api.client("kubernetes-admin", &[MASTERS]),
        url,
        agents,
        store,
        working,
        serving,
        place,
    };
    Ok((cluster, parts))
}

impl Cluster {
    /// Stops in the reverse order, so that each part can still reach what it needs to end well.
    pub(crate) async fn stop(mut self, mut parts: Parts) {
        let agents = self.agents.drain(..).map(|agent| async move {
            agent.shutdown(AGENT_STOP).await;
        });
        futures::future::join_all(agents).await;
        self.working.cancel();
        self.serving.cancel();
        let ended = async { while parts.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(PART_STOP, ended).await.is_err() {
            tracing::warn!("a part of the cluster did not end within {PART_STOP:?} and is cut off");
            parts.tasks.shutdown().await;
        }
        if tokio::time::timeout(PART_STOP, self.store.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                "the store did not close within {PART_STOP:?}; it recovers at the next start"
            );
        }
        self.place.close();
    }
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "cannot serve the Kubernetes API on {address}: the port is in use, perhaps by another \
             `euston dev`; stop that one, or choose another port with --api-port"
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "cannot serve the Kubernetes API on {address}: ports below 1024 need privileges; \
             choose another one with --api-port"
        ),
        _ => anyhow!("cannot serve the Kubernetes API on {address}: {e}"),
    })
}

async fn open_store(place: &Place) -> anyhow::Result<raft_store::Store> {
    let dir = place.store();
    let config = raft_store::Config::new("dev", &dir);
    Box::pin(raft_store::Store::open(config))
        .await
        .with_context(|| format!("cannot open the store in {}", dir.display()))
}

async fn open_registry(place: &Place) -> anyhow::Result<Registry> {
    let dir = place.images();
    blocking(move || Ok(Registry::open(&dir)?)).await
}

async fn make_runtime(place: &Place) -> anyhow::Result<Runtime> {
    let config = RuntimeConfig::new(place.code_cache());
    blocking(move || Runtime::new(config).context("cannot start the sandbox host")).await
}

async fn make_pki(place: &Place) -> anyhow::Result<Pki> {
    // A handful of signatures and small files; not worth a thread of its own.
    Pki::open(place).context("cannot prepare the cluster's certificates")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Raises the number of files that this process may open to what the system allows: every
/// connection is one, and shells start programs with a low limit.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        limit.current = limit.maximum;
        if let Err(e) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(error = %e, "cannot raise the limit on open files");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_explained() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = listen(port).await.unwrap_err().to_string();
        assert!(
            error.contains("choose another port with --api-port"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_part_that_ends_is_a_failure_with_its_name() {
        let mut parts = Parts {
            tasks: JoinSet::new(),
        };
        parts.spawn("scheduler", async { Err(anyhow!("lost its way")) });
        let failure = crate::output::sentence(&parts.failure().await);
        assert_eq!(failure, "the scheduler failed: lost its way");
        parts.spawn("controllers", async { anyhow::Ok(()) });
        assert_eq!(
            parts.failure().await.to_string(),
            "the controllers ended unexpectedly"
        );
    }

    #[test]
    fn certificates_are_kept_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(Some(dir.path())).unwrap();
        let first = Pki::open(&place).unwrap();
        let second = Pki::open(&place).unwrap();
        assert_eq!(first.admin.cert_pem, second.admin.cert_pem);
        assert_eq!(first.server.cert_pem, second.server.cert_pem);
        let admin = first.admin.subject().unwrap();
        assert_eq!(
            (admin.common_name.as_str(), admin.organizations),
            ("kubernetes-admin", vec![MASTERS.to_owned()])
        );
    }
}
