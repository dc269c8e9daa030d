//! What to do next for a pod.

use super::Now;
use super::desire::{Desire, Role};
use super::probe::ProbeKind;
use super::state::{EndCause, Hold, HoldReason, Observed, Setup, Stage, Withdrawal};
use std::time::Duration;

/// Something to do; each ends in a [`super::state::News`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Give the pod an address and its volumes.
    SetUp,
    /// Bring image, configuration and sandbox together. `attempt` names the log file.
    Start { index: usize, attempt: i32 },
    /// Give up a start.
    Abort { index: usize },
    /// Ask a container how it is.
    Probe { index: usize, kind: ProbeKind },
    /// Stop a container: its hook, then up to `grace` for what is in flight.
    Stop {
        index: usize,
        grace: Duration,
        why: StopReason,
    },
    /// Wait until Services no longer send requests, at most this long.
    Withdraw { at_most: Duration },
    /// Give back address, volumes and everything else.
    Release,
}

/// Why a container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The pod ends.
    PodEnds,
    /// A probe failed too often.
    Unhealthy(ProbeKind),
    /// The containers that it ran beside have ended.
    NoLongerNeeded,
}

/// What to do now, and when to look again if nothing happens before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// Since the agent started.
    pub(crate) wake: Option<Duration>,
}

impl Plan {
    fn look_again(&mut self, at: Duration) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// A pod that ends keeps serving while Services still point to it, at most for half of its grace
/// period and no longer than this: the rest is for requests in flight. Tables follow within a few
/// hundred milliseconds; this is what a slow API server may take of it.
const WITHDRAW_MAX: Duration = Duration::from_secs(5);

/// How the pod as a whole stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Going,
    Succeeded,
    Failed,
}

/// Whether the pod has come to an end by itself.
pub(crate) fn outcome(desire: &Desire, observed: &Observed) -> Outcome {
    let mut all_zero = true;
    let mut any_main = false;
    for (desired, view) in desire.containers.iter().zip(&observed.containers) {
        match (&view.stage, desired.role) {
            (Stage::Exited(ended), Role::Init)
                if ended.exit_code != 0 && !desired.restart.wants(ended.exit_code) =>
            {
                return Outcome::Failed;
            }
            (Stage::Exited(ended), Role::Main) => {
                any_main = true;
                if desired.restart.wants(ended.exit_code) {
                    return Outcome::Going;
                }
                all_zero &= ended.exit_code == 0;
            }
            (_, Role::Main) => return Outcome::Going,
            _ => {}
        }
    }
    match (any_main, all_zero) {
        (false, _) => Outcome::Going,
        (true, true) => Outcome::Succeeded,
        (true, false) => Outcome::Failed,
    }
}

/// Decides, and notes in `observed` what has been set going.
pub(crate) fn plan(desire: &Desire, observed: &mut Observed, now: Now) -> Plan {
    let mut plan = Plan::default();
    if observed.released {
        return plan;
    }
    if let (Some(limit), None) = (desire.active_deadline, &observed.ending)
        && outcome(desire, observed) == Outcome::Going
    {
        let at = observed.since + limit;
        if now.mono >= at {
            observed.end(EndCause::Deadline, DEADLINE_GRACE, now);
        } else {
            plan.look_again(at);
        }
    }
    if observed.ending.is_some() {
        end(desire, observed, now, &mut plan);
        return plan;
    }
    if outcome(desire, observed) != Outcome::Going {
        finish(desire, observed, &mut plan);
        return plan;
    }
    match &observed.setup {
        Setup::Needed => {
            observed.setup = Setup::Running;
            plan.actions.push(Action::SetUp);
            return plan;
        }
        Setup::Running => return plan,
        Setup::Failed { until, .. } if now.mono < *until => {
            plan.look_again(*until);
            return plan;
        }
        Setup::Failed { .. } => {
            observed.setup = Setup::Running;
            plan.actions.push(Action::SetUp);
            return plan;
        }
        Setup::Done => {}
    }
    // What comes before the main containers, one after the other.
    let mut initialized = true;
    for index in 0..desire.containers.len() {
        match desire.containers[index].role {
            Role::Init if initialized => {
                drive(desire, observed, index, now, &mut plan);
                initialized = matches!(&observed.containers[index].stage,
                    Stage::Exited(ended) if ended.exit_code == 0);
            }
            Role::Sidecar if initialized => {
                drive(desire, observed, index, now, &mut plan);
                initialized = observed.containers[index]
                    .running()
                    .is_some_and(|r| r.started());
            }
            Role::Main if initialized => drive(desire, observed, index, now, &mut plan),
            // A sidecar that has started is kept going while others still initialize.
            Role::Sidecar if observed.containers[index].ran => {
                drive(desire, observed, index, now, &mut plan);
            }
            _ => {}
        }
    }
    plan
}

/// Grace of a pod that is over its deadline: nobody chose one for this case.
const DEADLINE_GRACE: Duration = Duration::from_secs(30);

