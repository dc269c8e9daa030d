//! A deployment's status: counts, and the conditions that `kubectl rollout status` reads. Pure.
//!
//! Follows `pkg/controller/deployment/progress.go` and `util/deployment_util.go` of Kubernetes.

use std::time::Duration;

use euston_api::time::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::rolling;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) const CREATED: &str = "NewReplicaSetCreated";
pub(super) const FOUND: &str = "FoundNewReplicaSet";
pub(super) const UPDATED: &str = "ReplicaSetUpdated";
pub(super) const COMPLETE: &str = "NewReplicaSetAvailable";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub(super) const PAUSED: &str = "DeploymentPaused";
pub(super) const RESUMED: &str = "DeploymentResumed";

/// Conditions while they are being worked out, with the API's rules for changing them.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    pub(super) fn of(deployment: &Deployment, now: Timestamp) -> Self {
        let list = deployment
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default();
        Self { list, now }
    }

    pub(super) fn get(&self, type_: &str) -> Option<&DeploymentCondition> {
        self.list
            .iter()
            .find(|condition| condition.type_.as_deref() == Some(type_))
    }

    pub(super) fn reason(&self, type_: &str) -> Option<&str> {
        self.get(type_)
            .and_then(|condition| condition.reason.as_deref())
    }

    pub(super) fn remove(&mut self, type_: &str) {
        self.list
            .retain(|condition| condition.type_.as_deref() != Some(type_));
    }

    /// Sets a condition. The same status for the same reason changes nothing; the same status for
    /// another reason keeps the time of transition.
    pub(super) fn set(
        &mut self,
        type_: &str,
        status: &str,
        reason: &str,
        message: impl Into<String>,
    ) {
        let old = self.get(type_);
        if old.is_some_and(|old| {
            old.status.as_deref() == Some(status) && old.reason.as_deref() == Some(reason)
        }) {
            return;
        }
        let kept = old
            .filter(|old| old.status.as_deref() == Some(status))
            .and_then(|old| old.last_transition_time.clone());
        let now = whole_seconds(self.now);
        let condition = DeploymentCondition {
            type_: Some(type_.to_owned()),
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.into()),
            last_update_time: Some(now.clone()),
            last_transition_time: Some(kept.unwrap_or(now)),
        };
        self.remove(type_);
        self.list.push(condition);
    }

    /// Like [`Self::set`], but renews the update time even if nothing else changes: progress was made.
    fn renew(&mut self, type_: &str, status: &str, reason: &str, message: impl Into<String>) {
        let kept = self
            .get(type_)
            .filter(|old| old.status.as_deref() == Some(status))
            .and_then(|old| old.last_transition_time.clone());
        self.remove(type_);
        self.set(type_, status, reason, message);
        if let (Some(kept), Some(condition)) = (kept, self.list.last_mut()) {
            condition.last_transition_time = Some(kept);
        }
    }
}

/// The counts and availability that the ReplicaSets amount to, with `conditions` to start from.
pub(super) fn calculate(
    deployment: &Deployment,
    old: &[ReplicaSet],
    new: Option<&ReplicaSet>,
    mut conditions: Conditions,
) -> (DeploymentStatus, Conditions) {
    let sum = |count: fn(&ReplicaSet) -> i32| {
        old.iter()
            .chain(new)
            .map(count)
            .fold(0, i32::saturating_add)
    };
    let reported = |rs: &ReplicaSet| rs.status.as_ref().map_or(0, |status| status.replicas);
    let available = sum(rolling::available);
    let wanted = sum(rolling::size);
    let (state, reason, message) = if available
        >= rolling::desired(deployment).saturating_sub(rolling::max_unavailable(deployment))
    {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    conditions.set(AVAILABLE, state, reason, message);
    let status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(sum(reported)),
        updated_replicas: Some(new.map_or(0, reported)),
        ready_replicas: Some(sum(|rs| {
            rs.status
                .as_ref()
                .and_then(|s| s.ready_replicas)
                .unwrap_or_default()
        })),
        available_replicas: Some(available),
        unavailable_replicas: Some(wanted.saturating_sub(available).max(0)),
        terminating_replicas: Some(sum(|rs| {
            rs.status
                .as_ref()
                .and_then(|s| s.terminating_replicas)
                .unwrap_or_default()
        })),
        collision_count: deployment
            .status
            .as_ref()
            .and_then(|status| status.collision_count),
        conditions: None,
    };
    (status, conditions)
}

pub(super) fn has_deadline(deployment: &Deployment) -> bool {
    deployment
        .spec
        .progress_deadline_seconds
        .is_some_and(|seconds| seconds != i32::MAX)
}

