//! What is the case with a pod on this node, and how news change it.

use super::Now;
use super::backoff::Backoff;
use super::desire::{ContainerDesire, Desire};
use super::probe::{ProbeKind, ProbeRun, ProbeSpec};
use k8s_openapi::jiff::Timestamp;
use std::net::IpAddr;
use std::time::Duration;

/// The state of a pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    pub(crate) started: Timestamp,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) setup: Setup,
    pub(crate) containers: Vec<ContainerView>,
    pub(crate) ending: Option<Ending>,
    /// When the pod began here, for `activeDeadlineSeconds`.
    pub(crate) since: Duration,
    /// Everything of it on this node is being given back, or has been.
    pub(crate) releasing: bool,
    pub(crate) released: bool,
}

/// Address and volumes, which come before the first container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setup {
    Needed,
    Running,
    Done,
    Failed { until: Duration, message: String },
}

/// A container of the pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ContainerView {
    pub(crate) stage: Stage,
    pub(crate) restarts: i32,
    /// Whether one was ever started, so that the next start is a restart.
    pub(crate) ran: bool,
    /// How the one before ended.
    pub(crate) last: Option<Terminated>,
    pub(crate) image_id: Option<String>,
    pub(crate) container_id: Option<String>,
    pub(crate) crash: Backoff,
    pub(crate) attempts: Backoff,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Stage {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// Image, configuration and sandbox are being brought together.
    Starting,
    Running(Run),
    /// It is being stopped.
    Stopping(Run),
    Exited(Terminated),
    /// It waits before the next attempt.
    Held(Hold),
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    pub(crate) since: Now,
    pub(crate) startup: ProbeRun,
    pub(crate) liveness: ProbeRun,
    pub(crate) readiness: ProbeRun,
    /// Whether it has to pass a startup probe, or a readiness probe, at all.
    pub(crate) must_start: bool,
    pub(crate) must_be_ready: bool,
}

impl Run {
    fn new(desire: &ContainerDesire, now: Now) -> Self {
        let begin = |spec: &Option<ProbeSpec>| {
            spec.as_ref()
                .map(|spec| ProbeRun::begin(spec, now.mono))
                .unwrap_or_default()
        };
        Self {
            since: now,
            startup: begin(&desire.startup),
            liveness: begin(&desire.liveness),
            readiness: begin(&desire.readiness),
            must_start: desire.startup.is_some(),
            must_be_ready: desire.readiness.is_some(),
        }
    }

    pub(crate) fn started(&self) -> bool {
        !self.must_start || self.startup.verdict() == Some(true)
    }

    pub(crate) fn ready(&self) -> bool {
        self.started() && (!self.must_be_ready || self.readiness.verdict() == Some(true))
    }

    pub(crate) fn probe(&self, kind: ProbeKind) -> &ProbeRun {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Liveness => &self.liveness,
            ProbeKind::Readiness => &self.readiness,
        }
    }

    pub(crate) fn probe_mut(&mut self, kind: ProbeKind) -> &mut ProbeRun {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }
}

/// A container that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminated {
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Option<Timestamp>,
    pub(crate) container_id: Option<String>,
    /// How long it ran.
    pub(crate) ran: Duration,
}

/// A container that may not be tried again yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) since: Duration,
    pub(crate) until: Duration,
    pub(crate) why: HoldReason,
    pub(crate) message: String,
}

/// Why a container waits, in the words that `kubectl get pods` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldReason {
    /// It ended too often.
    Crash,
    /// Its image did not come.
    ImagePull,
    /// The image's name is not a name.
    InvalidImageName,
    /// The policy is Never, and the image is not here.
    ImageNeverPull,
    /// The image came and cannot be run: not Wasm, or it imports what nothing provides.
    ImageInspect,
    /// Its configuration cannot be put together.
    Config,
    /// The sandbox cannot be made.
    Create,
}

/// How long a failed pull is shown as such, before it is shown as waiting.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);

impl Hold {
    pub(crate) fn reason(&self, now: Duration) -> &'static str {
        match self.why {
            HoldReason::Crash => "CrashLoopBackOff",
            HoldReason::ImagePull if now < self.since + PULL_ERROR_SHOWN => "ErrImagePull",
            HoldReason::ImagePull => "ImagePullBackOff",
            HoldReason::InvalidImageName => "InvalidImageName",
            HoldReason::ImageNeverPull => "ErrImageNeverPull",
            HoldReason::ImageInspect => "ImageInspectError",
            HoldReason::Config => "CreateContainerConfigError",
            HoldReason::Create => "CreateContainerError",
        }
    }

    /// When something is to be done or shown next.
    pub(crate) fn next(&self, now: Duration) -> Duration {
        let shown = self.since + PULL_ERROR_SHOWN;
        if self.why == HoldReason::ImagePull && now < shown {
            shown.min(self.until)
        } else {
            self.until
        }
    }
}

/// A pod on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) cause: EndCause,
    pub(crate) since: Duration,
    pub(crate) grace: Duration,
    pub(crate) withdrawal: Withdrawal,
}

/// Why a pod ends before its containers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// Someone deleted it.
    Deleted,
    /// It is over its `activeDeadlineSeconds`.
    Deadline,
}

