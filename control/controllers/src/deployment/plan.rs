//! What to do for a deployment now. Pure: ReplicaSets in, writes and status out.
//!
//! Follows `pkg/controller/deployment/{deployment_controller,sync,rolling,recreate}.go` of Kubernetes.

use std::time::Duration;

use euston_api::labels::DEPLOYMENT_REVISION;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use super::revision::{self, annotation, by_creation};
use super::rolling::{self, size};
use super::status::{self, Conditions};

/// The writes of one reconcile, in the order in which they are made; the status comes last.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// A ReplicaSet for a template that has none yet.
    pub(super) create: Option<ReplicaSet>,
    pub(super) updates: Vec<Update>,
    /// Old, empty ReplicaSets beyond the history limit.
    pub(super) deletes: Vec<ReplicaSet>,
    /// The revision to note on the deployment, if it carries another.
    pub(super) revision: Option<String>,
    pub(super) status: DeploymentStatus,
    /// When the progress deadline passes.
    pub(super) look_again: Option<Duration>,
}

/// A changed ReplicaSet and, if its size changed, the sentence for the event.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) rs: ReplicaSet,
    pub(super) event: Option<String>,
}

/// Decides for `deployment`, which owns `sets`. `old_pods_left(rs)` says whether pods of an old
/// ReplicaSet still exist, even terminating: a Recreate waits for them.
pub(super) fn plan(
    deployment: &Deployment,
    sets: Vec<ReplicaSet>,
    old_pods_left: impl Fn(&ReplicaSet) -> bool,
    now: Timestamp,
) -> Plan {
    let mut planner = Planner::new(deployment, sets, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        return planner.finish(false);
    }
    planner.note_pause();
    let paused = deployment.spec.paused == Some(true);
    if paused || planner.is_scaling() {
        planner.revise(false);
        planner.scale();
        if paused {
            planner.clean_up();
        }
        return planner.finish(false);
    }
    if rolling::is_rolling(deployment) {
        planner.roll()
    } else {
        planner.recreate(old_pods_left)
    }
    planner.finish(true)
}

