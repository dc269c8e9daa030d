//! ValidatingAdmissionPolicy and its binding.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicySpec,
    ValidatingAdmissionPolicyStatus, Validation,
};
use serde_json::Value;

use super::policy::{
    default_match, shown_param_kind, shown_params, validate_binding, validate_constraints,
    validate_param_kind, validate_variables,
};
use super::rules::validate_conditions;
use super::{FAIL, FAILURE_POLICIES};
use crate::kinds::pod_spec::{none_or_one_of, one_of};
use crate::kinds::{cells, conditions};
use crate::registry::strategy::{
    AGE, Column, NAME, Strategy, counts_spec_changes, keeps_status_apart,
};

const REASONS: [&str; 4] = [
    "Forbidden",
    "Invalid",
    "RequestEntityTooLarge",
    "Unauthorized",
];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

/// The rules of ValidatingAdmissionPolicies.
pub struct ValidatingPolicyStrategy;

impl Strategy for ValidatingPolicyStrategy {
    type Object = ValidatingAdmissionPolicy;

    fn default(&self, policy: &mut ValidatingAdmissionPolicy) {
        let spec = policy.spec.get_or_insert_default();
        spec.failure_policy.get_or_insert_with(|| FAIL.to_owned());
        if let Some(constraints) = &mut spec.match_constraints {
            default_match(constraints);
        }
    }

    fn prepare_for_create(&self, policy: &mut ValidatingAdmissionPolicy) {
        policy.status = Some(ValidatingAdmissionPolicyStatus::default());
    }

    fn validate(&self, policy: &ValidatingAdmissionPolicy) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = ValidatingAdmissionPolicySpec::default();
        let spec = policy.spec.as_ref().unwrap_or(&default);
        let path = Path::new("spec");
        let failure = spec.failure_policy.as_deref();
        one_of(
            failure,
            &FAILURE_POLICIES,
            path.child("failurePolicy"),
            &mut errors,
        );
        validate_param_kind(spec.param_kind.as_ref(), &path, &mut errors);
        validate_constraints(spec.match_constraints.as_ref(), &path, &mut errors);
        validate_conditions(spec.match_conditions.as_deref(), &path, &mut errors);
        validate_variables(spec.variables.as_deref(), &path, &mut errors);
        let validations = spec.validations.as_deref().unwrap_or_default();
        let audits = spec.audit_annotations.as_deref().unwrap_or_default();
        if validations.is_empty() && audits.is_empty() {
            let rule = "validations or auditAnnotations must be specified";
            errors.required(path.child("validations"), rule);
            errors.required(path.child("auditAnnotations"), rule);
        }
        for (index, one) in validations.iter().enumerate() {
            validate_one(one, &path.child("validations").index(index), &mut errors);
        }
        let mut seen = BTreeSet::new();
        for (index, audit) in audits.iter().enumerate() {
            let path = path.child("auditAnnotations").index(index);
            errors.invalid_each(
                &path.child("key"),
                &audit.key,
                names::qualified_name(&audit.key),
            );
            if !seen.insert(&audit.key) {
                errors.duplicate(path.child("key"), &audit.key);
            }
            if audit.value_expression.trim().is_empty() {
                let rule = "valueExpression is not specified";
                errors.required(path.child("valueExpression"), rule);
            }
        }
        errors
    }

    keeps_status_apart!();

    fn validate_status_update(
        &self,
        new: &ValidatingAdmissionPolicy,
        _old: &ValidatingAdmissionPolicy,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = new.status.as_ref();
        conditions::validate(status.and_then(|s| s.conditions.as_deref()), &mut errors);
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::integer("Validations", "How many expressions are checked."),
            Column::string("ParamKind", "The kind of its parameters."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, policy: &ValidatingAdmissionPolicy, now: Timestamp) -> Vec<Value> {
        let default = ValidatingAdmissionPolicySpec::default();
        let spec = policy.spec.as_ref().unwrap_or(&default);
        vec![
            cells::name(&policy.metadata),
            spec.validations.as_ref().map_or(0, Vec::len).into(),
            shown_param_kind(spec.param_kind.as_ref()).into(),
            cells::age(&policy.metadata, now),
        ]
    }
}

fn validate_one(one: &Validation, path: &Path, errors: &mut ErrorList) {
    if one.expression.trim().is_empty() {
        errors.required(path.child("expression"), "expression is not specified");
    }
    let here = path.child("message");
    match one.message.as_deref() {
        Some(message) if message.trim().is_empty() => {
            errors.invalid(here, message, "message must be non-empty if specified");
        }
        Some(message) if message.trim().contains(['\n', '\r']) => {
            errors.invalid(here, message, "message must not contain line breaks");
        }
        None if one.expression.trim().contains(['\n', '\r']) => {
            let rule = "message must be specified if expression contains line breaks";
            errors.required(here, rule);
        }
        _ => {}
    }
    if let Some(expression) = one.message_expression.as_deref()
        && expression.trim().is_empty()
    {
        let rule = "must be non-empty if specified";
        errors.invalid(path.child("messageExpression"), expression, rule);
    }
    let reason = one.reason.as_deref();
    none_or_one_of(reason, &REASONS, path.child("reason"), errors);
}

/// The rules of ValidatingAdmissionPolicyBindings.
pub struct ValidatingBindingStrategy;

impl Strategy for ValidatingBindingStrategy {
    type Object = ValidatingAdmissionPolicyBinding;

    fn default(&self, binding: &mut ValidatingAdmissionPolicyBinding) {
        if let Some(resources) = &mut binding.spec.match_resources {
            default_match(resources);
        }
    }

