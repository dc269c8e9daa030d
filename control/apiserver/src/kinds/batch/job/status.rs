//! What a Job's controller may say of it. Kubernetes holds controllers to this since
//! Jobs may be managed by others (KEP-4368); follows `validateJobStatus` and
//! `ValidateJobStatusUpdate` of `pkg/apis/batch/validation`. What is there already is let
//! pass; a rule about several fields is looked at when one of them changes.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus, UncountedTerminatedPods};

use super::policies::count_indexes;
use super::{is_indexed, is_true};

const COMPLETE: &str = "Complete";
const FAILED: &str = "Failed";
const FAILURE_TARGET: &str = "FailureTarget";
const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";

pub(super) fn validate(new: &Job, old: &Job) -> ErrorList {
    let mut errors = ErrorList::new();
    let (none, no_spec) = (JobStatus::default(), JobSpec::default());
    let spec = new.spec.as_ref().unwrap_or(&no_spec);
    let is = new.status.as_ref().unwrap_or(&none);
    let was = old.status.as_ref().unwrap_or(&none);
    let path = Path::new("status");
    let counts = [
        ("active", is.active),
        ("succeeded", is.succeeded),
        ("failed", is.failed),
        ("ready", is.ready),
        ("terminating", is.terminating),
    ];
    for (field, count) in counts {
        errors.non_negative(path.child(field), count.unwrap_or_default().into());
    }
    if let Some(pods) = &is.uncounted_terminated_pods {
        validate_uncounted(pods, &path.child("uncountedTerminatedPods"), &mut errors);
    }
    validate_conditions(is, was, &path.child("conditions"), &mut errors);
    validate_times(is, was, spec, &path, &mut errors);
    validate_end(is, was, &path, &mut errors);
    validate_indexes(is, was, spec, &path, &mut errors);
    if is.ready != was.ready || is.active != was.active {
        let ready = is.ready.unwrap_or_default();
        if ready > is.active.unwrap_or_default() {
            let rule = "cannot set more ready pods than active";
            errors.invalid(path.child("ready"), ready, rule);
        }
    }
    for (field, is, was) in [
        ("failed", is.failed, was.failed),
        ("succeeded", is.succeeded, was.succeeded),
    ] {
        // An Indexed Job that shrinks forgets what succeeded above its end.
        let counted = field == "failed" || !is_indexed(spec);
        let is = is.unwrap_or_default();
        if counted && is < was.unwrap_or_default() {
            let rule = format!("cannot decrease the {field} counter");
            errors.invalid(path.child(field), is, rule);
        }
    }
    errors
}

