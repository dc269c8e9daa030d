//! What state a pod is in, as controllers see it.

use std::time::Duration;

use euston_api::time::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::Patch;
use serde_json::{Value, json};

pub(crate) const READY: &str = "Ready";

/// The pod's condition of that type.
pub(crate) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == type_)
}

/// A patch of the pod's status that says what is about to end it; `phase` too, if it is over.
pub(crate) fn disruption_note(
    pod: &Pod,
    phase: Option<&str>,
    reason: &str,
    message: &str,
) -> Patch<Value> {
    let mut status = json!({ "conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": whole_seconds(Timestamp::now()),
    }] });
    if let Some(phase) = phase {
        status["phase"] = phase.into();
    }
    Patch::Strategic(json!({ "metadata": { "uid": pod.metadata.uid }, "status": status }))
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, READY).is_some_and(|ready| ready.status == "True")
}

/// Its containers have ended for good.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Counts towards a controller's replicas: neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty())
}

/// Restarts of the pod's containers, summed.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|status| status.restart_count)
        .fold(0, i32::saturating_add)
}

/// Whether a pod has been ready long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    No,
    /// Ready, and available once this has passed.
    In(Duration),
    Yes,
}

/// A pod is available when it has been ready for `min_ready_seconds`.
pub(crate) fn availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Availability {
    let Some(ready) = condition(pod, READY).filter(|ready| ready.status == "True") else {
        return Availability::No;
    };
    let Ok(wait) = u64::try_from(min_ready_seconds) else {
        return Availability::Yes;
    };
    if wait == 0 {
        return Availability::Yes;
    }
    let Some(since) = &ready.last_transition_time else {
        return Availability::No;
    };
    // A clock that runs behind the one that stamped the time counts as no time passed.
    let passed = Duration::try_from(now.duration_since(since.0)).unwrap_or_default();
    match Duration::from_secs(wait).saturating_sub(passed) {
        Duration::ZERO => Availability::Yes,
        left => Availability::In(left),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// A running pod, ready since second 0 if `ready`.
    pub(crate) fn pod(name: &str, ready: bool) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": "1",
                "creationTimestamp": Time(at(0)), "labels": {"app": "web"},
            },
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Running", "podIP": "10.128.0.5", "conditions": [
                {"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": Time(at(0))},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_available_after_being_ready_long_enough() {
        for (ready, min, second, expect) in [
            (false, 0, 100, Availability::No),
            (true, 0, 0, Availability::Yes),
            (true, -5, 0, Availability::Yes),
            (true, 10, 4, Availability::In(Duration::from_secs(6))),
            (true, 10, 10, Availability::Yes),
            (true, 10, -3, Availability::In(Duration::from_secs(10))),
        ] {
            assert_eq!(
                availability(&pod("a", ready), min, at(second)),
                expect,
                "{ready} {min} {second}"
            );
        }
    }
}
