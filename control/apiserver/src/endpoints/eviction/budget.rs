//! May this pod be evicted? The decisions behind `pods/eviction`, without the writes.
//! Follows `pkg/registry/core/pod/storage/eviction.go`.

use euston_api::selector::LabelSelector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, StatusCause, Time};

use crate::error::ApiError;

/// Evictions that a budget's controller has not yet seen the end of; more are refused, so
/// that the budget stays small.
const DISRUPTED_PODS_MAX: usize = 2000;

/// Seconds after which a budget that its controller has not looked at may have changed.
const UNSEEN_RETRY_SECONDS: i32 = 10;

const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";
const DISRUPTION_TARGET: &str = "DisruptionTarget";
const SYNC_FAILED: &str = "SyncFailed";

/// What stands between a pod and its eviction.
#[derive(Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it does not run, or it ends already.
    Nothing,
    /// Nothing as long as it stays unready: this version of it may go.
    Unready,
    /// One disruption of the budget.
    Disruption,
}

/// True for a pod that no budget counts: it has ended, has not begun, or is ending.
pub fn is_past_budgets(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed" | "Pending") || is_ending(pod)
}

/// True if a pod that no budget counts can begin to count before it is gone.
pub fn may_become_healthy(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && !is_ending(pod)
}

/// What the eviction of a pod needs of its only budget.
pub fn need(pod: &Pod, budget: &PodDisruptionBudget) -> Need {
    if is_past_budgets(pod) {
        return Need::Nothing;
    }
    if is_ready(pod) {
        return Need::Disruption;
    }
    let policy = budget.spec.as_ref();
    let policy = policy.and_then(|s| s.unhealthy_pod_eviction_policy.as_deref());
    let none = PodDisruptionBudgetStatus::default();
    let status = budget.status.as_ref().unwrap_or(&none);
    let desired = status.desired_healthy.unwrap_or_default();
    let healthy = status.current_healthy.unwrap_or_default();
    // An unready pod is not among those that the budget keeps; those are enough without it.
    if policy == Some("AlwaysAllow") || (healthy >= desired && desired > 0) {
        Need::Unready
    } else {
        Need::Disruption
    }
}

/// True if the budget is about this pod. An empty selector means all pods of the
/// namespace, none at all no pod.
pub fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    selector.is_some()
        && LabelSelector::from_api(selector)
            .is_ok_and(|s| s.matches_optional(pod.metadata.labels.as_ref()))
}

/// Several budgets for one pod contradict each other, as far as anybody can tell.
pub fn several_budgets() -> ApiError {
    ApiError::failure(
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
    )
}

/// Takes one disruption, for the pod called `name`, from the budget.
///
/// # Errors
/// 429 if there is none, with the cause `DisruptionBudget`; 403 for a budget that cannot
/// be right.
pub fn take_disruption(
    budget: &mut PodDisruptionBudget,
    name: &str,
    now: Timestamp,
) -> Result<(), ApiError> {
    let called = budget.metadata.name.clone().unwrap_or_default();
    let generation = budget.metadata.generation.unwrap_or_default();
    let status = budget.status.get_or_insert_default();
    if status.observed_generation.unwrap_or_default() < generation {
        let why = format!("The disruption budget {called} is still being processed by the server.");
        return Err(refused(why).retry_after(UNSEEN_RETRY_SECONDS));
    }
    let forbidden = |why: &str| {
        Err(ApiError::forbidden(
            "policy",
            "poddisruptionbudget",
            &called,
            why,
        ))
    };
    let allowed = status.disruptions_allowed.unwrap_or_default();
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status
        .disrupted_pods
        .as_ref()
        .is_some_and(|pods| pods.len() > DISRUPTED_PODS_MAX)
    {
        return forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if allowed == 0 {
        return Err(refused(why_none(&called, status)));
    }
    status.disruptions_allowed = Some(allowed - 1);
    let now = euston_api::time::whole_seconds(now);
    if allowed == 1 {
        set_not_allowed(status, generation, &now);
    }
    // Until it sees the pod gone, the budget's controller does not count it as healthy.
    let pods = status.disrupted_pods.get_or_insert_default();
    pods.insert(name.to_owned(), now);
    Ok(())
}

/// Says in the pod's status that it is evicted.
pub fn mark(pod: &mut Pod, now: Timestamp) {
    let status = pod.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    if conditions
        .iter()
        .any(|c| c.type_ == DISRUPTION_TARGET && c.status == "True")
    {
        return;
    }
    conditions.retain(|c| c.type_ != DISRUPTION_TARGET);
    conditions.push(PodCondition {
        type_: DISRUPTION_TARGET.to_owned(),
        status: "True".to_owned(),
        reason: Some("EvictionByEvictionAPI".to_owned()),
        message: Some("Eviction API: evicting".to_owned()),
        last_transition_time: Some(euston_api::time::whole_seconds(now)),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    });
}

fn refused(why: String) -> ApiError {
    let mut error = ApiError::too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
    );
    let details = error.details.get_or_insert_default();
    // Clients wait as long as they see fit.
    details.retry_after_seconds = None;
    details.causes = Some(vec![StatusCause {
        field: None,
        message: Some(why),
        reason: Some("DisruptionBudget".to_owned()),
    }]);
    error
}

