//! Starting one container: its image, what it is given, where it listens, its first hook.

use super::LOG_CLOSE;
use crate::glue::{Listener, Outbound, ToLog};
use crate::hooks;
use crate::logs::{self, writer::LogWriter};
use crate::node::Node;
use crate::pod::desire::{ContainerDesire, Hook};
use crate::pod::state::HoldReason;
use crate::remote::live::{Live, Stdin};
use crate::remote::pipe::Taps;
use crate::setup;
use euston_client::EventType;
use euston_network::Caller;
use euston_sandbox::{ContainerSpec, Entry, Input};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests that one HTTP container works on at a time; four times as many may wait.
const REQUESTS_MAX: usize = 256;
/// A request that a guest has not finished after this time is ended.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);

/// A container that runs.
pub(super) struct Running {
    pub(super) live: Live,
    pub(super) listener: Option<(u16, Arc<Listener>)>,
    pub(super) log: Arc<LogWriter>,
}

/// What the container waits for now, and the sentence about it.
pub(super) type Failed = (HoldReason, String);

/// Starts it, as its `attempt`th start.
pub(super) async fn start_container(
    node: &Arc<Node>,
    pod: &Pod,
    desired: &ContainerDesire,
    dir: &std::path::Path,
    ip: IpAddr,
    attempt: i32,
    about: &ObjectReference,
) -> Result<(Running, String), Failed> {
    let since = Instant::now();
    if let Some(why) = &desired.unsupported {
        return Err((
            HoldReason::Config,
            format!("the container {:?} cannot be started: {why}", desired.name),
        ));
    }
    // The semaphore is never closed.
    let _permit = node
        .starts
        .acquire()
        .await
        .map_err(|e| (HoldReason::Create, e.to_string()))?;
    let ready = node
        .images
        .ensure(&desired.image, desired.pull, since)
        .await
        .map_err(|none| (none.why, none.message))?;
    if let Some((took, bytes)) = ready.pulled {
        let message = format!(
            "Successfully pulled image {:?} in {} ms. Image size: {bytes} bytes.",
            desired.image,
            took.as_millis()
        );
        node.events
            .event(about, EventType::Normal, "Pulled", message);
    }
    let built = setup::container(node, pod, &desired.name, dir, ip, since)
        .await
        .map_err(|message| (HoldReason::Config, message))?;
    let entries = ready.image.entries();
    let entry = if entries.http && !(built.chosen && entries.command) {
        Entry::Http
    } else {
        Entry::Command
    };
    let log_dir = dir.join(&desired.name);
    if attempt > 1 {
        let old = log_dir.clone();
        // Old logs cost disk only; a failed task costs nothing else.
        let _ = tokio::task::spawn_blocking(move || logs::forget_before(&old, attempt - 1)).await;
    }
    let log = node.disk.open(log_dir, attempt);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (stdin, input) = match built.stdin {
        Some(once) => {
            let (stdin, input) = Stdin::open(once);
            (Some(stdin), input)
        }
        None => (None, Input::default()),
    };
    let taps = Taps::default();
    let mounts: Arc<[_]> = built.mounts.as_slice().into();
    let spec = ContainerSpec {
        image: ready.image,
        entry,
        args: built.args,
        env: built.env,
        mounts: built.mounts,
        memory_limit_bytes: built.memory_limit,
        cpu_limit_millis: built.cpu_limit,
        max_concurrent_requests: REQUESTS_MAX,
        request_timeout: REQUEST_TIMEOUT,
        input,
        output: Arc::new(ToLog {
            log: log.clone(),
            taps: taps.clone(),
        }),
        network: Arc::new(Outbound {
            net: node.net.clone(),
            caller: Caller {
                namespace: namespace.into(),
                ip,
            },
        }),
    };
    let create = |message: String| (HoldReason::Create, message);
    let container = node
        .runtime
        .start(spec)
        .await
        .map_err(|error| create(error.to_string()))?;
    let mut listener = None;
    if entry == Entry::Http {
        let door = Arc::new(Listener::new(container.clone()));
        if let Err(error) = node.net.listen(ip, desired.port, door.clone()) {
            container.kill();
            return Err(create(error.to_string()));
        }
        listener = Some((desired.port, door));
    }
    let running = Running {
        live: Live {
            container,
            taps,
            stdin,
            mounts,
            tty: built.tty,
        },
        listener,
        log,
    };
    if let Some(hook) = &desired.post_start
        && let Err(why) = hooks::run(&node.net, Some(ip), hook, hook_limit(hook)).await
    {
        node.events.event(
            about,
            EventType::Warning,
            "FailedPostStartHook",
            why.clone(),
        );
        if let Some((port, _)) = &running.listener {
            node.net.unlisten(ip, *port);
        }
        running.live.container.kill();
        running.log.close(LOG_CLOSE).await;
        return Err(create(format!("the postStart hook failed: {why}")));
    }
    Ok((running, ready.id))
}

/// A postStart hook has no grace period to bound it.
fn hook_limit(hook: &Hook) -> Duration {
    match hook {
        Hook::Sleep(time) => *time + Duration::from_secs(1),
        Hook::Http(_) => Duration::from_secs(30),
    }
}
