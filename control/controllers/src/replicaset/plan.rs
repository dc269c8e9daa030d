//! How many pods to create, which to delete, and what status to report. Pure.
//!
//! Follows the ReplicaSet controller of Kubernetes (`pkg/controller/replicaset` and the pod ranking
//! in `pkg/controller/controller_utils.go`).

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use euston_api::time::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::informers::POD_DELETION_COST;
use crate::pods::{self, Availability};

/// Pods created or deleted in one reconcile; the next one goes on. Keeps one huge ReplicaSet from
/// holding a worker for long.
pub(crate) const BURST_MAX: usize = 2048;

pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) create: usize,
    pub(crate) delete: Vec<Arc<Pod>>,
}

/// The wanted number of pods; the API server defaults it to 1.
pub(crate) fn desired(rs: &ReplicaSet) -> usize {
    usize::try_from(rs.spec.replicas.unwrap_or(1)).unwrap_or_default()
}

/// Compares what is wanted with `owned`. `crowding` counts, per node, the active pods of all
/// ReplicaSets of the same deployment: surplus pods leave crowded nodes first.
pub(crate) fn plan(
    rs: &ReplicaSet,
    owned: &[Arc<Pod>],
    crowding: &HashMap<&str, usize>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan {
        create: 0,
        delete: Vec::new(),
    };
    if rs.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let mut active: Vec<&Arc<Pod>> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let desired = desired(rs);
    if active.len() < desired {
        plan.create = (desired - active.len()).min(BURST_MAX);
    } else if active.len() > desired {
        let surplus = (active.len() - desired).min(BURST_MAX);
        if surplus < active.len() {
            active.sort_by(|a, b| deletion_order(a, b, crowding, now));
        }
        plan.delete = active.into_iter().take(surplus).cloned().collect();
    }
    plan
}

/// `Less` if `a` should be deleted before `b`.
fn deletion_order(a: &Pod, b: &Pod, crowding: &HashMap<&str, usize>, now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| pods::node_name(pod).is_some();
    let phase = |pod: &Pod| match pods::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let crowd = |pod: &Pod| {
        pods::node_name(pod)
            .and_then(|node| crowding.get(node))
            .copied()
            .unwrap_or_default()
    };
    let ready_for = |pod: &Pod| {
        let since =
            pods::condition(pod, pods::READY).and_then(|ready| ready.last_transition_time.as_ref());
        since.map(|since| magnitude(since.0, now))
    };
    let age = |pod: &Pod| {
        pod.metadata
            .creation_timestamp
            .as_ref()
            .map(|created| magnitude(created.0, now))
    };
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| {
            if pods::is_ready(a) {
                ready_for(a).cmp(&ready_for(b))
            } else {
                Ordering::Equal
            }
        })
        .then_with(|| pods::restarts(b).cmp(&pods::restarts(a)))
        .then_with(|| age(a).cmp(&age(b)))
        // Of pods that are about as old, any: by uid, which is random yet stable.
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// The order of magnitude (base 2) of the time since `then`, so that scaling down does not always
/// hit the newest pods exactly, which would drain the newest nodes.
fn magnitude(then: Timestamp, now: Timestamp) -> u32 {
    let seconds = now.duration_since(then).as_secs();
    u64::try_from(seconds)
        .unwrap_or_default()
        .checked_ilog2()
        .map_or(0, |log| log + 1)
}

/// The pod's deletion cost; what is no number counts as 0, as the API documents.
fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(POD_DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// A create or delete that failed, for the ReplicaFailure condition.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The status that `owned` amounts to, and when it next changes by itself (a pod having been ready
/// for minReadySeconds).
pub(crate) fn status(
    rs: &ReplicaSet,
    owned: &[Arc<Pod>],
    failure: Option<Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let min_ready = rs.spec.min_ready_seconds.unwrap_or_default();
    let template_labels = rs
        .spec
        .template
        .as_ref()
        .and_then(|t| t.metadata.as_ref())
        .and_then(|m| m.labels.as_ref());
    let (mut replicas, mut labelled, mut ready, mut available, mut terminating) = (0, 0, 0, 0, 0);
    let mut next: Option<Duration> = None;
    for pod in owned {
        if pods::is_terminating(pod) {
            terminating += i32::from(!pods::is_finished(pod));
            continue;
        }
        if pods::is_finished(pod) {
            continue;
        }
        replicas += 1;
        let has = |name, value| {
            pod.metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(name))
                == Some(value)
        };
        labelled += i32::from(
            template_labels
                .is_none_or(|labels| labels.iter().all(|(name, value)| has(name, value))),
        );
        ready += i32::from(pods::is_ready(pod));
        match pods::availability(pod, min_ready, now) {
            Availability::Yes => available += 1,
            Availability::In(left) => next = Some(next.map_or(left, |next| next.min(left))),
            Availability::No => {}
        }
    }
    let old = rs.status.as_ref();
    let mut conditions: Vec<ReplicaSetCondition> = old
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    set_failure(&mut conditions, failure, now);
    let status = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: Some(labelled),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        terminating_replicas: Some(terminating),
        observed_generation: rs.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    };
    (status, next)
}

