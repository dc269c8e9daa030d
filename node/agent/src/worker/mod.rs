//! One task per pod: it takes news, lets [`plan`] decide, does what was decided, and reports.

mod end;
mod report;
mod start;

pub(crate) use end::delete;

use crate::hooks;
use crate::logs::{self, writer::LogWriter};
use crate::node::Node;
use crate::pod::desire::Desire;
use crate::pod::plan::{Action, StopReason, plan};
use crate::pod::recover::recover;
use crate::pod::state::{EndCause, HoldReason, News, Observed};
use crate::remote::live::Live;
use crate::setup;
use crate::status_writer::PodId;
use euston_client::{EventType, reference};
use euston_sandbox::{Exit, ExitReason};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodCondition, PodStatus};
use start::{Running, start_container};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A pod that starts within this time is reported once, as running; a slower one is reported as
/// being created first.
const FIRST_REPORT: Duration = Duration::from_millis(100);
/// Other nodes may learn a little later than this one that a pod gets no more requests.
const WITHDRAW_MARGIN: Duration = Duration::from_millis(250);
/// Output that is not on disk after this time does not keep an exit from being reported.
const LOG_CLOSE: Duration = Duration::from_secs(2);

/// What the API says about the pod.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) pod: Arc<Pod>,
    /// It is no longer there.
    pub(crate) gone: bool,
}

/// What others may ask a worker's pod for.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    /// Per container: the number of its present or last start, and its log while it may grow.
    pub(crate) logs: Vec<(String, i32, Option<Arc<LogWriter>>)>,
    /// The containers that run.
    pub(crate) live: Vec<(String, Live)>,
    /// The pod's address, while it has one.
    pub(crate) ip: Option<IpAddr>,
}

enum Done {
    News(News),
    Started {
        index: usize,
        turn: u32,
        attempt: i32,
        running: Box<Running>,
        image_id: String,
    },
    StartFailed {
        index: usize,
        turn: u32,
        why: HoldReason,
        message: String,
    },
    Exited {
        index: usize,
        turn: u32,
        exit: Exit,
    },
    Stopped,
}

struct Worker {
    node: Arc<Node>,
    id: PodId,
    about: ObjectReference,
    pod: Arc<Pod>,
    desire: Arc<Desire>,
    dir: PathBuf,
    observed: Observed,
    before: Option<IpAddr>,
    running: Vec<Option<Running>>,
    unhealthy: Vec<bool>,
    /// The wait of each container that an event has told about.
    noted: Vec<Option<Duration>>,
    /// Counts what was begun for a container, so that late results of what was given up are known.
    turns: Vec<u32>,
    ops: FuturesUnordered<BoxFuture<'static, Done>>,
    reported: Option<PodStatus>,
    conditions: Vec<PodCondition>,
    hold_report: Option<Duration>,
    shown: watch::Sender<Shown>,
}

/// Runs a pod until it is gone from the API, or the agent shuts down.
pub(crate) async fn run(
    node: Arc<Node>,
    id: PodId,
    mut input: watch::Receiver<Input>,
    shown: watch::Sender<Shown>,
) {
    let pod = input.borrow_and_update().pod.clone();
    let spec = pod.spec.clone().unwrap_or_default();
    let desire = Arc::new(Desire::of(&spec));
    let now = node.now();
    let old = pod.status.as_ref();
    let known = old.is_some_and(|old| {
        old.container_statuses.is_some() || old.init_container_statuses.is_some()
    });
    let observed = match old {
        Some(old) if known => recover(&desire, old, now),
        _ => Observed::new(&desire, now),
    };
    let count = desire.containers.len();
    let mut worker = Worker {
        dir: logs::pod_dir(&node.config.data_dir, &id.namespace, &id.name, &id.uid),
        about: reference(&*pod),
        before: old
            .and_then(|old| old.pod_ip.as_deref())
            .and_then(|ip| ip.parse().ok()),
        conditions: old
            .and_then(|old| old.conditions.clone())
            .unwrap_or_default(),
        hold_report: (!known).then(|| now.mono + FIRST_REPORT),
        running: (0..count).map(|_| None).collect(),
        unhealthy: vec![false; count],
        noted: vec![None; count],
        turns: vec![0; count],
        ops: FuturesUnordered::new(),
        reported: None,
        node,
        id,
        pod,
        desire,
        observed,
        shown,
    };
    worker.show();
    let shutdown = worker.node.shutdown.clone();
    loop {
        let latest = input.borrow_and_update().clone();
        if latest.gone {
            worker
                .observed
                .end(EndCause::Deleted, Duration::ZERO, worker.node.now());
        }
        worker.take_pod(latest.pod);
        let wake = worker.step(latest.gone);
        if worker.observed.released {
            let deleted = worker.pod.metadata.deletion_timestamp.is_some();
            if latest.gone || deleted {
                worker.bury(latest.gone).await;
                return;
            }
        }
        let sleep = wake.map(|at| at.saturating_sub(worker.node.now().mono));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return worker.leave().await,
            changed = input.changed() => if changed.is_err() { return worker.leave().await },
            Some(done) = worker.ops.next(), if !worker.ops.is_empty() => worker.take(done).await,
            () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
        }
    }
}

