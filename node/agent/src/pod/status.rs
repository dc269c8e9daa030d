//! What the API is told about a pod: phase, conditions, and the states of its containers, by the
//! rules of <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/>.

use super::Now;
use super::desire::{ContainerDesire, Desire, Role};
use super::plan::{Outcome, outcome};
use super::state::{ContainerView, EndCause, Observed, Setup, Stage, Terminated};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What a status says besides what the pod itself is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) host_ip: String,
    pub(crate) generation: Option<i64>,
    /// What the API holds now; the times of conditions that do not change come from there.
    pub(crate) conditions: Vec<core::PodCondition>,
    pub(crate) readiness_gates: Vec<String>,
}

/// The conditions that this node owns, in the order in which they come true.
const READY_TO_START: &str = "PodReadyToStartContainers";
const INITIALIZED: &str = "Initialized";
const CONTAINERS_READY: &str = "ContainersReady";
const READY: &str = "Ready";

/// Puts the status together.
pub(crate) fn status(
    desire: &Desire,
    observed: &Observed,
    around: &Surroundings,
    now: Now,
) -> core::PodStatus {
    let phase = phase(desire, observed);
    let of = |wanted: &dyn Fn(Role) -> bool| -> Option<Vec<core::ContainerStatus>> {
        let list: Vec<_> = desire
            .containers
            .iter()
            .zip(&observed.containers)
            .filter(|(desired, _)| wanted(desired.role))
            .map(|(desired, view)| container(desire, desired, observed, view, now))
            .collect();
        (!list.is_empty()).then_some(list)
    };
    let ip = observed.ip.map(|ip| ip.to_string());
    let (reason, message) = match &observed.ending {
        Some(ending) if ending.cause == EndCause::Deadline => (
            Some("DeadlineExceeded".to_owned()),
            Some("Pod was active on the node longer than the specified deadline".to_owned()),
        ),
        _ => (None, None),
    };
    core::PodStatus {
        phase: Some(phase.into()),
        reason,
        message,
        conditions: Some(conditions(desire, observed, around, phase, now)),
        container_statuses: of(&|role| role == Role::Main),
        init_container_statuses: of(&|role| role != Role::Main),
        host_ip: Some(around.host_ip.clone()),
        host_ips: Some(vec![core::HostIP {
            ip: around.host_ip.clone(),
        }]),
        pod_ips: ip.clone().map(|ip| vec![core::PodIP { ip }]),
        pod_ip: ip,
        start_time: Some(Time(observed.started)),
        observed_generation: around.generation,
        ..core::PodStatus::default()
    }
}

/// The pod in one word. A pod that was told to end is what its containers are: those that ended
/// count by their exit codes.
pub(crate) fn phase(desire: &Desire, observed: &Observed) -> &'static str {
    let over = observed.releasing || observed.released;
    if let Some(ending) = &observed.ending
        && over
    {
        let all_well = desire
            .containers
            .iter()
            .zip(&observed.containers)
            .all(|(desired, view)| {
                desired.role != Role::Main
                    || matches!(&view.stage, Stage::Exited(ended) if ended.exit_code == 0)
            });
        return if ending.cause == EndCause::Deleted && all_well {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    match outcome(desire, observed) {
        // Sidecars still run: the pod is not over.
        Outcome::Succeeded | Outcome::Failed if !over => "Running",
        Outcome::Succeeded => "Succeeded",
        Outcome::Failed => "Failed",
        Outcome::Going => {
            let pending = !initialized(desire, observed)
                || desire
                    .containers
                    .iter()
                    .zip(&observed.containers)
                    .any(|(desired, view)| desired.role == Role::Main && !view.ran);
            if pending { "Pending" } else { "Running" }
        }
    }
}

/// Whether every init container has done its part. One that has done so once counts, also when the
/// main containers have already begun.
fn initialized(desire: &Desire, observed: &Observed) -> bool {
    incomplete(desire, observed).next().is_none()
}

fn incomplete<'a>(
    desire: &'a Desire,
    observed: &'a Observed,
) -> impl Iterator<Item = &'a ContainerDesire> {
    desire
        .containers
        .iter()
        .zip(&observed.containers)
        .filter(|(desired, view)| match desired.role {
            Role::Main => false,
            Role::Init => !matches!(&view.stage, Stage::Exited(ended) if ended.exit_code == 0),
            Role::Sidecar => !view.running().is_some_and(|run| run.started()) && !view.ran,
        })
        .map(|(desired, _)| desired)
}

