//! Jobs as kubectl prints them.

use euston_api::selector::format_label_selector;
use euston_api::time::{human_duration, seconds_between};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use serde_json::Value;

use super::is_true;
use crate::kinds::{cells, workload};
use crate::registry::strategy::{AGE, Column, NAME};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::string("Status", "Status of the job."),
    Column::string(
        "Completions",
        "Pods that have succeeded, of those that have to.",
    ),
    Column::string("Duration", "Time required to complete the job."),
    AGE,
    Column::string("Containers", "Names of each container in the template.").wide(),
    Column::string(
        "Images",
        "Images referenced by each container in the template.",
    )
    .wide(),
    Column::string("Selector", "Label selector for pods.").wide(),
];

pub(super) fn row(job: &Job, now: Timestamp) -> Vec<Value> {
    let (no_spec, no_status) = (JobSpec::default(), JobStatus::default());
    let spec = job.spec.as_ref().unwrap_or(&no_spec);
    let status = job.status.as_ref().unwrap_or(&no_status);
    let succeeded = status.succeeded.unwrap_or_default();
    let completions = match (spec.completions, spec.parallelism.unwrap_or_default()) {
        (Some(all), _) => format!("{succeeded}/{all}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = match (&status.start_time, &status.completion_time) {
        (None, _) => String::new(),
        (Some(start), end) => {
            let end = end.as_ref().map_or(now, |end| end.0);
            human_duration(seconds_between(start.0, end))
        }
    };
    let [names, images] = cells::containers(workload::containers(Some(&spec.template)));
    let selector = spec.selector.as_ref().map(format_label_selector);
    vec![
        cells::name(&job.metadata),
        phase(job).into(),
        completions.into(),
        duration.into(),
        cells::age(&job.metadata, now),
        names,
        images,
        cells::or_none(selector.as_deref()),
    ]
}

fn phase(job: &Job) -> &'static str {
    let holds = |kind: &str| is_true(job.status.as_ref(), kind);
    for end in ["Complete", "Failed"] {
        if holds(end) {
            return end;
        }
    }
    if job.metadata.deletion_timestamp.is_some() {
        return "Terminating";
    }
    let before = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
    before
        .into_iter()
        .find(|kind| holds(kind))
        .unwrap_or("Running")
}
