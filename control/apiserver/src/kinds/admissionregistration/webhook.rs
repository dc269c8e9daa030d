//! One webhook: when it is called, and where it listens. Validating and mutating ones share it.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::{names, selector};
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, RuleWithOperations, ServiceReference, ValidatingWebhook,
    WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::rules::{default_scope, validate_conditions, validate_rule};
use super::{EQUIVALENT, FAIL, FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION};
use crate::kinds::pod_spec::{none_or_one_of, one_of};

const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
/// The versions of AdmissionReview that are spoken.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const TIMEOUT_SECONDS: i32 = 10;
const TIMEOUT_SECONDS_MAX: i32 = 30;
const HTTPS: i32 = 443;

/// What both sorts of webhook have.
pub(super) struct Webhook<'a> {
    pub(super) name: &'a str,
    config: &'a WebhookClientConfig,
    rules: &'a [RuleWithOperations],
    failure_policy: Option<&'a str>,
    match_policy: Option<&'a str>,
    selectors: [(&'static str, Option<&'a LabelSelector>); 2],
    side_effects: &'a str,
    timeout_seconds: Option<i32>,
    review_versions: &'a [String],
    conditions: Option<&'a [MatchCondition]>,
    reinvocation: Option<&'a str>,
}

/// The two types have the same fields but for `reinvocationPolicy`.
macro_rules! webhook {
    ($of:ty, $reinvocation:expr) => {
        impl<'a> From<&'a $of> for Webhook<'a> {
            fn from(hook: &'a $of) -> Self {
                let reinvocation: fn(&$of) -> Option<&str> = $reinvocation;
                Webhook {
                    name: &hook.name,
                    config: &hook.client_config,
                    rules: hook.rules.as_deref().unwrap_or_default(),
                    failure_policy: hook.failure_policy.as_deref(),
                    match_policy: hook.match_policy.as_deref(),
                    selectors: [
                        ("namespaceSelector", hook.namespace_selector.as_ref()),
                        ("objectSelector", hook.object_selector.as_ref()),
                    ],
                    side_effects: &hook.side_effects,
                    timeout_seconds: hook.timeout_seconds,
                    review_versions: &hook.admission_review_versions,
                    conditions: hook.match_conditions.as_deref(),
                    reinvocation: reinvocation(hook),
                }
            }
        }

        impl<'a> From<&'a mut $of> for Defaults<'a> {
            fn from(hook: &'a mut $of) -> Self {
                Defaults {
                    config: &mut hook.client_config,
                    rules: &mut hook.rules,
                    failure_policy: &mut hook.failure_policy,
                    match_policy: &mut hook.match_policy,
                    selectors: [&mut hook.namespace_selector, &mut hook.object_selector],
                    timeout_seconds: &mut hook.timeout_seconds,
                }
            }
        }
    };
}

webhook!(ValidatingWebhook, |_| None);
webhook!(MutatingWebhook, |hook| hook.reinvocation_policy.as_deref());

/// The fields that a webhook may leave out.
pub(super) struct Defaults<'a> {
    config: &'a mut WebhookClientConfig,
    rules: &'a mut Option<Vec<RuleWithOperations>>,
    failure_policy: &'a mut Option<String>,
    match_policy: &'a mut Option<String>,
    selectors: [&'a mut Option<LabelSelector>; 2],
    timeout_seconds: &'a mut Option<i32>,
}

impl Defaults<'_> {
    /// Fills them in.
    pub(super) fn fill(self) {
        self.failure_policy.get_or_insert_with(|| FAIL.to_owned());
        self.match_policy
            .get_or_insert_with(|| EQUIVALENT.to_owned());
        self.timeout_seconds.get_or_insert(TIMEOUT_SECONDS);
        for selector in self.selectors {
            selector.get_or_insert_default();
        }
        for rule in self.rules.iter_mut().flatten() {
            default_scope(&mut rule.scope);
        }
        if let Some(service) = &mut self.config.service {
            service.port.get_or_insert(HTTPS);
        }
    }
}

/// Everything wrong with the webhooks of one configuration.
pub(super) fn validate<'a>(hooks: impl Iterator<Item = Webhook<'a>>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (index, hook) in hooks.enumerate() {
        let path = Path::new("webhooks").index(index);
        validate_one(&hook, &path, &mut errors);
        if !hook.name.is_empty() && !seen.insert(hook.name) {
            errors.duplicate(path.child("name"), hook.name);
        }
    }
    errors
}