fn conditions(
    desire: &Desire,
    observed: &Observed,
    around: &Surroundings,
    phase: &str,
    now: Now,
) -> Vec<core::PodCondition> {
    let ended_reason = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let set_up = observed.setup == Setup::Done && !observed.releasing;
    let waiting: Vec<&str> = incomplete(desire, observed)
        .map(|c| c.name.as_str())
        .collect();
    let unready: Vec<&str> = desire
        .containers
        .iter()
        .zip(&observed.containers)
        .filter(|(desired, view)| desired.role != Role::Init && !is_ready(view))
        .map(|(desired, _)| desired.name.as_str())
        .collect();
    let initialized = if waiting.is_empty() {
        (true, (phase == "Succeeded").then_some("PodCompleted"), None)
    } else {
        let message = format!("containers with incomplete status: [{}]", waiting.join(" "));
        (false, Some("ContainersNotInitialized"), Some(message))
    };
    let containers_ready = match ended_reason {
        Some(reason) => (false, Some(reason), None),
        None if unready.is_empty() => (true, None, None),
        None => {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            (false, Some("ContainersNotReady"), Some(message))
        }
    };
    let closed_gate = around.readiness_gates.iter().find(|gate| {
        !around
            .conditions
            .iter()
            .any(|condition| condition.type_ == **gate && condition.status == "True")
    });
    let ready = match (&containers_ready, closed_gate) {
        ((true, ..), Some(gate)) => {
            let message = format!("the condition {gate:?} of a readiness gate is not True");
            (false, Some("ReadinessGatesNotReady"), Some(message))
        }
        (containers, _) => containers.clone(),
    };
    [
        (READY_TO_START, (set_up, None, None)),
        (INITIALIZED, initialized),
        (READY, ready),
        (CONTAINERS_READY, containers_ready),
    ]
    .into_iter()
    .map(|(type_, (is, reason, message))| {
        let status = if is { "True" } else { "False" };
        let since = around
            .conditions
            .iter()
            .find(|old| old.type_ == type_ && old.status == status)
            .and_then(|old| old.last_transition_time.clone());
        core::PodCondition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: Some(since.unwrap_or(Time(now.wall))),
            observed_generation: around.generation,
            ..core::PodCondition::default()
        }
    })
    .collect()
}

fn is_ready(view: &ContainerView) -> bool {
    matches!(&view.stage, Stage::Running(run) | Stage::Stopping(run) if run.ready())
}

fn container(
    desire: &Desire,
    desired: &ContainerDesire,
    observed: &Observed,
    view: &ContainerView,
    now: Now,
) -> core::ContainerStatus {
    let waiting = |reason: &str, message: Option<String>| core::ContainerState {
        waiting: Some(core::ContainerStateWaiting {
            reason: Some(reason.into()),
            message,
        }),
        ..core::ContainerState::default()
    };
    let not_begun = match desired.role {
        Role::Main if !initialized(desire, observed) => "PodInitializing",
        Role::Init | Role::Sidecar if observed.setup == Setup::Done => "PodInitializing",
        _ => "ContainerCreating",
    };
    let setup_message = match &observed.setup {
        Setup::Failed { message, .. } => Some(message.clone()),
        _ => None,
    };
    let state = match &view.stage {
        Stage::Waiting => waiting(not_begun, setup_message),
        Stage::Starting => waiting("ContainerCreating", None),
        Stage::Held(hold) => waiting(hold.reason(now.mono), Some(hold.message.clone())),
        Stage::Running(run) | Stage::Stopping(run) => core::ContainerState {
            running: Some(core::ContainerStateRunning {
                started_at: Some(Time(run.since.wall)),
            }),
            ..core::ContainerState::default()
        },
        Stage::Exited(ended) => terminated(ended),
    };
    let started = view.running().is_some_and(|run| run.started());
    core::ContainerStatus {
        name: desired.name.clone(),
        image: desired.image.clone(),
        image_id: view.image_id.clone().unwrap_or_default(),
        container_id: view.container_id.clone(),
        ready: match desired.role {
            Role::Init => matches!(&view.stage, Stage::Exited(ended) if ended.exit_code == 0),
            _ => is_ready(view),
        },
        started: Some(started),
        restart_count: view.restarts,
        last_state: view.last.as_ref().map(terminated),
        state: Some(state),
        ..core::ContainerStatus::default()
    }
}

fn terminated(ended: &Terminated) -> core::ContainerState {
    core::ContainerState {
        terminated: Some(core::ContainerStateTerminated {
            exit_code: ended.exit_code,
            reason: Some(ended.reason.clone()),
            message: ended.message.clone().filter(|message| !message.is_empty()),
            started_at: ended.started.map(Time),
            finished_at: ended.finished.map(Time),
            container_id: ended.container_id.clone(),
            signal: None,
        }),
        ..core::ContainerState::default()
    }
}
