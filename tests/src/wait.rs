//! Waiting for what must become true, without sleeping blindly.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take on a loaded machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `look` until it answers `Ok`; the last `Err` is what the failure shows.
///
/// # Panics
/// If `what` is not so within [`PATIENCE`].
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(state) if start.elapsed() > PATIENCE => {
                panic!("{what}: not within {PATIENCE:?}; last seen: {state}");
            }
            Err(_) => {}
        }
        // Polling an API whose watch is itself under test; backs off to 100 ms.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
