//! RoleBinding and ClusterRoleBinding: who has a role.

use euston_access::defaults::GROUP;
use euston_api::field::{ErrorList, Path};
use euston_api::names::{self, NameRule};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

const SERVICE_ACCOUNT: &str = "ServiceAccount";
const USER: &str = "User";
const GROUP_KIND: &str = "Group";

const COLUMNS: &[Column] = &[
    NAME,
    Column::string("Role", "The kind and name of the role that is given."),
    AGE,
    Column::string("Users", "Users who have the role.").wide(),
    Column::string("Groups", "Groups whose members have the role.").wide(),
    Column::string("ServiceAccounts", "Service accounts that have the role.").wide(),
];

fn row(
    meta: &ObjectMeta,
    role: &RoleRef,
    subjects: Option<&Vec<Subject>>,
    now: Timestamp,
) -> Vec<Value> {
    let of = |kind: &str| {
        let named = subjects.into_iter().flatten().filter(|s| s.kind == kind);
        let shown: Vec<String> = named
            .map(|s| match s.namespace.as_deref().filter(|n| !n.is_empty()) {
                Some(namespace) => format!("{namespace}/{}", s.name),
                None => s.name.clone(),
            })
            .collect();
        shown.join(", ").into()
    };
    vec![
        cells::name(meta),
        format!("{}/{}", role.kind, role.name).into(),
        cells::age(meta, now),
        of(USER),
        of(GROUP_KIND),
        of(SERVICE_ACCOUNT),
    ]
}

fn default(role: &mut RoleRef, subjects: Option<&mut Vec<Subject>>) {
    let unset = |group: &Option<String>| group.as_deref().is_none_or(str::is_empty);
    if unset(&role.api_group) {
        role.api_group = Some(GROUP.to_owned());
    }
    for subject in subjects.into_iter().flatten() {
        if unset(&subject.api_group) && matches!(subject.kind.as_str(), USER | GROUP_KIND) {
            subject.api_group = Some(GROUP.to_owned());
        }
    }
}

fn validate(role: &RoleRef, subjects: Option<&Vec<Subject>>, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("roleRef");
    let api_group = role.api_group.as_deref().unwrap_or_default();
    if api_group != GROUP {
        errors.not_supported(path.child("apiGroup"), api_group, &[GROUP]);
    }
    let kinds: &[&str] = if namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&role.kind.as_str()) {
        errors.not_supported(path.child("kind"), &role.kind, kinds);
    }
    if role.name.is_empty() {
        errors.required(path.child("name"), "");
    } else {
        let problems = names::path_segment(&role.name, false);
        errors.invalid_each(&path.child("name"), &role.name, problems);
    }
    for (index, subject) in subjects.into_iter().flatten().enumerate() {
        validate_subject(
            subject,
            namespaced,
            &Path::new("subjects").index(index),
            &mut errors,
        );
    }
    errors
}

fn validate_subject(subject: &Subject, namespaced: bool, path: &Path, errors: &mut ErrorList) {
    let api_group = subject.api_group.as_deref().unwrap_or_default();
    if subject.name.is_empty() {
        errors.required(path.child("name"), "");
    }
    match subject.kind.as_str() {
        SERVICE_ACCOUNT => {
            if !subject.name.is_empty() {
                let problems = names::dns1123_subdomain(&subject.name);
                errors.invalid_each(&path.child("name"), &subject.name, problems);
            }
            if !api_group.is_empty() {
                errors.not_supported(path.child("apiGroup"), api_group, &[""]);
            }
            if !namespaced && subject.namespace.as_deref().is_none_or(str::is_empty) {
                errors.required(path.child("namespace"), "");
            }
        }
        USER | GROUP_KIND if api_group != GROUP => {
            errors.not_supported(path.child("apiGroup"), api_group, &[GROUP]);
        }
        USER | GROUP_KIND => {}
        other => {
            let kinds = [SERVICE_ACCOUNT, USER, GROUP_KIND];
            errors.not_supported(path.child("kind"), other, &kinds);
        }
    }
}

fn same_role(new: &RoleRef, old: &RoleRef) -> ErrorList {
    let mut errors = ErrorList::new();
    if new != old {
        errors.invalid(Path::new("roleRef"), new, "cannot change roleRef");
    }
    errors
}

/// The rules of RoleBindings.
pub struct RoleBindingStrategy;

impl Strategy for RoleBindingStrategy {
    type Object = RoleBinding;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, binding: &mut RoleBinding) {
        default(&mut binding.role_ref, binding.subjects.as_mut());
    }

    fn validate(&self, binding: &RoleBinding) -> ErrorList {
        validate(&binding.role_ref, binding.subjects.as_ref(), true)
    }

    fn validate_update(&self, new: &RoleBinding, old: &RoleBinding) -> ErrorList {
        same_role(&new.role_ref, &old.role_ref)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, binding: &RoleBinding, now: Timestamp) -> Vec<Value> {
        row(
            &binding.metadata,
            &binding.role_ref,
            binding.subjects.as_ref(),
            now,
        )
    }
}

