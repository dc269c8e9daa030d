//! An API server over a real store in a temporary folder, without nodes.

use euston_apiserver::{ApiServer, Config, MASTERS};
use tokio_util::sync::CancellationToken;

/// A control plane that goes away when dropped.
pub struct ControlPlane {
    /// The server.
    pub api: ApiServer,
    /// A client that may do everything.
    pub client: kube::Client,
    /// Its store.
    pub store: raft_store::Store,
    shutdown: CancellationToken,
    _dir: tempfile::TempDir,
}

impl ControlPlane {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shutdown = CancellationToken::new();
        let config = raft_store::Config::new("s1", dir.path().join("store"));
        let store = raft_store::Store::open(config)
            .await
            .expect("the store opens");
        let images = euston_images::Registry::open(&dir.path().join("images")).expect("images");
        let api = ApiServer::start(Config {
            store: store.clone(),
            images,
            node_client: None,
            advertise: None,
            shutdown: shutdown.clone(),
        })
        .await
        .expect("the API server starts");
        let client = api.client("test-admin", &[MASTERS]);
        ControlPlane {
            api,
            client,
            store,
            shutdown,
            _dir: dir,
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