struct Planner<'a> {
    deployment: &'a Deployment,
    before: Vec<ReplicaSet>,
    old: Vec<ReplicaSet>,
    new: Option<ReplicaSet>,
    conditions: Conditions,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(deployment: &'a Deployment, mut sets: Vec<ReplicaSet>, now: Timestamp) -> Self {
        sets.sort_by(by_creation);
        let before = sets.clone();
        // The oldest of several with the same template: so that it stays the same one.
        let position = sets
            .iter()
            .position(|rs| revision::same_template(&deployment.spec.template, rs));
        let new = position.map(|position| sets.remove(position));
        let conditions = Conditions::of(deployment, now);
        Self {
            deployment,
            before,
            old: sets,
            new,
            conditions,
            plan: Plan::default(),
        }
    }

    fn sets(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    /// The deployment's size changed since its ReplicaSets were last sized. A Recreate that has
    /// several active sets (its strategy changed in mid-update) is rolled out instead.
    fn is_scaling(&self) -> bool {
        let active: Vec<&ReplicaSet> = self.sets().filter(|rs| size(rs) > 0).collect();
        rolling::is_scaling(self.deployment, &active)
            && (rolling::is_rolling(self.deployment) || active.len() <= 1)
    }

    /// Pausing and resuming restart the progress deadline, unless it was missed already.
    fn note_pause(&mut self) {
        if !status::has_deadline(self.deployment) {
            return;
        }
        let paused = self.deployment.spec.paused == Some(true);
        match self.conditions.reason(status::PROGRESSING) {
            Some(status::TIMED_OUT) => {}
            Some(status::PAUSED) if !paused => {
                self.conditions.set(
                    status::PROGRESSING,
                    "Unknown",
                    status::RESUMED,
                    "Deployment is resumed",
                );
            }
            Some(status::PAUSED) => {}
            _ if paused => {
                self.conditions.set(
                    status::PROGRESSING,
                    "Unknown",
                    status::PAUSED,
                    "Deployment is paused",
                );
            }
            _ => {}
        }
    }

    /// Gives the newest ReplicaSet the highest revision, creating it if `create` and there is none.
    fn revise(&mut self, create: bool) {
        let next = self
            .old
            .iter()
            .map(|rs| revision::revision(&rs.metadata))
            .max()
            .unwrap_or_default()
            + 1;
        if let Some(rs) = &mut self.new {
            revision::annotate(rs, self.deployment, next);
            rs.spec.min_ready_seconds = self.deployment.spec.min_ready_seconds;
            if status::has_deadline(self.deployment)
                && self.conditions.get(status::PROGRESSING).is_none()
            {
                let name = rs.metadata.name.as_deref().unwrap_or_default();
                let message = format!("Found new replica set \"{name}\"");
                self.conditions
                    .set(status::PROGRESSING, "True", status::FOUND, message);
            }
        } else if create {
            let replicas = rolling::new_size(self.deployment, rolling::total(&self.old), 0);
            let rs = revision::new_replica_set(self.deployment, next, replicas);
            if status::has_deadline(self.deployment) {
                let name = rs.metadata.name.as_deref().unwrap_or_default();
                let message = format!("Created new replica set \"{name}\"");
                self.conditions
                    .set(status::PROGRESSING, "True", status::CREATED, message);
            }
            self.plan.create = Some(rs.clone());
            self.new = Some(rs);
        }
        let noted = self
            .new
            .as_ref()
            .and_then(|rs| annotation(&rs.metadata, DEPLOYMENT_REVISION));
        if let Some(noted) = noted
            && annotation(&self.deployment.metadata, DEPLOYMENT_REVISION) != Some(noted)
        {
            self.plan.revision = Some(noted.to_owned());
        }
    }

    fn roll(&mut self) {
        self.revise(true);
        if self.grow_new() {
            return;
        }
        let sizes = rolling::shrink_old(self.deployment, &self.old, self.new.as_ref());
        let mut shrunk = false;
        for (rs, target) in self.old.iter_mut().zip(sizes) {
            if size(rs) != target {
                resize(rs, target, self.deployment);
                shrunk = true;
            }
        }
        if !shrunk {
            self.clean_up_when_complete();
        }
    }

    fn recreate(&mut self, old_pods_left: impl Fn(&ReplicaSet) -> bool) {
        self.revise(false);
        let mut shrunk = false;
        for rs in self.old.iter_mut().filter(|rs| size(rs) > 0) {
            resize(rs, 0, self.deployment);
            shrunk = true;
        }
        let reported =
            |rs: &ReplicaSet| rs.status.as_ref().is_some_and(|status| status.replicas > 0);
        if shrunk || self.old.iter().any(|rs| reported(rs) || old_pods_left(rs)) {
            return;
        }
        if self.new.is_none() {
            self.revise(true);
        }
        if !self.grow_new() {
            self.clean_up_when_complete();
        }
    }

    /// Brings the newest ReplicaSet to the size it may have now.
    fn grow_new(&mut self) -> bool {
        let all = rolling::total(self.sets());
        let Some(rs) = &mut self.new else {
            return false;
        };
        let desired = rolling::desired(self.deployment);
        let target = if size(rs) > desired {
            desired
        } else {
            rolling::new_size(self.deployment, all, size(rs))
        };
        let changes = size(rs) != target;
        if changes || self.plan.create.is_none() {
            resize(rs, target, self.deployment);
        }
        changes
    }

    /// Follows a change of the deployment's size, in mid-update in proportion.
    fn scale(&mut self) {
        let desired = rolling::desired(self.deployment);
        let count_active = self.sets().filter(|rs| size(rs) > 0).count();
        if count_active <= 1 {
            // The one that is active, else the newest there is.
            let target = if let Some(old) = self.old.iter().position(|rs| size(rs) > 0) {
                self.old.get_mut(old)
            } else if self.new.is_some() {
                self.new.as_mut()
            } else {
                self.old.last_mut()
            };
            if let Some(rs) = target {
                resize(rs, desired, self.deployment);
            }
        } else if rolling::is_saturated(self.deployment, self.new.as_ref()) {
            for rs in self.old.iter_mut().filter(|rs| size(rs) > 0) {
                resize(rs, 0, self.deployment);
            }
        } else if rolling::is_rolling(self.deployment) {
            let active: Vec<&ReplicaSet> = self.sets().filter(|rs| size(rs) > 0).collect();
            let sizes = rolling::scale_proportionally(self.deployment, &active);
            let deployment = self.deployment;
            let active = self
                .old
                .iter_mut()
                .chain(&mut self.new)
                .filter(|rs| size(rs) > 0);
            for (rs, target) in active.zip(sizes) {
                resize(rs, target, deployment);
            }
        }
    }

    fn clean_up_when_complete(&mut self) {
        let (status, _) = status::calculate(
            self.deployment,
            &self.old,
            self.new.as_ref(),
            self.conditions.clone(),
        );
        if self.plan.create.is_none() && status::is_complete(self.deployment, &status) {
            self.clean_up();
        }
    }

    /// Deletes the oldest empty ReplicaSets beyond the history limit.
    fn clean_up(&mut self) {
        let Some(limit) = self
            .deployment
            .spec
            .revision_history_limit
            .filter(|limit| *limit != i32::MAX)
        else {
            return;
        };
        let mut kept: Vec<&ReplicaSet> = self
            .old
            .iter()
            .filter(|rs| rs.metadata.deletion_timestamp.is_none())
            .collect();
        kept.sort_by(|a, b| {
            revision::revision(&a.metadata)
                .cmp(&revision::revision(&b.metadata))
                .then_with(|| by_creation(a, b))
        });
        let surplus = kept
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or_default());
        let empty = |rs: &ReplicaSet| {
            let reported = rs.status.as_ref();
            size(rs) == 0
                && reported.is_none_or(|status| status.replicas == 0)
                && reported.and_then(|status| status.observed_generation) >= rs.metadata.generation
        };
        let deletes: Vec<ReplicaSet> = kept
            .into_iter()
            .take(surplus)
            .filter(|rs| empty(rs))
            .cloned()
            .collect();
        self.plan.deletes.extend(deletes);
    }

    fn finish(mut self, rollout: bool) -> Plan {
        let created = self
            .plan
            .create
            .as_ref()
            .and_then(|rs| rs.metadata.name.clone());
        for rs in self.old.iter().chain(&self.new) {
            if rs.metadata.uid.is_none() && rs.metadata.name == created {
                continue;
            }
            let Some(before) = self
                .before
                .iter()
                .find(|before| before.metadata.uid == rs.metadata.uid)
            else {
                continue;
            };
            if before == rs {
                continue;
            }
            let (from, to) = (size(before), size(rs));
            let event = (from != to).then(|| {
                let direction = if to > from { "up" } else { "down" };
                let name = rs.metadata.name.as_deref().unwrap_or_default();
                format!("Scaled {direction} replica set {name} from {from} to {to}")
            });
            self.plan.updates.push(Update {
                rs: rs.clone(),
                event,
            });
        }
        let (mut status, mut conditions) = status::calculate(
            self.deployment,
            &self.old,
            self.new.as_ref(),
            self.conditions,
        );
        if rollout {
            self.plan.look_again = status::progress(
                self.deployment,
                &self.old,
                self.new.as_ref(),
                &mut status,
                &mut conditions,
            );
        }
        self.plan.status = status::finish(status, conditions);
        self.plan
    }
}

fn resize(rs: &mut ReplicaSet, replicas: i32, deployment: &Deployment) {
    if size(rs) != replicas {
        rs.spec.replicas = Some(replicas);
    }
    revision::note_replicas(rs, deployment);
}