/// The rules of ClusterRoleBindings.
pub struct ClusterRoleBindingStrategy;

impl Strategy for ClusterRoleBindingStrategy {
    type Object = ClusterRoleBinding;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, binding: &mut ClusterRoleBinding) {
        default(&mut binding.role_ref, binding.subjects.as_mut());
    }

    fn validate(&self, binding: &ClusterRoleBinding) -> ErrorList {
        validate(&binding.role_ref, binding.subjects.as_ref(), false)
    }

    fn validate_update(&self, new: &ClusterRoleBinding, old: &ClusterRoleBinding) -> ErrorList {
        same_role(&new.role_ref, &old.role_ref)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, binding: &ClusterRoleBinding, now: Timestamp) -> Vec<Value> {
        row(
            &binding.metadata,
            &binding.role_ref,
            binding.subjects.as_ref(),
            now,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, created};
    use serde_json::json;

    fn binding(role: Value, subjects: Value) -> Value {
        json!({ "roleRef": role, "subjects": subjects })
    }

    fn good() -> Value {
        json!({ "kind": "ClusterRole", "name": "r" })
    }

    #[test]
    fn roles_are_named_by_kind_and_name() {
        let check = |role: Value, in_namespace: &[&str], in_cluster: &[&str]| {
            let binding = binding(role, json!([]));
            check_create(&RoleBindingStrategy, &binding, in_namespace);
            check_create(&ClusterRoleBindingStrategy, &binding, in_cluster);
        };
        check(good(), &[], &[]);
        check(
            json!({"kind": "Role", "name": "r"}),
            &[],
            &["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""],
        );
        let wrong = ["roleRef.apiGroup: Unsupported value: \"apps\""];
        check(
            json!({"kind": "ClusterRole", "name": "r", "apiGroup": "apps"}),
            &wrong,
            &wrong,
        );
        let nameless = ["roleRef.name: Required value"];
        check(
            json!({"kind": "ClusterRole", "name": ""}),
            &nameless,
            &nameless,
        );
        let bad = ["roleRef.name: Invalid value: \"a/b\""];
        check(json!({"kind": "ClusterRole", "name": "a/b"}), &bad, &bad);
    }

    #[test]
    fn subjects_are_users_groups_and_service_accounts() {
        let check = |subject: Value, in_namespace: &[&str], in_cluster: &[&str]| {
            let binding = binding(good(), json!([subject]));
            check_create(&RoleBindingStrategy, &binding, in_namespace);
            check_create(&ClusterRoleBindingStrategy, &binding, in_cluster);
        };
        check(json!({"kind": "User", "name": "a"}), &[], &[]);
        check(json!({"kind": "Group", "name": "system:masters"}), &[], &[]);
        check(
            json!({"kind": "ServiceAccount", "name": "a", "namespace": "n"}),
            &[],
            &[],
        );
        check(
            json!({"kind": "ServiceAccount", "name": "a"}),
            &[],
            &["subjects[0].namespace: Required value"],
        );
        let wrong = [
            "subjects[0].name: Invalid value: \"A_b\"",
            "subjects[0].apiGroup: Unsupported value: \"rbac.authorization.k8s.io\": supported values: \"\"",
        ];
        check(
            json!({"kind": "ServiceAccount", "name": "A_b", "namespace": "n", "apiGroup": GROUP}),
            &wrong,
            &wrong,
        );
        let wrong = ["subjects[0].apiGroup: Unsupported value: \"x\""];
        check(
            json!({"kind": "User", "name": "a", "apiGroup": "x"}),
            &wrong,
            &wrong,
        );
        let wrong = [
            "subjects[0].name: Required value",
            "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ];
        check(json!({"kind": "Robot", "name": ""}), &wrong, &wrong);
    }

    #[test]
    fn groups_are_defaulted_and_the_role_never_changes() {
        let old = binding(good(), json!([{"kind": "User", "name": "a"}]));
        let shown = serde_json::to_value(created(&RoleBindingStrategy, &old)).unwrap();
        assert_eq!(shown["roleRef"]["apiGroup"], GROUP);
        assert_eq!(shown["subjects"][0]["apiGroup"], GROUP);
        let other = binding(json!({"kind": "ClusterRole", "name": "other"}), json!([]));
        check_update(&RoleBindingStrategy, &old, &old, &[]);
        let wrong = [
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"other\"}: cannot change roleRef",
        ];
        check_update(&RoleBindingStrategy, &old, &other, &wrong);
        check_update(&ClusterRoleBindingStrategy, &old, &other, &wrong);
    }

    #[test]
    fn its_row_shows_who() {
        let value = json!({
            "metadata": {"name": "b"},
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [
                {"kind": "User", "name": "a"},
                {"kind": "User", "name": "b"},
                {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
            ],
        });
        let expected = [
            ("Role", "Role/r"),
            ("Users", "a, b"),
            ("Groups", ""),
            ("ServiceAccounts", "n/s"),
        ];
        check_row(&RoleBindingStrategy, &value, 0, &expected);
    }
}