fn why_none(budget: &str, status: &PodDisruptionBudgetStatus) -> String {
    let failed =
        status.conditions.iter().flatten().find(|c| {
            c.type_ == DISRUPTION_ALLOWED && c.status == "False" && c.reason == SYNC_FAILED
        });
    match failed {
        Some(condition) => format!(
            "The disruption budget {budget} does not allow evicting pods currently because it failed sync: {}",
            condition.message
        ),
        None => format!(
            "The disruption budget {budget} needs {} healthy pods and has {} currently",
            status.desired_healthy.unwrap_or_default(),
            status.current_healthy.unwrap_or_default()
        ),
    }
}

fn set_not_allowed(status: &mut PodDisruptionBudgetStatus, generation: i64, now: &Time) {
    let conditions = status.conditions.get_or_insert_default();
    let before = conditions.iter().find(|c| c.type_ == DISRUPTION_ALLOWED);
    let since = match before {
        Some(c) if c.status == "False" => c.last_transition_time.clone(),
        _ => now.clone(),
    };
    conditions.retain(|c| c.type_ != DISRUPTION_ALLOWED);
    conditions.push(Condition {
        type_: DISRUPTION_ALLOWED.to_owned(),
        status: "False".to_owned(),
        reason: "InsufficientPods".to_owned(),
        message: String::new(),
        observed_generation: Some(generation),
        last_transition_time: since,
    });
}

fn phase(pod: &Pod) -> &str {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    phase.unwrap_or_default()
}

fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn pod(phase: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        object(&json!({
            "metadata": {"name": "p", "labels": {"app": "web"}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": status}]},
        }))
    }

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        object(&json!({"metadata": {"name": "b", "generation": 2}, "spec": spec, "status": status}))
    }

    #[test]
    fn what_an_eviction_needs() {
        let check = |pod: &Pod, policy: Value, healthy: i32, desired: i32, expect: Need| {
            let spec = json!({"unhealthyPodEvictionPolicy": policy});
            let status = json!({"currentHealthy": healthy, "desiredHealthy": desired});
            assert_eq!(need(pod, &budget(spec, status)), expect, "{pod:?} {policy}");
        };
        for phase in ["Succeeded", "Failed", "Pending"] {
            check(&pod(phase, true), Value::Null, 0, 1, Need::Nothing);
        }
        let mut ending = pod("Running", true);
        ending.metadata.deletion_timestamp = Some(Time(time(0)));
        check(&ending, Value::Null, 0, 1, Need::Nothing);
        check(
            &pod("Running", true),
            json!("AlwaysAllow"),
            9,
            1,
            Need::Disruption,
        );
        let unready = pod("Running", false);
        check(&unready, json!("AlwaysAllow"), 0, 5, Need::Unready);
        check(&unready, json!("IfHealthyBudget"), 5, 5, Need::Unready);
        check(&unready, Value::Null, 5, 5, Need::Unready);
        check(&unready, Value::Null, 4, 5, Need::Disruption);
        check(&unready, Value::Null, 0, 0, Need::Disruption);
        assert!(may_become_healthy(&pod("Pending", false)));
        assert!(!may_become_healthy(&pod("Failed", false)));
    }

    #[test]
    fn budgets_are_about_the_pods_that_they_select() {
        let check = |selector: Value, expect: bool| {
            let budget = budget(json!({"selector": selector}), json!({}));
            assert_eq!(covers(&budget, &pod("Running", true)), expect, "{selector}");
        };
        check(json!({"matchLabels": {"app": "web"}}), true);
        check(json!({"matchLabels": {"app": "api"}}), false);
        check(json!({}), true);
        check(Value::Null, false);
    }

    #[test]
    fn disruptions_run_out() {
        let mut budget = budget(
            json!({}),
            json!({"observedGeneration": 2, "disruptionsAllowed": 2, "desiredHealthy": 3, "currentHealthy": 5}),
        );
        take_disruption(&mut budget, "one", time(10)).unwrap();
        let status = budget.status.clone().unwrap();
        assert_eq!(
            (status.disruptions_allowed, status.conditions),
            (Some(1), None)
        );
        take_disruption(&mut budget, "two", time(20)).unwrap();
        let status = budget.status.clone().unwrap();
        let pods: Vec<String> = status.disrupted_pods.unwrap().into_keys().collect();
        assert_eq!(
            (status.disruptions_allowed, pods.join(" ").as_str()),
            (Some(0), "one two")
        );
        let condition = &status.conditions.unwrap()[0];
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            ("False", "InsufficientPods")
        );
        assert_eq!(condition.observed_generation, Some(2));
        let refused = take_disruption(&mut budget, "three", time(30)).unwrap_err();
        assert_eq!((refused.code, refused.reason), (429, "TooManyRequests"));
        assert_eq!(
            refused.message,
            "Cannot evict pod as it would violate the pod's disruption budget."
        );
        let details = refused.details.unwrap();
        assert_eq!(details.retry_after_seconds, None);
        let cause = &details.causes.unwrap()[0];
        assert_eq!(cause.reason.as_deref(), Some("DisruptionBudget"));
        assert_eq!(
            cause.message.as_deref(),
            Some("The disruption budget b needs 3 healthy pods and has 5 currently")
        );
    }

    #[test]
    fn a_budget_that_cannot_be_relied_on_refuses() {
        let check = |status: Value, code: u16, retry: Option<i32>, why: &str| {
            let mut budget = budget(json!({}), status);
            let before = budget.clone();
            let error = take_disruption(&mut budget, "p", time(0)).unwrap_err();
            let details = error.details.clone().unwrap_or_default();
            assert_eq!(
                (error.code, details.retry_after_seconds),
                (code, retry),
                "{error}"
            );
            let causes = details.causes.unwrap_or_default();
            let cause = causes
                .first()
                .and_then(|c| c.message.clone())
                .unwrap_or_default();
            assert!(
                error.message.contains(why) || cause.contains(why),
                "{error} {cause}"
            );
            assert_eq!(budget.spec, before.spec);
        };
        check(
            json!({"observedGeneration": 1, "disruptionsAllowed": 9}),
            429,
            Some(10),
            "The disruption budget b is still being processed by the server.",
        );
        check(
            json!({"observedGeneration": 2, "disruptionsAllowed": -1}),
            403,
            None,
            "poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative",
        );
        let many: serde_json::Map<String, Value> = (0..=DISRUPTED_PODS_MAX)
            .map(|n| (n.to_string(), json!("2026-01-01T00:00:00Z")))
            .collect();
        check(
            json!({"observedGeneration": 2, "disruptionsAllowed": 1, "disruptedPods": many}),
            403,
            None,
            "DisruptedPods map too big",
        );
        let failed = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed",
            "message": "no controller", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        check(
            json!({"observedGeneration": 2, "conditions": failed}),
            429,
            None,
            "does not allow evicting pods currently because it failed sync: no controller",
        );
    }

    #[test]
    fn a_pod_says_that_it_is_evicted() {
        let mut evicted = pod("Running", true);
        mark(&mut evicted, time(5));
        mark(&mut evicted, time(9));
        let conditions = evicted.status.unwrap().conditions.unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!(
            conditions[1].reason.as_deref(),
            Some("EvictionByEvictionAPI")
        );
        assert_eq!(conditions[1].last_transition_time, Some(Time(time(5))));
    }
}
