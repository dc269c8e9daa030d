//! A running container: its handle, its end, and what its sandboxes share.

use crate::body::Body;
use crate::error::{HandleError, StartError};
use crate::exit::{CODE_KILLED, CODE_TERMINATED, Exit};
use crate::image::{Image, Linked};
use crate::limits::MemoryAccount;
use crate::meter::CpuAccount;
use crate::runtime::Host;
use crate::serve::Gate;
use crate::spec::{ContainerSpec, Entry, Exec, Output, StdStream};
use crate::state::Template;
use crate::{command, serve};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a container uses, now and since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Guest memory and tables that its sandboxes hold.
    pub memory_bytes: u64,
    /// The most they held at once.
    pub memory_peak_bytes: u64,
    /// CPU time of its sandboxes, host calls included.
    pub cpu_time: Duration,
    /// Requests that were given to a sandbox.
    pub requests: u64,
    /// Requests in a sandbox or waiting for one; 1 for a running command.
    pub in_flight: u64,
}

/// A handle to a container. Clones are the same container; when the last one is dropped, the
/// container is killed.
#[derive(Clone)]
pub struct Container {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

/// Kills the container with its last handle.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0
            .end(Exit::stopped(CODE_KILLED, "its node let go of it"));
    }
}

/// What the handles and the sandboxes of a container share.
pub(crate) struct Shared {
    pub(crate) host: Arc<Host>,
    pub(crate) image: Arc<Image>,
    pub(crate) entry: Entry,
    pub(crate) template: Template,
    pub(crate) output: Arc<dyn Output>,
    pub(crate) memory: Arc<MemoryAccount>,
    pub(crate) cpu: Arc<CpuAccount>,
    pub(crate) gate: Gate,
    pub(crate) request_timeout: Duration,
    pub(crate) requests: AtomicU64,
    /// No new requests.
    pub(crate) closing: AtomicBool,
    /// Ends every sandbox at its next turn.
    pub(crate) kill: CancellationToken,
    /// Sandboxes, and requests that wait for one.
    pub(crate) guests: TaskTracker,
    /// How it is to end, once that was decided from outside.
    verdict: OnceLock<Exit>,
    exit: watch::Sender<Option<Exit>>,
}

pub(crate) async fn start(
    host: &Arc<Host>,
    mut spec: ContainerSpec,
) -> Result<Container, StartError> {
    check_entry(&spec.image, spec.entry)?;
    if spec.max_concurrent_requests == 0 {
        return Err(StartError::Invalid {
            reason: "max_concurrent_requests must be at least 1".to_owned(),
        });
    }
    check_strings(&spec.args)?;
    check_strings(spec.env.iter().flat_map(|(name, value)| [name, value]))?;
    let permits = match spec.entry {
        Entry::Command => Some(command::permits(host, &spec.image)?),
        Entry::Http => None,
    };
    let memory = Arc::new(MemoryAccount::new(spec.memory_limit_bytes));
    let template = Template::new(
        &mut spec,
        Arc::clone(&memory),
        Arc::clone(&host.node_memory),
    )?;
    let shared = Shared {
        host: Arc::clone(host),
        image: spec.image,
        entry: spec.entry,
        template,
        output: spec.output,
        memory,
        cpu: Arc::new(CpuAccount::new(spec.cpu_limit_millis)),
        gate: Gate::new(spec.max_concurrent_requests),
        request_timeout: spec.request_timeout,
        requests: AtomicU64::new(0),
        closing: AtomicBool::new(false),
        kill: CancellationToken::new(),
        guests: TaskTracker::new(),
        verdict: OnceLock::new(),
        exit: watch::Sender::new(None),
    };
    Ok(shared.begin(permits))
}

/// Whether the image has this entry.
fn check_entry(image: &Image, entry: Entry) -> Result<(), StartError> {
    let offered = image.entries();
    let (offers, wanted) = match entry {
        Entry::Http => (offered.http, "an HTTP server"),
        Entry::Command => (offered.command, "a command"),
    };
    if offers {
        return Ok(());
    }
    Err(StartError::NoSuchEntry {
        wanted,
        offered: offered.describe(),
    })
}

/// Arguments and environment are C strings to the guest.
fn check_strings<'a>(strings: impl IntoIterator<Item = &'a String>) -> Result<(), StartError> {
    if strings.into_iter().any(|text| text.contains('\0')) {
        return Err(StartError::Invalid {
            reason: "an argument or environment variable contains a NUL byte".to_owned(),
        });
    }
    Ok(())
}

