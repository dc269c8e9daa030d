//! Stories of deployments: a spec changes, plans are carried out on ReplicaSets in memory, pods
//! become available, and at every step the promises hold.

use euston_api::labels::{DEPLOYMENT_REVISION, POD_TEMPLATE_HASH};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::plan::plan;
use super::revision::{REVISION_HISTORY, annotation};
use super::rolling::{available, desired, is_rolling, max_surge, max_unavailable, size};
use super::status;

/// A deployment and its ReplicaSets, as the API would hold them, with a clock.
struct World {
    d: Deployment,
    sets: Vec<ReplicaSet>,
    second: i64,
    serial: u32,
    events: Vec<String>,
    /// Pods of images that contain this never become available.
    broken: &'static str,
    /// Whether the last plan set a deadline to look again.
    waits: bool,
}

impl World {
    fn new(replicas: i32) -> Self {
        let d = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "revisionHistoryLimit": 2,
                "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
            },
        }))
        .unwrap();
        Self {
            d,
            sets: Vec::new(),
            second: 0,
            serial: 0,
            events: Vec::new(),
            broken: "none",
            waits: false,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + self.second).unwrap()
    }

    fn change(&mut self, change: impl FnOnce(&mut Deployment)) {
        change(&mut self.d);
        *self.d.metadata.generation.get_or_insert_default() += 1;
    }

    fn image(&mut self, image: &str) {
        self.change(|d| {
            d.spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into())
        });
    }

    fn image_of(rs: &ReplicaSet) -> &str {
        let spec = rs.spec.template.as_ref().unwrap().spec.as_ref().unwrap();
        spec.containers[0].image.as_deref().unwrap()
    }

    fn set(&self, image: &str) -> &ReplicaSet {
        self.sets
            .iter()
            .find(|rs| Self::image_of(rs) == image)
            .unwrap_or_else(|| panic!("no ReplicaSet of {image}"))
    }

    /// (image, size) of each ReplicaSet, oldest first.
    fn sizes(&self) -> Vec<(&str, i32)> {
        self.sets
            .iter()
            .map(|rs| (Self::image_of(rs), size(rs)))
            .collect()
    }

    fn condition(&self, type_: &str) -> (String, String) {
        let condition = self
            .d
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten())
            .find(|c| c.type_.as_deref() == Some(type_));
        condition
            .map(|c| {
                (
                    c.status.clone().unwrap_or_default(),
                    c.reason.clone().unwrap_or_default(),
                )
            })
            .unwrap_or_default()
    }

    /// One reconcile, carried out. Returns whether it wrote anything.
    fn reconcile(&mut self) -> bool {
        let plan = plan(
            &self.d,
            self.sets.clone(),
            |rs| rs.status.as_ref().is_some_and(|s| s.replicas > 0),
            self.now(),
        );
        self.waits = plan.look_again.is_some();
        let old_status = self.d.status.clone().unwrap_or_default();
        let wrote = plan.create.is_some()
            || !plan.updates.is_empty()
            || !plan.deletes.is_empty()
            || plan.revision.is_some()
            || !status::same(&old_status, &plan.status);
        if let Some(mut rs) = plan.create {
            self.serial += 1;
            rs.metadata.uid = Some(format!("rs{}", self.serial));
            rs.metadata.creation_timestamp = Some(Time(self.now()));
            rs.metadata.generation = Some(1);
            assert!(
                self.sets
                    .iter()
                    .all(|other| other.metadata.name != rs.metadata.name),
                "a second one of that name"
            );
            self.sets.push(rs);
        }
        for update in plan.updates {
            self.events.extend(update.event);
            let rs = self
                .sets
                .iter_mut()
                .find(|rs| rs.metadata.uid == update.rs.metadata.uid)
                .unwrap();
            *rs = update.rs;
            *rs.metadata.generation.get_or_insert_default() += 1;
        }
        for gone in plan.deletes {
            assert_eq!(size(&gone), 0);
            self.sets.retain(|rs| rs.metadata.uid != gone.metadata.uid);
        }
        if let Some(revision) = plan.revision {
            self.d
                .metadata
                .annotations
                .get_or_insert_default()
                .insert(DEPLOYMENT_REVISION.into(), revision);
        }
        self.d.status = Some(plan.status);
        wrote
    }

    /// Pods go as asked at once; one more becomes available per ReplicaSet, if it ever does.
    fn pods_move(&mut self) -> bool {
        let mut moved = false;
        for rs in &mut self.sets {
            let works = !Self::image_of(rs).contains(self.broken);
            let wanted = size(rs);
            let now = available(rs).min(wanted);
            let up = if works { (now + 1).min(wanted) } else { now };
            let status = rs.status.get_or_insert_default();
            moved |= status.replicas != wanted || status.available_replicas != Some(up);
            status.replicas = wanted;
            status.available_replicas = Some(up);
            status.ready_replicas = Some(up);
            status.observed_generation = rs.metadata.generation;
        }
        moved
    }

    /// Reconciles and lets pods move until nothing changes, checking every step.
    fn settle(&mut self) {
        let promised = self.sets.iter().map(available).sum::<i32>()
            >= desired(&self.d) - max_unavailable(&self.d);
        for step in 0.. {
            assert!(step < 300, "it never settles: {:?}", self.sizes());
            self.second += 1;
            let wrote = self.reconcile();
            if is_rolling(&self.d) && promised && self.d.spec.paused != Some(true) {
                let (all, up) = (
                    self.sets.iter().map(size).sum::<i32>(),
                    self.sets.iter().map(available).sum::<i32>(),
                );
                assert!(
                    all <= desired(&self.d) + max_surge(&self.d),
                    "{all} pods: {:?}",
                    self.sizes()
                );
                assert!(
                    up >= desired(&self.d) - max_unavailable(&self.d),
                    "only {up} available: {:?}",
                    self.sizes()
                );
            }
            if !wrote && !self.pods_move() {
                return;
            }
            self.pods_move();
        }
    }
}