impl Worker {
    fn take_pod(&mut self, pod: Arc<Pod>) {
        if let Some(deleted) = &pod.metadata.deletion_timestamp {
            let grace = pod
                .metadata
                .deletion_grace_period_seconds
                .unwrap_or(0)
                .max(0);
            let now = self.node.now();
            let mut grace = Duration::from_secs(grace.unsigned_abs());
            // After a restart of the agent part of it may have passed. The timestamp is when the
            // grace period ends; its clock is the API server's, so it never lengthens anything.
            let left = deleted.0.duration_since(now.wall);
            grace = grace
                .min(Duration::try_from(left).unwrap_or(Duration::ZERO) + Duration::from_secs(1));
            self.observed.end(EndCause::Deleted, grace, now);
        }
        self.pod = pod;
    }

    /// Decides and acts; returns when to look again.
    fn step(&mut self, gone: bool) -> Option<Duration> {
        let now = self.node.now();
        let desire = self.desire.clone();
        let plan = plan(&desire, &mut self.observed, now);
        for action in plan.actions {
            self.act(action);
        }
        self.note_waits(now);
        let mut wake = plan.wake;
        if !gone && let Some(report_at) = self.report(now) {
            wake = Some(wake.map_or(report_at, |wake| wake.min(report_at)));
        }
        wake
    }