fn set_failure(
    conditions: &mut Vec<ReplicaSetCondition>,
    failure: Option<Failure>,
    now: Timestamp,
) {
    let Some(failure) = failure else {
        conditions.retain(|condition| condition.type_.as_deref() != Some(REPLICA_FAILURE));
        return;
    };
    let known = conditions.iter().any(|c| {
        c.type_.as_deref() == Some(REPLICA_FAILURE) && c.reason.as_deref() == Some(failure.reason)
    });
    if !known {
        conditions.retain(|condition| condition.type_.as_deref() != Some(REPLICA_FAILURE));
        conditions.push(ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.to_owned()),
            status: Some("True".to_owned()),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message),
            last_transition_time: Some(whole_seconds(now)),
        });
    }
}

/// Whether two statuses say the same; a count left out means 0.
pub(crate) fn same_status(a: &ReplicaSetStatus, b: &ReplicaSetStatus) -> bool {
    let counts = |s: &ReplicaSetStatus| {
        [
            s.fully_labeled_replicas,
            s.ready_replicas,
            s.available_replicas,
            s.terminating_replicas,
        ]
        .map(Option::unwrap_or_default)
    };
    a.replicas == b.replicas
        && counts(a) == counts(b)
        && a.observed_generation == b.observed_generation
        && a.conditions.as_deref().unwrap_or_default()
            == b.conditions.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{at, pod};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    fn replica_set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "rs", "generation": 4},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
            },
        }))
        .unwrap()
    }

    /// Describes a pod in words: each changes one thing about a pod that is running and ready for long.
    fn described(name: &str, words: &str) -> Arc<Pod> {
        let mut pod = pod(name, true);
        let mut ready = true;
        for word in words.split_whitespace() {
            let spec = pod.spec.as_mut().unwrap();
            let status = pod.status.as_mut().unwrap();
            match word.split_once('=').unwrap_or((word, "")) {
                ("unassigned", _) => spec.node_name = None,
                ("node", node) => spec.node_name = Some(node.into()),
                ("phase", phase) => status.phase = Some(phase.into()),
                ("unready", _) => ready = false,
                ("cost", cost) => {
                    pod.metadata.annotations =
                        Some([(POD_DELETION_COST.to_owned(), cost.to_owned())].into());
                }
                ("readyat", second) => {
                    let time = Time(at(second.parse().unwrap()));
                    status.conditions.as_mut().unwrap()[0].last_transition_time = Some(time);
                }
                ("created", second) => {
                    pod.metadata.creation_timestamp = Some(Time(at(second.parse().unwrap())));
                }
                ("restarts", count) => {
                    let count: i32 = count.parse().unwrap();
                    status.container_statuses = Some(vec![
                        serde_json::from_value(json!({"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": count}))
                            .unwrap(),
                    ]);
                }
                ("terminating", _) => pod.metadata.deletion_timestamp = Some(Time(at(0))),
                ("unlabelled", _) => pod.metadata.labels = None,
                other => panic!("{other:?}"),
            }
        }
        if !ready {
            pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".into();
        }
        Arc::new(pod)
    }

    #[test]
    fn creates_or_deletes_the_difference() {
        // (replicas, pods, created, deleted)
        for (replicas, owned, create, delete) in [
            (0, vec![], 0, 0),
            (3, vec![], 3, 0),
            (3, vec![""], 2, 0),
            (1, vec!["", ""], 0, 1),
            (0, vec!["", ""], 0, 2),
            (2, vec!["", "terminating"], 1, 0),
            (2, vec!["", "phase=Failed"], 1, 0),
            (2, vec!["", "phase=Succeeded"], 1, 0),
            (1, vec!["phase=Failed", "terminating", ""], 0, 0),
            (2, vec!["unready", "phase=Pending"], 0, 0),
            (5000, vec![], BURST_MAX, 0),
            (-1, vec![""], 0, 1),
        ] {
            let pods: Vec<_> = owned
                .iter()
                .enumerate()
                .map(|(i, words)| described(&i.to_string(), words))
                .collect();
            let plan = plan(&replica_set(replicas), &pods, &HashMap::new(), at(100));
            assert_eq!(
                (plan.create, plan.delete.len()),
                (create, delete),
                "{replicas} {owned:?}"
            );
        }
    }

    #[test]
    fn a_replica_set_that_is_being_deleted_does_nothing() {
        let mut rs = replica_set(3);
        rs.metadata.deletion_timestamp = Some(Time(at(0)));
        assert_eq!(plan(&rs, &[], &HashMap::new(), at(0)).create, 0);
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let crowding = HashMap::from([("full", 3), ("empty", 1)]);
        // The first of each pair is deleted, whatever else speaks for it.
        for (first, second) in [
            ("unassigned", ""),
            ("unassigned cost=100", "unready"),
            ("phase=Pending", ""),
            ("phase=Pending", "phase=Unknown"),
            ("phase=Unknown", ""),
            ("unready", ""),
            ("unready cost=1000", "cost=-1000"),
            ("cost=-1", ""),
            ("cost=5", "cost=10"),
            ("", "cost=1"),
            ("cost=none", "cost=1"),
            ("node=full", "node=empty"),
            ("node=empty cost=1", "node=full cost=2"),
            ("readyat=990", "readyat=10"),
            ("readyat=10 node=full", "readyat=990 node=empty"),
            ("restarts=3", "restarts=1"),
            ("created=990", "created=10"),
            ("created=10 restarts=2", "created=990"),
        ] {
            for (a, b) in [("a", "b"), ("b", "a")] {
                let pods = [described(a, first), described(b, second)];
                let plan = plan(&replica_set(1), &pods, &crowding, at(1000));
                assert_eq!(
                    plan.delete[0].metadata.name.as_deref(),
                    Some(a),
                    "{first:?} before {second:?}"
                );
            }
        }
    }

    #[test]
    fn pods_of_about_the_same_age_are_chosen_by_uid() {
        let pods = [described("b", "created=1"), described("a", "created=2")];
        let plan = plan(&replica_set(1), &pods, &HashMap::new(), at(1000));
        assert_eq!(plan.delete[0].metadata.name.as_deref(), Some("a"));
    }

    #[test]
    fn the_status_counts_pods() {
        // (pods, [replicas, fully labelled, ready, available, terminating], next change)
        for (words, counts, next) in [
            (vec![], [0, 0, 0, 0, 0], None),
            (vec!["", "unready"], [2, 2, 1, 1, 0], None),
            (vec!["unlabelled"], [1, 0, 1, 1, 0], None),
            (vec!["terminating", "phase=Failed"], [0, 0, 0, 0, 1], None),
            (vec!["readyat=95", "readyat=98"], [2, 2, 2, 0, 0], Some(5)),
            (vec!["readyat=90"], [1, 1, 1, 1, 0], None),
        ] {
            let pods: Vec<_> = words.iter().map(|words| described("p", words)).collect();
            let mut rs = replica_set(1);
            rs.spec.min_ready_seconds = Some(10);
            let (status, left) = status(&rs, &pods, None, at(100));
            let got = [
                Some(status.replicas),
                status.fully_labeled_replicas,
                status.ready_replicas,
                status.available_replicas,
                status.terminating_replicas,
            ];
            assert_eq!(got, counts.map(Some), "{words:?}");
            assert_eq!(left, next.map(Duration::from_secs), "{words:?}");
            assert_eq!(status.observed_generation, Some(4));
        }
    }

    #[test]
    fn a_failure_is_a_condition_until_it_is_over() {
        let mut rs = replica_set(1);
        let failure = |message: &str| {
            Some(Failure {
                reason: "FailedCreate",
                message: message.into(),
            })
        };
        let (first, _) = status(&rs, &[], failure("quota"), at(1));
        assert_eq!(first.conditions.as_ref().map(Vec::len), Some(1));
        rs.status = Some(first.clone());
        let (second, _) = status(&rs, &[], failure("quota, other words"), at(9));
        assert!(same_status(&first, &second), "the same reason is no news");
        let (third, _) = status(&rs, &[], None, at(10));
        assert_eq!(third.conditions, None);
    }
}
