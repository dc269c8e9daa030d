//! The row of a pod: its status in one word. Follows `printPod` of
//! `pkg/printers/internalversion/printers.go`.

use euston_api::time;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus,
};
use serde_json::Value;

use super::super::cells::{self, NONE};
use super::super::pod_spec::is_sidecar;
use super::is_terminal;
use crate::registry::strategy::{AGE, Column, NAME};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::string(
        "Ready",
        "The aggregate readiness state of this pod for accepting traffic.",
    ),
    Column::string(
        "Status",
        "The aggregate status of the containers in this pod.",
    ),
    Column::string(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last \
         container in this pod has restarted.",
    ),
    AGE,
    Column::string("IP", "The pod's address.").wide(),
    Column::string("Node", "The node that the pod runs on.").wide(),
    Column::string("Nominated Node", "The node that makes room for the pod.").wide(),
    Column::string(
        "Readiness Gates",
        "How many of the pod's own conditions are true.",
    )
    .wide(),
];

pub(super) fn row(pod: &Pod, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&spec);
    let status = pod.status.as_ref().unwrap_or(&status);
    let summary = Summary::of(pod, spec, status);
    let ip = status
        .pod_ips
        .iter()
        .flatten()
        .next()
        .map(|ip| &ip.ip)
        .or(status.pod_ip.as_ref());
    vec![
        cells::name(&pod.metadata),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.as_str().into(),
        summary.restarts(now).into(),
        cells::age(&pod.metadata, now),
        cells::or_none(ip.map(String::as_str)),
        cells::or_none(spec.node_name.as_deref()),
        cells::or_none(status.nominated_node_name.as_deref()),
        readiness_gates(spec, status).into(),
    ]
}

#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count += i64::from(container.restart_count);
        let last = container
            .last_state
            .as_ref()
            .and_then(|s| s.terminated.as_ref());
        let ended = last.and_then(|t| t.finished_at.as_ref()).map(|t| t.0);
        self.last = self.last.max(ended);
    }
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

impl Summary {
    fn of(pod: &Pod, spec: &PodSpec, status: &PodStatus) -> Self {
        let mut reason = status.phase.clone().unwrap_or_default();
        if let Some(own) = status.reason.as_deref().filter(|r| !r.is_empty()) {
            own.clone_into(&mut reason);
        }
        let gated = |c: &PodCondition| {
            c.type_ == "PodScheduled" && c.reason.as_deref() == Some("SchedulingGated")
        };
        if status.conditions.iter().flatten().any(gated) {
            "SchedulingGated".clone_into(&mut reason);
        }

        let init = Init::of(spec, status);
        let sidecars = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|c| is_sidecar(c))
            .count();
        let mut summary = Summary {
            ready: init.ready_sidecars,
            total: spec.containers.len() + sidecars,
            reason,
            restarts: init.restarts,
        };
        let initialized = status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Initialized" && c.status == "True");
        let initializing = init.reason.is_some();
        if let Some(reason) = init.reason {
            summary.reason = reason;
        }
        if !initializing || initialized {
            // From here on, restarts of init containers that ended no longer matter.
            summary.restarts = init.sidecar_restarts;
            summary.add_containers(status);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            if status.reason.as_deref() == Some("NodeLost") {
                "Unknown".clone_into(&mut summary.reason);
            } else if !is_terminal(pod) {
                "Terminating".clone_into(&mut summary.reason);
            }
        }
        summary
    }

    /// The first container that is not well speaks for all.
    fn add_containers(&mut self, status: &PodStatus) {
        let mut some_runs = false;
        for container in status.container_statuses.iter().flatten().rev() {
            self.restarts.add(container);
            let none = ContainerState::default();
            let state = container.state.as_ref().unwrap_or(&none);
            if let Some(reason) = waiting_reason(state) {
                self.reason = reason.to_owned();
            } else if let Some(reason) = ended_reason(state) {
                self.reason = reason;
            } else if container.ready && state.running.is_some() {
                some_runs = true;
                self.ready += 1;
            }
        }
        // One container that ended well does not make a running pod completed.
        if self.reason == "Completed" && some_runs {
            let ready = status
                .conditions
                .iter()
                .flatten()
                .any(|c| c.type_ == "Ready" && c.status == "True");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.restarts.last {
            Some(last) if self.restarts.count != 0 => {
                format!(
                    "{} ({} ago)",
                    self.restarts.count,
                    time::since(Some(last), now)
                )
            }
            _ => self.restarts.count.to_string(),
        }
    }
}

/// How far the init containers are.
#[derive(Default)]
struct Init {
    /// Set while they are not done.
    reason: Option<String>,
    ready_sidecars: usize,
    restarts: Restarts,
    sidecar_restarts: Restarts,
}

impl Init {
    fn of(spec: &PodSpec, status: &PodStatus) -> Self {
        let containers = spec.init_containers.as_deref().unwrap_or_default();
        let mut init = Init::default();
        for (index, container) in status.init_container_statuses.iter().flatten().enumerate() {
            let described: Option<&Container> =
                containers.iter().find(|c| c.name == container.name);
            let sidecar = described.is_some_and(is_sidecar);
            init.restarts.add(container);
            if sidecar {
                init.sidecar_restarts.add(container);
            }
            let none = ContainerState::default();
            let state = container.state.as_ref().unwrap_or(&none);
            if state.terminated.as_ref().is_some_and(|t| t.exit_code == 0) {
                continue;
            }
            if sidecar && container.started == Some(true) {
                init.ready_sidecars += usize::from(container.ready);
                continue;
            }
            let reason = ended_reason(state).map(|reason| format!("Init:{reason}"));
            let waiting = || {
                let reason = waiting_reason(state).filter(|r| *r != "PodInitializing")?;
                Some(format!("Init:{reason}"))
            };
            let progress = || format!("Init:{index}/{}", containers.len());
            init.reason = Some(reason.or_else(waiting).unwrap_or_else(progress));
            break;
        }
        init
    }
}

fn waiting_reason(state: &ContainerState) -> Option<&str> {
    state
        .waiting
        .as_ref()?
        .reason
        .as_deref()
        .filter(|reason| !reason.is_empty())
}

/// The reason of the end, or else its signal or exit code.
fn ended_reason(state: &ContainerState) -> Option<String> {
    let ended = state.terminated.as_ref()?;
    let reason = ended.reason.as_deref().filter(|reason| !reason.is_empty());
    Some(match (reason, ended.signal.unwrap_or_default()) {
        (Some(reason), _) => reason.to_owned(),
        (None, 0) => format!("ExitCode:{}", ended.exit_code),
        (None, signal) => format!("Signal:{signal}"),
    })
}

fn readiness_gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = |kind: &str| {
        let conditions = status.conditions.iter().flatten();
        conditions
            .into_iter()
            .any(|c| c.type_ == kind && c.status == "True")
    };
    let count = gates
        .iter()
        .filter(|gate| open(&gate.condition_type))
        .count();
    format!("{count}/{}", gates.len())
}