    fn op(&self, op: impl Future<Output = Done> + Send + 'static) {
        self.ops.push(Box::pin(op));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::SetUp => {
                let (node, pod, dir, before) = (
                    self.node.clone(),
                    self.pod.clone(),
                    self.dir.clone(),
                    self.before.take(),
                );
                self.op(async move {
                    Done::News(match setup::set_up(&node, &pod, &dir, before).await {
                        Ok(ip) => News::SetUp { ip },
                        Err(message) => News::SetupFailed { message },
                    })
                });
            }
            Action::Start { index, attempt } => self.start(index, attempt),
            Action::Abort { index } => self.turns[index] += 1,
            Action::Probe { index, kind } => {
                let Some(spec) = self.desire.containers[index].probe(kind).cloned() else {
                    return;
                };
                let (node, ip, about) = (self.node.clone(), self.observed.ip, self.about.clone());
                self.op(async move {
                    let outcome = hooks::check(&node.net, ip, &spec.check, spec.timeout).await;
                    if let Err(why) = &outcome {
                        let message = format!("{} probe failed: {why}", kind.name());
                        node.events
                            .event(&about, EventType::Warning, "Unhealthy", message);
                    }
                    Done::News(News::Probed {
                        index,
                        kind,
                        ok: outcome.is_ok(),
                        seed: rand::random(),
                    })
                });
            }
            Action::Stop { index, grace, why } => self.stop(index, grace, why),
            Action::Withdraw { at_most } => {
                let (node, ip) = (self.node.clone(), self.observed.ip);
                self.op(async move {
                    if let Some(ip) = ip
                        && node.net.table().takes_requests(ip)
                    {
                        let began = Instant::now();
                        node.net.table().withdrawn(ip, at_most).await;
                        let left = at_most.saturating_sub(began.elapsed());
                        tokio::time::sleep(WITHDRAW_MARGIN.min(left)).await;
                    }
                    Done::News(News::Withdrawn)
                });
            }
            Action::Release => {
                for turn in &mut self.turns {
                    *turn += 1;
                }
                if let Some(ip) = self.observed.ip {
                    self.node.release_address(ip);
                }
                self.op(async { Done::News(News::Released) });
            }
        }
    }

    fn start(&mut self, index: usize, attempt: i32) {
        self.turns[index] += 1;
        let turn = self.turns[index];
        let (node, pod, desire, dir, about) = (
            self.node.clone(),
            self.pod.clone(),
            self.desire.clone(),
            self.dir.clone(),
            self.about.clone(),
        );
        let Some(ip) = self.observed.ip else { return };
        self.op(async move {
            let desired = &desire.containers[index];
            let started = start_container(&node, &pod, desired, &dir, ip, attempt, &about).await;
            match started {
                Ok((running, image_id)) => Done::Started {
                    index,
                    turn,
                    attempt,
                    running: Box::new(running),
                    image_id,
                },
                Err((why, message)) => Done::StartFailed {
                    index,
                    turn,
                    why,
                    message,
                },
            }
        });
    }

    fn stop(&mut self, index: usize, grace: Duration, why: StopReason) {
        let Some(running) = &self.running[index] else {
            return;
        };
        let desired = &self.desire.containers[index];
        let message = match why {
            StopReason::Unhealthy(kind) => {
                self.unhealthy[index] = true;
                format!(
                    "Container {} failed {} probe, will be restarted",
                    desired.name,
                    kind.name().to_ascii_lowercase()
                )
            }
            _ => format!("Stopping container {}", desired.name),
        };
        self.event(EventType::Normal, "Killing", message);
        let (node, hook, ip) = (
            self.node.clone(),
            desired.pre_stop.clone(),
            self.observed.ip,
        );
        let (container, listener) = (running.live.container.clone(), running.listener.clone());
        let about = self.about.clone();
        self.op(async move {
            let began = Instant::now();
            let left = || grace.saturating_sub(began.elapsed());
            if let Some(hook) = hook
                && !grace.is_zero()
                && let Err(why) = hooks::run(&node.net, ip, &hook, grace).await
            {
                node.events
                    .event(&about, EventType::Warning, "FailedPreStopHook", why);
            }
            if grace.is_zero() {
                container.kill();
                return Done::Stopped;
            }
            if let Some((_, listener)) = &listener {
                listener.drain(left()).await;
            }
            // Its end is reported by whoever waits for it.
            container.stop(left()).await;
            Done::Stopped
        });
    }

    async fn take(&mut self, done: Done) {
        let now = self.node.now();
        let news = match done {
            Done::News(News::SetUp { ip }) => {
                self.watch_volumes();
                News::SetUp { ip }
            }
            Done::News(News::SetupFailed { message }) => {
                self.event(EventType::Warning, "FailedMount", message.clone());
                News::SetupFailed { message }
            }
            Done::News(news) => news,
            Done::Stopped => return,
            Done::Started {
                index,
                turn,
                attempt,
                running,
                image_id,
            } => {
                let container = running.live.container.clone();
                if self.turns[index] != turn {
                    // Given up while it started.
                    self.unlisten(&running);
                    container.kill();
                    running.log.close(LOG_CLOSE).await;
                    return;
                }
                self.op(async move {
                    let exit = container.wait().await;
                    Done::Exited { index, turn, exit }
                });
                self.running[index] = Some(*running);
                let name = &self.desire.containers[index].name;
                self.event(
                    EventType::Normal,
                    "Started",
                    format!("Started container {name}"),
                );
                let container_id = format!("wasmtime://{}/{name}/{attempt}", self.id.uid);
                News::Started {
                    index,
                    image_id,
                    container_id,
                }
            }
            Done::StartFailed {
                index,
                turn,
                why,
                message,
            } => {
                if self.turns[index] != turn {
                    return;
                }
                self.event(EventType::Warning, "Failed", message.clone());
                News::StartFailed {
                    index,
                    why,
                    message,
                }
            }
            Done::Exited { index, turn, exit } => {
                if self.turns[index] != turn && !self.observed.releasing {
                    return;
                }
                if let Some(running) = self.running[index].take() {
                    self.unlisten(&running);
                    running.log.close(LOG_CLOSE).await;
                }
                let unhealthy = std::mem::take(&mut self.unhealthy[index]);
                exited(index, exit, unhealthy)
            }
        };
        let desire = self.desire.clone();
        self.observed.apply(&desire, news, now);
        self.show();
    }

    fn unlisten(&self, running: &Running) {
        if let (Some(ip), Some((port, _))) = (self.observed.ip, &running.listener) {
            self.node.net.unlisten(ip, *port);
        }
    }

    fn watch_volumes(&self) {
        let (node, pod, dir, ip) = (
            self.node.clone(),
            self.pod.clone(),
            self.dir.clone(),
            self.observed.ip,
        );
        if setup::has_config_volumes(&pod) {
            self.op(async move {
                setup::keep_volumes(&node, &pod, &dir, ip).await;
                Done::Stopped
            });
        }
    }
}

fn exited(index: usize, exit: Exit, unhealthy: bool) -> News {
    let (mut exit_code, mut reason) = (
        exit.code,
        match &exit.reason {
            ExitReason::Completed => "Completed",
            ExitReason::OomKilled => "OOMKilled",
            _ => "Error",
        },
    );
    let mut message = exit.message;
    if unhealthy && exit_code == 0 {
        // It drained well, but it did not end of its own will: policies must see a failure.
        (exit_code, reason) = (137, "Error");
        message = "stopped because its liveness or startup probe failed".into();
    }
    News::Exited {
        index,
        exit_code,
        reason: reason.into(),
        message: Some(message).filter(|message| !message.is_empty()),
    }
}
