//! The host of all sandboxes of a process: engine, compiled code, the threads that guests run on.

use crate::code_cache::CodeCache;
use crate::container::{self, Container};
use crate::engine;
use crate::error::{ImageError, SandboxError, StartError};
use crate::image::Image;
use crate::inspect::{ImageKind, inspect};
use crate::limits::MemoryAccount;
use crate::link::{Linkers, check_imports};
use crate::plan::{Machine, PoolPlan};
use crate::spec::ContainerSpec;
use crate::ticker::{Pulse, Ticker};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::Engine;

/// Images that are compiled at the same time. wasmtime spreads one compilation over all cores; a
/// second one fills its gaps, more would only compete for memory.
const COMPILATIONS: usize = 2;
/// Threads for file calls of guests, and for compiling. Calls beyond that wait for a thread.
const BLOCKING_THREADS: usize = 64;
/// Tasks that a worker polls before it looks at timers and sockets. A guest keeps it for a tick of
/// a millisecond at most, so that timers are late by a few milliseconds even among spinning guests.
const EVENT_INTERVAL: u32 = 5;
/// Tasks that a worker polls from its own queue before it takes a new one from outside: a request
/// must not wait behind a row of spinning guests.
const GLOBAL_QUEUE_INTERVAL: u32 = 3;

/// How to make a [`Runtime`].
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Where compiled code is kept; made if it is not there. Other users must not be able to write
    /// to it.
    pub cache_dir: PathBuf,
    /// Memory that all guests together may hold; four fifths of the machine's if `None`.
    pub memory_budget_bytes: Option<u64>,
}

impl RuntimeConfig {
    /// A configuration with defaults for all but the directory of compiled code.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            memory_budget_bytes: None,
        }
    }
}

/// The sandbox host. Clones share everything; make one per process, since each reserves address
/// space for thousands of sandboxes. Its threads end when the last clone and the last container
/// are gone; dropping it never blocks.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Host>,
}

/// What containers need of the runtime.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) node_memory: Arc<MemoryAccount>,
    /// One permit for each memory that may be alive.
    pub(crate) slots: Arc<Semaphore>,
    /// Of them, those that commands may hold.
    pub(crate) command_slots: Arc<Semaphore>,
    plan: PoolPlan,
    linkers: Linkers,
    cache: CodeCache,
    images: Mutex<HashMap<blake3::Hash, Arc<Preparing>>>,
    compiling: Semaphore,
    ticker: Ticker,
    /// `None` only while dropping.
    guests: Option<tokio::runtime::Runtime>,
}

/// An image while somebody prepares it, and as long as somebody has it. The lock makes those who
/// want the same image wait for the first.
type Preparing = tokio::sync::Mutex<Weak<Image>>;

impl Runtime {
    /// Starts the engine and its threads. Blocks for some milliseconds.
    ///
    /// # Errors
    /// The cache directory cannot be used, or wasmtime or the system refuse. A machine that cannot
    /// give the address space for the planned pools gets smaller ones, which is logged.
    pub fn new(config: RuntimeConfig) -> Result<Self, SandboxError> {
        let wanted = PoolPlan::new(Machine::detect(), config.memory_budget_bytes);
        let (engine, plan) = engine::build(wanted)?;
        let cache = CodeCache::open(&config.cache_dir, &engine)?;
        let linkers = Linkers::new(&engine)?;
        let ticker = Ticker::start(&engine)?;
        let guests = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(plan.workers)
            .max_blocking_threads(BLOCKING_THREADS)
            .event_interval(EVENT_INTERVAL)
            .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
            .thread_name("wasm-guest")
            .enable_all()
            .build()
            .map_err(|source| SandboxError::Threads { source })?;
        Ok(Self {
            inner: Arc::new(Host {
                node_memory: Arc::new(MemoryAccount::new(Some(plan.memory_budget_bytes))),
                slots: Arc::new(Semaphore::new(plan.slots as usize)),
                command_slots: Arc::new(Semaphore::new(plan.command_slots as usize)),
                images: Mutex::new(HashMap::new()),
                compiling: Semaphore::new(COMPILATIONS),
                engine,
                plan,
                linkers,
                cache,
                ticker,
                guests: Some(guests),
            }),
        })
    }

    /// How the pools were sized, and why.
    pub fn plan(&self) -> &PoolPlan {
        &self.inner.plan
    }

    /// Makes an image of the bytes of a `.wasm` file. The first time it is compiled, on threads
    /// that serve no requests; then its code comes from memory or disk. Calls for the same bytes
    /// at the same time compile once. Keep the image for as long as it may be started.
    ///
    /// # Errors
    /// See [`ImageError`]; all but `Io` are about the bytes and will not go away.
    pub async fn prepare(&self, wasm: Bytes) -> Result<Arc<Image>, ImageError> {
        let hashed = wasm.clone();
        let (digest, info) = self
            .inner
            .blocking(move || {
                let info = inspect(&hashed)?;
                Image::check_entries(&info)?;
                check_imports(&info)?;
                Ok((blake3::hash(&hashed), info))
            })
            .await?;

        let preparing = self.inner.preparing(digest);
        let mut image = preparing.lock().await;
        if let Some(image) = image.upgrade() {
            return Ok(image);
        }
        let _turn = self
            .inner
            .compiling
            .acquire()
            .await
            .map_err(|_| shutting_down())?;
        let host = Arc::clone(&self.inner);
        let made = self
            .inner
            .blocking(move || {
                let component = info.kind == ImageKind::Component;
                let code = host
                    .cache
                    .load_or_compile(&host.engine, &digest, &wasm, component)?;
                Image::link(&host.linkers, code, info, digest).map(Arc::new)
            })
            .await?;
        *image = Arc::downgrade(&made);
        Ok(made)
    }

    /// Starts a container. Returns when its sandbox is on its way: [`Container::wait`] tells how a
    /// command ended, be it at once.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, spec: ContainerSpec) -> Result<Container, StartError> {
        container::start(&self.inner, spec).await
    }
}

impl Host {
    /// Runs a guest, or what belongs to it, on the guests' threads.
    pub(crate) fn spawn<F>(&self, task: F) -> Option<tokio::task::JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.guests.as_ref().map(|guests| guests.spawn(task))
    }

    pub(crate) fn plan_command_slots(&self) -> usize {
        self.plan.command_slots as usize
    }

    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        self.ticker.pulse()
    }

    /// Runs what takes long away from all async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let Some(guests) = &self.guests else {
            return Err(shutting_down());
        };
        match guests.spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(ImageError::Compile {
                reason: "the compiler panicked on it".to_owned(),
            }),
            Err(_) => Err(shutting_down()),
        }
    }

    fn preparing(&self, digest: blake3::Hash) -> Arc<Preparing> {
        let mut images = self.images.lock();
        // Forget images that nobody has and nobody prepares. Each call may add one entry, so the
        // map stays as small as the set of images in use.
        images.retain(|_, entry| {
            Arc::strong_count(entry) > 1
                || entry
                    .try_lock()
                    .map_or(true, |image| image.strong_count() > 0)
        });
        Arc::clone(images.entry(digest).or_default())
    }
}

fn shutting_down() -> ImageError {
    ImageError::Io {
        reason: "the node is shutting down".to_owned(),
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Waiting for the threads would block, and panic where this is dropped on a tokio thread.
        if let Some(guests) = self.guests.take() {
            guests.shutdown_background();
        }
    }
}

/// The longest that tokio can sleep, for deadlines that mean "never".
pub(crate) const FOREVER: Duration = Duration::from_secs(86_400 * 365 * 30);
