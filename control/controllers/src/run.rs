//! The one loop of all controllers that work by object: a key comes in, the controller makes the
//! cluster right for it.

use std::future::Future;
use std::sync::Arc;

use euston_client::{Next, ObjectKey, WorkQueue, run_workers};

use crate::Shared;
use crate::error::{Error, unless_conflict};

/// What a controller does with a key. It may be called twice, late, or for no reason.
pub(crate) trait Reconcile: Send + Sync + 'static {
    /// Looks at what is the case, and writes what should be.
    fn reconcile(&self, key: &ObjectKey) -> impl Future<Output = Result<Next, Error>> + Send;
}

/// Reconciles the keys of `queue`, so many at once, until the controllers shut down.
pub(crate) async fn run_controller(
    name: &'static str,
    queue: WorkQueue<ObjectKey>,
    workers: usize,
    shared: &Shared,
    controller: impl Reconcile,
) {
    let controller = Arc::new(controller);
    let reconcile = move |key: ObjectKey| {
        let controller = controller.clone();
        async move { unless_conflict(controller.reconcile(&key).await) }
    };
    run_workers(name, queue, workers, shared.shutdown.clone(), reconcile).await;
}
