//! Leases: when they end.
//!
//! That a lease exists, and which keys hang on it, is part of the replicated state. When it ends is not, for members'
//! clocks differ: the leader alone counts the time, and has what it finds expired revoked by a command. A new leader
//! knows nothing of what was renewed under the last one, so it gives every lease its full time again: a lease may live
//! longer than its holder asked for, never shorter.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The longest lease, as etcd has it: some 285 years.
pub const LEASE_TTL_MAX_SECONDS: i64 = 9_000_000_000;

/// The shortest lease; who asks for less gets this much. Less could end during an election. As etcd has it at its
/// default timeouts.
pub const LEASE_TTL_MIN_SECONDS: i64 = 2;

/// How long after a lease was reported as expired it is reported again, if it still exists by then: its revocation may
/// have been lost.
const REPORT_AGAIN: Duration = Duration::from_secs(3);

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGranted {
    /// The lease's id.
    pub id: i64,
    /// How long it lives without being kept alive; at least what was asked for.
    pub ttl_seconds: i64,
    /// The store's revision when it was granted, which granting leaves as it is.
    pub revision: crate::kv::Revision,
}

/// How long a lease has to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTtl {
    /// What it was granted.
    pub granted_seconds: i64,
    /// What is left of it, rounded down.
    pub remaining_seconds: i64,
}

/// The leader's deadlines. Times are counted from any one moment, as long as it is always the same.
#[derive(Debug, Default)]
pub(crate) struct Lessor {
    leases: HashMap<i64, Timer>,
    /// Every lease by when to look at it next: its deadline, or when to report it again.
    queue: BTreeSet<(Duration, i64)>,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    ttl_seconds: i64,
    deadline: Duration,
    /// Its place in the queue.
    queued: Duration,
}

impl Lessor {
    /// Begins anew with these leases (id and seconds), as a leader that takes over: each has its full time again, and
    /// `allowance` on top, in which its holder can find out who leads.
    pub(crate) fn reset(
        &mut self,
        now: Duration,
        allowance: Duration,
        leases: impl IntoIterator<Item = (i64, i64)>,
    ) {
        self.leases.clear();
        self.queue.clear();
        for (id, ttl_seconds) in leases {
            self.start(now + allowance, id, ttl_seconds);
        }
    }

    /// Counts a lease that was granted.
    pub(crate) fn grant(&mut self, now: Duration, id: i64, ttl_seconds: i64) {
        self.revoke(id);
        self.start(now, id, ttl_seconds);
    }

    /// Forgets a lease that was revoked.
    pub(crate) fn revoke(&mut self, id: i64) {
        if let Some(timer) = self.leases.remove(&id) {
            self.queue.remove(&(timer.queued, id));
        }
    }

    /// Gives a lease its full time again and returns that in seconds; `None` for one that does not exist or whose time
    /// is over: it may be on its way to being revoked.
    pub(crate) fn renew(&mut self, now: Duration, id: i64) -> Option<i64> {
        let timer = *self.leases.get(&id)?;
        if timer.deadline <= now {
            return None;
        }
        self.grant(now, id, timer.ttl_seconds);
        Some(timer.ttl_seconds)
    }

    /// What a lease was granted and has left; `None` for one that does not exist.
    pub(crate) fn remaining(&self, now: Duration, id: i64) -> Option<LeaseTtl> {
        let timer = self.leases.get(&id)?;
        let left = timer.deadline.saturating_sub(now).as_secs();
        Some(LeaseTtl {
            granted_seconds: timer.ttl_seconds,
            remaining_seconds: i64::try_from(left).unwrap_or(i64::MAX),
        })
    }

    /// Up to `max` leases whose time is over, the longest overdue first. Each is reported once, and again later if it
    /// still exists then.
    pub(crate) fn expired(&mut self, now: Duration, max: usize) -> Vec<i64> {
        let mut expired = Vec::new();
        while expired.len() < max
            && let Some(&(at, id)) = self.queue.first()
            && at <= now
        {
            self.queue.pop_first();
            if let Some(timer) = self.leases.get_mut(&id) {
                timer.queued = now + REPORT_AGAIN;
                self.queue.insert((timer.queued, id));
                expired.push(id);
            }
        }
        expired
    }

    /// When [`Lessor::expired`] may next have something to report.
    #[cfg(test)]
    fn next_at(&self) -> Option<Duration> {
        self.queue.first().map(|(at, _)| *at)
    }

