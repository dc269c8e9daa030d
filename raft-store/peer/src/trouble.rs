//! What goes wrong between members, and saying it once.

use std::time::Duration;

use tonic::{Code, Status};

use crate::handshake::{Reason, Refusal};

/// Why a member cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("it has no usable peer url: {0}")]
    Url(String),
    #[error("{0}")]
    Connect(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("it does not answer within {0:?}")]
    Silent(Duration),
    #[error("{}", .0.what)]
    Refused(Refusal),
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The other side takes no calls just now.
    #[error("it is not serving: {0}")]
    Away(String),
}

impl Trouble {
    pub(crate) fn of_status(status: &Status) -> Self {
        if let Some(refusal) = Refusal::of_status(status) {
            return Self::Refused(refusal);
        }
        let message = describe(status);
        match status.code() {
            Code::Unavailable => Self::Away(message),
            _ => Self::Broken(message),
        }
    }

    /// Troubles of one kind are one cause, however their words differ.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            // Which of these it is changes with every attempt at a member that goes down.
            Self::Connect(_) | Self::Silent(_) | Self::Broken(_) | Self::Away(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Refused(refusal) => refusal.reason.name(),
        }
    }

    pub(crate) fn is_removal(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason == Reason::Removed)
    }
}

/// A status in words, with what caused it: tonic's own words for a broken connection say little.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Remembers what was said, so that a cause is said once and not with every attempt.
pub(crate) struct Said<T> {
    said: Vec<T>,
    max: usize,
}

impl<T: PartialEq> Said<T> {
    /// Remembers up to `max` causes, then forgets the oldest.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            said: Vec::new(),
            max,
        }
    }

    /// Whether this was not said yet; it counts as said from now on.
    pub(crate) fn is_news(&mut self, cause: T) -> bool {
        if self.said.contains(&cause) {
            return false;
        }
        if self.said.len() == self.max {
            self.said.remove(0);
        }
        self.said.push(cause);
        true
    }

    /// Forgets what is over.
    pub(crate) fn forget(&mut self, over: impl Fn(&T) -> bool) {
        self.said.retain(|cause| !over(cause));
    }

    /// All is well again. Returns whether anything had been said.
    pub(crate) fn clear(&mut self) -> bool {
        let any = !self.said.is_empty();
        self.said.clear();
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_news_once_until_all_is_well() {
        let mut said = Said::new(2);
        assert!(said.is_news("a"));
        assert!(!said.is_news("a"));
        assert!(said.is_news("b"));
        assert!(said.is_news("c"));
        assert!(said.is_news("a"));
        assert!(said.clear());
        assert!(!said.clear());
        assert!(said.is_news("a"));
    }
}