/// Whether Services still send requests to the pod: it serves them until they no longer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withdrawal {
    Needed,
    Running,
    Done,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum News {
    SetUp {
        ip: IpAddr,
    },
    SetupFailed {
        message: String,
    },
    Started {
        index: usize,
        image_id: String,
        container_id: String,
    },
    StartFailed {
        index: usize,
        why: HoldReason,
        message: String,
    },
    Exited {
        index: usize,
        exit_code: i32,
        reason: String,
        message: Option<String>,
    },
    Probed {
        index: usize,
        kind: ProbeKind,
        ok: bool,
        seed: u32,
    },
    Withdrawn,
    Released,
}

impl Observed {
    /// A pod that has never run here.
    pub(crate) fn new(desire: &Desire, now: Now) -> Self {
        Self {
            started: now.wall,
            ip: None,
            setup: Setup::Needed,
            containers: vec![ContainerView::default(); desire.containers.len()],
            ending: None,
            since: now.mono,
            releasing: false,
            released: false,
        }
    }

    /// Begins the end, or brings it forward; a grace period never grows.
    pub(crate) fn end(&mut self, cause: EndCause, grace: Duration, now: Now) {
        match &mut self.ending {
            Some(ending) => {
                let left = (ending.since + ending.grace).min(now.mono + grace);
                ending.grace = left.saturating_sub(ending.since);
                if cause == EndCause::Deleted {
                    ending.cause = cause;
                }
            }
            None => {
                self.ending = Some(Ending {
                    cause,
                    since: now.mono,
                    grace,
                    withdrawal: Withdrawal::Needed,
                });
            }
        }
    }

    /// Takes news in.
    pub(crate) fn apply(&mut self, desire: &Desire, news: News, now: Now) {
        match news {
            News::SetUp { ip } => {
                self.ip = Some(ip);
                self.setup = Setup::Done;
            }
            News::SetupFailed { message } => {
                self.setup = Setup::Failed {
                    until: now.mono + SETUP_RETRY,
                    message,
                };
            }
            News::Withdrawn => {
                if let Some(ending) = &mut self.ending {
                    ending.withdrawal = Withdrawal::Done;
                }
            }
            News::Released => self.released = true,
            News::Started {
                index,
                image_id,
                container_id,
            } => {
                if let (Some(view), Some(desire)) =
                    (self.containers.get_mut(index), desire.containers.get(index))
                {
                    view.restarts = view.attempt();
                    view.ran = true;
                    view.attempts.reset();
                    view.image_id = Some(image_id);
                    view.container_id = Some(container_id);
                    view.stage = Stage::Running(Run::new(desire, now));
                }
            }
            News::StartFailed {
                index,
                why,
                message,
            } => {
                if let Some(view) = self.containers.get_mut(index) {
                    let wait = match why {
                        HoldReason::Config | HoldReason::Create => {
                            view.attempts.failed(now.mono).min(CONFIG_RETRY_MAX)
                        }
                        _ => view.attempts.failed(now.mono),
                    };
                    view.stage = Stage::Held(Hold {
                        since: now.mono,
                        until: now.mono + wait,
                        why,
                        message,
                    });
                }
            }
            News::Exited {
                index,
                exit_code,
                reason,
                message,
            } => {
                if let Some(view) = self.containers.get_mut(index) {
                    let since = match &view.stage {
                        Stage::Running(run) | Stage::Stopping(run) => Some(run.since),
                        _ => None,
                    };
                    let ended = Terminated {
                        exit_code,
                        reason,
                        message,
                        started: since.map(|since| since.wall),
                        finished: Some(now.wall),
                        container_id: view.container_id.clone(),
                        ran: since
                            .map_or(Duration::ZERO, |since| now.mono.saturating_sub(since.mono)),
                    };
                    view.stage = Stage::Exited(ended);
                }
            }
            News::Probed {
                index,
                kind,
                ok,
                seed,
            } => {
                if let (Some(view), Some(desire)) =
                    (self.containers.get_mut(index), desire.containers.get(index))
                    && let Stage::Running(run) = &mut view.stage
                    && let Some(spec) = desire.probe(kind)
                {
                    run.probe_mut(kind).answer(spec, ok, now.mono, seed);
                    // The other two wait for the startup probe, and their delay begins then.
                    if kind == ProbeKind::Startup && run.started() {
                        for kind in [ProbeKind::Liveness, ProbeKind::Readiness] {
                            if let Some(spec) = desire.probe(kind) {
                                *run.probe_mut(kind) = ProbeRun::begin(spec, now.mono);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How soon address and volumes are tried again.
const SETUP_RETRY: Duration = Duration::from_secs(5);
/// Missing configuration is looked for at least this often.
const CONFIG_RETRY_MAX: Duration = Duration::from_secs(20);

impl ContainerView {
    /// The number of the next start: 0 for the first, and it names the log file.
    pub(crate) fn attempt(&self) -> i32 {
        if self.ran {
            self.restarts + 1
        } else {
            self.restarts
        }
    }

    pub(crate) fn running(&self) -> Option<&Run> {
        match &self.stage {
            Stage::Running(run) | Stage::Stopping(run) => Some(run),
            _ => None,
        }
    }

    /// Whether there is nothing of it that has to be stopped.
    pub(crate) fn at_rest(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Starting | Stage::Running(_) | Stage::Stopping(_)
        )
    }
}

impl ContainerDesire {
    pub(crate) fn probe(&self, kind: ProbeKind) -> Option<&ProbeSpec> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }
}
