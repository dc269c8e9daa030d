//! A control plane in this process: the API server on its port, and controllers and scheduler where the store leads.

mod leading;
mod parts;
mod signer;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use euston_apiserver::{ApiServer, ImageCatalog, MASTERS};
use euston_images::{Registry, Siblings};
use euston_sandbox::{Runtime, RuntimeConfig};
use euston_tls::{Authority, ClientAuth, HttpsClient, Identity, ServeLimits};
use raft_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use parts::Parts;

/// Requests in flight at the end; watches end at once, for the API server is told first.
const DRAIN: Duration = Duration::from_secs(2);
/// For each part to end.
const PART_STOP: Duration = Duration::from_secs(5);

/// Who a control plane is.
pub(crate) struct Pki {
    /// Signs everything.
    pub(crate) authority: Arc<Authority>,
    /// What the API server shows.
    pub(crate) server: Identity,
    /// For the kubeconfig.
    pub(crate) admin: Identity,
    /// What this server shows to nodes, and to other servers.
    pub(crate) node_client: Identity,
}

impl Pki {
    /// Loads what is in `dir`, and makes what is missing. The server is reached under `sans`.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub(crate) fn open(dir: &Path, sans: &[String]) -> anyhow::Result<Self> {
        let make = || {
            let authority = Authority::load_or_create(dir)?;
            Ok::<_, euston_tls::TlsError>(Self {
                server: authority.ensure_server(dir, "apiserver", "kube-apiserver", &[], sans)?,
                admin: authority.ensure_client(dir, "admin", "kubernetes-admin", &[MASTERS])?,
                node_client: authority.ensure_client(
                    dir,
                    "apiserver-node-client",
                    "system:kube-apiserver",
                    &[MASTERS],
                )?,
                authority: Arc::new(authority),
            })
        };
        make().context("cannot prepare the cluster's certificates")
    }
}

/// What a control plane is made of.
pub(crate) struct Config<'a> {
    pub(crate) store: Store,
    pub(crate) images: Registry,
    pub(crate) pki: &'a Pki,
    pub(crate) listener: TcpListener,
    /// Where others reach the API.
    pub(crate) advertise: (IpAddr, u16),
}

/// A running control plane.
pub(crate) struct Plane {
    pub(crate) api: ApiServer,
    pub(crate) store: Store,
    /// Ends controllers and scheduler.
    working: CancellationToken,
    /// Ends watches, and then the server.
    serving: CancellationToken,
}

impl Plane {
    /// Starts it. `routes` are served beside the API, on the same port.
    ///
    /// # Errors
    /// When a part cannot start; what was started by then ends with the process.
    pub(crate) async fn start(
        config: Config<'_>,
        parts: &mut Parts,
        routes: impl FnOnce(&ApiServer) -> Router,
    ) -> anyhow::Result<Self> {
        let (working, serving) = (CancellationToken::new(), CancellationToken::new());
        let ca_pem = config.pki.authority.ca_pem();
        let node_client = HttpsClient::new(ca_pem, Some(&config.pki.node_client))?;
        let api = Box::pin(ApiServer::start(euston_apiserver::Config {
            store: config.store.clone(),
            images: config.images,
            node_client: Some(node_client),
            advertise: Some(config.advertise),
            shutdown: serving.clone(),
        }))
        .await
        .map_err(|e| anyhow!("cannot start the API server: {e}"))?;
        let tls = euston_tls::server_config(ca_pem, &config.pki.server, ClientAuth::Optional)?;
        let limits = ServeLimits {
            drain_timeout: DRAIN,
            ..ServeLimits::default()
        };
        let router = api.router().merge(routes(&api));
        parts.spawn(
            "API server",
            euston_tls::serve(config.listener, tls, router, limits, serving.clone()),
        );
        let options = euston_controllers::Options {
            ca_pem: ca_pem.to_owned(),
            signer: Some(Arc::new(signer::Signer(config.pki.authority.clone()))),
            ..Default::default()
        };
        parts.spawn(
            "control loop",
            leading::run(config.store.clone(), api.clone(), options, working.clone()),
        );
        let (store, ending) = (config.store.clone(), working.clone());
        parts.spawn("store", async move {
            tokio::select! {
                cause = store.stopped() => Err(anyhow!(cause)),
                () = ending.cancelled() => Ok(()),
            }
        });
        Ok(Self {
            api,
            store: config.store,
            working,
            serving,
        })
    }

    /// Cancelled when the parts are to end.
    pub(crate) fn ending(&self) -> CancellationToken {
        self.working.clone()
    }

    /// The API, in process, with all rights.
    pub(crate) fn admin(&self) -> kube::Client {
        self.api.client("kubernetes-admin", &[MASTERS])
    }

    /// Stops in the reverse order, so that each part can still reach what it needs to end well.
    pub(crate) async fn stop(self, mut parts: Parts) {
        self.working.cancel();
        self.serving.cancel();
        parts.ended(PART_STOP).await;
        if tokio::time::timeout(PART_STOP, self.store.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                "the store did not close within {PART_STOP:?}; it recovers at the next start"
            );
        }
    }
}

/// Takes the API's port.
///
/// # Errors
/// When it is taken, with what to do about it.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "cannot serve the Kubernetes API on {address}: the port is in use, perhaps by another \
             Euston; stop that one, or choose another port with --api-port"
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "cannot serve the Kubernetes API on {address}: ports below 1024 need privileges; \
             choose another one with --api-port"
        ),
        ErrorKind::AddrNotAvailable => anyhow!(
            "cannot serve the Kubernetes API on {address}: this machine does not have that address"
        ),
        _ => anyhow!("cannot serve the Kubernetes API on {address}: {e}"),
    })
}

/// Opens this server's part of the image registry, whose index is in `store`, in `dir`.
///
/// # Errors
/// When it is damaged or cannot be written.
pub(crate) async fn open_registry(
    dir: &Path,
    store: &Store,
    siblings: Arc<dyn Siblings>,
) -> anyhow::Result<Registry> {
    let catalog = Arc::new(ImageCatalog::new(store.clone()));
    Ok(Registry::open_shared(dir, catalog, siblings).await?)
}

/// Starts the sandbox host, which keeps compiled code in `code`.
///
/// # Errors
/// When this machine does not let it.
pub(crate) async fn make_runtime(code: &Path) -> anyhow::Result<Runtime> {
    let config = RuntimeConfig::new(code.to_owned());
    blocking(move || Runtime::new(config).context("cannot start the sandbox host")).await
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
        let address = taken.local_addr().unwrap();
        let error = listen(address).await.unwrap_err().to_string();
        assert!(
            error.contains("choose another port with --api-port"),
            "{error}"
        );
    }

    #[test]
    fn certificates_are_kept_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let sans = euston_tls::loopback_sans(3);
        let first = Pki::open(dir.path(), &sans).unwrap();
        let second = Pki::open(dir.path(), &sans).unwrap();
        assert_eq!(first.admin.cert_pem, second.admin.cert_pem);
        assert_eq!(first.server.cert_pem, second.server.cert_pem);
        let admin = first.admin.subject().unwrap();
        assert_eq!(
            (admin.common_name.as_str(), admin.organizations),
            ("kubernetes-admin", vec![MASTERS.to_owned()])
        );
    }
}
