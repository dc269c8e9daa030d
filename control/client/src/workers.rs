//! The loop around a reconcile function: claim a key, reconcile, requeue or back off.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::queue::WorkQueue;

/// One reconcile may not hold a worker longer than this; it is level-driven, so a later run goes on.
const RECONCILE_MOST: Duration = Duration::from_secs(120);

/// On shutdown a reconcile that is under way may finish for this long.
const FINISH_MOST: Duration = Duration::from_secs(3);

/// Failures in a row from which on they are reported as warnings; conflicts come and go before that.
const FAILURES_WORTH_A_WARNING: u32 = 4;

/// What a successful reconcile asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Done,
    /// Reconcile again after this long at the latest: a computed deadline.
    After(Duration),
}

/// Runs `workers` concurrent loops over `queue` until `shutdown`, then closes the queue.
///
/// `reconcile` gets a key and nothing else. An error (or a panic, which is caught and logged) backs the key off.
pub async fn run_workers<K, E, F, Fut>(
    name: &'static str,
    queue: WorkQueue<K>,
    workers: usize,
    shutdown: CancellationToken,
    reconcile: F,
) where
    K: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    E: Display + Send,
    F: Fn(K) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, E>> + Send,
{
    let mut loops = JoinSet::new();
    for _ in 0..workers {
        let (queue, shutdown, reconcile) = (queue.clone(), shutdown.clone(), reconcile.clone());
        loops.spawn(async move {
            loop {
                let claim = tokio::select! {
                    () = shutdown.cancelled() => break,
                    claim = queue.next() => claim,
                };
                let Some(claim) = claim else { break };
                let key = claim.key().clone();
                let work = AssertUnwindSafe(tokio::time::timeout(RECONCILE_MOST, reconcile(key.clone()))).catch_unwind();
                let outcome = tokio::select! {
                    outcome = work => outcome,
                    () = async { shutdown.cancelled().await; tokio::time::sleep(FINISH_MOST).await } => break,
                };
                match outcome {
                    Ok(Ok(Ok(next))) => {
                        queue.forget(&key);
                        if let Next::After(delay) = next {
                            queue.add_after(key, delay);
                        }
                    }
                    Ok(Ok(Err(error))) => {
                        let failures = queue.retry(key.clone());
                        if failures >= FAILURES_WORTH_A_WARNING {
                            warn!(controller = name, ?key, %error, failures, "reconcile failed; trying again later");
                        } else {
                            debug!(controller = name, ?key, %error, failures, "reconcile failed; trying again");
                        }
                    }
                    Ok(Err(_elapsed)) => {
                        let failures = queue.retry(key.clone());
                        warn!(controller = name, ?key, failures, limit = ?RECONCILE_MOST, "reconcile took too long; trying again later");
                    }
                    Err(_panic) => {
                        let failures = queue.retry(key.clone());
                        error!(controller = name, ?key, failures, "reconcile panicked; trying again later");
                    }
                }
            }
        });
    }
    while loops.join_next().await.is_some() {}
    queue.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn errors_and_panics_are_retried_and_deadlines_honoured() {
        let queue = WorkQueue::default();
        let runs = Arc::new(AtomicU32::new(0));
        let shutdown = CancellationToken::new();
        let reconcile = {
            let (runs, shutdown) = (runs.clone(), shutdown.clone());
            move |_key: &'static str| {
                let (runs, shutdown) = (runs.clone(), shutdown.clone());
                async move {
                    match runs.fetch_add(1, Ordering::SeqCst) {
                        0 => Err("not yet"),
                        1 => panic!("a bug"),
                        2 => Ok(Next::After(Duration::from_secs(30))),
                        _ => {
                            shutdown.cancel();
                            Ok(Next::Done)
                        }
                    }
                }
            }
        };
        queue.add("a");
        let start = tokio::time::Instant::now();
        run_workers("test", queue, 2, shutdown, reconcile).await;
        assert_eq!(runs.load(Ordering::SeqCst), 4);
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
