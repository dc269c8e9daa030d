//! What may change in a Job once it exists. Follows `ValidateJobSpecUpdate` of
//! `pkg/apis/batch/validation`.

use euston_api::field::{ErrorList, Path};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Affinity, Container, PodSpec, PodTemplateSpec};

use super::{is_indexed, is_true};

pub(super) fn validate(new: &Job, old: &Job) -> ErrorList {
    let mut errors = ErrorList::new();
    let (Some(is), Some(was)) = (&new.spec, &old.spec) else {
        return errors;
    };
    let path = Path::new("spec");
    validate_completions(is, was, &path, &mut errors);
    errors.immutable(path.child("selector"), &is.selector, &was.selector);
    let template = with_mutable_of(&was.template, &is.template, old);
    errors.immutable(path.child("template"), &is.template, &template);
    let here = path.child("completionMode");
    errors.immutable(here, &is.completion_mode, &was.completion_mode);
    let here = path.child("podFailurePolicy");
    errors.immutable(here, &is.pod_failure_policy, &was.pod_failure_policy);
    let (limit, before) = (&is.backoff_limit_per_index, &was.backoff_limit_per_index);
    errors.immutable(path.child("backoffLimitPerIndex"), limit, before);
    errors.immutable(path.child("managedBy"), &is.managed_by, &was.managed_by);
    errors.immutable(
        path.child("successPolicy"),
        &is.success_policy,
        &was.success_policy,
    );
    errors
}

/// An Indexed Job grows and shrinks with its parallelism; others keep their number.
fn validate_completions(new: &JobSpec, old: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let here = path.child("completions");
    if !is_indexed(new) {
        return errors.immutable(here, &new.completions, &old.completions);
    }
    if let Some(completions) = new.completions
        && new.completions != old.completions
        && new.completions != new.parallelism
    {
        let rule = format!(
            "can only be modified in tandem with {}",
            path.child("parallelism")
        );
        errors.invalid(here, completions, rule);
    }
}

/// The old template, with the new one's values where they may change: where the pods are
/// to run, and with what, while no pod runs.
fn with_mutable_of(old: &PodTemplateSpec, new: &PodTemplateSpec, job: &Job) -> PodTemplateSpec {
    let mut template = old.clone();
    let suspended = job.spec.as_ref().and_then(|s| s.suspend) == Some(true);
    let status = job.status.as_ref();
    let rests = status.is_none_or(|s| s.start_time.is_none()) || is_true(status, "Suspended");
    if !suspended || !rests {
        return template;
    }
    let (labels, annotations) = match &new.metadata {
        Some(meta) => (meta.labels.clone(), meta.annotations.clone()),
        None => (None, None),
    };
    if template.metadata.is_some() || new.metadata.is_some() {
        let meta = template.metadata.get_or_insert_default();
        meta.labels = labels;
        meta.annotations = annotations;
    }
    if let (Some(spec), Some(new)) = (&mut template.spec, &new.spec) {
        take_directives(spec, new);
    }
    template
}

fn take_directives(spec: &mut PodSpec, new: &PodSpec) {
    spec.affinity = with_node_affinity_of(spec.affinity.take(), new.affinity.as_ref());
    spec.node_selector.clone_from(&new.node_selector);
    spec.tolerations.clone_from(&new.tolerations);
    spec.scheduling_gates.clone_from(&new.scheduling_gates);
    let take = |mine: &mut [Container], new: &[Container]| {
        for (mine, new) in mine.iter_mut().zip(new) {
            mine.resources.clone_from(&new.resources);
        }
    };
    take(&mut spec.containers, &new.containers);
    if let (Some(mine), Some(new)) = (&mut spec.init_containers, &new.init_containers) {
        take(mine, new);
    }
}

/// The old affinity to pods, and the new one to nodes.
fn with_node_affinity_of(old: Option<Affinity>, new: Option<&Affinity>) -> Option<Affinity> {
    let nodes = new.and_then(|a| a.node_affinity.clone());
    let affinity = Affinity {
        node_affinity: nodes,
        ..old.unwrap_or_default()
    };
    // Nothing and an empty one are the same; which of them is said is the client's choice.
    (new.is_some() || affinity != Affinity::default()).then_some(affinity)
}
