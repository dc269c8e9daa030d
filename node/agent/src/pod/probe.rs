//! Probes: when the next one is due, and what their results add up to.

use std::time::Duration;

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// `GET` on a port of the pod; any status from 200 to 399 is good.
    Http {
        port: u16,
        path: String,
        host: Option<String>,
        headers: Vec<(String, String)>,
    },
    /// Whether something listens on a port of the pod.
    Listening { port: u16 },
}

/// A probe of a container's spec, with the defaults of the API filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbeSpec {
    pub(crate) check: Check,
    pub(crate) delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) successes: u32,
    pub(crate) failures: u32,
}

/// The three questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    pub(crate) const ALL: [ProbeKind; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// As events spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// The course of one probe of one running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProbeRun {
    /// When the next one is due, since the agent started; `None` until the container runs.
    next: Option<Duration>,
    in_flight: bool,
    good: u32,
    bad: u32,
    /// Whether the thresholds have been reached, and on which side.
    verdict: Option<bool>,
}

impl ProbeRun {
    /// Begins, for a container that started at `now`.
    pub(crate) fn begin(spec: &ProbeSpec, now: Duration) -> Self {
        Self {
            next: Some(now + spec.delay),
            ..Self::default()
        }
    }

    /// When to look again; `None` while an answer is awaited.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.next.filter(|_| !self.in_flight)
    }

    /// Notes that a probe was sent.
    pub(crate) fn sent(&mut self) {
        self.in_flight = true;
    }

    /// Takes an answer. The period is shortened by up to an eighth, by `seed`, so that the probes of
    /// a thousand pods that started together drift apart.
    pub(crate) fn answer(&mut self, spec: &ProbeSpec, ok: bool, now: Duration, seed: u32) {
        self.in_flight = false;
        self.next = Some(now + spec.period - spec.period / 64 * (seed % 8));
        if ok {
            self.bad = 0;
            self.good = self.good.saturating_add(1);
            if self.good >= spec.successes {
                self.verdict = Some(true);
            }
        } else {
            self.good = 0;
            self.bad = self.bad.saturating_add(1);
            if self.bad >= spec.failures {
                self.verdict = Some(false);
            }
        }
    }

    /// What the answers add up to so far.
    pub(crate) fn verdict(&self) -> Option<bool> {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_turn_answers_into_verdicts() {
        let spec = ProbeSpec {
            check: Check::Listening { port: 80 },
            delay: Duration::from_secs(3),
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            successes: 2,
            failures: 3,
        };
        let mut run = ProbeRun::begin(&spec, Duration::from_secs(100));
        assert_eq!(run.due(), Some(Duration::from_secs(103)));
        run.sent();
        assert_eq!(run.due(), None);
        let mut now = 103;
        for (ok, expect) in [
            (true, None),
            (false, None),
            (true, None),
            (true, Some(true)),
            (false, Some(true)),
            (false, Some(true)),
            (false, Some(false)),
            (true, Some(false)),
            (true, Some(true)),
        ] {
            run.answer(&spec, ok, Duration::from_secs(now), 0);
            assert_eq!(run.verdict(), expect);
            assert_eq!(run.due(), Some(Duration::from_secs(now + 10)));
            now += 10;
        }
        run.answer(&spec, true, Duration::ZERO, 7);
        assert!(run.due().unwrap() < Duration::from_secs(9));
        assert!(run.due().unwrap() >= Duration::from_millis(8750));
    }
}
