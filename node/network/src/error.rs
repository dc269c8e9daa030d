//! Why a request found no answer, in words for the person whose guest sent it.

use std::time::Duration;

/// A request that was sent into the pod network and brought no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The request's URI has no host to send it to.
    #[error("the request has no usable authority: {0}")]
    BadRequest(String),
    /// The name stands for nothing, in the cluster or outside.
    #[error("no such host: {0}")]
    NoSuchName(String),
    /// Nobody listens at the address.
    #[error("connection to {to} refused: {why}")]
    Refused {
        /// Address or name, with the port.
        to: String,
        /// What is missing there.
        why: String,
    },
    /// The Service exists, and no endpoint of it is ready.
    #[error("the Service {service} has no ready endpoint")]
    NoEndpoints {
        /// `namespace/name`.
        service: String,
    },
    /// Not answered in time.
    #[error("{what} timed out after {} ms", .after.as_millis())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The network's policy forbids it.
    #[error("sending to {to} is not allowed: {why}")]
    Denied {
        /// Address or name.
        to: String,
        /// Which rule, and what would be allowed.
        why: String,
    },
    /// The connection broke, or the other side broke the protocol.
    #[error("the exchange with {to} failed: {why}")]
    Failed {
        /// Address or name.
        to: String,
        /// The causes, joined.
        why: String,
    },
}

/// Joins the causes of an error into one line, as `a: b: c`, without repeating what is said.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
