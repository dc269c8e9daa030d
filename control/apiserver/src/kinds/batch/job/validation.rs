//! What a Job asks for. Follows `validateJobSpec` of `pkg/apis/batch/validation`.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::batch::v1::JobSpec;

use super::{INDEXED, NON_INDEXED, is_indexed, policies};
use crate::kinds::pod_spec;

/// Pods of an Indexed Job that run at a time: their indexes are kept in its status.
const PARALLEL_INDEXED_MAX: i32 = 100_000;
/// Indexes of a Job that may fail.
const FAILED_INDEXES_MAX: i32 = 100_000;
/// Past so many completions, the next two bounds hold where indexes may fail.
const MANY_COMPLETIONS: i32 = 100_000;
const PARALLEL_WITH_MANY_MAX: i32 = 10_000;
const FAILED_WITH_MANY_MAX: i32 = 10_000;
/// Longest name of another controller, in bytes.
const MANAGED_BY_BYTES_MAX: usize = 63;

/// Everything wrong with a Job, its selector apart.
pub(in crate::kinds::batch) fn validate_job_spec(
    spec: &JobSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    let numbers = [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        (
            "ttlSecondsAfterFinished",
            spec.ttl_seconds_after_finished.map(i64::from),
        ),
        (
            "backoffLimitPerIndex",
            spec.backoff_limit_per_index.map(i64::from),
        ),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ];
    for (field, number) in numbers {
        errors.non_negative(path.child(field), number.unwrap_or_default());
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        let here = path.child("backoffLimitPerIndex");
        errors.required(here, "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec.managed_by.as_deref() {
        let here = path.child("managedBy");
        validate_prefixed_path(manager, &here, errors);
        if manager.len() > MANAGED_BY_BYTES_MAX {
            errors.too_long(here, MANAGED_BY_BYTES_MAX);
        }
    }
    validate_mode(spec, path, errors);
    if let Some(policy) = &spec.pod_failure_policy {
        let here = path.child("podFailurePolicy");
        policies::validate_failure_policy(policy, spec, &here, errors);
    }
    if let Some(policy) = &spec.success_policy {
        let here = path.child("successPolicy");
        if is_indexed(spec) {
            policies::validate_success_policy(policy, spec, &here, errors);
        } else {
            errors.invalid(here, policy, "requires indexed completion mode");
        }
    }
    policies::validate_replacement_policy(spec, &path.child("podReplacementPolicy"), errors);
    let here = path.child("template");
    pod_spec::validate_template(&spec.template, &here, errors);
    validate_restart_policy(spec, here.child("spec").child("restartPolicy"), errors);
}

fn validate_mode(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let mode = spec.completion_mode.as_deref().unwrap_or(NON_INDEXED);
    let (per_index, failed) = (spec.backoff_limit_per_index, spec.max_failed_indexes);
    match mode {
        INDEXED => validate_indexed(spec, path, errors),
        NON_INDEXED => {
            let only_indexed = [
                ("backoffLimitPerIndex", per_index),
                ("maxFailedIndexes", failed),
            ];
            for (field, number) in only_indexed {
                if let Some(number) = number {
                    let rule = "requires indexed completion mode";
                    errors.invalid(path.child(field), number, rule);
                }
            }
        }
        other => {
            let here = path.child("completionMode");
            errors.not_supported(here, other, &[INDEXED, NON_INDEXED]);
        }
    }
}

fn validate_indexed(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let parallel = spec.parallelism;
    let failed = spec.max_failed_indexes;
    if spec.completions.is_none() {
        let rule = format!("when completion mode is {INDEXED}");
        errors.required(path.child("completions"), rule);
    }
    let parallelism = path.child("parallelism");
    if let Some(number) = parallel.filter(|&p| p > PARALLEL_INDEXED_MAX) {
        let rule = format!(
            "must be less than or equal to {PARALLEL_INDEXED_MAX} when completion mode is {INDEXED}"
        );
        errors.invalid(parallelism.clone(), number, rule);
    }
    let failures = path.child("maxFailedIndexes");
    if let (Some(all), Some(failed)) = (spec.completions, failed)
        && failed > all
    {
        let rule = "must be less than or equal to completions";
        errors.invalid(failures.clone(), failed, rule);
    }
    if let Some(number) = failed.filter(|&f| f > FAILED_INDEXES_MAX) {
        let rule = format!("must be less than or equal to {FAILED_INDEXES_MAX}");
        errors.invalid(failures.clone(), number, rule);
    }
    let many = spec.completions.is_some_and(|c| c > MANY_COMPLETIONS);
    if !many || spec.backoff_limit_per_index.is_none() {
        return;
    }
    if failed.is_none() {
        let rule = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        errors.required(failures.clone(), rule);
    }
    let bounds = [
        (parallelism, parallel, PARALLEL_WITH_MANY_MAX),
        (failures, failed, FAILED_WITH_MANY_MAX),
    ];
    for (path, number, max) in bounds {
        if let Some(number) = number.filter(|&n| n > max) {
            let rule = format!(
                "must be less than or equal to {max} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
            );
            errors.invalid(path, number, rule);
        }
    }
}

/// A pod that is always started again never ends. `Always` is also what a template says
/// that says nothing, which is why it counts as missing.
fn validate_restart_policy(spec: &JobSpec, path: Path, errors: &mut ErrorList) {
    let template = spec.template.spec.as_ref();
    let policy = template.and_then(|s| s.restart_policy.as_deref());
    match policy.unwrap_or_default() {
        "" | "Always" => errors.required(path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            let rule = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(path, "OnFailure", rule);
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(path, other, &["OnFailure", "Never"]),
    }
}

/// `example.com/some/path`. Follows `IsDomainPrefixedPath` of apimachinery.
fn validate_prefixed_path(value: &str, path: &Path, errors: &mut ErrorList) {
    if value.is_empty() {
        return errors.required(path.clone(), "");
    }
    let Some((domain, inner)) = value
        .split_once('/')
        .filter(|(d, i)| !d.is_empty() && !i.is_empty())
    else {
        let rule = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.invalid(path.clone(), value, rule);
    };
    errors.invalid_each(path, domain, names::dns1123_subdomain(domain));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !inner.bytes().all(allowed) {
        let rule = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.invalid(path.clone(), inner, rule);
    }
}

/// What a client should know of numbers that are allowed and will not do.
pub(super) fn warnings(spec: &JobSpec, path: &Path) -> Vec<String> {
    let many = |number: Option<i32>, max: i32| number.is_some_and(|n| n > max);
    if many(spec.completions, MANY_COMPLETIONS)
        && many(spec.parallelism, PARALLEL_WITH_MANY_MAX)
        && is_indexed(spec)
    {
        return vec![format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )];
    }
    Vec::new()
}
