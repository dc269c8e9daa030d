//! Pods that wait for a node: ready to be tried, waiting out a back-off, or waiting for something
//! in the cluster to change. Pure: the caller says what time it is.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::{HashMap, HashMapExt};
use euston_client::ObjectKey;

use crate::framework::Events;
use crate::pod::PodInfo;

/// After the first failed attempt, doubled with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_secs(10);
/// A pod that nothing seemed to help is tried again after so long, in case an event was misjudged.
const UNSCHEDULABLE_MOST: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Active,
    /// Until then.
    BackingOff(Instant),
    /// Until one of these events, or so long after the time.
    Unschedulable(Events, Instant),
    /// Handed out by [`Queue::pop`]; its binding may be under way.
    Taken,
}

struct Entry {
    pod: Arc<PodInfo>,
    state: State,
    /// Failed attempts.
    attempts: u32,
    /// When the last attempt failed.
    failed_at: Option<Instant>,
    /// Position among pods of one priority: first come, first tried.
    order: u64,
    /// Tells the valid heap item from older ones of the same pod.
    ticket: u64,
}

/// Heap items are never searched for: one whose ticket is old is skipped when it comes up. Each
/// change of state adds at most one, so their number stays in proportion to the work done.
#[derive(PartialEq, Eq)]
struct Ready {
    priority: i32,
    order: Reverse<u64>,
    ticket: u64,
    key: ObjectKey,
}

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |r: &Self| (r.priority, r.order, r.ticket);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The queue of pods without a node. As large as the number of such pods, which the API bounds.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<ObjectKey, Entry>,
    ready: BinaryHeap<Ready>,
    /// Back-offs and last resorts, soonest first.
    timers: BinaryHeap<Reverse<(Instant, u64, ObjectKey)>>,
    unschedulable: usize,
    tickets: u64,
}

impl Queue {
    /// Nothing waits.
    pub fn new() -> Self {
        Self {
            entries: HashMap::new(),
            ..Self::default()
        }
    }

    /// How many pods wait, those under way included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no pod waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys of all pods that wait.
    pub fn pods(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.keys()
    }

    /// Takes in a pod's present state. A new pod is ready at once; one that changed in a way that
    /// matters for placing it is tried again.
    pub fn set(&mut self, pod: PodInfo, now: Instant) {
        let key = pod.key.clone();
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.pod.uid == pod.uid
        {
            if *entry.pod == pod {
                return;
            }
            entry.pod = Arc::new(pod);
            match entry.state {
                State::Unschedulable(..) => self.wake(&key, now),
                // The priority may be another one.
                State::Active => self.enter(&key, State::Active),
                State::BackingOff(_) | State::Taken => {}
            }
            return;
        }
        self.remove(&key);
        self.tickets += 1;
        let entry = Entry {
            pod: Arc::new(pod),
            state: State::Taken,
            attempts: 0,
            failed_at: None,
            order: self.tickets,
            ticket: 0,
        };
        self.entries.insert(key.clone(), entry);
        self.enter(&key, State::Active);
    }

