//! How many wrong tokens are looked at.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Wrong tokens in a window, from all sides together, and tokens that are being looked at. Nobody guesses 128
/// bits; this bounds the reads and log lines that somebody can cause who tries. A cluster that starts has
/// that many nodes joining at one moment.
const WRONG_MAX: u32 = 32;
const WINDOW: Duration = Duration::from_secs(1);

/// Counts wrong tokens. Where there were too many, all joins of the rest of that second are told to come
/// back, which the joining side does by itself.
pub(crate) struct WrongTokens(Mutex<Window>);

struct Window {
    since: Instant,
    wrong: u32,
}

impl WrongTokens {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Window {
            since: now,
            wrong: 0,
        }))
    }

    /// Whether a token may be looked at. It counts as wrong until it is found [`right`](Self::right), so that
    /// many at the same moment are not looked at all together.
    pub(crate) fn may_try(&self, now: Instant) -> bool {
        let mut window = self.0.lock();
        if now.duration_since(window.since) >= WINDOW {
            *window = Window {
                since: now,
                wrong: 0,
            };
        }
        if window.wrong >= WRONG_MAX {
            return false;
        }
        window.wrong += 1;
        true
    }

    /// One that was looked at was not wrong.
    pub(crate) fn right(&self) {
        let mut window = self.0.lock();
        // The window that counted it may be over.
        window.wrong = window.wrong.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_wrong_tokens_ends_with_the_second() {
        let start = Instant::now();
        let limit = WrongTokens::new(start);
        for n in 0..WRONG_MAX {
            assert!(limit.may_try(start), "after {n}");
        }
        assert!(!limit.may_try(start + WINDOW / 2));
        assert!(limit.may_try(start + WINDOW));
    }

    #[test]
    fn right_tokens_are_no_reason_to_refuse_others() {
        let start = Instant::now();
        let limit = WrongTokens::new(start);
        limit.right();
        for _ in 0..10 * WRONG_MAX {
            assert!(limit.may_try(start));
            limit.right();
        }
    }
}
