//! Many writes at once, within bounds.

use std::future::Future;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// Writes in flight at most, per reconcile. Enough that a group commit is always full, few enough
/// that other clients of the API get their turn.
pub(crate) const IN_FLIGHT_MAX: usize = 64;

/// What became of a series of writes.
#[derive(Debug)]
pub(crate) struct Outcome<T, E> {
    pub(crate) done: Vec<T>,
    pub(crate) failed: Vec<E>,
}

/// Runs `write` for 0..`count`, starting with one and growing with every success up to
/// [`IN_FLIGHT_MAX`] at once; after the first failure nothing more is started. So a thousand
/// refused pods cost one refusal, and a thousand accepted ones a few round trips.
pub(crate) async fn slow_start<T, E, Fut>(
    count: usize,
    write: impl Fn(usize) -> Fut,
) -> Outcome<T, E>
where
    Fut: Future<Output = Result<T, E>>,
{
    let mut outcome = Outcome {
        done: Vec::with_capacity(count),
        failed: Vec::new(),
    };
    let mut running = FuturesUnordered::new();
    let mut window = 1;
    let mut started = 0;
    loop {
        while started < count && running.len() < window && outcome.failed.is_empty() {
            running.push(write(started));
            started += 1;
        }
        match running.next().await {
            Some(Ok(done)) => {
                outcome.done.push(done);
                window = (window + 1).min(IN_FLIGHT_MAX);
            }
            Some(Err(error)) => outcome.failed.push(error),
            None => return outcome,
        }
    }
}

/// Runs `write` for each of `items`, [`IN_FLIGHT_MAX`] at once, all of them whatever fails.
pub(crate) async fn all<I, T, E, Fut>(
    items: impl IntoIterator<Item = I>,
    write: impl Fn(I) -> Fut,
) -> Outcome<T, E>
where
    Fut: Future<Output = Result<T, E>>,
{
    let mut outcome = Outcome {
        done: Vec::new(),
        failed: Vec::new(),
    };
    let mut running =
        futures::stream::iter(items.into_iter().map(write)).buffer_unordered(IN_FLIGHT_MAX);
    while let Some(result) = running.next().await {
        match result {
            Ok(done) => outcome.done.push(done),
            Err(error) => outcome.failed.push(error),
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    /// Runs `count` writes of 1 ms each; those from `fail_from` on fail. Returns (done, failed, most at once, ms).
    async fn run(count: usize, fail_from: usize) -> (usize, usize, usize, u128) {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let start = tokio::time::Instant::now();
        let outcome: Outcome<usize, usize> = slow_start(count, |i| {
            let (now, most) = (&now, &most);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::time::sleep(Duration::from_millis(1)).await;
                now.set(now.get() - 1);
                if i < fail_from { Ok(i) } else { Err(i) }
            }
        })
        .await;
        (
            outcome.done.len(),
            outcome.failed.len(),
            most.get(),
            start.elapsed().as_millis(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn writes_speed_up_with_success() {
        let (done, failed, most, ms) = run(1000, usize::MAX).await;
        assert_eq!((done, failed, most), (1000, 0, IN_FLIGHT_MAX));
        assert!(ms <= 30, "{ms} round trips");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_stops_the_series() {
        assert_eq!(run(1000, 0).await.1, 1, "the first write is alone");
        let (done, failed, _, _) = run(1000, 15).await;
        assert_eq!(done, 15);
        assert!(failed <= 32, "{failed}");
        assert_eq!(run(0, 0).await, (0, 0, 0, 0));
    }
}
