//! The labels by which a Job knows its pods: its own by default, made from its uid, so
//! that no two Jobs ever share a pod. Follows `generateSelector` and
//! `validateGeneratedSelector` of `pkg/registry/batch/job` and `pkg/apis/batch/validation`.

use std::collections::BTreeMap;

use euston_api::field::{ErrorList, Path};
use euston_api::selector::{self, LabelSelector};
use k8s_openapi::api::batch::v1::{Job, JobSpec};

/// The labels that carry the Job's name: the older one is still looked for.
const NAMES: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
/// The labels that carry the Job's uid.
const UIDS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// True if the client answers for selector and labels.
pub(super) fn is_manual(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.manual_selector) == Some(true)
}

/// Adds what is missing. What the client has set otherwise stays, and is refused by
/// [`validate_generated`]. Labels that the Job has from its template it has from then on.
pub(super) fn generate(job: &mut Job) {
    let name = job.metadata.name.clone().unwrap_or_default();
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let spec = job.spec.get_or_insert_default();
    let meta = spec.template.metadata.get_or_insert_default();
    let labels = meta.labels.get_or_insert_default();
    let mine = job.metadata.labels.get_or_insert_default();
    let same = mine == labels;
    let all = NAMES.map(|key| (key, &name)).into_iter();
    for (key, value) in all.chain(UIDS.map(|key| (key, &uid))) {
        labels
            .entry(key.to_owned())
            .or_insert_with(|| value.clone());
    }
    if same {
        mine.clone_from(labels);
    }
    let selector = spec.selector.get_or_insert_default();
    let selected = selector.match_labels.get_or_insert_default();
    selected.entry(UIDS[1].to_owned()).or_insert(uid);
}

/// Carries a name that the server has changed into the labels made from it.
pub(super) fn rename(job: &mut Job, before: &str) {
    let name = job.metadata.name.clone().unwrap_or_default();
    let template = job.spec.as_mut().and_then(|s| s.template.metadata.as_mut());
    let labels = template.and_then(|m| m.labels.as_mut());
    for labels in labels.into_iter().chain(&mut job.metadata.labels) {
        for key in NAMES {
            if let Some(value) = labels.get_mut(key).filter(|value| *value == before) {
                value.clone_from(&name);
            }
        }
    }
}

/// The selector, and that the Job's pods are among what it selects.
pub(super) fn validate(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let here = path.child("selector");
    let Some(given) = &spec.selector else {
        return errors.required(here, "");
    };
    selector::validate(given, &here, errors);
    let none = BTreeMap::new();
    let labels = spec
        .template
        .metadata
        .as_ref()
        .and_then(|m| m.labels.as_ref());
    let labels = labels.unwrap_or(&none);
    if LabelSelector::from_api(Some(given)).is_ok_and(|s| !s.matches(labels)) {
        errors.invalid(
            path.child("template").child("metadata").child("labels"),
            labels,
            "`selector` does not match template `labels`",
        );
    }
}

/// That selector and labels are what [`generate`] makes.
pub(super) fn validate_generated(job: &Job, errors: &mut ErrorList) {
    let Some(spec) = &job.spec else { return };
    let Some(given) = &spec.selector else { return };
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let none = BTreeMap::new();
    let labels = spec
        .template
        .metadata
        .as_ref()
        .and_then(|m| m.labels.as_ref());
    let labels = labels.unwrap_or(&none);
    let path = Path::new("spec");
    let here = path.child("template").child("metadata").child("labels");
    let wanted = [
        (UIDS[0], uid),
        (NAMES[0], name),
        (UIDS[1], uid),
        (NAMES[1], name),
    ];
    for (key, value) in wanted {
        let rule = format!("must be '{value}'");
        match labels.get(key) {
            None => errors.required(here.key(key), rule),
            Some(other) if other != value => errors.invalid(here.key(key), labels, rule),
            Some(_) => {}
        }
    }
    let made = wanted.map(|(key, value)| (key.to_owned(), value.to_owned()));
    if LabelSelector::from_api(Some(given)).is_ok_and(|s| !s.matches(&made.into())) {
        errors.invalid(
            path.child("selector"),
            given,
            "`selector` not auto-generated",
        );
    }
}
