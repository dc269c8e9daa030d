//! What a container is made from, and the two doors it has to the world outside.

use crate::{Body, Image, OutboundError};
use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;

/// Which of an image's entries a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// `wasi:http/incoming-handler`: a fresh sandbox for every request.
    Http,
    /// `wasi:cli/run`, or `_start` of a core module: one sandbox from start to exit.
    Command,
}

/// A directory of the host that the guest may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The directory on the host. It is opened when the container starts; the guest cannot leave
    /// it by `..` or by links.
    pub host: PathBuf,
    /// Its absolute path in the guest.
    pub guest: String,
    /// Refuse every change.
    pub read_only: bool,
}

/// Everything that a container is made from.
#[derive(Clone)]
pub struct ContainerSpec {
    /// The code, ready to run.
    pub image: Arc<Image>,
    /// What of it to run.
    pub entry: Entry,
    /// The arguments; the first is the program's name.
    pub args: Vec<String>,
    /// The environment, complete: nothing is inherited from the node.
    pub env: Vec<(String, String)>,
    /// The directories it may see; none by default.
    pub mounts: Vec<Mount>,
    /// Bytes of linear memory and tables that all its sandboxes may hold together.
    pub memory_limit_bytes: Option<u64>,
    /// Thousandths of one CPU that its guest code may use, over periods of 100 ms.
    pub cpu_limit_millis: Option<u32>,
    /// How many requests may be in sandboxes at once; four times as many may wait.
    pub max_concurrent_requests: usize,
    /// The time from a request's arrival until its sandbox has finished; `Duration::MAX` for none.
    pub request_timeout: Duration,
    /// Standard input of a command; an HTTP container has none.
    pub input: Input,
    /// Where its stdout and stderr go.
    pub output: Arc<dyn Output>,
    /// Who carries the requests that it sends.
    pub network: Arc<dyn OutboundHttp>,
}

/// Another command in a container that runs: it sees the same files, environment and network, and
/// shares its limits.
pub struct Exec {
    /// The arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Standard input.
    pub input: Input,
    /// Where its stdout and stderr go.
    pub output: Arc<dyn Output>,
}

type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// Standard input of a command. Closed by default. Clones are the same input, which the first
/// sandbox that is made with it reads; later ones find it closed.
#[derive(Clone, Default)]
pub struct Input(Option<Arc<Mutex<Option<Reader>>>>);

impl Input {
    /// What `reader` has to say, until its end.
    pub fn new(reader: impl AsyncRead + Send + Sync + Unpin + 'static) -> Self {
        Self(Some(Arc::new(Mutex::new(Some(Box::new(reader))))))
    }

    pub(crate) fn take(&self) -> Option<Reader> {
        self.0.as_ref()?.lock().take()
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "Input(closed)",
            Some(_) => "Input(open)",
        })
    }
}

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StdStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes what a guest prints.
pub trait Output: Send + Sync {
    /// Takes bytes as the guest wrote them, not cut into lines. Called on the threads that run
    /// guests: it must not block, and decides itself what to drop when it cannot keep up.
    fn write(&self, stream: StdStream, bytes: &[u8]);

    /// How many bytes it takes now. Where that is 0, the guest waits for [`Output::ready`] before
    /// it writes on; by default it never has to.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Resolves when there is room, or none will ever be needed.
    fn ready(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The time limits that a guest asked for, or this crate's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundOptions {
    /// Until there is a connection.
    pub connect_timeout: Duration,
    /// From sending until the response's head is there. The sandbox enforces it too.
    pub first_byte_timeout: Duration,
    /// Between parts of the response's body. The sandbox enforces it too.
    pub between_bytes_timeout: Duration,
    /// The guest asked for `https`.
    pub use_tls: bool,
}

impl Default for OutboundOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(60),
            between_bytes_timeout: Duration::from_secs(60),
            use_tls: false,
        }
    }
}

/// Carries the HTTP requests that guests send.
#[async_trait]
pub trait OutboundHttp: Send + Sync {
    /// Sends a request whose URI has scheme and authority, and returns when the response's head is
    /// there. Dropping the future or the response's body must cancel the exchange.
    ///
    /// # Errors
    /// Whatever keeps the response away; the guest sees it as a `wasi:http` error code.
    async fn send(
        &self,
        request: http::Request<Body>,
        options: OutboundOptions,
    ) -> Result<http::Response<Body>, OutboundError>;
}
