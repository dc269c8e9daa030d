//! The life of one pod as pure functions: what is wanted ([`desire`]), what is the case
//! ([`state`]), what to do next ([`plan`]), and what to tell the API ([`status`]). Nothing here
//! reads a clock, sends a request or starts a task.

pub(crate) mod backoff;
pub(crate) mod desire;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod recover;
pub(crate) mod state;
pub(crate) mod status;

use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// The time, twice: what people read, and what waits are measured by, since a wall clock may jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Since the agent started.
    pub(crate) mono: Duration,
    /// What goes into the API.
    pub(crate) wall: Timestamp,
}

#[cfg(test)]
impl Now {
    pub(crate) fn at(seconds: u64) -> Self {
        Self {
            mono: Duration::from_secs(seconds),
            wall: Timestamp::from_second(1_800_000_000 + seconds as i64).unwrap(),
        }
    }
}