/// Every pod is of the newest template and available, and nothing else is left.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = Some(rolling::desired(deployment));
    status.updated_replicas == desired
        && status.replicas == desired
        && status.available_replicas == desired
        && status.observed_generation >= deployment.metadata.generation
}

/// More new pods, fewer old ones, or more ready or available ones than at the last look.
fn made_progress(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = Option::unwrap_or_default;
    let outdated = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

/// When the deadline for the next progress passes, if one is running.
fn deadline(deployment: &Deployment, conditions: &Conditions) -> Option<Timestamp> {
    let progressing = conditions.get(PROGRESSING)?;
    if matches!(progressing.reason.as_deref(), Some(COMPLETE | TIMED_OUT)) {
        return None;
    }
    let seconds = deployment
        .spec
        .progress_deadline_seconds
        .filter(|_| has_deadline(deployment))?;
    let since = progressing.last_update_time.as_ref()?.0;
    since
        .checked_add(jiff::SignedDuration::from_secs(i64::from(seconds)))
        .ok()
}

/// Works out Progressing and ReplicaFailure, completing `status`; returns when to look again for a
/// deadline that passes without any event.
pub(super) fn progress(
    deployment: &Deployment,
    old: &[ReplicaSet],
    new: Option<&ReplicaSet>,
    status: &mut DeploymentStatus,
    conditions: &mut Conditions,
) -> Option<Duration> {
    let now = conditions.now;
    if !has_deadline(deployment) {
        conditions.remove(PROGRESSING);
    }
    let done_before = status.replicas == status.updated_replicas
        && conditions.reason(PROGRESSING) == Some(COMPLETE);
    if has_deadline(deployment) && !done_before {
        let subject = match new.and_then(|rs| rs.metadata.name.as_deref()) {
            Some(name) => format!("ReplicaSet \"{name}\""),
            None => format!(
                "Deployment \"{}\"",
                deployment.metadata.name.as_deref().unwrap_or_default()
            ),
        };
        let before = deployment.status.clone().unwrap_or_default();
        if is_complete(deployment, status) {
            conditions.set(
                PROGRESSING,
                "True",
                COMPLETE,
                format!("{subject} has successfully progressed."),
            );
        } else if made_progress(&before, status) {
            conditions.renew(
                PROGRESSING,
                "True",
                UPDATED,
                format!("{subject} is progressing."),
            );
        } else if deadline(deployment, conditions).is_some_and(|deadline| deadline <= now) {
            conditions.set(
                PROGRESSING,
                "False",
                TIMED_OUT,
                format!("{subject} has timed out progressing."),
            );
        }
    }
    // The newest ReplicaSet's trouble says more than that of old ones.
    let failure = new.into_iter().chain(old).find_map(|rs| {
        let conditions = rs.status.as_ref()?.conditions.as_ref()?;
        conditions
            .iter()
            .find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE))
    });
    match failure {
        Some(failure) => conditions.set(
            REPLICA_FAILURE,
            failure.status.as_deref().unwrap_or("True"),
            failure.reason.as_deref().unwrap_or_default(),
            failure.message.clone().unwrap_or_default(),
        ),
        None => conditions.remove(REPLICA_FAILURE),
    }
    if is_complete(deployment, status) {
        return None;
    }
    deadline(deployment, conditions).map(|deadline| {
        Duration::try_from(deadline.duration_since(now))
            .unwrap_or_default()
            .max(Duration::from_millis(1))
    })
}

/// Stores the conditions in `status`, ordered so that equal sets are equal lists.
pub(super) fn finish(mut status: DeploymentStatus, mut conditions: Conditions) -> DeploymentStatus {
    conditions.list.sort_by(|a, b| a.type_.cmp(&b.type_));
    status.conditions = (!conditions.list.is_empty()).then_some(conditions.list);
    status
}

/// Whether two statuses say the same; a count left out means 0, and the order of conditions nothing.
pub(super) fn same(a: &DeploymentStatus, b: &DeploymentStatus) -> bool {
    let counts = |s: &DeploymentStatus| {
        [
            s.replicas,
            s.updated_replicas,
            s.ready_replicas,
            s.available_replicas,
            s.unavailable_replicas,
            s.terminating_replicas,
            s.collision_count,
        ]
        .map(Option::unwrap_or_default)
    };
    let conditions = |s: &DeploymentStatus| {
        let mut list = s.conditions.clone().unwrap_or_default();
        list.sort_by(|a, b| a.type_.cmp(&b.type_));
        list
    };
    counts(a) == counts(b)
        && a.observed_generation == b.observed_generation
        && conditions(a) == conditions(b)
}
