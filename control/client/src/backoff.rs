//! Exponential delays with jitter.

use std::time::Duration;

/// Doubling delays from `first` up to `most`, each shortened by up to a quarter at random so that
/// clients that failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off whose first delay is about `first` and whose delays never exceed `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The delay to wait after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let full = exponential(self.first, self.most, self.failures);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(rand::random_range(0.75..=1.0))
    }
}

/// `first * 2^failures`, at most `most`.
pub(crate) fn exponential(first: Duration, most: Duration, failures: u32) -> Duration {
    // 2^20 microseconds already exceed any cap in use; the clamp keeps the shift defined.
    first.saturating_mul(1 << failures.min(20)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap() {
        let ms = Duration::from_millis;
        for (failures, expect) in [
            (0, ms(5)),
            (1, ms(10)),
            (4, ms(80)),
            (11, ms(10_000)),
            (u32::MAX, ms(10_000)),
        ] {
            assert_eq!(
                exponential(ms(5), ms(10_000), failures),
                expect,
                "after {failures} failures"
            );
        }
    }

    #[test]
    fn jitter_only_shortens_and_reset_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for expect_ms in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next_delay();
            assert!(
                delay <= Duration::from_millis(expect_ms),
                "{delay:?} of {expect_ms}"
            );
            assert!(
                delay >= Duration::from_millis(expect_ms * 3 / 4),
                "{delay:?} of {expect_ms}"
            );
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
