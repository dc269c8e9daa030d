//! HorizontalPodAutoscalers as autoscaling/v1 shows them: CPU alone. What v1 has no
//! field for stands in annotations, so that an update through v1 loses nothing. Follows
//! `pkg/apis/autoscaling/v1/conversion.go`, with its annotations; their values are in the
//! form of v2, which both directions know.

use k8s_openapi::api::autoscaling::v1::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference as StoredReference, HorizontalPodAutoscaler as Stored,
    HorizontalPodAutoscalerSpec as StoredSpec, HorizontalPodAutoscalerStatus as StoredStatus,
    MetricSpec, MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cpu_utilization;
use crate::registry::version::Version;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// autoscaling/v1 over autoscaling/v2.
pub(super) struct V1;

impl Version for V1 {
    type Object = HorizontalPodAutoscaler;
    type Stored = Stored;

    fn to_stored(&self, scaler: HorizontalPodAutoscaler) -> Stored {
        let mut metadata = scaler.metadata;
        let spec = scaler.spec;
        let mut metrics: Vec<MetricSpec> = take(&mut metadata, METRICS).unwrap_or_default();
        metrics.extend(spec.target_cpu_utilization_percentage.map(cpu_utilization));
        let behavior = take(&mut metadata, BEHAVIOR);
        let current_metrics: Option<Vec<MetricStatus>> = take(&mut metadata, CURRENT_METRICS);
        let conditions = take(&mut metadata, CONDITIONS);
        let target = spec.scale_target_ref;
        Stored {
            metadata,
            spec: StoredSpec {
                behavior,
                max_replicas: spec.max_replicas,
                metrics: Some(metrics).filter(|m| !m.is_empty()),
                min_replicas: spec.min_replicas,
                scale_target_ref: StoredReference {
                    api_version: target.api_version,
                    kind: target.kind,
                    name: target.name,
                },
            },
            status: scaler.status.map(|status| StoredStatus {
                conditions,
                current_metrics,
                current_replicas: Some(status.current_replicas),
                desired_replicas: status.desired_replicas,
                last_scale_time: status.last_scale_time,
                observed_generation: status.observed_generation,
            }),
        }
    }

    fn show_stored(&self, scaler: Stored) -> HorizontalPodAutoscaler {
        let mut metadata = scaler.metadata;
        for key in [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR] {
            let _: Option<serde::de::IgnoredAny> = take(&mut metadata, key);
        }
        let spec = scaler.spec;
        let metrics = spec.metrics.unwrap_or_default();
        let cpu = metrics.iter().find_map(cpu_percentage);
        let others: Vec<&MetricSpec> = metrics
            .iter()
            .filter(|metric| cpu_percentage(metric).is_none())
            .collect();
        put(
            &mut metadata,
            METRICS,
            Some(&others).filter(|m| !m.is_empty()),
        );
        put(&mut metadata, BEHAVIOR, spec.behavior.as_ref());
        let target = spec.scale_target_ref;
        let status = scaler.status.map(|status| {
            let current = status.current_metrics.as_ref().filter(|m| !m.is_empty());
            put(&mut metadata, CURRENT_METRICS, current);
            put(&mut metadata, CONDITIONS, status.conditions.as_ref());
            let current = current.into_iter().flatten();
            HorizontalPodAutoscalerStatus {
                current_cpu_utilization_percentage: current
                    .filter_map(|m| m.resource.as_ref())
                    .filter(|r| r.name == "cpu")
                    .find_map(|r| r.current.average_utilization),
                current_replicas: status.current_replicas.unwrap_or_default(),
                desired_replicas: status.desired_replicas,
                last_scale_time: status.last_scale_time,
                observed_generation: status.observed_generation,
            }
        });
        HorizontalPodAutoscaler {
            metadata,
            spec: HorizontalPodAutoscalerSpec {
                max_replicas: spec.max_replicas,
                min_replicas: spec.min_replicas,
                scale_target_ref: CrossVersionObjectReference {
                    api_version: target.api_version,
                    kind: target.kind,
                    name: target.name,
                },
                target_cpu_utilization_percentage: cpu,
            },
            status,
        }
    }
}

/// The percentage of the one metric that v1 has a field for.
fn cpu_percentage(metric: &MetricSpec) -> Option<i32> {
    let source = metric.resource.as_ref().filter(|r| r.name == "cpu")?;
    source.target.average_utilization
}

/// Takes what an annotation holds. One that cannot be read counts as absent, since
/// anybody may write annotations.
fn take<T: DeserializeOwned>(meta: &mut ObjectMeta, key: &str) -> Option<T> {
    let annotations = meta.annotations.as_mut()?;
    let text = annotations.remove(key);
    if annotations.is_empty() {
        meta.annotations = None;
    }
    serde_json::from_str(&text?).ok()
}

fn put<T: Serialize>(meta: &mut ObjectMeta, key: &str, value: Option<&T>) {
    // A decoded value always has a JSON form.
    if let Some(Ok(text)) = value.map(serde_json::to_string) {
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(key.to_owned(), text);
    }
}
