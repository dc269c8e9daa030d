//! Pods and pod templates: defaults, rules, and what has no effect here. A file per
//! concept; the order of errors is that of Kubernetes' `ValidatePodSpec`.

mod affinity;
mod containers;
mod defaults;
mod env;
mod handlers;
mod resources;
mod scheduling;
mod security;
mod settings;
mod volumes;
mod warnings;

use euston_api::field::{ErrorList, Path};
use euston_api::{metadata, names};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};

pub(super) use affinity::validate_node_selector;
pub(super) use containers::validate_images;
pub(super) use defaults::{default_container_requests, default_pod_spec};
pub(super) use handlers::validate_port_reference;
pub(super) use resources::{canonical_amounts, validate_amount};
pub(super) use scheduling::{validate_taint_effect, validate_tolerations};
pub(super) use volumes::{validate_host_path, validate_nfs};
pub(super) use warnings::pod_warnings;

pub(super) const TCP: &str = "TCP";
/// What ports speak.
pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", TCP, "UDP"];

/// Everything wrong with what a pod is to run.
pub(super) fn validate(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let volumes = volumes::validate_volumes(spec, &path.child("volumes"), errors);
    containers::validate_containers(spec, &volumes, path, errors);
    settings::validate(spec, path, errors);
    scheduling::validate(spec, path, errors);
    security::validate_pod(spec, path, errors);
}

/// Everything wrong with a template of pods.
pub(super) fn validate_template(template: &PodTemplateSpec, path: &Path, errors: &mut ErrorList) {
    if let Some(meta) = &template.metadata {
        metadata::validate_labels(meta.labels.as_ref(), &path.child("labels"), errors);
        let annotations = path.child("annotations");
        metadata::validate_annotations(meta.annotations.as_ref(), &annotations, errors);
    }
    let default = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&default);
    let path = path.child("spec");
    validate(spec, &path, errors);
    if spec
        .ephemeral_containers
        .as_ref()
        .is_some_and(|e| !e.is_empty())
    {
        errors.forbidden(
            path.child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// True for an init container that goes on beside the others (a sidecar).
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// An error if a field that is defaulted is empty or has none of the known values.
pub(in crate::kinds) fn one_of(
    value: Option<&str>,
    known: &[&str],
    path: Path,
    errors: &mut ErrorList,
) {
    match value.unwrap_or_default() {
        "" => errors.required(path, ""),
        value if !known.contains(&value) => errors.not_supported(path, value, known),
        _ => {}
    }
}

/// [`one_of`] for a field that may be absent.
pub(in crate::kinds) fn none_or_one_of(
    value: Option<&str>,
    known: &[&str],
    path: Path,
    errors: &mut ErrorList,
) {
    if value.is_some() {
        one_of(value, known, path, errors);
    }
}

/// A name that must be there and follow a rule.
pub(in crate::kinds) fn required_name(
    value: &str,
    rule: impl Fn(&str) -> names::Problems,
    path: Path,
    errors: &mut ErrorList,
) {
    if value.is_empty() {
        errors.required(path, "");
    } else {
        errors.invalid_each(&path, value, rule(value));
    }
}

/// The text, if there is any.
pub(in crate::kinds) fn text(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests;
