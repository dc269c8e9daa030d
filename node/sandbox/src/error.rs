//! What can go wrong, said so that the sentence can stand in `kubectl describe` as it is.

use std::path::PathBuf;
use std::time::Duration;

/// The sandbox host itself could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The directory for compiled code, or the key in it, cannot be used.
    #[error("cannot use the code cache {}: {source}; give a directory this user may write to", path.display())]
    Cache {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// wasmtime refuses the machine or the configuration.
    #[error("cannot start the Wasm engine: {reason}")]
    Engine {
        /// wasmtime's words.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start the threads that guests run on: {source}")]
    Threads {
        /// What the system said.
        source: std::io::Error,
    },
}

/// A file cannot be made into a runnable image.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The bytes are something else.
    #[error("this is not a Wasm module or component but {what}{advice}")]
    NotWasm {
        /// What the bytes look like, with its article.
        what: String,
        /// What to do about it: empty, or starting with "; ".
        advice: &'static str,
    },
    /// The file begins like Wasm and then breaks the format.
    #[error("this is not valid Wasm: {reason}")]
    Malformed {
        /// Where and what.
        reason: String,
    },
    /// The guest needs from its host what this node does not have.
    #[error("{}", unknown_imports(imports))]
    UnknownImports {
        /// The imports, in the file's order, never empty: `ns:pkg/interface@version` for a
        /// component, `module.name` for a core module.
        imports: Vec<String>,
    },
    /// An interface that the node provides is imported with other types than the standard gives it.
    #[error("the imports do not fit the interfaces of this node: {reason}")]
    IncompatibleImports {
        /// wasmtime's words.
        reason: String,
    },
    /// Valid Wasm, but a library: nothing in it can be started.
    #[error("there is nothing to run: {reason}")]
    NothingToRun {
        /// What it exports, and what it would have to.
        reason: String,
    },
    /// The compiler gave up.
    #[error("cannot compile this image: {reason}")]
    Compile {
        /// The compiler's words.
        reason: String,
    },
    /// Valid, but larger than a sandbox of this node may be.
    #[error("this image does not fit a sandbox of this node: {reason}")]
    TooLarge {
        /// Which bound, and by how much.
        reason: String,
    },
    /// The disk or a worker thread failed.
    #[error("cannot prepare this image: {reason}")]
    Io {
        /// What was attempted and what the system said.
        reason: String,
    },
}

fn unknown_imports(imports: &[String]) -> String {
    let Some((first, rest)) = imports.split_first() else {
        return "the guest imports what this node does not provide".to_owned();
    };
    // A component's import names a package (`ns:pkg/iface`); a core module's is `module.name`.
    let who = if first.contains(':') {
        "component"
    } else {
        "module"
    };
    match rest.len() {
        0 => format!("the {who} imports {first:?}, which this node does not provide"),
        n => {
            format!("the {who} imports {first:?} (and {n} more), which this node does not provide")
        }
    }
}

/// A container cannot be started from this spec.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The image has no such entry.
    #[error("the image cannot be run as {wanted}: it is {offered}")]
    NoSuchEntry {
        /// "an HTTP server" or "a command".
        wanted: &'static str,
        /// What it is.
        offered: &'static str,
    },
    /// A directory of the host cannot be opened for the guest.
    #[error("cannot mount {} at {guest}: {reason}", host.display())]
    Mount {
        /// The directory.
        host: PathBuf,
        /// Where the guest was to see it.
        guest: String,
        /// What the system said.
        reason: String,
    },
    /// Every sandbox that commands may use is in use.
    #[error(
        "all {limit} sandboxes for long-running commands of this node are in use; it is tried again"
    )]
    Full {
        /// How many there are.
        limit: usize,
    },
    /// The spec itself makes no sense.
    #[error("cannot start the container: {reason}")]
    Invalid {
        /// Which field, and its bound.
        reason: String,
    },
}

/// A request was not answered by the guest.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// More requests wait than may wait; answer 503 with `Retry-After`.
    #[error("the container is busy and its queue is full; try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The container is stopping or has ended, or is not an HTTP container.
    #[error("the container is not running")]
    Stopped,
    /// The guest trapped before it answered.
    #[error("{0}")]
    Trap(String),
    /// The guest did not answer within the container's time per request.
    #[error("the guest did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The guest wanted more memory than it may have.
    #[error("{0}")]
    OutOfMemory(String),
    /// The guest ended without an answer, or answered with an error instead of a response.
    #[error("{0}")]
    BadResponse(String),
    /// The request cannot be given to a guest.
    #[error("the request cannot be handed to a guest: {0}")]
    BadRequest(String),
}

/// Why a request that a guest sent out was not answered.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// The name stands for nothing.
    #[error("no such host: {0}")]
    Dns(String),
    /// Nobody listens there, or no endpoint is ready.
    #[error("connection refused")]
    ConnectionRefused,
    /// No connection, or no answer, in time.
    #[error("timed out")]
    Timeout,
    /// A policy forbids it.
    #[error("denied: {0}")]
    Denied(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// The causes of a wasmtime error in one line, as `a: b: c`.
pub(crate) fn wasmtime_chain(error: &wasmtime::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Outer errors often repeat the inner message.
        if !parts.iter().any(|seen| seen.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_imports_are_named_in_a_sentence() {
        for (imports, expect) in [
            (
                &["acme:db/query@1.0.0"][..],
                r#"the component imports "acme:db/query@1.0.0", which this node does not provide"#,
            ),
            (
                &["acme:db/query@1.0.0", "a:b/c", "d:e/f"],
                r#"the component imports "acme:db/query@1.0.0" (and 2 more), which this node does not provide"#,
            ),
            (
                &["env.printf"],
                r#"the module imports "env.printf", which this node does not provide"#,
            ),
        ] {
            let imports = imports.iter().map(|s| (*s).to_owned()).collect();
            assert_eq!(ImageError::UnknownImports { imports }.to_string(), expect);
        }
    }
}
