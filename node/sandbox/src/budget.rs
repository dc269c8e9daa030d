//! The CPU limit of a container: a bucket of CPU time that refills at the limit's rate.
//!
//! Guests run in slices of a tick. A slice is charged after it ran, so the bucket may go below
//! zero; the container then waits until the debt is paid. Over any longer time it gets its limit
//! and not more, and a container that idled may burst for one period.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// The period that Kubernetes' CPU limits are counted over (the CFS period of Linux).
const PERIOD: Duration = Duration::from_millis(100);

/// A bucket with a nanosecond in it is empty; sums of floating-point numbers rarely hit zero.
const EMPTY: f64 = 1e-9;

/// CPU time granted and used.
#[derive(Debug)]
pub(crate) struct Budget {
    /// CPU seconds per second.
    rate: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// CPU seconds that may be used; negative while in debt.
    balance: f64,
    /// When `balance` was right.
    at: Instant,
}

impl Budget {
    /// A full bucket for this many thousandths of a CPU.
    pub(crate) fn new(millis: u32, now: Instant) -> Self {
        let rate = f64::from(millis.max(1)) / 1000.0;
        Self {
            rate,
            state: Mutex::new(State {
                balance: rate * PERIOD.as_secs_f64(),
                at: now,
            }),
        }
    }

    /// Takes `used` CPU time out of the bucket.
    pub(crate) fn charge(&self, now: Instant, used: Duration) {
        let mut state = self.state.lock();
        self.refill(&mut state, now);
        state.balance -= used.as_secs_f64();
    }

    /// How long to wait before the next slice; `None` if it may run now.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state.lock();
        self.refill(&mut state, now);
        if state.balance > EMPTY {
            return None;
        }
        // To just above that: one microsecond of credit ends the wait.
        let seconds = (1e-6 - state.balance) / self.rate;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(PERIOD))
    }

    fn refill(&self, state: &mut State, now: Instant) {
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        let full = self.rate * PERIOD.as_secs_f64();
        state.balance = (state.balance + passed * self.rate).min(full);
        state.at = state.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs slices of `slice` for ten seconds of made-up time and returns the CPU share it got.
    fn share(millis: u32, slice: Duration) -> f64 {
        let start = Instant::now();
        let mut now = start;
        let budget = Budget::new(millis, now);
        let mut used = Duration::ZERO;
        while now - start < Duration::from_secs(10) {
            if let Some(wait) = budget.wait(now) {
                now += wait;
                continue;
            }
            now += slice;
            used += slice;
            budget.charge(now, slice);
        }
        used.as_secs_f64() / (now - start).as_secs_f64()
    }

    #[test]
    fn a_spinning_guest_gets_its_limit() {
        for (millis, slice_ms) in [(10, 1), (100, 1), (250, 10), (500, 1), (900, 5)] {
            let got = share(millis, Duration::from_millis(slice_ms));
            let limit = f64::from(millis) / 1000.0;
            assert!(
                (got - limit).abs() <= limit * 0.03 + 0.002,
                "{millis} m in slices of {slice_ms} ms: got {got}"
            );
        }
    }

    #[test]
    fn a_limit_above_one_cpu_never_slows_a_single_thread() {
        assert!(share(2000, Duration::from_millis(1)) > 0.99);
    }

    #[test]
    fn idling_saves_up_for_one_period_only() {
        let start = Instant::now();
        let budget = Budget::new(100, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(budget.wait(later), None);
        budget.charge(later, Duration::from_millis(10));
        assert!(budget.wait(later).is_some(), "10 ms are a period's worth");
    }
}