/// Moves one container forward that is to run.
fn drive(desire: &Desire, observed: &mut Observed, index: usize, now: Now, plan: &mut Plan) {
    let desired = &desire.containers[index];
    let view = &mut observed.containers[index];
    match &mut view.stage {
        Stage::Waiting => start(observed, index, plan),
        Stage::Starting | Stage::Stopping(_) => {}
        Stage::Held(hold) if now.mono < hold.until => plan.look_again(hold.next(now.mono)),
        Stage::Held(_) => start(observed, index, plan),
        Stage::Exited(ended) => {
            if !desired.restart.wants(ended.exit_code) {
                return;
            }
            let wait = view.crash.restart(ended.ran);
            let message = format!(
                "back-off {} s restarting the container {:?}, which ended with exit code {}",
                wait.as_secs(),
                desired.name,
                ended.exit_code
            );
            view.last = Some(ended.clone());
            if wait.is_zero() {
                start(observed, index, plan);
            } else {
                view.stage = Stage::Held(Hold {
                    since: now.mono,
                    until: now.mono + wait,
                    why: HoldReason::Crash,
                    message,
                });
                plan.look_again(now.mono + wait);
            }
        }
        Stage::Running(run) => {
            for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
                if desired.probe(kind).is_some() && run.probe(kind).verdict() == Some(false) {
                    let run = run.clone();
                    view.stage = Stage::Stopping(run);
                    plan.actions.push(Action::Stop {
                        index,
                        grace: UNHEALTHY_GRACE,
                        why: StopReason::Unhealthy(kind),
                    });
                    return;
                }
            }
            let started = run.started();
            for kind in ProbeKind::ALL {
                if desired.probe(kind).is_none() || (kind == ProbeKind::Startup) == started {
                    continue;
                }
                match run.probe(kind).due() {
                    Some(due) if due <= now.mono => {
                        run.probe_mut(kind).sent();
                        plan.actions.push(Action::Probe { index, kind });
                    }
                    Some(due) => plan.look_again(due),
                    None => {}
                }
            }
        }
    }
}

/// A container that fails its probes has little to drain.
const UNHEALTHY_GRACE: Duration = Duration::from_secs(5);

fn start(observed: &mut Observed, index: usize, plan: &mut Plan) {
    let view = &mut observed.containers[index];
    plan.actions.push(Action::Start {
        index,
        attempt: view.attempt(),
    });
    view.stage = Stage::Starting;
}

/// The pod has ended by itself: sidecars go, then everything else of it.
fn finish(desire: &Desire, observed: &mut Observed, plan: &mut Plan) {
    let mut at_rest = true;
    for (index, view) in observed.containers.iter_mut().enumerate() {
        match &view.stage {
            Stage::Running(run) => {
                at_rest = false;
                view.stage = Stage::Stopping(run.clone());
                plan.actions.push(Action::Stop {
                    index,
                    grace: SIDECAR_GRACE,
                    why: StopReason::NoLongerNeeded,
                });
            }
            Stage::Starting => {
                view.stage = Stage::Waiting;
                plan.actions.push(Action::Abort { index });
            }
            Stage::Stopping(_) => at_rest = false,
            _ => {}
        }
    }
    debug_assert_eq!(desire.containers.len(), observed.containers.len());
    if at_rest {
        release(observed, plan);
    }
}

/// Sidecars outlive what they serve; there is nothing left to wait for but their own requests.
const SIDECAR_GRACE: Duration = Duration::from_secs(30);

/// The pod is to go: first Services stop sending to it, then the main containers stop together,
/// then the sidecars, the last one first.
fn end(desire: &Desire, observed: &mut Observed, now: Now, plan: &mut Plan) {
    let Some(ending) = &mut observed.ending else {
        return;
    };
    let deadline = ending.since + ending.grace;
    let anything_runs = observed
        .containers
        .iter()
        .any(|view| view.running().is_some());
    match ending.withdrawal {
        Withdrawal::Needed if anything_runs && !ending.grace.is_zero() => {
            ending.withdrawal = Withdrawal::Running;
            plan.actions.push(Action::Withdraw {
                at_most: WITHDRAW_MAX.min(ending.grace / 2),
            });
        }
        Withdrawal::Needed => ending.withdrawal = Withdrawal::Done,
        // A grace period that was cut short ends the courtesy too.
        Withdrawal::Running if now.mono >= deadline => ending.withdrawal = Withdrawal::Done,
        _ => {}
    }
    let withdrawn = ending.withdrawal == Withdrawal::Done;
    if !withdrawn {
        plan.look_again(deadline);
    }
    for (index, view) in observed.containers.iter_mut().enumerate() {
        if view.stage == Stage::Starting {
            view.stage = match view.last.take() {
                Some(ended) => Stage::Exited(ended),
                None => Stage::Waiting,
            };
            plan.actions.push(Action::Abort { index });
        }
    }
    if !withdrawn {
        return;
    }
    let grace = deadline.saturating_sub(now.mono);
    let stop = |observed: &mut Observed, index: usize, plan: &mut Plan| {
        let view = &mut observed.containers[index];
        if let Stage::Running(run) = &view.stage {
            view.stage = Stage::Stopping(run.clone());
            plan.actions.push(Action::Stop {
                index,
                grace,
                why: StopReason::PodEnds,
            });
        }
    };
    for index in 0..desire.containers.len() {
        if desire.containers[index].role != Role::Sidecar {
            stop(observed, index, plan);
        }
    }
    let others_at_rest = |observed: &Observed| {
        desire
            .containers
            .iter()
            .zip(&observed.containers)
            .all(|(desired, view)| desired.role == Role::Sidecar || view.at_rest())
    };
    if others_at_rest(observed) {
        for index in (0..desire.containers.len()).rev() {
            if desire.containers[index].role == Role::Sidecar
                && !observed.containers[index].at_rest()
            {
                stop(observed, index, plan);
                break;
            }
        }
    }
    if observed
        .containers
        .iter()
        .all(super::state::ContainerView::at_rest)
    {
        release(observed, plan);
    }
}

fn release(observed: &mut Observed, plan: &mut Plan) {
    if !observed.releasing {
        observed.releasing = true;
        plan.actions.push(Action::Release);
    }
}

#[cfg(test)]
mod tests;