    fn validate(&self, binding: &ValidatingAdmissionPolicyBinding) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&binding.spec, Path::new("spec"));
        let params = spec.param_ref.as_ref();
        let resources = spec.match_resources.as_ref();
        validate_binding(&spec.policy_name, params, resources, &path, &mut errors);
        let path = path.child("validationActions");
        let actions = &spec.validation_actions;
        if actions.is_empty() {
            errors.required(path.clone(), "at least one validation action is required");
        }
        for (index, action) in actions.iter().enumerate() {
            if !ACTIONS.contains(&action.as_str()) {
                errors.not_supported(path.index(index), action, &ACTIONS);
            } else if actions[..index].contains(action) {
                errors.duplicate(path.index(index), action);
            }
        }
        let has = |wanted: &str| actions.iter().any(|a| a == wanted);
        if has("Deny") && has("Warn") {
            errors.invalid(
                path,
                actions,
                "must not contain both Deny and Warn (repeating the same validation failure \
                 information in the API response and headers serves no purpose)",
            );
        }
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        BINDING_COLUMNS
    }

    fn row(&self, binding: &ValidatingAdmissionPolicyBinding, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&binding.metadata),
            binding.spec.policy_name.as_str().into(),
            shown_params(binding.spec.param_ref.as_ref()).into(),
            cells::age(&binding.metadata, now),
        ]
    }
}

pub(super) const BINDING_COLUMNS: &[Column] = &[
    NAME,
    Column::string("PolicyName", "The policy that is applied."),
    Column::string("ParamRef", "Its parameters."),
    AGE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, created, merged};
    use serde_json::json;

    fn policy(patch: &Value) -> Value {
        let base = json!({"metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [
                {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]},
            ]},
            "validations": [{"expression": "true"}],
        }});
        merged(&base, &json!({"spec": patch}))
    }

    #[test]
    fn a_policy_says_what_and_about_what() {
        let check = |patch: Value, expected: &[&str]| {
            check_create(&ValidatingPolicyStrategy, &policy(&patch), expected);
        };
        check(json!({}), &[]);
        check(
            json!({"matchConstraints": null, "validations": null, "failurePolicy": "x"}),
            &[
                "spec.failurePolicy: Unsupported value: \"x\"",
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must be specified",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must be specified",
            ],
        );
        check(
            json!({"matchConstraints": {"resourceRules": null, "matchPolicy": "Fuzzy"}}),
            &[
                "spec.matchConstraints.matchPolicy: Unsupported value: \"Fuzzy\"",
                "spec.matchConstraints.resourceRules: Required value",
            ],
        );
        check(
            json!({"validations": [
                {"expression": " "}, {"expression": "a\nb"},
                {"expression": "a", "message": "x\ny", "messageExpression": "", "reason": "Because"},
            ]}),
            &[
                "spec.validations[0].expression: Required value: expression is not specified",
                "spec.validations[1].message: Required value: message must be specified if expression contains line breaks",
                "spec.validations[2].message: Invalid value: \"x\\ny\": message must not contain line breaks",
                "spec.validations[2].messageExpression: Invalid value: \"\": must be non-empty if specified",
                "spec.validations[2].reason: Unsupported value: \"Because\"",
            ],
        );
        check(
            json!({"paramKind": {"apiVersion": "a/b/c", "kind": ""}, "variables": [{"name": "1a", "expression": ""}, {"name": "v", "expression": "1"}, {"name": "v", "expression": "1"}]}),
            &[
                "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "spec.paramKind.kind: Required value",
                "spec.variables[0].name: Invalid value: \"1a\": name is not a valid CEL identifier",
                "spec.variables[0].expression: Required value: expression is not specified",
                "spec.variables[2].name: Duplicate value: \"v\"",
            ],
        );
        let made = created(&ValidatingPolicyStrategy, &policy(&json!({})));
        let made = serde_json::to_value(made).unwrap();
        assert_eq!(made["spec"]["failurePolicy"], "Fail");
        assert_eq!(
            made["spec"]["matchConstraints"]["resourceRules"][0]["scope"],
            "*"
        );
        let row = [("Validations", "1"), ("ParamKind", "<unset>")];
        check_row(&ValidatingPolicyStrategy, &made, 0, &row);
    }

    #[test]
    fn a_binding_says_what_follows() {
        let check = |spec: Value, expected: &[&str]| {
            let base = json!({"policyName": "p", "validationActions": ["Deny"]});
            let value = json!({"metadata": {"name": "b"}, "spec": merged(&base, &spec)});
            check_create(&ValidatingBindingStrategy, &value, expected);
        };
        check(json!({}), &[]);
        check(
            json!({"paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}}),
            &[],
        );
        check(
            json!({"policyName": "", "validationActions": []}),
            &[
                "spec.policyName: Required value",
                "spec.validationActions: Required value: at least one validation action is required",
            ],
        );
        check(
            json!({"validationActions": ["Deny", "Warn", "Warn", "Shout"]}),
            &[
                "spec.validationActions[2]: Duplicate value: \"Warn\"",
                "spec.validationActions[3]: Unsupported value: \"Shout\": supported values: \"Audit\", \"Deny\", \"Warn\"",
                "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Warn\",\"Shout\"]: must not contain both Deny and Warn",
            ],
        );
        check(
            json!({"paramRef": {}}),
            &[
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Required value",
            ],
        );
        check(
            json!({"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Maybe"}}),
            &[
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Maybe\"",
            ],
        );
        let value = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "paramRef": {"name": "x", "namespace": "n"}}});
        check_row(
            &ValidatingBindingStrategy,
            &value,
            0,
            &[("PolicyName", "p"), ("ParamRef", "n/x")],
        );
    }
}