    /// Forgets a pod: it got its node, ended, or is gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.entries.remove(key)
            && matches!(entry.state, State::Unschedulable(..))
        {
            self.unschedulable -= 1;
        }
    }

    /// The next pod to try: highest priority first, then longest waiting.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.expire(now);
        while let Some(ready) = self.ready.pop() {
            let Some(entry) = self.entries.get_mut(&ready.key) else {
                continue;
            };
            if entry.ticket == ready.ticket && entry.state == State::Active {
                entry.state = State::Taken;
                return Some(Arc::clone(&entry.pod));
            }
        }
        None
    }

    /// No node suits the pod taken: it waits for one of `cured_by`.
    pub fn unschedulable(&mut self, key: &ObjectKey, cured_by: Events, now: Instant) {
        self.failed(
            key,
            now,
            State::Unschedulable(cured_by, now + UNSCHEDULABLE_MOST),
        );
    }

    /// Something went wrong with the pod taken that time may cure, as an API that did not answer.
    pub fn retry(&mut self, key: &ObjectKey, now: Instant) {
        let until = match self.entries.get(key) {
            Some(entry) => now + backoff(entry.attempts + 1),
            None => return,
        };
        self.failed(key, now, State::BackingOff(until));
    }

    fn failed(&mut self, key: &ObjectKey, now: Instant, state: State) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if entry.state == State::Taken {
            entry.attempts = entry.attempts.saturating_add(1);
            entry.failed_at = Some(now);
            self.enter(key, state);
        }
    }

    /// Something happened: every pod that it may help is tried again, once its back-off is over.
    /// Costs a look at every unschedulable pod; callers gather events before they tell.
    pub fn happened(&mut self, events: Events, now: Instant) {
        if events.is_none() || self.unschedulable == 0 {
            return;
        }
        let helped: Vec<ObjectKey> = self
            .entries
            .iter()
            .filter(
                |(_, e)| matches!(e.state, State::Unschedulable(by, _) if by.intersects(events)),
            )
            .map(|(key, _)| key.clone())
            .collect();
        for key in helped {
            self.wake(&key, now);
        }
    }

    /// When [`Queue::pop`] may have something without any further call; `None` if only calls help.
    pub fn next_timer(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, ticket, key))) = self.timers.peek() {
            if self.entries.get(key).is_some_and(|e| e.ticket == *ticket) {
                return Some(*at);
            }
            self.timers.pop();
        }
        None
    }

    fn expire(&mut self, now: Instant) {
        while self.next_timer().is_some_and(|at| at <= now) {
            if let Some(Reverse((_, _, key))) = self.timers.pop() {
                self.enter(&key, State::Active);
            }
        }
    }

    /// Ends a wait for events: to the back-off if it is not over, else to the ready ones.
    fn wake(&mut self, key: &ObjectKey, now: Instant) {
        let Some(entry) = self.entries.get(key) else {
            return;
        };
        let until = entry.failed_at.map(|at| at + backoff(entry.attempts));
        let state = match until {
            Some(until) if until > now => State::BackingOff(until),
            _ => State::Active,
        };
        self.enter(key, state);
    }

    fn enter(&mut self, key: &ObjectKey, state: State) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        self.tickets += 1;
        self.unschedulable -= usize::from(matches!(entry.state, State::Unschedulable(..)));
        self.unschedulable += usize::from(matches!(state, State::Unschedulable(..)));
        entry.state = state;
        entry.ticket = self.tickets;
        match state {
            State::Active => self.ready.push(Ready {
                priority: entry.pod.priority,
                order: Reverse(entry.order),
                ticket: self.tickets,
                key: key.clone(),
            }),
            State::BackingOff(at) | State::Unschedulable(_, at) => {
                self.timers.push(Reverse((at, self.tickets, key.clone())));
            }
            State::Taken => {}
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(8);
    (BACKOFF_FIRST * 2_u32.pow(doublings)).min(BACKOFF_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::named_pod;
    use serde_json::json;

    fn pod(name: &str, priority: i32) -> PodInfo {
        named_pod(name, json!({"priority": priority}))
    }

    fn pop(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.pop(now).map(|p| p.key.name.to_string())
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn priority_goes_first_then_age() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (name, priority) in [("low", -1), ("first", 0), ("second", 0), ("high", 9)] {
            queue.set(pod(name, priority), now);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, now)).collect();
        assert_eq!(order, ["high", "first", "second", "low"]);
    }

    #[test]
    fn a_pod_waits_for_the_event_that_may_help_it() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.set(pod("p", 0), now);
        pop(&mut queue, now);
        queue.unschedulable(&key("p"), Events::POD_GONE, now);
        assert_eq!(pop(&mut queue, now + 60 * SECOND), None);
        queue.happened(Events::NODE_LABELS, now + 60 * SECOND);
        assert_eq!(pop(&mut queue, now + 60 * SECOND), None);
        queue.happened(Events::POD_GONE.and(Events::NODE_LABELS), now + 60 * SECOND);
        assert_eq!(pop(&mut queue, now + 60 * SECOND).as_deref(), Some("p"));
    }

    #[test]
    fn an_early_event_does_not_shorten_the_back_off() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.set(pod("p", 0), now);
        pop(&mut queue, now);
        queue.unschedulable(&key("p"), Events::POD_GONE, now);
        queue.happened(Events::POD_GONE, now);
        assert_eq!(queue.next_timer(), Some(now + SECOND));
        assert_eq!(pop(&mut queue, now), None);
        assert_eq!(pop(&mut queue, now + SECOND).as_deref(), Some("p"));
        assert_eq!(queue.next_timer(), None);
    }

    #[test]
    fn back_off_doubles_up_to_ten_seconds() {
        let (mut queue, mut now) = (Queue::new(), Instant::now());
        queue.set(pod("p", 0), now);
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(pop(&mut queue, now).as_deref(), Some("p"));
            queue.retry(&key("p"), now);
            assert_eq!(queue.next_timer(), Some(now + seconds * SECOND));
            now += seconds * SECOND;
        }
    }

    #[test]
    fn nothing_waits_longer_than_five_minutes_for_an_event() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.set(pod("p", 0), now);
        pop(&mut queue, now);
        queue.unschedulable(&key("p"), Events::NONE, now);
        assert_eq!(pop(&mut queue, now + UNSCHEDULABLE_MOST - SECOND), None);
        assert_eq!(
            pop(&mut queue, now + UNSCHEDULABLE_MOST).as_deref(),
            Some("p")
        );
    }

    #[test]
    fn a_change_of_the_pod_itself_counts_and_repeats_do_not() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.set(pod("p", 0), now);
        pop(&mut queue, now);
        queue.unschedulable(&key("p"), Events::NODE_ADDED, now);
        queue.set(pod("p", 0), now + 60 * SECOND);
        assert_eq!(pop(&mut queue, now + 60 * SECOND), None);
        queue.set(pod("p", 5), now + 60 * SECOND);
        assert_eq!(pop(&mut queue, now + 60 * SECOND).as_deref(), Some("p"));
        // While it is out, news of it neither queue it twice nor get lost.
        queue.set(pod("p", 6), now);
        assert_eq!(pop(&mut queue, now), None);
    }

    #[test]
    fn a_pod_of_the_same_name_and_another_uid_starts_afresh() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.set(pod("p", 0), now);
        pop(&mut queue, now);
        queue.unschedulable(&key("p"), Events::NONE, now);
        let mut next = pod("p", 0);
        next.uid = "another".to_owned();
        queue.set(next, now);
        assert_eq!(queue.len(), 1);
        assert_eq!(pop(&mut queue, now).as_deref(), Some("p"));
        queue.remove(&key("p"));
        queue.retry(&key("p"), now);
        assert!(queue.is_empty());
        assert_eq!(pop(&mut queue, now + 60 * SECOND), None);
    }
}
