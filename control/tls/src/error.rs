//! What can go wrong before a connection exists. Each error names the file or subject that it is about.

use std::path::PathBuf;

/// A failure to read, write, issue or use certificates, or to serve with them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate or key file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file or string holds no usable certificate or key.
    #[error("{what} is not usable: {why}")]
    Unusable {
        /// The file or subject.
        what: String,
        /// What is wrong with it, and what to do where that is known.
        why: String,
    },
    /// Issuing a certificate failed.
    #[error("cannot issue a certificate for {subject:?}: {source}")]
    Issue {
        /// The common name asked for.
        subject: String,
        /// The cause.
        source: rcgen::Error,
    },
    /// rustls refused a configuration.
    #[error("cannot set up TLS for {what}: {source}")]
    Config {
        /// Which side of which connection.
        what: &'static str,
        /// The cause.
        source: rustls::Error,
    },
    /// The listening socket failed in a way that accepting again would not cure.
    #[error("cannot accept connections on {address}: {source}")]
    Accept {
        /// The listener's address.
        address: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

impl TlsError {
    pub(crate) fn unusable(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Unusable {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

/// An error with all its causes, as one sentence: hyper's outermost says only "client error (Connect)".
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
