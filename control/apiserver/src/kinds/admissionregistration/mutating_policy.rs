//! MutatingAdmissionPolicy and its binding.

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingAdmissionPolicyBindingSpec,
    MutatingAdmissionPolicySpec, Mutation,
};
use serde_json::Value;

use super::policy::{
    default_match, shown_param_kind, shown_params, validate_binding, validate_constraints,
    validate_param_kind, validate_variables,
};
use super::rules::validate_conditions;
use super::validating_policy::BINDING_COLUMNS;
use super::{FAIL, FAILURE_POLICIES, NEVER, REINVOCATION};
use crate::kinds::cells;
use crate::kinds::pod_spec::one_of;
use crate::registry::strategy::{AGE, Column, NAME, Strategy, counts_spec_changes};

const APPLY: &str = "ApplyConfiguration";
const JSON_PATCH: &str = "JSONPatch";

/// The rules of MutatingAdmissionPolicies.
pub struct MutatingPolicyStrategy;

impl Strategy for MutatingPolicyStrategy {
    type Object = MutatingAdmissionPolicy;

    fn default(&self, policy: &mut MutatingAdmissionPolicy) {
        let spec = policy.spec.get_or_insert_default();
        spec.failure_policy.get_or_insert_with(|| FAIL.to_owned());
        spec.reinvocation_policy
            .get_or_insert_with(|| NEVER.to_owned());
        if let Some(constraints) = &mut spec.match_constraints {
            default_match(constraints);
        }
    }

    fn validate(&self, policy: &MutatingAdmissionPolicy) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = MutatingAdmissionPolicySpec::default();
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
        let mutations = spec.mutations.as_deref().unwrap_or_default();
        if mutations.is_empty() {
            errors.required(
                path.child("mutations"),
                "mutations must contain at least one item",
            );
        }
        for (index, mutation) in mutations.iter().enumerate() {
            validate_mutation(mutation, &path.child("mutations").index(index), &mut errors);
        }
        let again = spec.reinvocation_policy.as_deref();
        one_of(
            again,
            &REINVOCATION,
            path.child("reinvocationPolicy"),
            &mut errors,
        );
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::integer("Mutations", "How many changes are made."),
            Column::string("ParamKind", "The kind of its parameters."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, policy: &MutatingAdmissionPolicy, now: Timestamp) -> Vec<Value> {
        let default = MutatingAdmissionPolicySpec::default();
        let spec = policy.spec.as_ref().unwrap_or(&default);
        vec![
            cells::name(&policy.metadata),
            spec.mutations.as_ref().map_or(0, Vec::len).into(),
            shown_param_kind(spec.param_kind.as_ref()).into(),
            cells::age(&policy.metadata, now),
        ]
    }
}

fn validate_mutation(mutation: &Mutation, path: &Path, errors: &mut ErrorList) {
    let kind = mutation.patch_type.as_str();
    one_of(
        Some(kind),
        &[APPLY, JSON_PATCH],
        path.child("patchType"),
        errors,
    );
    let apply = mutation.apply_configuration.as_ref().map(|a| &a.expression);
    let patch = mutation.json_patch.as_ref().map(|p| &p.expression);
    for (of, field, expression) in [
        (APPLY, "applyConfiguration", apply),
        (JSON_PATCH, "jsonPatch", patch),
    ] {
        let path = path.child(field);
        match expression {
            None if kind == of => {
                errors.required(path, format!("must be specified when patchType is {of}"));
            }
            Some(_) if kind != of => {
                errors.invalid(
                    path,
                    kind,
                    format!("must be unset when patchType is {kind}"),
                );
            }
            Some(expression) if expression.as_deref().unwrap_or_default().trim().is_empty() => {
                errors.required(path.child("expression"), "expression is not specified");
            }
            _ => {}
        }
    }
}

/// The rules of MutatingAdmissionPolicyBindings.
pub struct MutatingBindingStrategy;

impl Strategy for MutatingBindingStrategy {
    type Object = MutatingAdmissionPolicyBinding;

    fn default(&self, binding: &mut MutatingAdmissionPolicyBinding) {
        let resources = binding
            .spec
            .as_mut()
            .and_then(|s| s.match_resources.as_mut());
        if let Some(resources) = resources {
            default_match(resources);
        }
    }

    fn validate(&self, binding: &MutatingAdmissionPolicyBinding) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = MutatingAdmissionPolicyBindingSpec::default();
        let spec = binding.spec.as_ref().unwrap_or(&default);
        let policy = spec.policy_name.as_deref().unwrap_or_default();
        let (params, resources) = (spec.param_ref.as_ref(), spec.match_resources.as_ref());
        validate_binding(policy, params, resources, &Path::new("spec"), &mut errors);
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        BINDING_COLUMNS
    }

    fn row(&self, binding: &MutatingAdmissionPolicyBinding, now: Timestamp) -> Vec<Value> {
        let default = MutatingAdmissionPolicyBindingSpec::default();
        let spec = binding.spec.as_ref().unwrap_or(&default);
        vec![
            cells::name(&binding.metadata),
            spec.policy_name.as_deref().unwrap_or_default().into(),
            shown_params(spec.param_ref.as_ref()).into(),
            cells::age(&binding.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, created, merged};
    use serde_json::json;

    #[test]
    fn a_change_is_written_in_one_way() {
        let policy = |mutations: Value| {
            json!({"metadata": {"name": "p"}, "spec": {
                "matchConstraints": {"resourceRules": [
                    {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]},
                ]},
                "mutations": mutations,
            }})
        };
        let check = |mutations: Value, expected: &[&str]| {
            check_create(&MutatingPolicyStrategy, &policy(mutations), expected);
        };
        let good = json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]);
        check(good.clone(), &[]);
        check(
            json!([]),
            &["spec.mutations: Required value: mutations must contain at least one item"],
        );
        check(
            json!([{"patchType": "JSONPatch"}, {"patchType": "ApplyConfiguration", "jsonPatch": {"expression": "x"}}, {"patchType": "x"}]),
            &[
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                "spec.mutations[1].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
                "spec.mutations[1].jsonPatch: Invalid value: \"ApplyConfiguration\": must be unset when patchType is ApplyConfiguration",
                "spec.mutations[2].patchType: Unsupported value: \"x\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
            ],
        );
        check(
            json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": " "}}]),
            &[
                "spec.mutations[0].jsonPatch.expression: Required value: expression is not specified",
            ],
        );
        let again = merged(
            &policy(good.clone()),
            &json!({"spec": {"reinvocationPolicy": "Often"}}),
        );
        check_create(
            &MutatingPolicyStrategy,
            &again,
            &[
                "spec.reinvocationPolicy: Unsupported value: \"Often\": supported values: \"IfNeeded\", \"Never\"",
            ],
        );
        let made = serde_json::to_value(created(&MutatingPolicyStrategy, &policy(good))).unwrap();
        assert_eq!(made["spec"]["reinvocationPolicy"], "Never");
        check_row(&MutatingPolicyStrategy, &made, 0, &[("Mutations", "1")]);
        check_create(
            &MutatingBindingStrategy,
            &json!({}),
            &["spec.policyName: Required value"],
        );
        let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p"}});
        check_create(&MutatingBindingStrategy, &binding, &[]);
        check_row(
            &MutatingBindingStrategy,
            &binding,
            0,
            &[("PolicyName", "p"), ("ParamRef", "<unset>")],
        );
    }
}
