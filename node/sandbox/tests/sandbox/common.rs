//! The harness: one runtime for all tests, specs with defaults, an output that remembers, a
//! network that is a function.

use async_trait::async_trait;
use bytes::Bytes;
use euston_sandbox::{
    Body, Container, ContainerSpec, Entry, Exit, Image, Input, OutboundError, OutboundHttp,
    OutboundOptions, Output, Runtime, RuntimeConfig, StdStream,
};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;

/// No single step of a test takes longer, on the slowest machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The runtime that the tests share: each one reserves address space.
pub(crate) fn runtime() -> Runtime {
    static RUNTIME: OnceLock<(Runtime, TempDir)> = OnceLock::new();
    RUNTIME.get_or_init(new_runtime).0.clone()
}

/// A runtime of one's own, with its cache.
pub(crate) fn new_runtime() -> (Runtime, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let runtime = runtime_in(dir.path().join("code"));
    (runtime, dir)
}

pub(crate) fn runtime_in(cache_dir: impl Into<PathBuf>) -> Runtime {
    let mut config = RuntimeConfig::new(cache_dir);
    config.memory_budget_bytes = Some(1 << 30);
    Runtime::new(config).expect("a runtime")
}

pub(crate) fn wat(text: &str) -> Bytes {
    wat::parse_str(text)
        .unwrap_or_else(|error| panic!("{error}"))
        .into()
}

pub(crate) async fn image(text: &str) -> Arc<Image> {
    runtime()
        .prepare(wat(text))
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A guest of wasm-examples, or `None` where they have not been built.
pub(crate) async fn example(name: &str) -> Option<Arc<Image>> {
    let required = std::env::var_os("EUSTON_EXAMPLES").map(PathBuf::from);
    let dir = required.clone().unwrap_or_else(|| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wasm-examples/dist")
    });
    let path = dir.join(format!("{name}.wasm"));
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if required.is_some() => panic!("{}: {error}", path.display()),
        Err(_) => {
            eprintln!(
                "not tested: {} is not built (wasm-examples/build.sh)",
                path.display()
            );
            return None;
        }
    };
    let image = runtime().prepare(bytes.into()).await;
    Some(image.unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Remembers what a guest printed.
#[derive(Default)]
pub(crate) struct Recorder {
    streams: Mutex<[Vec<u8>; 2]>,
    changed: tokio::sync::Notify,
}

impl Output for Recorder {
    fn write(&self, stream: StdStream, bytes: &[u8]) {
        let at = usize::from(stream == StdStream::Stderr);
        self.streams.lock()[at].extend_from_slice(bytes);
        self.changed.notify_waiters();
    }
}

impl Recorder {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.streams.lock()[0]).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.streams.lock()[1]).into_owned()
    }

    /// Waits until stdout contains `text`.
    pub(crate) async fn printed(&self, text: &str) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.stdout().contains(text) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(LONG, wait)
            .await
            .unwrap_or_else(|_| panic!("never printed {text:?} but {:?}", self.stdout()));
    }
}

/// Answers a guest's requests with a function.
pub(crate) struct Answer<F>(pub(crate) F);

#[async_trait]
impl<F> OutboundHttp for Answer<F>
where
    F: Fn(&http::Request<()>, &[u8]) -> Result<http::Response<Body>, OutboundError> + Send + Sync,
{
    async fn send(
        &self,
        request: http::Request<Body>,
        _options: OutboundOptions,
    ) -> Result<http::Response<Body>, OutboundError> {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| OutboundError::Other(error.to_string()))?
            .to_bytes();
        (self.0)(&http::Request::from_parts(head, ()), &body)
    }
}

pub(crate) fn no_network() -> Arc<dyn OutboundHttp> {
    Arc::new(Answer(|_: &http::Request<()>, _: &[u8]| {
        Err(OutboundError::Denied("this test has no network".to_owned()))
    }))
}

pub(crate) fn spec(image: &Arc<Image>, entry: Entry, output: &Arc<Recorder>) -> ContainerSpec {
    ContainerSpec {
        image: Arc::clone(image),
        entry,
        args: vec!["guest".to_owned()],
        env: Vec::new(),
        mounts: Vec::new(),
        memory_limit_bytes: Some(64 << 20),
        cpu_limit_millis: None,
        max_concurrent_requests: 64,
        request_timeout: LONG,
        input: Input::default(),
        output: Arc::clone(output) as Arc<dyn Output>,
        network: no_network(),
    }
}

pub(crate) async fn start(spec: ContainerSpec) -> Container {
    runtime()
        .start(spec)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a command to its end.
pub(crate) async fn run(
    image: &Arc<Image>,
    change: impl FnOnce(&mut ContainerSpec),
) -> (Exit, Arc<Recorder>) {
    let output = Arc::new(Recorder::default());
    let mut spec = spec(image, Entry::Command, &output);
    change(&mut spec);
    let container = start(spec).await;
    (ended(&container).await, output)
}

pub(crate) async fn ended(container: &Container) -> Exit {
    tokio::time::timeout(LONG, container.wait())
        .await
        .expect("the container never ended")
}

pub(crate) fn get(path: &str) -> http::Request<Body> {
    http::Request::get(format!("http://guest{path}"))
        .body(euston_sandbox::empty())
        .expect("a request")
}

/// Status and body of an answer.
pub(crate) async fn read(response: http::Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a whole body");
    (
        status,
        String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    )
}

/// A runtime with the fewest sandboxes there can be.
pub(crate) fn small_runtime() -> (Runtime, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = RuntimeConfig::new(dir.path().join("code"));
    config.memory_budget_bytes = Some(64 << 20);
    (Runtime::new(config).expect("a runtime"), dir)
}

/// Waits for something that changes without a signal.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
