//! When a Job has failed or succeeded besides what its counts say. Follows
//! `validatePodFailurePolicy` and `validateSuccessPolicy` of `pkg/apis/batch/validation`,
//! and KEPs 3329, 3998 and 3939.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
    SuccessPolicy, SuccessPolicyRule,
};

pub(super) const FAILED: &str = "Failed";
pub(super) const TERMINATING_OR_FAILED: &str = "TerminatingOrFailed";

const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
/// Longest list of indexes, in bytes.
const INDEXES_BYTES_MAX: usize = 64 * 1024;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// A condition that names no status means that it holds.
pub(super) fn default_failure_policy(policy: Option<&mut PodFailurePolicy>) {
    let rules = policy.into_iter().flat_map(|p| &mut p.rules);
    for pattern in rules.filter_map(|r| r.on_pod_conditions.as_mut()).flatten() {
        if pattern.status.as_deref().is_none_or(str::is_empty) {
            pattern.status = Some("True".to_owned());
        }
    }
}

pub(super) fn validate_failure_policy(
    policy: &PodFailurePolicy,
    spec: &JobSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child("rules");
    if policy.rules.len() > RULES_MAX {
        errors.too_many(path.clone(), policy.rules.len(), RULES_MAX);
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        validate_rule(rule, spec, &path.index(index), errors);
    }
}

fn validate_rule(rule: &PodFailurePolicyRule, spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let here = path.child("action");
    match rule.action.as_str() {
        "" => errors.required(here, format!("valid values: {}", list(&ACTIONS))),
        "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            let wrong = "requires the backoffLimitPerIndex to be set";
            errors.invalid(here, &rule.action, wrong);
        }
        action if !ACTIONS.contains(&action) => errors.not_supported(here, action, &ACTIONS),
        _ => {}
    }
    if let Some(codes) = &rule.on_exit_codes {
        validate_exit_codes(codes, spec, &path.child("onExitCodes"), errors);
    }
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let here = path.child("onPodConditions");
    if patterns.len() > PATTERNS_MAX {
        errors.too_many(here.clone(), patterns.len(), PATTERNS_MAX);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = here.index(index);
        let kind = &pattern.type_;
        errors.invalid_each(&path.child("type"), kind, names::qualified_name(kind));
        let status = pattern.status.as_deref().unwrap_or_default();
        let here = path.child("status");
        if status.is_empty() {
            errors.required(here, format!("valid values: {}", list(&STATUSES)));
        } else if !STATUSES.contains(&status) {
            errors.not_supported(here, status, &STATUSES);
        }
    }
    match (rule.on_exit_codes.is_some(), patterns.is_empty()) {
        (true, false) => {
            let wrong = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.broken(path.clone(), wrong);
        }
        (false, true) => {
            let wrong = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.broken(path.clone(), wrong);
        }
        _ => {}
    }
}

