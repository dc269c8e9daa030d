//! What holds for the whole pod: restarts, names, DNS, deadlines.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::core::v1::{PodDNSConfig, PodSpec};

use super::{none_or_one_of, one_of, required_name, text};

const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

type Rule = fn(&str) -> names::Problems;

pub(super) fn validate(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    one_of(
        spec.restart_policy.as_deref(),
        &["Always", "OnFailure", "Never"],
        path.child("restartPolicy"),
        errors,
    );
    one_of(
        spec.dns_policy.as_deref(),
        &DNS_POLICIES,
        path.child("dnsPolicy"),
        errors,
    );
    validate_dns(spec, &path.child("dnsConfig"), errors);
    for (index, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if secret.name.is_empty() {
            errors.required(
                path.child("imagePullSecrets").index(index).child("name"),
                "",
            );
        }
    }
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = path
            .child("readinessGates")
            .index(index)
            .child("conditionType");
        let kind = &gate.condition_type;
        errors.invalid_each(&path, kind, names::qualified_name(kind));
    }
    validate_scheduling_gates(spec, &path.child("schedulingGates"), errors);
    let names: [(&str, Option<&str>, Rule); 6] = [
        (
            "serviceAccountName",
            text(&spec.service_account_name),
            names::dns1123_subdomain,
        ),
        ("nodeName", text(&spec.node_name), names::dns1123_subdomain),
        ("hostname", text(&spec.hostname), names::dns1123_label),
        ("subdomain", text(&spec.subdomain), names::dns1123_label),
        (
            "priorityClassName",
            text(&spec.priority_class_name),
            names::dns1123_subdomain,
        ),
        (
            "runtimeClassName",
            text(&spec.runtime_class_name),
            names::dns1123_subdomain,
        ),
    ];
    for (field, name, rule) in names {
        if let Some(name) = name {
            errors.invalid_each(&path.child(field), name, rule(name));
        }
    }
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let rule = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.invalid(path.child("activeDeadlineSeconds"), seconds, rule);
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = path.child("hostAliases").index(index);
        errors.invalid_each(&path.child("ip"), &alias.ip, names::ip_address(&alias.ip));
        for (index, name) in alias.hostnames.iter().flatten().enumerate() {
            let path = path.child("hostnames").index(index);
            errors.invalid_each(&path, name, names::dns1123_subdomain(name));
        }
    }
    none_or_one_of(
        spec.preemption_policy.as_deref(),
        &["PreemptLowerPriority", "Never"],
        path.child("preemptionPolicy"),
        errors,
    );
    if let Some(os) = &spec.os {
        one_of(
            Some(&os.name),
            &["linux", "windows"],
            path.child("os").child("name"),
            errors,
        );
    }
    let mut claims = BTreeSet::new();
    for (index, claim) in spec.resource_claims.iter().flatten().enumerate() {
        let path = path.child("resourceClaims").index(index);
        required_name(
            &claim.name,
            names::dns1123_label,
            path.child("name"),
            errors,
        );
        if !claim.name.is_empty() && !claims.insert(&claim.name) {
            errors.duplicate(path.child("name"), &claim.name);
        }
        match (
            &claim.resource_claim_name,
            &claim.resource_claim_template_name,
        ) {
            (Some(_), Some(_)) => {
                let rule = "at most one of `resourceClaimName` or `resourceClaimTemplateName` \
                            may be specified";
                errors.invalid(path, claim, rule);
            }
            (None, None) => {
                let rule = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(path, claim, rule);
            }
            _ => {}
        }
    }
}

fn validate_scheduling_gates(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let path = path.index(index);
        errors.invalid_each(
            &path.child("name"),
            &gate.name,
            names::qualified_name(&gate.name),
        );
        if !seen.insert(&gate.name) {
            errors.duplicate(path, &gate.name);
        }
    }
    if text(&spec.node_name).is_some() && !seen.is_empty() {
        errors.forbidden(
            path.clone(),
            "cannot be set until all schedulingGates have been cleared",
        );
    }
}

fn validate_dns(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let none = PodDNSConfig::default();
    let config = spec.dns_config.as_ref();
    let nameservers = config
        .unwrap_or(&none)
        .nameservers
        .as_deref()
        .unwrap_or_default();
    if spec.dns_policy.as_deref() == Some("None") {
        if config.is_none() {
            let rule = "must provide `dnsConfig` when `dnsPolicy` is None";
            return errors.required(path.clone(), rule);
        }
        if nameservers.is_empty() {
            errors.required(
                path.child("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
        }
    }
    let Some(config) = config else { return };
    if nameservers.len() > NAMESERVERS_MAX {
        let rule = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.invalid(path.child("nameservers"), nameservers, rule);
    }
    for (index, server) in nameservers.iter().enumerate() {
        let path = path.child("nameservers").index(index);
        errors.invalid_each(&path, server, names::ip_address(server));
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let here = path.child("searches");
    if searches.len() > SEARCHES_MAX {
        let rule = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.invalid(here.clone(), searches, rule);
    }
    if searches.iter().map(|s| s.len() + 1).sum::<usize>() > SEARCH_BYTES_MAX + 1 {
        let rule = format!(
            "must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the \
             search list"
        );
        errors.invalid(here.clone(), searches, rule);
    }
    for (index, search) in searches.iter().enumerate() {
        // A lone dot and a trailing one name the root; names of services have underscores.
        let name = search.strip_suffix('.').unwrap_or(search).replace('_', "x");
        let problems = if search == "." {
            Vec::new()
        } else {
            names::dns1123_subdomain(&name)
        };
        errors.invalid_each(&here.index(index), search, problems);
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        if text(&option.name).is_none() {
            let path = path.child("options").index(index);
            errors.required(path, "must not be empty");
        }
    }
}
