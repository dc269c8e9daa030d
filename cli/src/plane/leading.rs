//! Controllers and scheduler, where the store's leader is.

use std::time::Duration;

use anyhow::{Context, bail};
use euston_apiserver::{ApiServer, MASTERS};
use raft_store::Store;
use tokio_util::sync::CancellationToken;

/// For controllers and scheduler to finish what they are writing when another server leads. It fences nothing: the
/// other one begins at once, and what both write is told apart by the preconditions that it carries.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Runs controllers and scheduler whenever this server's store leads its group, until `shutdown`.
///
/// # Errors
/// When one of them ends by itself.
pub(crate) async fn run(
    store: Store,
    api: ApiServer,
    options: euston_controllers::Options,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut leadership = store.leadership();
    loop {
        let term = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            // The sender lives as long as the store, of which this holds a handle.
            leads = leadership.wait_for(|now| now.here) => leads.context("the store is gone")?.term,
        };
        tracing::info!(term, "this server leads: controllers and scheduler start");
        let working = shutdown.child_token();
        let mut work = Box::pin(work(&api, options.clone(), working.clone()));
        tokio::select! {
            ended = &mut work => {
                ended?;
                if shutdown.is_cancelled() {
                    return Ok(());
                }
                bail!("controllers and scheduler ended unexpectedly");
            }
            _ = leadership.wait_for(|now| !now.here || now.term != term) => {}
        }
        tracing::info!(
            term,
            "this server leads no more: controllers and scheduler stop"
        );
        working.cancel();
        match tokio::time::timeout(HAND_OVER, work).await {
            Ok(ended) => ended?,
            Err(_) => tracing::warn!(
                "controllers or scheduler did not end within {HAND_OVER:?} and are cut off"
            ),
        }
    }
}

/// Both, until `working` is cancelled or one fails.
async fn work(
    api: &ApiServer,
    options: euston_controllers::Options,
    working: CancellationToken,
) -> anyhow::Result<()> {
    let controllers = api.client("system:kube-controller-manager", &[MASTERS]);
    let scheduler = api.client("system:kube-scheduler", &[MASTERS]);
    let controllers = async {
        euston_controllers::run(controllers, options, working.clone())
            .await
            .context("the controllers failed")
    };
    let scheduler = async {
        let options = euston_scheduler::Options::default();
        euston_scheduler::run(scheduler, options, working.clone())
            .await
            .context("the scheduler failed")
    };
    tokio::try_join!(Box::pin(controllers), Box::pin(scheduler)).map(|_| ())
}
