//! FlowSchema: which requests belong to which priority level.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaStatus, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};
use serde_json::Value;

use super::EXEMPT;
use crate::kinds::cells;
use crate::kinds::pod_spec::required_name;
use crate::registry::strategy::{
    AGE, Column, NAME, Strategy, counts_spec_changes, keeps_status_apart,
};

const PRECEDENCE: i32 = 1_000;
const PRECEDENCE_MAX: i32 = 10_000;
const DISTINGUISHERS: [&str; 2] = ["ByNamespace", "ByUser"];
const SUBJECTS: [&str; 3] = ["Group", "ServiceAccount", "User"];

/// The rules of FlowSchemas.
pub struct FlowSchemaStrategy;

impl Strategy for FlowSchemaStrategy {
    type Object = FlowSchema;

    fn default(&self, schema: &mut FlowSchema) {
        let precedence = &mut schema.spec.matching_precedence;
        if precedence.unwrap_or_default() == 0 {
            *precedence = Some(PRECEDENCE);
        }
    }

    fn prepare_for_create(&self, schema: &mut FlowSchema) {
        schema.status = Some(FlowSchemaStatus::default());
    }

    fn validate(&self, schema: &FlowSchema) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&schema.spec, Path::new("spec"));
        let precedence = spec.matching_precedence.unwrap_or_default();
        let here = path.child("matchingPrecedence");
        if precedence <= 0 {
            errors.invalid(here.clone(), precedence, "must be a positive value");
        }
        if precedence > PRECEDENCE_MAX {
            let rule = format!("must not be greater than {PRECEDENCE_MAX}");
            errors.invalid(here.clone(), precedence, rule);
        }
        if precedence == 1 && schema.metadata.name.as_deref() != Some(EXEMPT) {
            let rule = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.invalid(here, precedence, rule);
        }
        if let Some(method) = &spec.distinguisher_method
            && !DISTINGUISHERS.contains(&method.type_.as_str())
        {
            let path = path.child("distinguisherMethod");
            errors.not_supported(path, &method.type_, &DISTINGUISHERS);
        }
        let level = &spec.priority_level_configuration.name;
        let here = path.child("priorityLevelConfiguration").child("name");
        if level.is_empty() {
            errors.required(here, "must reference a priority level");
        } else {
            errors.invalid_each(&here, level, names::dns1123_subdomain(level));
        }
        for (index, rule) in spec.rules.iter().flatten().enumerate() {
            validate_rule(rule, &path.child("rules").index(index), &mut errors);
        }
        errors
    }

    keeps_status_apart!();

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("PriorityLevel", "The priority level of its requests."),
            Column::integer(
                "MatchingPrecedence",
                "The lower, the earlier it is looked at.",
            ),
            Column::string("DistinguisherMethod", "How its requests form flows."),
            AGE,
            Column::string("MissingPL", "True if there is no such priority level."),
        ];
        COLUMNS
    }

    fn row(&self, schema: &FlowSchema, now: Timestamp) -> Vec<Value> {
        let spec = &schema.spec;
        let conditions = schema
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten());
        let dangling = conditions.into_iter().find(|c| c.type_ == "Dangling");
        let missing = dangling.and_then(|c| c.status.clone());
        let method = spec.distinguisher_method.as_ref().map(|m| m.type_.as_str());
        vec![
            cells::name(&schema.metadata),
            spec.priority_level_configuration.name.as_str().into(),
            spec.matching_precedence.unwrap_or_default().into(),
            cells::or_none(method),
            cells::age(&schema.metadata, now),
            missing.unwrap_or_else(|| "?".to_owned()).into(),
        ]
    }
}

fn validate_rule(rule: &PolicyRulesWithSubjects, path: &Path, errors: &mut ErrorList) {
    let here = path.child("subjects");
    if rule.subjects.is_empty() {
        errors.required(here.clone(), "subjects must contain at least one value");
    }
    for (index, subject) in rule.subjects.iter().enumerate() {
        validate_subject(subject, &here.index(index), errors);
    }
    let resources = rule.resource_rules.as_deref().unwrap_or_default();
    let others = rule.non_resource_rules.as_deref().unwrap_or_default();
    if resources.is_empty() && others.is_empty() {
        let rule = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.required(path.clone(), rule);
    }
    for (index, rule) in resources.iter().enumerate() {
        validate_resource_rule(rule, &path.child("resourceRules").index(index), errors);
    }
    for (index, rule) in others.iter().enumerate() {
        let path = path.child("nonResourceRules").index(index);
        needs_some(
            &rule.verbs,
            "verbs must contain at least one value",
            path.child("verbs"),
            errors,
        );
        let words = "nonResourceURLs must contain at least one value";
        needs_some(
            &rule.non_resource_urls,
            words,
            path.child("nonResourceURLs"),
            errors,
        );
    }
}