    fn start(&mut self, from: Duration, id: i64, ttl_seconds: i64) {
        let deadline = from + Duration::from_secs(ttl_seconds.max(0).unsigned_abs());
        self.queue.insert((deadline, id));
        let timer = Timer {
            ttl_seconds,
            deadline,
            queued: deadline,
        };
        self.leases.insert(id, timer);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_ends_when_nobody_keeps_it_alive() {
        let mut lessor = Lessor::default();
        lessor.grant(secs(100), 7, 10);
        lessor.grant(secs(100), 8, 5);
        assert_eq!(lessor.next_at(), Some(secs(105)));
        assert_eq!(lessor.expired(secs(104), 9), []);
        assert_eq!(lessor.renew(secs(104), 8), Some(5));
        assert_eq!(lessor.expired(secs(108), 9), []);
        assert_eq!(lessor.expired(secs(109), 9), [8]);
        // Over is over, whether it has been revoked yet or not.
        assert_eq!(lessor.renew(secs(109), 8), None);
        assert_eq!(lessor.remaining(secs(109), 8).unwrap().remaining_seconds, 0);
        assert_eq!(lessor.expired(secs(110), 9), [7]);
        lessor.revoke(7);
        assert_eq!(lessor.expired(secs(111), 9), []);
        assert_eq!(lessor.expired(secs(112), 9), [8], "its revocation was lost");
        lessor.revoke(8);
        assert_eq!(lessor.next_at(), None);
        assert_eq!(lessor.remaining(secs(109), 8), None);
        assert_eq!(lessor.renew(secs(109), 9), None);
    }

    #[test]
    fn what_is_left_is_counted_in_whole_seconds() {
        let mut lessor = Lessor::default();
        lessor.grant(Duration::ZERO, 1, LEASE_TTL_MAX_SECONDS);
        lessor.grant(Duration::ZERO, 2, 10);
        let check = |id, millis, expect| {
            let ttl = lessor.remaining(Duration::from_millis(millis), id).unwrap();
            assert_eq!(ttl.remaining_seconds, expect, "{id} at {millis}");
        };
        check(1, 0, LEASE_TTL_MAX_SECONDS);
        check(2, 0, 10);
        check(2, 1, 9);
        check(2, 9_999, 0);
        check(2, 99_999, 0);
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_full_time_and_more() {
        let mut lessor = Lessor::default();
        lessor.grant(secs(0), 1, 10);
        lessor.reset(secs(50), secs(3), [(2, 5), (3, 2)]);
        assert_eq!(lessor.remaining(secs(50), 1), None);
        assert_eq!(lessor.expired(secs(54), 9), []);
        assert_eq!(lessor.expired(secs(60), 9), [3, 2]);
    }

    #[test]
    fn many_leases_are_reported_a_few_at_a_time() {
        let mut lessor = Lessor::default();
        lessor.reset(secs(0), secs(0), (1..=300_000).map(|id| (id, 5)));
        let mut seen = Vec::new();
        while seen.len() < 300_000 {
            let some = lessor.expired(secs(5), 1_000);
            assert_eq!(some.len(), 1_000);
            seen.extend(some);
        }
        assert!(seen.into_iter().eq(1..=300_000));
        assert_eq!(lessor.expired(secs(5), 1_000), []);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Grant(i64, i64),
        Revoke(i64),
        Renew(i64),
        Wait(u64),
        Expire(usize),
    }

    fn some_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6_i64, 0..20_i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
            (0..6_i64).prop_map(Step::Revoke),
            (0..6_i64).prop_map(Step::Renew),
            (0..15_u64).prop_map(Step::Wait),
            (0..4_usize).prop_map(Step::Expire),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn deadlines_are_kept_whatever_happens(steps in vec(some_step(), 0..80)) {
            let mut lessor = Lessor::default();
            // By id: the seconds, the deadline, and from when on it is to be reported.
            let mut reference: BTreeMap<i64, (i64, u64, u64)> = BTreeMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Grant(id, ttl) => {
                        lessor.grant(secs(now), id, ttl);
                        reference.insert(id, (ttl, now + ttl as u64, now + ttl as u64));
                    }
                    Step::Revoke(id) => {
                        lessor.revoke(id);
                        reference.remove(&id);
                    }
                    Step::Renew(id) => {
                        let lives = reference.get_mut(&id).filter(|(_, end, _)| *end > now);
                        let expect = lives.map(|lease| {
                            *lease = (lease.0, now + lease.0 as u64, now + lease.0 as u64);
                            lease.0
                        });
                        prop_assert_eq!(lessor.renew(secs(now), id), expect);
                    }
                    Step::Wait(seconds) => now += seconds,
                    Step::Expire(max) => {
                        let mut due: Vec<_> = reference
                            .iter_mut()
                            .filter(|(_, (_, _, report))| *report <= now)
                            .map(|(id, lease)| (lease.2, *id, lease))
                            .collect();
                        due.sort_by_key(|(at, id, _)| (*at, *id));
                        let expect: Vec<i64> = due
                            .into_iter()
                            .take(max)
                            .map(|(_, id, lease)| {
                                lease.2 = now + 3;
                                id
                            })
                            .collect();
                        prop_assert_eq!(lessor.expired(secs(now), max), expect);
                    }
                }
                prop_assert_eq!(lessor.leases.len(), lessor.queue.len());
                for (id, (ttl, end, _)) in &reference {
                    let left = lessor.remaining(secs(now), *id).unwrap();
                    let expect = (*ttl, end.saturating_sub(now) as i64);
                    prop_assert_eq!((left.granted_seconds, left.remaining_seconds), expect);
                }
                prop_assert_eq!(lessor.leases.len(), reference.len());
            }
        }
    }
}