const COMPLETE: (&str, &str) = ("True", status::COMPLETE);

fn is(condition: (String, String), expect: (&str, &str)) {
    assert_eq!((condition.0.as_str(), condition.1.as_str()), expect);
}

#[test]
fn a_first_rollout_creates_one_replica_set() {
    for replicas in [0, 1, 3, 50] {
        let mut world = World::new(replicas);
        world.settle();
        assert_eq!(world.sizes(), [("v1", replicas)]);
        is(world.condition("Progressing"), COMPLETE);
        is(
            world.condition("Available"),
            ("True", "MinimumReplicasAvailable"),
        );
        let status = world.d.status.as_ref().unwrap();
        assert_eq!(status.observed_generation, Some(1));
        assert_eq!(
            [
                status.replicas,
                status.updated_replicas,
                status.ready_replicas,
                status.available_replicas
            ],
            [Some(replicas); 4]
        );
        assert_eq!(status.unavailable_replicas, Some(0));
        assert_eq!(
            annotation(&world.d.metadata, DEPLOYMENT_REVISION),
            Some("1")
        );
        assert!(!world.waits, "nothing is awaited");
    }
}

#[test]
fn conditions_tell_the_story_of_a_rollout() {
    let mut world = World::new(2);
    world.reconcile();
    is(world.condition("Progressing"), ("True", status::CREATED));
    is(
        world.condition("Available"),
        ("False", "MinimumReplicasUnavailable"),
    );
    assert!(world.waits, "the deadline runs");
    world.pods_move();
    world.reconcile();
    is(world.condition("Progressing"), ("True", status::UPDATED));
    world.settle();
    is(world.condition("Progressing"), COMPLETE);
    world.image("v2");
    world.reconcile();
    is(world.condition("Progressing"), ("True", status::CREATED));
    world.settle();
    is(world.condition("Progressing"), COMPLETE);
}

#[test]
fn an_update_replaces_every_pod_and_keeps_its_promises() {
    for replicas in [1, 2, 3, 4, 10, 37] {
        for (surge, unavailable) in [
            ("25%", "25%"),
            ("0%", "25%"),
            ("100%", "0%"),
            ("0%", "0%"),
            ("1%", "50%"),
        ] {
            let mut world = World::new(replicas);
            world.change(|d| {
                let update = d
                    .spec
                    .strategy
                    .as_mut()
                    .unwrap()
                    .rolling_update
                    .as_mut()
                    .unwrap();
                update.max_surge = serde_json::from_value(json!(surge)).unwrap();
                update.max_unavailable = serde_json::from_value(json!(unavailable)).unwrap();
            });
            world.settle();
            world.image("v2");
            world.settle();
            assert_eq!(
                world.sizes(),
                [("v1", 0), ("v2", replicas)],
                "{replicas} {surge} {unavailable}"
            );
            assert_eq!(
                annotation(&world.d.metadata, DEPLOYMENT_REVISION),
                Some("2")
            );
        }
    }
}

#[test]
fn undoing_an_update_takes_the_old_replica_set_again() {
    let mut world = World::new(3);
    world.settle();
    world.image("v2");
    world.settle();
    let hash = world.set("v1").metadata.labels.as_ref().unwrap()[POD_TEMPLATE_HASH].clone();
    world.image("v1");
    world.settle();
    assert_eq!(world.sizes(), [("v1", 3), ("v2", 0)]);
    assert_eq!(
        world.set("v1").metadata.labels.as_ref().unwrap()[POD_TEMPLATE_HASH],
        hash
    );
    assert_eq!(
        annotation(&world.set("v1").metadata, DEPLOYMENT_REVISION),
        Some("3")
    );
    assert_eq!(
        annotation(&world.set("v1").metadata, REVISION_HISTORY),
        Some("1")
    );
    assert_eq!(
        annotation(&world.d.metadata, DEPLOYMENT_REVISION),
        Some("3")
    );
}

#[test]
fn old_replica_sets_beyond_the_limit_are_deleted() {
    let mut world = World::new(2);
    for image in ["v1", "v2", "v3", "v4", "v5"] {
        world.image(image);
        world.settle();
    }
    assert_eq!(world.sizes(), [("v3", 0), ("v4", 0), ("v5", 2)]);
}