fn needs_some(list: &[String], rule: &str, path: Path, errors: &mut ErrorList) {
    if list.is_empty() {
        errors.required(path, rule);
    } else if list.len() > 1 && list.iter().any(|one| one == "*") {
        errors.invalid(
            path,
            list,
            "if '*' is present, must not specify other values",
        );
    }
}

fn validate_resource_rule(rule: &ResourcePolicyRule, path: &Path, errors: &mut ErrorList) {
    needs_some(
        &rule.verbs,
        "verbs must contain at least one value",
        path.child("verbs"),
        errors,
    );
    let words = "resource rules must supply at least one api group";
    needs_some(&rule.api_groups, words, path.child("apiGroups"), errors);
    let words = "resource rules must supply at least one resource";
    needs_some(&rule.resources, words, path.child("resources"), errors);
    let namespaces = rule.namespaces.as_deref().unwrap_or_default();
    let here = path.child("namespaces");
    if namespaces.is_empty() {
        if rule.cluster_scope != Some(true) {
            let rule =
                "resource rules that are not cluster scoped must supply at least one namespace";
            errors.required(here, rule);
        }
        return;
    }
    for (index, namespace) in namespaces.iter().enumerate() {
        if namespace != "*" {
            let path = here.index(index);
            errors.invalid_each(&path, namespace, names::dns1123_label(namespace));
        }
    }
}

fn validate_subject(subject: &Subject, path: &Path, errors: &mut ErrorList) {
    let parts = [
        ("User", "user", subject.user.as_ref().map(|s| &s.name)),
        ("Group", "group", subject.group.as_ref().map(|s| &s.name)),
        (
            "ServiceAccount",
            "serviceAccount",
            subject.service_account.as_ref().map(|s| &s.name),
        ),
    ];
    if !SUBJECTS.contains(&subject.kind.as_str()) {
        errors.not_supported(path.child("kind"), &subject.kind, &SUBJECTS);
        return;
    }
    for (kind, field, name) in parts {
        let here = path.child(field);
        match name {
            None if subject.kind == kind => {
                let rule = format!("{field} is required when subject kind is '{kind}'");
                errors.required(here, rule);
            }
            Some(_) if subject.kind != kind => {
                let rule = format!("{field} is forbidden when subject kind is not '{kind}'");
                errors.forbidden(here, rule);
            }
            Some(name) if name.is_empty() => errors.required(here.child("name"), ""),
            _ => {}
        }
    }
    if let Some(account) = &subject.service_account
        && subject.kind == "ServiceAccount"
    {
        let path = path.child("serviceAccount").child("namespace");
        let rule = |n: &str| {
            if n == "*" {
                Vec::new()
            } else {
                names::dns1123_label(n)
            }
        };
        required_name(&account.namespace, rule, path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, created, merged};
    use serde_json::json;

    fn schema(spec: Value) -> Value {
        let base = json!({"priorityLevelConfiguration": {"name": "low"}, "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "*"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
        }]});
        json!({"metadata": {"name": "s"}, "spec": merged(&base, &spec)})
    }

    #[test]
    fn requests_are_told_apart() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&FlowSchemaStrategy, &schema(spec), expected);
        };
        check(json!({}), &[]);
        check(
            json!({"matchingPrecedence": 1, "priorityLevelConfiguration": {"name": ""}, "distinguisherMethod": {"type": "ByMood"}}),
            &[
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.distinguisherMethod: Unsupported value: \"ByMood\": supported values: \"ByNamespace\", \"ByUser\"",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ],
        );
        check(
            json!({"matchingPrecedence": -1}),
            &["spec.matchingPrecedence: Invalid value: -1: must be a positive value"],
        );
        check(
            json!({"matchingPrecedence": 10001}),
            &["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
        );
        check(
            json!({"rules": [{"subjects": []}]}),
            &[
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ],
        );
        check(
            json!({"rules": [{
                "subjects": [{"kind": "Group", "user": {"name": "x"}}, {"kind": "Robot"}, {"kind": "ServiceAccount", "serviceAccount": {"name": "", "namespace": ""}}],
                "resourceRules": [{"verbs": [], "apiGroups": [], "resources": []}],
                "nonResourceRules": [{"verbs": ["*", "get"], "nonResourceURLs": []}],
            }]}),
            &[
                "spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'",
                "spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'",
                "spec.rules[0].subjects[1].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                "spec.rules[0].subjects[2].serviceAccount.name: Required value",
                "spec.rules[0].subjects[2].serviceAccount.namespace: Required value",
                "spec.rules[0].resourceRules[0].verbs: Required value: verbs must contain at least one value",
                "spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
                "spec.rules[0].nonResourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs: Required value",
            ],
        );
        let made = serde_json::to_value(created(&FlowSchemaStrategy, &schema(json!({})))).unwrap();
        let row = [
            ("PriorityLevel", "low"),
            ("MatchingPrecedence", "1000"),
            ("DistinguisherMethod", "<none>"),
            ("MissingPL", "?"),
        ];
        check_row(&FlowSchemaStrategy, &made, 0, &row);
    }
}