fn validate_uncounted(pods: &UncountedTerminatedPods, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    let lists = [("succeeded", &pods.succeeded), ("failed", &pods.failed)];
    for (field, uids) in lists {
        for (index, uid) in uids.iter().flatten().enumerate() {
            let path = path.child(field).index(index);
            if uid.is_empty() {
                errors.invalid(path, uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(path, uid);
            }
        }
    }
}

fn validate_conditions(is: &JobStatus, was: &JobStatus, path: &Path, errors: &mut ErrorList) {
    if is.conditions == was.conditions {
        return;
    }
    let holds = |kind: &str| is_true(Some(is), kind);
    for kind in [COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET] {
        if is_true(Some(was), kind) && !holds(kind) {
            let rule = format!("cannot disable the terminal {kind}=True condition");
            errors.broken(path.clone(), rule);
        }
    }
    let together = [
        (
            COMPLETE,
            FAILED,
            "cannot set Complete=True and Failed=true conditions",
        ),
        (
            COMPLETE,
            FAILURE_TARGET,
            "cannot set Complete=True and FailureTarget=true conditions",
        ),
        (
            FAILURE_TARGET,
            SUCCESS_CRITERIA_MET,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            FAILED,
            SUCCESS_CRITERIA_MET,
            "cannot set Failed=True and SuccessCriteriaMet=true conditions",
        ),
    ];
    for (one, other, rule) in together {
        if holds(one) && holds(other) {
            errors.broken(path.clone(), rule);
        }
    }
    let first = [(FAILED, FAILURE_TARGET), (COMPLETE, SUCCESS_CRITERIA_MET)];
    for (end, reason) in first {
        if holds(end) && !holds(reason) {
            let rule =
                format!("cannot set {end}=True condition without the {reason}=true condition");
            errors.broken(path.clone(), rule);
        }
    }
}

fn validate_times(
    is: &JobStatus,
    was: &JobStatus,
    spec: &JobSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    let complete = is_true(Some(is), COMPLETE);
    let here = path.child("completionTime");
    if is.completion_time != was.completion_time || is.conditions != was.conditions {
        match &is.completion_time {
            Some(time) if !complete => {
                let rule = "cannot set completionTime when there is no Complete=True condition";
                errors.invalid(here.clone(), time, rule);
            }
            None if complete => {
                errors.required(here.clone(), "completionTime is required for Complete jobs");
            }
            _ => {}
        }
    }
    if was.completion_time.is_some() && is.completion_time != was.completion_time {
        errors.invalid(
            here.clone(),
            &is.completion_time,
            "completionTime cannot be mutated",
        );
    }
    if let (Some(end), Some(start)) = (&is.completion_time, &is.start_time)
        && end.0 < start.0
    {
        errors.invalid(here, end, "completionTime cannot be set before startTime");
    }
    let suspended = spec.suspend == Some(true);
    if was.start_time.is_some() && !suspended && is.start_time != was.start_time {
        let (here, time) = (path.child("startTime"), &is.start_time);
        match time {
            None => errors.required(here, "startTime cannot be removed for unsuspended job"),
            Some(_) => {
                let rule = "startTime cannot be modified for unsuspended job";
                errors.invalid(here, time, rule);
            }
        }
    }
}

/// What a Job that has ended may not have any more.
fn validate_end(is: &JobStatus, was: &JobStatus, path: &Path, errors: &mut ErrorList) {
    let ended = is_true(Some(is), COMPLETE) || is_true(Some(is), FAILED);
    if !ended || is == was {
        return;
    }
    for (field, count) in [("active", is.active), ("terminating", is.terminating)] {
        if let Some(count) = count.filter(|&count| count > 0) {
            let rule = format!("{field}>0 is invalid for finished job");
            errors.invalid(path.child(field), count, rule);
        }
    }
    if is.start_time.is_none() {
        errors.required(
            path.child("startTime"),
            "startTime is required for finished job",
        );
    }
    if let Some(pods) = &is.uncounted_terminated_pods {
        let lists = [&pods.succeeded, &pods.failed];
        if lists
            .iter()
            .any(|uids| uids.iter().flatten().next().is_some())
        {
            let rule = "uncountedTerminatedPods needs to be empty for finished job";
            errors.invalid(path.child("uncountedTerminatedPods"), pods, rule);
        }
    }
}

fn validate_indexes(
    is: &JobStatus,
    was: &JobStatus,
    spec: &JobSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    let fields = [
        (
            "completedIndexes",
            &is.completed_indexes,
            &was.completed_indexes,
        ),
        ("failedIndexes", &is.failed_indexes, &was.failed_indexes),
    ];
    for (field, is, was) in fields {
        if is == was {
            continue;
        }
        let Some(indexes) = is else { continue };
        let here = path.child(field);
        if let Some(completions) = spec.completions
            && let Err(why) = count_indexes(indexes, completions)
        {
            let rule = format!("error parsing {field}: {why}");
            errors.invalid(here.clone(), indexes, rule);
        }
        if field == "completedIndexes" && !indexes.is_empty() && !is_indexed(spec) {
            let rule = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.invalid(here, indexes, rule);
        } else if field == "failedIndexes" && spec.backoff_limit_per_index.is_none() {
            let rule = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.invalid(here, indexes, rule);
        }
    }
}