#[test]
fn scaling_changes_the_size_and_nothing_else() {
    let mut world = World::new(3);
    world.settle();
    for replicas in [10, 4, 0, 7] {
        world.change(|d| d.spec.replicas = Some(replicas));
        world.settle();
        assert_eq!(world.sizes(), [("v1", replicas)]);
        is(world.condition("Progressing"), COMPLETE);
    }
    assert_eq!(
        world.events.first().map(String::as_str),
        Some(&*format!(
            "Scaled up replica set {} from 3 to 10",
            world.sets[0].metadata.name.as_deref().unwrap()
        ))
    );
}

#[test]
fn scaling_in_mid_update_is_spread_and_the_update_goes_on() {
    let mut world = World::new(10);
    world.settle();
    world.image("v2");
    for _ in 0..2 {
        world.reconcile();
    }
    let before = world.sizes().iter().map(|(_, size)| size).sum::<i32>();
    world.change(|d| d.spec.replicas = Some(20));
    world.reconcile();
    let after = world.sizes();
    assert!(after.iter().all(|(_, size)| *size > 0), "{after:?}");
    assert_eq!(
        after.iter().map(|(_, size)| size).sum::<i32>(),
        25,
        "20 and a quarter; before {before}"
    );
    world.settle();
    assert_eq!(world.sizes(), [("v1", 0), ("v2", 20)]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let mut world = World::new(3);
    world.settle();
    world.change(|d| d.spec.paused = Some(true));
    world.image("v2");
    world.settle();
    assert_eq!(world.sizes(), [("v1", 3)]);
    is(world.condition("Progressing"), ("Unknown", status::PAUSED));
    world.change(|d| d.spec.replicas = Some(5));
    world.settle();
    assert_eq!(world.sizes(), [("v1", 5)]);
    world.change(|d| d.spec.paused = None);
    world.reconcile();
    // What comes first is the note that it goes on, then the new ReplicaSet.
    world.settle();
    assert_eq!(world.sizes(), [("v1", 0), ("v2", 5)]);
    is(world.condition("Progressing"), COMPLETE);
}

#[test]
fn recreate_ends_all_old_pods_before_the_first_new_one() {
    let mut world = World::new(3);
    world.change(|d| d.spec.strategy.as_mut().unwrap().type_ = Some("Recreate".into()));
    world.settle();
    assert_eq!(world.sizes(), [("v1", 3)]);
    world.image("v2");
    world.reconcile();
    assert_eq!(world.sizes(), [("v1", 0)]);
    world.reconcile();
    assert_eq!(world.sizes(), [("v1", 0)], "its pods are still there");
    world.settle();
    assert_eq!(world.sizes(), [("v1", 0), ("v2", 3)]);
}

#[test]
fn an_update_that_cannot_work_misses_its_deadline_and_keeps_the_old_pods() {
    let mut world = World::new(4);
    world.settle();
    world.broken = "v2";
    world.image("v2");
    world.settle();
    let up = world.sets.iter().map(available).sum::<i32>();
    assert!(up >= 3, "{up} available");
    assert!(world.waits, "the deadline runs");
    is(world.condition("Progressing"), ("True", status::UPDATED));
    world.second += 601;
    world.reconcile();
    is(world.condition("Progressing"), ("False", status::TIMED_OUT));
    assert!(!world.waits);
    // Undo, and all is well.
    world.image("v1");
    world.settle();
    assert_eq!(world.sizes(), [("v1", 4), ("v2", 0)]);
    is(world.condition("Progressing"), COMPLETE);
}

#[test]
fn a_second_update_in_mid_update_retires_both_older_ones() {
    let mut world = World::new(8);
    world.settle();
    world.image("v2");
    for _ in 0..3 {
        world.reconcile();
        world.pods_move();
    }
    world.image("v3");
    world.settle();
    assert_eq!(world.sizes(), [("v1", 0), ("v2", 0), ("v3", 8)]);
}

#[test]
fn a_settled_deployment_is_left_alone() {
    let mut world = World::new(3);
    world.settle();
    assert!(
        !world.reconcile(),
        "a plan for a settled deployment writes nothing"
    );
    world.d.metadata.deletion_timestamp = Some(Time(world.now()));
    world.image("v2");
    world.reconcile();
    assert_eq!(
        world.sizes(),
        [("v1", 3)],
        "nor does one for a deployment that is being deleted"
    );
}

#[test]
fn a_failing_replica_set_shows_on_the_deployment_until_it_recovers() {
    let mut world = World::new(1);
    world.reconcile();
    let failing = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]);
    world.sets[0].status.get_or_insert_default().conditions =
        serde_json::from_value(failing).unwrap();
    world.reconcile();
    is(world.condition("ReplicaFailure"), ("True", "FailedCreate"));
    world.sets[0].status.get_or_insert_default().conditions = None;
    world.reconcile();
    is(world.condition("ReplicaFailure"), ("", ""));
}