fn validate_exit_codes(
    codes: &PodFailurePolicyOnExitCodesRequirement,
    spec: &JobSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    let operator = codes.operator.as_str();
    let here = path.child("operator");
    if operator.is_empty() {
        errors.required(here, format!("valid values: {}", list(&OPERATORS)));
    } else if !OPERATORS.contains(&operator) {
        errors.not_supported(here, operator, &OPERATORS);
    }
    if let Some(container) = &codes.container_name
        && !has_container(spec, container)
    {
        let rule = "must be one of the container or initContainer names in the pod template";
        errors.invalid(path.child("containerName"), container, rule);
    }
    let here = path.child("values");
    if codes.values.is_empty() {
        errors.invalid(
            here.clone(),
            &codes.values,
            "at least one value is required",
        );
    } else if codes.values.len() > EXIT_CODES_MAX {
        errors.too_many(here.clone(), codes.values.len(), EXIT_CODES_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, code) in codes.values.iter().enumerate() {
        let here = here.index(index);
        if operator == "In" && *code == 0 {
            errors.invalid(here.clone(), code, "must not be 0 for the In operator");
        }
        if !seen.insert(code) {
            errors.duplicate(here, code);
        }
    }
    if !codes.values.is_sorted() {
        errors.invalid(here, &codes.values, "must be ordered");
    }
}

fn has_container(spec: &JobSpec, name: &str) -> bool {
    let template = spec.template.spec.as_ref();
    template.is_some_and(|pod| {
        let init = pod.init_containers.iter().flatten();
        pod.containers.iter().chain(init).any(|c| c.name == name)
    })
}

/// `completions` of an Indexed Job are there, or their absence is an error by itself.
pub(super) fn validate_success_policy(
    policy: &SuccessPolicy,
    spec: &JobSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child("rules");
    if policy.rules.is_empty() {
        let rule = "at least one rules must be specified when the successPolicy is specified";
        errors.required(path.clone(), rule);
    }
    if policy.rules.len() > RULES_MAX {
        errors.too_many(path.clone(), policy.rules.len(), RULES_MAX);
    }
    let completions = spec.completions.unwrap_or_default();
    for (index, rule) in policy.rules.iter().enumerate() {
        validate_success_rule(rule, completions, &path.index(index), errors);
    }
}

fn validate_success_rule(
    rule: &SuccessPolicyRule,
    completions: i32,
    path: &Path,
    errors: &mut ErrorList,
) {
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let wrong = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(path.clone(), wrong);
    }
    let mut named = None;
    if let Some(indexes) = &rule.succeeded_indexes {
        let here = path.child("succeededIndexes");
        if indexes.len() > INDEXES_BYTES_MAX {
            errors.too_long(here.clone(), INDEXES_BYTES_MAX);
        }
        named = Some(0);
        match count_indexes(indexes, completions) {
            Ok(count) => named = Some(count),
            Err(why) => {
                let rule = format!("error parsing succeededIndexes: {why}");
                errors.invalid(here, indexes, rule);
            }
        }
    }
    let Some(count) = rule.succeeded_count else {
        return;
    };
    let here = path.child("succeededCount");
    errors.non_negative(here.clone(), count.into());
    if count > completions {
        let rule = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        errors.invalid(here.clone(), count, rule);
    }
    if let Some(named) = named.filter(|&named| count > named) {
        let rule = format!(
            "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.invalid(here, count, rule);
    }
}

/// How many indexes `1,3-5` names. They rise, and are below `completions`.
pub(super) fn count_indexes(text: &str, completions: i32) -> Result<i32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let mut last: Option<i32> = None;
    let mut total = 0i32;
    for part in text.split(',') {
        let (from, to) = interval(part, completions)?;
        if let Some(last) = last.filter(|&last| last >= from) {
            return Err(format!(
                "non-increasing order, previous: {last}, current: {from}"
            ));
        }
        // All are below `completions` and rise, so the sum is at most that.
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

fn interval(part: &str, completions: i32) -> Result<(i32, i32), String> {
    let index = |text: &str| {
        let number: i32 = text
            .parse()
            .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= completions {
            return Err(format!("too large index: {text:?}"));
        }
        Ok(number)
    };
    match part.split('-').collect::<Vec<_>>()[..] {
        [one] => index(one).map(|n| (n, n)),
        [from, to] => {
            let (from, to) = (index(from)?, index(to)?);
            if from >= to {
                return Err(format!(
                    "non-increasing order, previous: {from}, current: {to}"
                ));
            }
            Ok((from, to))
        }
        _ => Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

pub(super) fn validate_replacement_policy(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let Some(policy) = spec.pod_replacement_policy.as_deref() else {
        return;
    };
    let known: &[&str] = if spec.pod_failure_policy.is_some() {
        &[FAILED]
    } else {
        &[FAILED, TERMINATING_OR_FAILED]
    };
    if !known.contains(&policy) {
        errors.not_supported(path.clone(), policy, known);
    }
}

/// As Go prints a list of strings.
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("{w:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
