//! What is measured, and what is aimed at. Follows `validateMetricSpec` of
//! `pkg/apis/autoscaling/validation`.

use euston_api::field::{ErrorList, Path};
use euston_api::names::path_segment;
use euston_api::quantity::Quantity;
use k8s_openapi::api::autoscaling::v2::{MetricIdentifier, MetricSpec, MetricTarget};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::validation::validate_reference;

const TYPES: [&str; 5] = [
    "ContainerResource",
    "External",
    "Object",
    "Pods",
    "Resource",
];

pub(super) fn validate(metric: &MetricSpec, path: &Path, errors: &mut ErrorList) {
    let kind = metric.type_.as_str();
    if kind.is_empty() {
        errors.required(path.child("type"), "must specify a metric source type");
    }
    if !TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, &TYPES);
    }
    // The first that is there is looked at.
    let mut present = Vec::new();
    if metric.object.is_some() {
        present.push("object");
    }
    if metric.external.is_some() {
        present.push("external");
    }
    if metric.pods.is_some() {
        present.push("pods");
    }
    if metric.resource.is_some() {
        present.push("resource");
    }
    if metric.container_resource.is_some() {
        present.push("containerResource");
    }
    if let Some(first) = present.first() {
        validate_source(metric, first, &path.child(first), errors);
    }
    let expected = match kind {
        "Object" => "object",
        "External" => "external",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => "",
    };
    if !expected.is_empty() && !present.contains(&expected) {
        let rule = "must populate information for the given metric source";
        errors.required(path.child(expected), rule);
    }
    if present.len() != 1 || present[0] != expected {
        for other in present.iter().filter(|p| **p != expected) {
            let rule = "must populate the given metric source only";
            errors.forbidden(path.child(other), rule);
        }
    }
}

fn validate_source(metric: &MetricSpec, field: &str, path: &Path, errors: &mut ErrorList) {
    let target = path.child("target");
    let identifier = path.child("metric");
    match field {
        "object" => {
            let Some(source) = &metric.object else { return };
            validate_reference(
                &source.described_object,
                &path.child("describedObject"),
                errors,
            );
            validate_identifier(&source.metric, &identifier, errors);
            validate_target(&source.target, &target, errors);
            if source.target.value.is_none() && source.target.average_value.is_none() {
                let rule = "must set either a target value for metric or a per-pod target";
                errors.required(target.child("averageValue"), rule);
            }
        }
        "external" => {
            let Some(source) = &metric.external else {
                return;
            };
            validate_identifier(&source.metric, &identifier, errors);
            validate_target(&source.target, &target, errors);
            match (&source.target.value, &source.target.average_value) {
                (None, None) => {
                    let rule = "must set either a target value for metric or a per-pod target";
                    errors.required(target.child("averageValue"), rule);
                }
                (Some(_), Some(_)) => {
                    let rule = "may not set both a target value for metric and a per-pod target";
                    errors.forbidden(target.child("value"), rule);
                }
                _ => {}
            }
        }
        "pods" => {
            let Some(source) = &metric.pods else { return };
            validate_identifier(&source.metric, &identifier, errors);
            validate_target(&source.target, &target, errors);
            if source
                .target
                .average_value
                .as_ref()
                .is_none_or(|v| sign(v) <= 0)
            {
                let rule = "must specify a positive target averageValue";
                errors.required(target.child("averageValue"), rule);
            }
        }
        "resource" => {
            let Some(source) = &metric.resource else {
                return;
            };
            if source.name.is_empty() {
                errors.required(path.child("name"), "must specify a resource name");
            }
            validate_resource_target(&source.target, &target, errors);
        }
        _ => {
            let Some(source) = &metric.container_resource else {
                return;
            };
            if source.name.is_empty() {
                errors.required(path.child("name"), "must specify a resource name");
            }
            if source.container.is_empty() {
                errors.required(path.child("container"), "must specify a container");
            }
            validate_resource_target(&source.target, &target, errors);
        }
    }
}

fn validate_identifier(metric: &MetricIdentifier, path: &Path, errors: &mut ErrorList) {
    let path = path.child("name");
    if metric.name.is_empty() {
        errors.required(path, "must specify a metric name");
    } else {
        errors.invalid_each(&path, &metric.name, path_segment(&metric.name, false));
    }
}

fn validate_resource_target(target: &MetricTarget, path: &Path, errors: &mut ErrorList) {
    validate_target(target, path, errors);
    match (target.average_utilization, &target.average_value) {
        (None, None) => {
            let rule = "must set either a target raw value or a target utilization";
            errors.required(path.child("averageUtilization"), rule);
        }
        (Some(_), Some(_)) => {
            let rule = "may not set both a target raw value and a target utilization";
            errors.forbidden(path.child("averageValue"), rule);
        }
        _ => {}
    }
}

fn validate_target(target: &MetricTarget, path: &Path, errors: &mut ErrorList) {
    let kind = target.type_.as_str();
    let here = path.child("type");
    if kind.is_empty() {
        errors.required(here.clone(), "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let rule = "must be either Utilization, Value, or AverageValue";
        errors.invalid(here, kind, rule);
    }
    for (field, value) in [
        ("value", &target.value),
        ("averageValue", &target.average_value),
    ] {
        if let Some(value) = value.as_ref().filter(|v| sign(v) <= 0) {
            errors.invalid(path.child(field), value, "must be positive");
        }
    }
    if let Some(percentage) = target.average_utilization.filter(|&p| p < 1) {
        let rule = "must be greater than 0";
        errors.invalid(path.child("averageUtilization"), percentage, rule);
    }
}

/// -1, 0 or 1. What is no quantity is not positive.
pub(super) fn sign(quantity: &ApiQuantity) -> i32 {
    match Quantity::from_api(quantity) {
        Ok(quantity) if quantity.is_zero() => 0,
        Ok(quantity) if quantity.is_negative() => -1,
        Ok(_) => 1,
        Err(_) => -1,
    }
}