fn validate_one(hook: &Webhook<'_>, path: &Path, errors: &mut ErrorList) {
    validate_reviews(
        hook.review_versions,
        &path.child("admissionReviewVersions"),
        errors,
    );
    validate_name(hook.name, &path.child("name"), errors);
    for (index, rule) in hook.rules.iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(index), errors);
    }
    for (field, value, known) in [
        ("failurePolicy", hook.failure_policy, &FAILURE_POLICIES),
        ("matchPolicy", hook.match_policy, &MATCH_POLICIES),
        ("reinvocationPolicy", hook.reinvocation, &REINVOCATION),
    ] {
        none_or_one_of(value, known, path.child(field), errors);
    }
    one_of(
        Some(hook.side_effects),
        &SIDE_EFFECTS,
        path.child("sideEffects"),
        errors,
    );
    if let Some(seconds) = hook.timeout_seconds
        && !(1..=TIMEOUT_SECONDS_MAX).contains(&seconds)
    {
        let rule = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(path.child("timeoutSeconds"), seconds, rule);
    }
    for (field, wanted) in hook.selectors {
        if let Some(wanted) = wanted {
            selector::validate(wanted, &path.child(field), errors);
        }
    }
    let here = path.child("clientConfig");
    match (&hook.config.url, &hook.config.service) {
        (Some(url), None) => validate_url(url, &here.child("url"), errors),
        (None, Some(service)) => validate_service(service, &here.child("service"), errors),
        _ => errors.required(here, "exactly one of url or service is required"),
    }
    validate_conditions(hook.conditions, path, errors);
}

fn validate_reviews(versions: &[String], path: &Path, errors: &mut ErrorList) {
    let known = REVIEWS.join(", ");
    if versions.is_empty() {
        errors.required(path.clone(), format!("must specify one of {known}"));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let here = path.index(index);
        if versions[..index].contains(version) {
            errors.invalid(here, version, "duplicate version");
        } else {
            errors.invalid_each(&here, version, names::dns1035_label(version));
        }
    }
    if !versions.iter().any(|v| REVIEWS.contains(&v.as_str())) {
        let rule = format!("must include at least one of {known}");
        errors.invalid(path.clone(), versions, rule);
    }
}

fn validate_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path.clone(), "");
        return;
    }
    let problems = names::dns1123_subdomain(name);
    if !problems.is_empty() {
        errors.invalid(path.clone(), name, problems.join(","));
    } else if name.split('.').count() < 3 {
        let rule = "should be a domain with at least three segments separated by dots";
        errors.invalid(path.clone(), name, rule);
    }
}

fn validate_url(url: &str, path: &Path, errors: &mut ErrorList) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        let rule = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid(path.clone(), scheme, rule);
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = rest.split('/').next().unwrap_or_default();
    let (user, host) = host.rsplit_once('@').unwrap_or(("", host));
    if host.is_empty() || scheme.is_empty() {
        errors.invalid(path.clone(), "", format!("host must be specified{FORM}"));
    }
    for (part, rule) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.invalid(path.clone(), part, rule);
        }
    }
}

fn validate_service(service: &ServiceReference, path: &Path, errors: &mut ErrorList) {
    if service.name.is_empty() {
        errors.required(path.child("name"), "service name is required");
    }
    if service.namespace.is_empty() {
        errors.required(path.child("namespace"), "service namespace is required");
    }
    if let Some(port) = service.port {
        let problems = names::port_number(port);
        if !problems.is_empty() {
            let rule = format!("port is not valid: {}", problems.join(", "));
            errors.invalid(path.child("port"), port, rule);
        }
    }
    let here = path.child("path");
    match service.path.as_deref().unwrap_or_default() {
        "" | "/" => {}
        text if !text.starts_with('/') => {
            errors.invalid(here, text, "must start with a '/'");
        }
        text => {
            let segments: Vec<&str> = text[1..].split('/').collect();
            let last = segments.len() - 1;
            for (index, segment) in segments.iter().enumerate() {
                if segment.is_empty() {
                    // A slash at the end is fine.
                    if index != last || index == 0 {
                        let rule = format!("segment[{index}] may not be empty");
                        errors.invalid(here.clone(), text, rule);
                    }
                    continue;
                }
                for problem in names::dns1123_subdomain(segment) {
                    let rule = format!("segment[{index}]: {problem}");
                    errors.invalid(here.clone(), text, rule);
                }
            }
        }
    }
}
