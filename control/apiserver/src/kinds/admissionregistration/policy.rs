//! What validating and mutating policies and their bindings share.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::{names, selector};
use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ParamKind, ParamRef, RuleWithOperations, Variable,
};

use super::rules::{default_scope, validate_rule};
use super::{EQUIVALENT, MATCH_POLICIES};
use crate::kinds::pod_spec::{none_or_one_of, one_of, required_name, text};

/// What may be done where a parameter is missing.
const NOT_FOUND: [&str; 2] = ["Allow", "Deny"];

pub(super) fn default_match(resources: &mut MatchResources) {
    resources
        .match_policy
        .get_or_insert_with(|| EQUIVALENT.to_owned());
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    let rules = resources.resource_rules.iter_mut().flatten();
    for rule in rules.chain(resources.exclude_resource_rules.iter_mut().flatten()) {
        default_scope(&mut rule.scope);
    }
}

pub(super) fn validate_match(resources: &MatchResources, path: &Path, errors: &mut ErrorList) {
    let policy = resources.match_policy.as_deref();
    none_or_one_of(policy, &MATCH_POLICIES, path.child("matchPolicy"), errors);
    for (field, wanted) in [
        ("namespaceSelector", &resources.namespace_selector),
        ("objectSelector", &resources.object_selector),
    ] {
        if let Some(wanted) = wanted {
            selector::validate(wanted, &path.child(field), errors);
        }
    }
    for (field, rules) in [
        ("resourceRules", &resources.resource_rules),
        ("excludeResourceRules", &resources.exclude_resource_rules),
    ] {
        for (index, rule) in rules.iter().flatten().enumerate() {
            validate_named(rule, &path.child(field).index(index), errors);
        }
    }
}

fn validate_named(rule: &NamedRuleWithOperations, path: &Path, errors: &mut ErrorList) {
    let plain = RuleWithOperations {
        api_groups: rule.api_groups.clone(),
        api_versions: rule.api_versions.clone(),
        operations: rule.operations.clone(),
        resources: rule.resources.clone(),
        scope: rule.scope.clone(),
    };
    validate_rule(&plain, path, errors);
    let mut seen = BTreeSet::new();
    for (index, name) in rule.resource_names.iter().flatten().enumerate() {
        let path = path.child("resourceNames").index(index);
        errors.invalid_each(&path, name, names::path_segment(name, false));
        if !seen.insert(name) {
            errors.duplicate(path, name);
        }
    }
}

/// The rules that a policy must have: they say what its expressions are about.
pub(super) fn validate_constraints(
    constraints: Option<&MatchResources>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child("matchConstraints");
    let Some(constraints) = constraints else {
        errors.required(path, "");
        return;
    };
    validate_match(constraints, &path, errors);
    if constraints
        .resource_rules
        .as_ref()
        .is_none_or(|r| r.is_empty())
    {
        errors.required(path.child("resourceRules"), "");
    }
}

pub(super) fn validate_param_kind(kind: Option<&ParamKind>, path: &Path, errors: &mut ErrorList) {
    let Some(kind) = kind else { return };
    let path = path.child("paramKind");
    let version = kind.api_version.as_deref().unwrap_or_default();
    let here = path.child("apiVersion");
    match version.split('/').collect::<Vec<_>>().as_slice() {
        [""] => errors.required(here, ""),
        [version] => errors.invalid_each(&here, version, names::dns1035_label(version)),
        [group, version] => {
            errors.invalid_each(&here, group, names::dns1123_subdomain(group));
            errors.invalid_each(&here, version, names::dns1035_label(version));
        }
        _ => errors.invalid(
            here,
            version,
            format!("unexpected GroupVersion string: {version}"),
        ),
    }
    let name = kind.kind.as_deref().unwrap_or_default();
    let rule = |kind: &str| names::dns1035_label(&kind.to_ascii_lowercase());
    required_name(name, rule, path.child("kind"), errors);
}

pub(super) fn validate_variables(
    variables: Option<&[Variable]>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut seen = BTreeSet::new();
    for (index, variable) in variables.unwrap_or_default().iter().enumerate() {
        let path = path.child("variables").index(index);
        let name = &variable.name;
        let identifier = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if name.is_empty() {
            errors.required(path.child("name"), "name is not specified");
        } else if !identifier(name) {
            errors.invalid(
                path.child("name"),
                name,
                "name is not a valid CEL identifier",
            );
        } else if !seen.insert(name) {
            errors.duplicate(path.child("name"), name);
        }
        if variable.expression.trim().is_empty() {
            errors.required(path.child("expression"), "expression is not specified");
        }
    }
}

/// The policy that a binding is of, and its parameters.
pub(super) fn validate_binding(
    policy: &str,
    params: Option<&ParamRef>,
    resources: Option<&MatchResources>,
    path: &Path,
    errors: &mut ErrorList,
) {
    required_name(
        policy,
        names::dns1123_subdomain,
        path.child("policyName"),
        errors,
    );
    if let Some(params) = params {
        let path = path.child("paramRef");
        match (text(&params.name), &params.selector) {
            (None, None) => {
                errors.required(path.clone(), "one of name or selector must be specified")
            }
            (Some(_), Some(_)) => {
                let rule = "name and selector are mutually exclusive";
                errors.forbidden(path.child("name"), rule);
            }
            (Some(name), None) => {
                errors.invalid_each(&path.child("name"), name, names::path_segment(name, false));
            }
            (None, Some(wanted)) => selector::validate(wanted, &path.child("selector"), errors),
        }
        let action = params.parameter_not_found_action.as_deref();
        let here = path.child("parameterNotFoundAction");
        one_of(action, &NOT_FOUND, here, errors);
    }
    if let Some(resources) = resources {
        validate_match(resources, &path.child("matchResources"), errors);
    }
}

/// How tables show the parameters of a binding.
pub(super) fn shown_params(params: Option<&ParamRef>) -> String {
    let Some(params) = params else {
        return "<unset>".to_owned();
    };
    let name = text(&params.name).unwrap_or("*");
    match text(&params.namespace) {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// How tables show the kind of a policy's parameters.
pub(super) fn shown_param_kind(kind: Option<&ParamKind>) -> String {
    kind.map_or_else(
        || "<unset>".to_owned(),
        |kind| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", part(&kind.api_version), part(&kind.kind))
        },
    )
}
