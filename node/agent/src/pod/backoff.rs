//! How long to wait before trying again.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(10);
/// The longest.
const MOST: Duration = Duration::from_secs(300);
/// After this long without a failure the next one counts as the first again.
const FORGET: Duration = Duration::from_secs(600);

/// Waits that double from 10 s to 300 s, as the kubelet's for restarts and image pulls do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    next: Option<Duration>,
    last: Option<Duration>,
}

impl Backoff {
    /// The wait before a container that ended is started again. The first restart is immediate;
    /// `ran` is how long it ran, and ten minutes clear its name.
    pub(crate) fn restart(&mut self, ran: Duration) -> Duration {
        if ran >= FORGET {
            self.next = None;
        }
        let wait = self.next.unwrap_or(Duration::ZERO);
        self.next = Some(self.next.map_or(FIRST, |next| (next * 2).min(MOST)));
        wait
    }

    /// The wait after an attempt failed at `now` (since the agent started).
    pub(crate) fn failed(&mut self, now: Duration) -> Duration {
        if self
            .last
            .is_some_and(|last| now.saturating_sub(last) >= FORGET + MOST)
        {
            self.next = None;
        }
        let wait = self.next.unwrap_or(FIRST);
        self.next = Some((wait * 2).min(MOST));
        self.last = Some(now);
        wait
    }

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_as_the_kubelet_lets_them_wait() {
        let mut backoff = Backoff::default();
        for (ran, expect) in [
            (1, 0),
            (1, 10),
            (1, 20),
            (1, 40),
            (599, 80),
            (1, 160),
            (1, 300),
            (1, 300),
            (600, 0),
            (1, 10),
        ] {
            assert_eq!(backoff.restart(Duration::from_secs(ran)).as_secs(), expect);
        }
    }

    #[test]
    fn failed_attempts_wait_from_ten_seconds_to_five_minutes() {
        let mut backoff = Backoff::default();
        for (now, expect) in [
            (0, 10),
            (10, 20),
            (30, 40),
            (70, 80),
            (150, 160),
            (310, 300),
            (610, 300),
            (2000, 10),
        ] {
            assert_eq!(
                backoff.failed(Duration::from_secs(now)).as_secs(),
                expect,
                "at {now}"
            );
        }
        backoff.reset();
        assert_eq!(backoff.failed(Duration::ZERO).as_secs(), 10);
    }
}
