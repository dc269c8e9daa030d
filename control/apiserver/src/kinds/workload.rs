//! What Deployments and ReplicaSets share: a template, a selector that must match it,
//! a number of replicas.

use std::collections::BTreeMap;

use euston_api::field::{ErrorList, Path};
use euston_api::selector::{self, LabelSelector};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector;

use super::pod_spec;

/// Fills in the defaults of a template.
pub(super) fn default_template(template: &mut PodTemplateSpec) {
    pod_spec::default_pod_spec(template.spec.get_or_insert_default());
}

/// The selector of an object, and that its template's pods are among what it selects.
/// `kind` is for the sentence about an empty selector.
pub(super) fn validate_selector(
    selector: &ApiSelector,
    template: Option<&PodTemplateSpec>,
    kind: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let here = path.child("selector");
    let labels = selector.match_labels.as_ref().is_none_or(|l| l.is_empty());
    let expressions = selector
        .match_expressions
        .as_ref()
        .is_none_or(|e| e.is_empty());
    selector::validate(selector, &here, errors);
    if labels && expressions {
        errors.invalid(
            here.clone(),
            selector,
            format!("empty selector is invalid for {kind}"),
        );
    }
    let Some(template) = template else { return };
    match LabelSelector::from_api(Some(selector)) {
        Err(_) => errors.invalid(here, selector, "invalid label selector"),
        Ok(wanted) => {
            let labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref());
            if !wanted.is_everything() && !wanted.matches_optional(labels) {
                errors.invalid(
                    path.child("template").child("metadata").child("labels"),
                    labels.unwrap_or(&BTreeMap::new()),
                    "`selector` does not match template `labels`",
                );
            }
        }
    }
}

/// A template whose pods are kept running by an `owner`, which is for a sentence.
pub(super) fn validate_template(
    template: &PodTemplateSpec,
    owner: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    pod_spec::validate_template(template, path, errors);
    let default = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&default);
    let path = path.child("spec");
    if let Some(policy) = spec.restart_policy.as_deref()
        && ["OnFailure", "Never"].contains(&policy)
    {
        errors.not_supported(path.child("restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        let rule = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.forbidden(path.child("activeDeadlineSeconds"), rule);
    }
}

/// Counts in a status: none is negative, and none is more than another that contains it.
pub(super) fn validate_counts(
    counts: &[(&str, Option<i32>)],
    within: &[(&str, &str, &str)],
    errors: &mut ErrorList,
) {
    let path = Path::new("status");
    let count = |name: &str| {
        counts
            .iter()
            .find(|(field, _)| *field == name)
            .and_then(|(_, n)| *n)
            .unwrap_or_default()
    };
    for (field, number) in counts {
        errors.non_negative(path.child(field), number.unwrap_or_default().into());
    }
    for (part, whole, words) in within {
        if count(part) > count(whole) {
            let rule = format!("cannot be greater than {words}");
            errors.invalid(path.child(part), count(part), rule);
        }
    }
}

/// How often names of a controller's own objects collided is only ever counted up.
pub(super) fn validate_collisions(new: Option<i32>, old: Option<i32>, errors: &mut ErrorList) {
    if let Some(was) = old
        && new.is_none_or(|is| is < was)
    {
        let path = Path::new("status").child("collisionCount");
        errors.invalid(path, new.unwrap_or_default(), "cannot be decremented");
    }
}

/// Which generation a status was written for.
pub(super) fn validate_observed_generation(generation: Option<i64>, errors: &mut ErrorList) {
    let path = Path::new("status").child("observedGeneration");
    errors.non_negative(path, generation.unwrap_or_default());
}

/// What the client should know of a template.
pub(super) fn template_warnings(template: Option<&PodTemplateSpec>, path: &Path) -> Vec<String> {
    let spec = template.and_then(|t| t.spec.as_ref());
    spec.map_or_else(Vec::new, |spec| {
        pod_spec::pod_warnings(spec, &path.child("template").child("spec"))
    })
}

/// The containers of a template.
pub(super) fn containers(template: Option<&PodTemplateSpec>) -> &[Container] {
    let spec = template.and_then(|t| t.spec.as_ref());
    spec.map(|s| s.containers.as_slice()).unwrap_or_default()
}

/// The selector as the scale subresource and tables tell it.
pub(super) fn selector_text(selector: &ApiSelector) -> String {
    LabelSelector::from_api(Some(selector))
        .map(|s| s.to_string())
        .unwrap_or_default()
}
