//! HorizontalPodAutoscalers as kubectl prints them. Follows `formatHPAMetrics` of
//! `pkg/printers/internalversion`.

use euston_api::time::UNKNOWN;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME};

/// Metrics that are shown.
const SHOWN_MAX: usize = 2;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::string("Reference", "What is scaled."),
    Column::string("Targets", "What is measured, and what is aimed at."),
    Column::string("MinPods", "The least number of pods."),
    Column::string("MaxPods", "The largest number of pods."),
    Column::string("Replicas", "The number of pods as last seen."),
    AGE,
];

pub(super) fn row(scaler: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
    let spec = &scaler.spec;
    let status = scaler.status.as_ref();
    let target = &spec.scale_target_ref;
    let min = spec.min_replicas.map(|n| n.to_string());
    let replicas = status.and_then(|s| s.current_replicas);
    vec![
        cells::name(&scaler.metadata),
        format!("{}/{}", target.kind, target.name).into(),
        targets(
            spec.metrics.as_deref().unwrap_or_default(),
            status
                .and_then(|s| s.current_metrics.as_deref())
                .unwrap_or_default(),
        )
        .into(),
        min.unwrap_or_else(|| cells::UNSET.to_owned()).into(),
        spec.max_replicas.into(),
        replicas.unwrap_or_default().into(),
        cells::age(&scaler.metadata, now),
    ]
}

fn targets(specs: &[MetricSpec], statuses: &[MetricStatus]) -> String {
    if specs.is_empty() {
        return cells::NONE.to_owned();
    }
    let mut shown: Vec<String> = Vec::new();
    for (index, spec) in specs.iter().enumerate().take(SHOWN_MAX) {
        shown.push(one(spec, statuses.get(index)));
    }
    let shown = shown.join(", ");
    match specs.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn one(spec: &MetricSpec, status: Option<&MetricStatus>) -> String {
    match spec.type_.as_str() {
        "External" => {
            let current = status.and_then(|s| s.external.as_ref()).map(|s| &s.current);
            amounts(spec.external.as_ref().map(|s| &s.target), current)
        }
        "Object" => {
            let current = status.and_then(|s| s.object.as_ref()).map(|s| &s.current);
            amounts(spec.object.as_ref().map(|s| &s.target), current)
        }
        "Pods" => {
            let current = status.and_then(|s| s.pods.as_ref()).map(|s| &s.current);
            let current = quantity(current.and_then(|c| c.average_value.as_ref()));
            let target = spec
                .pods
                .as_ref()
                .and_then(|s| s.target.average_value.as_ref());
            format!("{current}/{}", quantity(target))
        }
        "Resource" => {
            let current = status.and_then(|s| s.resource.as_ref()).map(|s| &s.current);
            let source = spec.resource.as_ref();
            resource(source.map(|s| (s.name.as_str(), &s.target)), current)
        }
        "ContainerResource" => {
            let current = status.and_then(|s| s.container_resource.as_ref());
            let source = spec.container_resource.as_ref();
            let source = source.map(|s| (s.name.as_str(), &s.target));
            resource(source, current.map(|s| &s.current))
        }
        _ => "<unknown type>".to_owned(),
    }
}

/// A metric that is a number as a whole or for each pod.
fn amounts(target: Option<&MetricTarget>, current: Option<&MetricValueStatus>) -> String {
    let average = target.and_then(|t| t.average_value.as_ref());
    if average.is_some() {
        let current = quantity(current.and_then(|c| c.average_value.as_ref()));
        return format!("{current}/{} (avg)", quantity(average));
    }
    let current = quantity(current.and_then(|c| c.value.as_ref()));
    format!(
        "{current}/{}",
        quantity(target.and_then(|t| t.value.as_ref()))
    )
}

/// A metric that is an amount of a resource, or a percentage of what is requested.
fn resource(source: Option<(&str, &MetricTarget)>, current: Option<&MetricValueStatus>) -> String {
    let Some((name, target)) = source else {
        return UNKNOWN.to_owned();
    };
    if target.average_value.is_some() {
        let current = quantity(current.and_then(|c| c.average_value.as_ref()));
        return format!(
            "{name}: {current}/{}",
            quantity(target.average_value.as_ref())
        );
    }
    let percentage = |p: Option<i32>, none: &str| p.map_or(none.to_owned(), |p| format!("{p}%"));
    let current = percentage(current.and_then(|c| c.average_utilization), UNKNOWN);
    format!(
        "{name}: {current}/{}",
        percentage(target.average_utilization, "<auto>")
    )
}

fn quantity(quantity: Option<&Quantity>) -> &str {
    quantity.map_or(UNKNOWN, |q| q.0.as_str())
}
