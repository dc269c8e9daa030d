//! The group autoscaling: HorizontalPodAutoscaler, which follows a load with a number of
//! pods. Stored as v2, and shown as v1 too.

mod metrics;
mod table;
mod v1;
mod validation;

use euston_api::field::{ErrorList, NOT_NEGATIVE, Path};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus, MetricSpec, MetricTarget, ResourceMetricSource,
};
use serde_json::Value;

use crate::registry::kind::Kind;
use crate::registry::kind::Subresource::Status;
use crate::registry::strategy::{Column, Strategy, keeps_status_apart};

/// Percentage of the requested CPU that is aimed at where no metric is named.
const CPU_UTILIZATION: i32 = 80;

/// The group's rows of the table of kinds.
pub fn rows() -> Vec<Kind> {
    let singular = "horizontalpodautoscaler";
    let v2 = Kind::new(HorizontalPodAutoscalerStrategy, singular, true);
    let v1 = Kind::version(HorizontalPodAutoscalerStrategy, v1::V1, singular, true);
    [v2, v1]
        .map(|row| row.short(&["hpa"]).in_all().with(&[Status]))
        .into()
}

/// The rules of HorizontalPodAutoscalers.
struct HorizontalPodAutoscalerStrategy;

impl Strategy for HorizontalPodAutoscalerStrategy {
    type Object = HorizontalPodAutoscaler;

    fn default(&self, scaler: &mut HorizontalPodAutoscaler) {
        let spec = &mut scaler.spec;
        spec.min_replicas.get_or_insert(1);
        if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
            spec.metrics = Some(vec![cpu_utilization(CPU_UTILIZATION)]);
        }
        default_behavior(spec);
    }

    fn prepare_for_create(&self, scaler: &mut HorizontalPodAutoscaler) {
        scaler.status = Some(HorizontalPodAutoscalerStatus::default());
    }

    fn validate(&self, scaler: &HorizontalPodAutoscaler) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::validate(&scaler.spec, &Path::new("spec"), &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_status_update(
        &self,
        new: &HorizontalPodAutoscaler,
        _old: &HorizontalPodAutoscaler,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &new.status else {
            return errors;
        };
        let counts = [
            (
                "currentReplicas",
                status.current_replicas.unwrap_or_default(),
            ),
            ("desiredReplicas", status.desired_replicas),
        ];
        for (field, count) in counts {
            if count < 0 {
                errors.invalid(path.child(field), count, NOT_NEGATIVE);
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }

    fn row(&self, scaler: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
        table::row(scaler, now)
    }
}

/// The metric that aims at a percentage of the requested CPU.
fn cpu_utilization(percentage: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percentage),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

/// How fast the number changes, where it is said for one direction at least.
fn default_behavior(spec: &mut HorizontalPodAutoscalerSpec) {
    let Some(behavior) = &mut spec.behavior else {
        return;
    };
    let policy = |kind: &str, value| HPAScalingPolicy {
        type_: kind.to_owned(),
        value,
        period_seconds: 15,
    };
    let up = behavior.scale_up.get_or_insert_default();
    up.stabilization_window_seconds.get_or_insert(0);
    default_rules(up, vec![policy("Pods", 4), policy("Percent", 100)]);
    let down = behavior.scale_down.get_or_insert_default();
    default_rules(down, vec![policy("Percent", 100)]);
}

fn default_rules(rules: &mut HPAScalingRules, policies: Vec<HPAScalingPolicy>) {
    rules.select_policy.get_or_insert_with(|| "Max".to_owned());
    rules.policies.get_or_insert(policies);
}

#[cfg(test)]
mod tests;
