//! The queue of keys between event handlers and reconcilers.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap as StdHashMap, HashSet as StdHashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff::exponential;

type HashMap<K, V> = StdHashMap<K, V, RandomState>;
type HashSet<K> = StdHashSet<K, RandomState>;

/// How long a failing key waits before it is tried again: `first` doubled with each failure, at most `most`.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    /// Delay after the first failure.
    pub first: Duration,
    /// Longest delay.
    pub most: Duration,
}

impl Default for RateLimit {
    /// 5 ms, so that a conflict is retried at once, up to 2 minutes.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(5),
            most: Duration::from_secs(120),
        }
    }
}

/// Longer delays are cut to this: a key that comes back early is merely looked at once more.
const DELAY_MOST: Duration = Duration::from_secs(30 * 24 * 3600);

struct Delayed<K> {
    at: Instant,
    order: u64,
    key: K,
}

impl<K> PartialEq for Delayed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<K> Eq for Delayed<K> {}
impl<K> PartialOrd for Delayed<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Delayed<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

struct State<K> {
    ready: VecDeque<K>,
    // Keys in `ready`, and keys added while a worker has them.
    dirty: HashSet<K>,
    processing: HashSet<K>,
    delayed: BinaryHeap<Reverse<Delayed<K>>>,
    // The earliest time asked for each delayed key; heap entries that disagree are stale.
    due: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
    order: u64,
    closed: bool,
}

struct Inner<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    limit: RateLimit,
}

/// A queue of keys to reconcile: adding a key that waits is free, a key is never with two workers
/// at once, and a key added while a worker has it comes back when the worker is done.
///
/// Bounded by the number of distinct keys, that is, of objects: keys are deduplicated, so there is
/// nothing to drop. Cloning shares the queue.
pub struct WorkQueue<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<K: Clone + Eq + Hash> Default for WorkQueue<K> {
    fn default() -> Self {
        Self::new(RateLimit::default())
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// An empty queue whose failing keys back off by `limit`.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::default(),
            processing: HashSet::default(),
            delayed: BinaryHeap::new(),
            due: HashMap::default(),
            failures: HashMap::default(),
            order: 0,
            closed: false,
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                wake: Notify::new(),
                limit,
            }),
        }
    }

    /// Asks for `key` to be reconciled as soon as a worker is free.
    pub fn add(&self, key: K) {
        if self.inner.state.lock().enqueue(key) {
            self.inner.wake.notify_one();
        }
    }

    /// Asks for `key` after `delay`. Of several such wishes for a key the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.inner.state.lock();
        let at = Instant::now() + delay.min(DELAY_MOST);
        if state.closed || state.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        state.due.insert(key.clone(), at);
        state.order += 1;
        let order = state.order;
        state.delayed.push(Reverse(Delayed { at, order, key }));
        drop(state);
        // A waiting worker may have to wake earlier than it meant to.
        self.inner.wake.notify_one();
    }

    /// Asks for `key` again after a failure, with a delay that doubles until [`Self::forget`].
    /// Returns the number of failures in a row, this one included.
    pub fn retry(&self, key: K) -> u32 {
        let failures = {
            let mut state = self.inner.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            *failures
        };
        let limit = self.inner.limit;
        self.add_after(key, exponential(limit.first, limit.most, failures - 1));
        failures
    }

    /// Ends the back-off of `key` after a success.
    pub fn forget(&self, key: &K) {
        self.inner.state.lock().failures.remove(key);
    }

    /// How many keys wait for a worker now; delayed ones and those in work are not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.state.lock().ready.len()
    }

    /// Whether no key waits for a worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes [`Self::next`] return `None` from now on; further additions are ignored.
    pub fn close(&self) {
        let mut state = self.inner.state.lock();
        state.closed = true;
        state.ready.clear();
        state.delayed.clear();
        state.due.clear();
        drop(state);
        self.inner.wake.notify_waiters();
        self.inner.wake.notify_one();
    }

    /// Waits for a key and claims it; `None` once the queue is closed. Dropping the future loses nothing.
    pub async fn next(&self) -> Option<Claim<K>> {
        loop {
            let notified = self.inner.wake.notified();
            let until = {
                let mut state = self.inner.state.lock();
                state.promote(Instant::now());
                if state.closed {
                    // Pass the news on to the next waiting worker.
                    self.inner.wake.notify_one();
                    return None;
                }
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.processing.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.inner.wake.notify_one();
                    }
                    return Some(Claim {
                        queue: self.clone(),
                        key,
                    });
                }
                state.delayed.peek().map(|Reverse(delayed)| delayed.at)
            };
            match until {
                Some(at) => tokio::select! {
                    () = notified => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => notified.await,
            }
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether the key is now in `ready` and was not before.
    fn enqueue(&mut self, key: K) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) || self.processing.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    /// Moves delayed keys whose time has come into `ready`.
    fn promote(&mut self, now: Instant) {
        while self
            .delayed
            .peek()
            .is_some_and(|Reverse(delayed)| delayed.at <= now)
        {
            if let Some(Reverse(Delayed { at, key, .. })) = self.delayed.pop()
                && self.due.get(&key) == Some(&at)
            {
                self.due.remove(&key);
                self.enqueue(key);
            }
        }
    }
}

