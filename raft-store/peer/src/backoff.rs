//! Pauses between attempts.

use std::time::Duration;

/// Doubling pauses with jitter, so that members that lost each other at once do not call at once for ever.
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            next: min,
        }
    }

    /// The next pause: between half of it and all of it, as `jitter` (0 to 1) says.
    pub(crate) fn pause(&mut self, jitter: f64) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut pauses =
            |jitter| -> Vec<u128> { (0..8).map(|_| backoff.pause(jitter).as_millis()).collect() };
        assert_eq!(pauses(1.0), [20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(pauses(0.0)[0], 500);
        backoff.reset();
        assert_eq!(backoff.pause(0.0).as_millis(), 10);
    }
}
