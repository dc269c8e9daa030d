//! Controllers: ordinary API clients that make the declared state true.
//!
//! A folder per controller. In each, `plan.rs` (and its neighbours) decide in pure functions that
//! take the time as an argument, and `mod.rs` reads from shared [informers](euston_client::Informer)
//! and writes through the API. All are level-driven: a reconcile gets a key and nothing else, can be
//! repeated at any time, and carries a precondition where acting on stale knowledge could hurt.

mod certificates;
mod claim;
mod clusterroles;
mod deployment;
mod discovery;
mod endpointslice;
mod error;
mod garbage;
mod informers;
mod namespace;
mod node;
mod options;
mod pods;
mod replicaset;
mod run;
mod serviceaccount;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use euston_client::{ObjectKey, RateLimit, WorkQueue};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

pub use certificates::CertificateSigner;
pub use error::Error;
pub use options::Options;

use crate::informers::Informers;

/// What every controller gets.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) informers: Informers,
    pub(crate) options: Options,
    pub(crate) shutdown: CancellationToken,
    /// Namespaces (cluster-scoped keys) that are being deleted and are worth a look.
    pub(crate) namespaces_to_empty: WorkQueue<ObjectKey>,
}

/// A namespace is looked at whenever something in it goes; between that, ever less often.
const NAMESPACE_RETRY: RateLimit = RateLimit {
    first: Duration::from_millis(50),
    most: Duration::from_secs(15),
};

/// Runs all controllers until `shutdown`.
///
/// Returns after every controller has stopped; work under way may finish for a few seconds.
///
/// # Errors
/// If `options` make no sense. An API that cannot be reached is no error: it is waited for.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    options.validate()?;
    let informers = Informers::start(&client, &shutdown);
    if !informers.synced().await {
        // Only a shutdown stops an informer.
        return Ok(());
    }
    let namespaces_to_empty = WorkQueue::new(NAMESPACE_RETRY);
    let shared = Arc::new(Shared {
        client,
        informers,
        options,
        shutdown,
        namespaces_to_empty,
    });
    let mut controllers = JoinSet::new();
    controllers.spawn(deployment::run(shared.clone()));
    controllers.spawn(replicaset::run(shared.clone()));
    controllers.spawn(endpointslice::run(shared.clone()));
    controllers.spawn(serviceaccount::run(shared.clone()));
    controllers.spawn(serviceaccount::tokens::run(shared.clone()));
    controllers.spawn(node::run(shared.clone()));
    controllers.spawn(clusterroles::run(shared.clone()));
    controllers.spawn(certificates::run(shared.clone()));
    controllers.spawn(garbage::run(shared.clone()));
    controllers.spawn(namespace::run(shared));
    while let Some(ended) = controllers.join_next().await {
        if let Err(failure) = ended {
            // The others go on: a cluster without one controller is better than one without any.
            error!(%failure, "a controller ended unexpectedly; restart the server to get it back");
        }
    }
    Ok(())
}