impl Container {
    /// Waits for the container's end; every caller gets it, also later. Its sandboxes are gone by
    /// then.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.shared.exit.subscribe();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone(),
            Err(_) => None,
        }
        // The sender lives in `shared`, which we hold.
        .unwrap_or_else(|| Exit::stopped(CODE_KILLED, "its node let go of it"))
    }

    /// The end, if it has ended.
    pub fn exit(&self) -> Option<Exit> {
        self.shared.exit.borrow().clone()
    }

    /// Ends the container in order and waits for it.
    ///
    /// An HTTP container takes no new requests and finishes those it has; what is not finished
    /// after `grace` is cut off. A command cannot be told: there are no signals in Wasm. It gets
    /// what SIGTERM does to a program without a handler, at once.
    pub async fn stop(&self, grace: Duration) {
        let shared = &self.shared;
        match shared.entry {
            Entry::Command => {
                shared.end(Exit::stopped(CODE_TERMINATED, "stopped on request"));
            }
            Entry::Http => {
                shared.closing.store(true, Ordering::SeqCst);
                shared.guests.close();
                let drained = tokio::time::timeout(grace, shared.guests.wait()).await;
                if drained.is_ok() {
                    shared.end(Exit::drained());
                } else {
                    let cut = shared.guests.len();
                    shared.end(Exit::stopped(
                        CODE_KILLED,
                        format!("{cut} requests were cut off when the grace period was over"),
                    ));
                }
            }
        }
        self.wait().await;
    }

    /// Ends the container at once, with code 137. Does not wait.
    pub fn kill(&self) {
        self.shared.end(Exit::stopped(CODE_KILLED, "killed"));
    }

    /// Answers a request in a fresh sandbox. Returns when the response's head is there; its body
    /// streams. If the sandbox fails later, the body ends in an error.
    ///
    /// # Errors
    /// See [`HandleError`].
    pub async fn handle(
        &self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, HandleError> {
        serve::handle(&self.shared, request).await
    }

    /// Starts another command in this container: a sandbox of the same image with the same files,
    /// environment and network, whose memory and CPU count towards this container's limits. It does
    /// not end with this container; whoever started it sees to that.
    ///
    /// # Errors
    /// [`StartError::NoSuchEntry`] for an image that is no command; see there for the others.
    pub fn exec(&self, exec: Exec) -> Result<Container, StartError> {
        let parent = &self.shared;
        check_entry(&parent.image, Entry::Command)?;
        check_strings(&exec.args)?;
        let permits = command::permits(&parent.host, &parent.image)?;
        let output = Arc::clone(&exec.output);
        let shared = Shared {
            host: Arc::clone(&parent.host),
            image: Arc::clone(&parent.image),
            entry: Entry::Command,
            template: parent.template.exec(exec),
            output,
            memory: Arc::clone(&parent.memory),
            cpu: Arc::clone(&parent.cpu),
            gate: Gate::new(1),
            request_timeout: parent.request_timeout,
            requests: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            kill: CancellationToken::new(),
            guests: TaskTracker::new(),
            verdict: OnceLock::new(),
            exit: watch::Sender::new(None),
        };
        Ok(shared.begin(Some(permits)))
    }

    /// What it uses.
    pub fn usage(&self) -> Usage {
        Usage {
            memory_bytes: self.shared.memory.used(),
            memory_peak_bytes: self.shared.memory.peak(),
            cpu_time: self.shared.cpu.used(),
            requests: self.shared.requests.load(Ordering::Relaxed),
            in_flight: self.shared.guests.len() as u64,
        }
    }
}

impl Shared {
    /// Makes it run: a command at once, with its room in the pools; an HTTP server when it is asked.
    fn begin(self, command: Option<command::Permits>) -> Container {
        let shared = Arc::new(self);
        if let Some(permits) = command {
            command::spawn(&shared, permits);
        }
        Container {
            _owner: Arc::new(Owner(Arc::clone(&shared))),
            shared,
        }
    }

    /// Decides how the container ends, unless that is decided already, and makes it happen.
    fn end(self: &Arc<Self>, exit: Exit) {
        if self.exit.borrow().is_some() || self.verdict.set(exit).is_err() {
            return;
        }
        self.closing.store(true, Ordering::SeqCst);
        self.kill.cancel();
        self.guests.close();
        let shared = Arc::clone(self);
        self.host.spawn(async move {
            shared.guests.wait().await;
            shared.conclude(None);
        });
    }

    /// The last word: the sandboxes are gone. `by_itself` counts unless the end was decided from
    /// outside before.
    pub(crate) fn conclude(&self, by_itself: Option<Exit>) {
        let Some(exit) = self.verdict.get().cloned().or(by_itself) else {
            return;
        };
        self.closing.store(true, Ordering::SeqCst);
        self.exit.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(exit);
            first
        });
    }

    /// Says something about the guest where its own output goes.
    pub(crate) fn note(&self, line: &str) {
        self.output
            .write(StdStream::Stderr, format!("{line}\n").as_bytes());
    }

    pub(crate) fn linked(&self) -> &Linked {
        &self.image.code
    }
}