/// A key that one worker has; dropping it gives the key back, and into the queue again if it was
/// added meanwhile.
pub struct Claim<K: Clone + Eq + Hash> {
    queue: WorkQueue<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Claim<K> {
    /// The claimed key.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Clone + Eq + Hash> Drop for Claim<K> {
    fn drop(&mut self) {
        let mut state = self.queue.inner.state.lock();
        state.processing.remove(&self.key);
        if state.dirty.contains(&self.key) && !state.closed {
            state.ready.push_back(self.key.clone());
            drop(state);
            self.queue.inner.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(queue: &WorkQueue<&'static str>) -> Option<Claim<&'static str>> {
        tokio::time::timeout(Duration::ZERO, queue.next())
            .await
            .ok()
            .flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_worked_on_once() {
        let queue = WorkQueue::default();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.len(), 2);
        assert_eq!(take(&queue).await.map(|c| *c.key()), Some("a"));
        assert_eq!(take(&queue).await.map(|c| *c.key()), Some("b"));
        assert!(take(&queue).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_in_work_is_not_handed_out_again_until_done() {
        let queue = WorkQueue::default();
        queue.add("a");
        let claim = take(&queue).await.unwrap();
        queue.add("a");
        assert!(take(&queue).await.is_none(), "another worker has it");
        drop(claim);
        let claim = take(&queue).await.unwrap();
        drop(claim);
        assert!(take(&queue).await.is_none(), "nothing was added since");
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_counts() {
        let queue = WorkQueue::default();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(5));
        let start = Instant::now();
        drop(queue.next().await.unwrap());
        assert_eq!(start.elapsed().as_secs(), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(
            take(&queue).await.is_none(),
            "the later wishes were the same wish"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_delay_until_forgotten() {
        let queue = WorkQueue::new(RateLimit {
            first: Duration::from_millis(5),
            most: Duration::from_millis(30),
        });
        for (failures, expect_ms) in [(1, 5), (2, 10), (3, 20), (4, 30), (5, 30)] {
            let start = Instant::now();
            assert_eq!(queue.retry("a"), failures);
            drop(queue.next().await.unwrap());
            // The timer's resolution is a millisecond.
            let waited = start.elapsed().as_millis();
            assert!(
                (expect_ms..=expect_ms + 1).contains(&waited),
                "failure {failures}: {waited} ms"
            );
        }
        queue.forget(&"a");
        assert_eq!(queue.retry("a"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sooner_key_wakes_a_worker_that_sleeps_for_a_later_one() {
        let queue = WorkQueue::default();
        queue.add_after("late", Duration::from_secs(100));
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await.map(|claim| *claim.key()) }
        });
        tokio::task::yield_now().await;
        queue.add_after("soon", Duration::from_secs(1));
        assert_eq!(worker.await.unwrap(), Some("soon"));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_every_waiting_worker() {
        let queue: WorkQueue<&str> = WorkQueue::default();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await.is_none() })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert!(
                tokio::time::timeout(Duration::from_secs(1), worker)
                    .await
                    .unwrap()
                    .unwrap()
            );
        }
        queue.add("a");
        assert!(queue.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_workers_share_many_keys_without_overlap() {
        let queue: WorkQueue<u32> = WorkQueue::default();
        let seen = Arc::new(Mutex::new(StdHashMap::<u32, (bool, u32)>::new()));
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let (queue, seen) = (queue.clone(), seen.clone());
                tokio::spawn(async move {
                    while let Some(claim) = queue.next().await {
                        {
                            let mut seen = seen.lock();
                            let entry = seen.entry(*claim.key()).or_default();
                            assert!(!entry.0, "two workers have {}", claim.key());
                            entry.0 = true;
                        }
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        let mut seen = seen.lock();
                        let entry = seen.entry(*claim.key()).or_default();
                        *entry = (false, entry.1 + 1);
                    }
                })
            })
            .collect();
        for round in 0..5 {
            for key in 0..50 {
                queue.add_after(key, Duration::from_millis(round * 2));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        queue.close();
        for worker in workers {
            worker.await.unwrap();
        }
        let seen = seen.lock();
        assert_eq!(seen.len(), 50);
        assert!(seen.values().all(|(busy, count)| !busy && *count >= 1));
    }
}
