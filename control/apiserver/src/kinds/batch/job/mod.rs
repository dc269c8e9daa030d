//! Job: pods that run to their end, so many times.

mod policies;
mod selector;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod update;
mod validation;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use serde_json::Value;

use crate::kinds::workload;
use crate::registry::strategy::{
    Column, Fields, Strategy, counts_spec_changes, keeps_status_apart,
};

pub(super) use validation::validate_job_spec;

pub(super) const INDEXED: &str = "Indexed";
pub(super) const NON_INDEXED: &str = "NonIndexed";
/// How often a pod that fails is replaced.
const BACKOFF: i32 = 6;

/// The rules of Jobs.
pub struct JobStrategy;

impl Strategy for JobStrategy {
    type Object = Job;

    fn default(&self, job: &mut Job) {
        let spec = job.spec.get_or_insert_default();
        if spec.completions.is_none() && spec.parallelism.is_none() {
            spec.completions = Some(1);
        }
        spec.parallelism.get_or_insert(1);
        // With a limit for each index, that of the whole Job is no bound.
        let whole = if spec.backoff_limit_per_index.is_some() {
            i32::MAX
        } else {
            BACKOFF
        };
        spec.backoff_limit.get_or_insert(whole);
        let mode = &mut spec.completion_mode;
        mode.get_or_insert_with(|| NON_INDEXED.to_owned());
        spec.suspend.get_or_insert(false);
        spec.manual_selector.get_or_insert(false);
        let replaced = if spec.pod_failure_policy.is_some() {
            policies::FAILED
        } else {
            policies::TERMINATING_OR_FAILED
        };
        let policy = &mut spec.pod_replacement_policy;
        policy.get_or_insert_with(|| replaced.to_owned());
        policies::default_failure_policy(spec.pod_failure_policy.as_mut());
        workload::default_template(&mut spec.template);
        let labels = spec
            .template
            .metadata
            .as_ref()
            .and_then(|m| m.labels.as_ref());
        if job.metadata.labels.as_ref().is_none_or(|l| l.is_empty()) {
            job.metadata.labels = labels.cloned();
        }
    }

    fn prepare_for_create(&self, job: &mut Job) {
        job.status = Some(JobStatus::default());
        if !selector::is_manual(job) {
            selector::generate(job);
        }
    }

    fn renamed(&self, job: &mut Job, before: &str) {
        selector::rename(job, before);
    }

    fn validate(&self, job: &Job) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let Some(spec) = &job.spec else {
            errors.required(path, "");
            return errors;
        };
        validate_job_spec(spec, &path, &mut errors);
        selector::validate(spec, &path, &mut errors);
        errors
    }

    fn validate_create(&self, job: &Job) -> ErrorList {
        let mut errors = ErrorList::new();
        if !selector::is_manual(job) {
            selector::validate_generated(job, &mut errors);
        }
        validate_host_name(job, &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &Job, old: &Job) -> ErrorList {
        update::validate(new, old)
    }

    fn validate_status_update(&self, new: &Job, old: &Job) -> ErrorList {
        status::validate(new, old)
    }

    counts_spec_changes!();

    fn warnings(&self, job: &Job) -> Vec<String> {
        let Some(spec) = &job.spec else {
            return Vec::new();
        };
        let mut warnings = validation::warnings(spec, &Path::new("spec"));
        let template = Some(&spec.template);
        warnings.extend(workload::template_warnings(template, &Path::new("spec")));
        warnings
    }

    fn fields(&self, job: &Job) -> Fields {
        let succeeded = job.status.as_ref().and_then(|s| s.succeeded);
        let succeeded = succeeded.unwrap_or_default().to_string();
        vec![("status.successful", succeeded)]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }

    fn row(&self, job: &Job, now: Timestamp) -> Vec<Value> {
        table::row(job, now)
    }
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some(INDEXED)
}

/// The pods of an Indexed Job have its name and their index as host name.
fn validate_host_name(job: &Job, errors: &mut ErrorList) {
    let Some(spec) = job.spec.as_ref().filter(|s| is_indexed(s)) else {
        return;
    };
    let Some(last) = spec.completions.filter(|&c| c > 0).map(|c| c - 1) else {
        return;
    };
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let longest = format!("{name}-{last}");
    if !names::dns1123_label(&longest).is_empty() {
        let rule = format!("will not able to create pod with invalid DNS label: {longest}");
        errors.invalid(Path::new("metadata").child("name"), name, rule);
    }
}

/// True if the Job has a condition of this type that holds.
pub(super) fn is_true(status: Option<&JobStatus>, kind: &str) -> bool {
    status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|c| c.type_ == kind && c.status == "True")
}
