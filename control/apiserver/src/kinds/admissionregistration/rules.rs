//! Which requests a webhook or a policy is about. Follows `validateRuleWithOperations`.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::admissionregistration::v1::{MatchCondition, RuleWithOperations};

const ALL: &str = "*";
const OPERATIONS: [&str; 5] = [ALL, "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = [ALL, "Cluster", "Namespaced"];
const CONDITIONS_MAX: usize = 64;

/// A rule that names no scope is about both.
pub(super) fn default_scope(scope: &mut Option<String>) {
    scope.get_or_insert_with(|| ALL.to_owned());
}

pub(super) fn validate_rule(rule: &RuleWithOperations, path: &Path, errors: &mut ErrorList) {
    let operations = rule.operations.as_deref().unwrap_or_default();
    let here = path.child("operations");
    validate_list(operations, "operations", &here, errors);
    for (index, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(&operation.as_str()) {
            errors.not_supported(here.index(index), operation, &OPERATIONS);
        }
    }
    let groups = rule.api_groups.as_deref().unwrap_or_default();
    validate_list(groups, "API groups", &path.child("apiGroups"), errors);
    let versions = rule.api_versions.as_deref().unwrap_or_default();
    let here = path.child("apiVersions");
    validate_list(versions, "API versions", &here, errors);
    for (index, version) in versions.iter().enumerate() {
        if version.is_empty() {
            errors.required(here.index(index), "");
        }
    }
    let resources = rule.resources.as_deref().unwrap_or_default();
    validate_resources(resources, &path.child("resources"), errors);
    if let Some(scope) = rule.scope.as_deref()
        && !SCOPES.contains(&scope)
    {
        errors.not_supported(path.child("scope"), scope, &SCOPES);
    }
}

/// There is one at least, and where all are meant no other is named.
fn validate_list(list: &[String], what: &str, path: &Path, errors: &mut ErrorList) {
    if list.is_empty() {
        errors.required(path.clone(), "");
    } else if list.len() > 1 && list.iter().any(|one| one == ALL) {
        let rule = format!("if '*' is present, must not specify other {what}");
        errors.invalid(path.clone(), list, rule);
    }
}

fn validate_resources(resources: &[String], path: &Path, errors: &mut ErrorList) {
    if resources.is_empty() {
        errors.required(path.clone(), "");
    }
    let (mut all_below, mut below_all) = (BTreeSet::new(), BTreeSet::new());
    for (index, resource) in resources.iter().enumerate() {
        let here = path.index(index);
        if resource.is_empty() {
            errors.required(here, "");
            continue;
        }
        let Some((name, below)) = resource.split_once('/') else {
            continue;
        };
        if all_below.contains(name) {
            let rule = format!("if '{name}/*' is present, must not specify {resource}");
            errors.invalid(here.clone(), resource, rule);
        }
        if below_all.contains(below) {
            let rule = format!("if '*/{below}' is present, must not specify {resource}");
            errors.invalid(here, resource, rule);
        }
        if below == ALL {
            all_below.insert(name);
        }
        if name == ALL {
            below_all.insert(below);
        }
    }
    let has = |wanted: &str| resources.iter().any(|r| r == wanted);
    if resources.len() > 1 && has("*/*") {
        let rule = "if '*/*' is present, must not specify other resources";
        errors.invalid(path.clone(), resources, rule);
    }
    let plain = resources
        .iter()
        .any(|r| !r.contains('/') && r != ALL && !r.is_empty());
    if has(ALL) && plain {
        let rule = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path.clone(), resources, rule);
    }
}

pub(super) fn validate_conditions(
    conditions: Option<&[MatchCondition]>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let conditions = conditions.unwrap_or_default();
    let path = path.child("matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(path.clone(), conditions.len(), CONDITIONS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if condition.expression.trim().is_empty() {
            errors.required(path.child("expression"), "");
        }
        let name = &condition.name;
        if name.is_empty() {
            errors.required(path.child("name"), "");
        } else {
            errors.invalid_each(&path.child("name"), name, names::qualified_name(name));
            if !seen.insert(name) {
                errors.duplicate(path.child("name"), name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{compare, merged, object};
    use serde_json::{Value, json};

    #[test]
    fn a_rule_names_something_once() {
        let check = |patch: Value, expected: &[&str]| {
            let rule = merged(
                &json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}),
                &patch,
            );
            let mut errors = ErrorList::new();
            validate_rule(&object(&rule), &Path::new("r"), &mut errors);
            compare(&rule, &errors, expected);
        };
        check(json!({}), &[]);
        check(
            json!({"resources": ["*", "pods/status"], "scope": "Namespaced"}),
            &[],
        );
        check(
            json!({"operations": null, "apiGroups": null, "apiVersions": null, "resources": null}),
            &[
                "r.operations: Required value",
                "r.apiGroups: Required value",
                "r.apiVersions: Required value",
                "r.resources: Required value",
            ],
        );
        check(
            json!({"operations": ["*", "CREATE"], "apiGroups": ["*", "apps"], "apiVersions": ["*", "v1"]}),
            &[
                "r.operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
                "r.apiGroups: Invalid value: [\"*\",\"apps\"]: if '*' is present, must not specify other API groups",
                "r.apiVersions: Invalid value: [\"*\",\"v1\"]: if '*' is present, must not specify other API versions",
            ],
        );
        check(
            json!({"operations": ["PATCH"], "apiVersions": [""], "scope": "World"}),
            &[
                "r.operations[0]: Unsupported value: \"PATCH\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
                "r.apiVersions[0]: Required value",
                "r.scope: Unsupported value: \"World\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ],
        );
        check(
            json!({"resources": ["pods/*", "pods/log", "*/scale", "a/scale", ""]}),
            &[
                "r.resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log",
                "r.resources[3]: Invalid value: \"a/scale\": if '*/scale' is present, must not specify a/scale",
                "r.resources[4]: Required value",
            ],
        );
        check(
            json!({"resources": ["*/*", "*", "pods"]}),
            &[
                "r.resources: Invalid value: [\"*/*\",\"*\",\"pods\"]: if '*/*' is present, must not specify other resources",
                "r.resources: Invalid value: [\"*/*\",\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources",
            ],
        );
    }

    #[test]
    fn conditions_have_names() {
        let value = json!([
            {"name": "", "expression": " "}, {"name": "a", "expression": "true"},
            {"name": "a", "expression": "true"}, {"name": "a b", "expression": "true"},
        ]);
        let conditions: Vec<MatchCondition> = object(&value);
        let mut errors = ErrorList::new();
        validate_conditions(Some(&conditions), &Path::new("w"), &mut errors);
        compare(
            &value,
            &errors,
            &[
                "w.matchConditions[0].expression: Required value",
                "w.matchConditions[0].name: Required value",
                "w.matchConditions[2].name: Duplicate value: \"a\"",
                "w.matchConditions[3].name: Invalid value: \"a b\"",
            ],
        );
    }
}
