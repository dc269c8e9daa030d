//! A pod that this node ran before its agent restarted: what its status in the API says is all that
//! is left of it.

use super::Now;
use super::desire::{Desire, Role};
use super::state::{ContainerView, Observed, Stage, Terminated};
use k8s_openapi::api::core::v1 as core;
use std::time::Duration;

/// How containers are said to have ended that ended together with the agent.
const LOST_CODE: i32 = 137;
const LOST_REASON: &str = "ContainerStatusUnknown";
const LOST_MESSAGE: &str = "the container ended together with the node's agent";

/// The state to go on from. Containers that had ended for good stay so; what ran is started again
/// where the restart policy lets it, counting a restart; init containers run again first, since the
/// pod's sandbox is a new one.
pub(crate) fn recover(desire: &Desire, status: &core::PodStatus, now: Now) -> Observed {
    let mut observed = Observed::new(desire, now);
    if let Some(started) = &status.start_time {
        observed.started = started.0;
    }
    let find = |name: &str| {
        status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .flatten()
            .find(|status| status.name == name)
    };
    for (desired, view) in desire.containers.iter().zip(&mut observed.containers) {
        if let Some(status) = find(&desired.name) {
            *view = before(status);
        }
        if let Stage::Exited(ended) = &view.stage
            && desired.role == Role::Main
            && desired.restart.wants(ended.exit_code)
        {
            view.last = Some(ended.clone());
            view.stage = Stage::Waiting;
        }
    }
    // Without a main container left to run, nothing has to be initialized again.
    let mains_done = desire
        .containers
        .iter()
        .zip(&observed.containers)
        .all(|(desired, view)| {
            desired.role != Role::Main || matches!(view.stage, Stage::Exited(_))
        });
    if !mains_done {
        for (desired, view) in desire.containers.iter().zip(&mut observed.containers) {
            if desired.role != Role::Main
                && let Stage::Exited(ended) = &view.stage
            {
                let failed_for_good =
                    ended.exit_code != 0 && !desired.restart.wants(ended.exit_code);
                if !failed_for_good || ended.reason == LOST_REASON {
                    view.last = Some(ended.clone());
                    view.stage = Stage::Waiting;
                }
            }
        }
    }
    observed
}

fn before(status: &core::ContainerStatus) -> ContainerView {
    let mut view = ContainerView {
        restarts: status.restart_count,
        ..ContainerView::default()
    };
    let ended = |t: &core::ContainerStateTerminated| Terminated {
        exit_code: t.exit_code,
        reason: t.reason.clone().unwrap_or_default(),
        message: t.message.clone(),
        started: t.started_at.as_ref().map(|time| time.0),
        finished: t.finished_at.as_ref().map(|time| time.0),
        container_id: t.container_id.clone(),
        ran: Duration::ZERO,
    };
    let last = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    view.last = last.map(ended);
    view.image_id = Some(status.image_id.clone()).filter(|id| !id.is_empty());
    let state = status.state.as_ref();
    if let Some(running) = state.and_then(|state| state.running.as_ref()) {
        view.ran = true;
        view.container_id = status.container_id.clone();
        view.stage = Stage::Exited(Terminated {
            exit_code: LOST_CODE,
            reason: LOST_REASON.into(),
            message: Some(LOST_MESSAGE.into()),
            started: running.started_at.as_ref().map(|time| time.0),
            // When exactly is not known.
            finished: None,
            container_id: status.container_id.clone(),
            ran: Duration::ZERO,
        });
    } else if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        view.ran = true;
        view.container_id = terminated.container_id.clone();
        view.stage = Stage::Exited(ended(terminated));
    } else {
        view.ran = last.is_some();
    }
    view
}
