//! Namespace: what names are unique in, and what goes with everything in it.

use euston_api::field::{ErrorList, Path};
use euston_api::labels::{
    FINALIZER_FOREGROUND, FINALIZER_KUBERNETES, FINALIZER_ORPHAN, NAMESPACE_NAME,
};
use euston_api::names::{self, NameRule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use serde_json::Value;

use super::cells;
use crate::registry::strategy::{AGE, Column, Fields, NAME, Strategy};

const ACTIVE: &str = "Active";
const TERMINATING: &str = "Terminating";

/// The rules of Namespaces. One that is deleted terminates until its contents are
/// gone and `kubernetes` has left `spec.finalizers` (through the finalize subresource).
pub struct NamespaceStrategy;

impl Strategy for NamespaceStrategy {
    type Object = Namespace;

    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Label
    }

    fn default(&self, namespace: &mut Namespace) {
        // With generateName, the name is known from prepare_for_create on.
        if let Some(name) = namespace
            .metadata
            .name
            .clone()
            .filter(|name| !name.is_empty())
        {
            let labels = namespace.metadata.labels.get_or_insert_default();
            labels.insert(NAMESPACE_NAME.to_owned(), name);
        }
    }

    fn prepare_for_create(&self, namespace: &mut Namespace) {
        self.default(namespace);
        namespace.status = Some(NamespaceStatus {
            phase: Some(ACTIVE.to_owned()),
            conditions: None,
        });
        let finalizers = namespace
            .spec
            .get_or_insert_default()
            .finalizers
            .get_or_insert_default();
        if !finalizers.iter().any(|f| f == FINALIZER_KUBERNETES) {
            finalizers.push(FINALIZER_KUBERNETES.to_owned());
        }
    }

    fn validate(&self, namespace: &Namespace) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("finalizers");
        for finalizer in namespace
            .spec
            .iter()
            .flat_map(|s| s.finalizers.iter().flatten())
        {
            errors.invalid_each(&path, finalizer, names::qualified_name(finalizer));
            let standard = [FINALIZER_KUBERNETES, FINALIZER_ORPHAN, FINALIZER_FOREGROUND];
            if !finalizer.contains('/') && !standard.contains(&finalizer.as_str()) {
                errors.invalid(
                    path.clone(),
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                );
            }
        }
        errors
    }

    fn prepare_for_update(&self, new: &mut Namespace, old: &Namespace) {
        new.spec.clone_from(&old.spec);
        new.status.clone_from(&old.status);
    }

    fn prepare_for_status_update(&self, new: &mut Namespace, old: &Namespace) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, new: &Namespace, _old: &Namespace) -> ErrorList {
        let mut errors = ErrorList::new();
        let (wanted, rule) = if new.metadata.deletion_timestamp.is_none() {
            (
                ACTIVE,
                "may only be 'Active' if `deletionTimestamp` is empty",
            )
        } else {
            (
                TERMINATING,
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            )
        };
        if phase(new) != wanted {
            errors.invalid(Path::new("status").child("Phase"), phase(new), rule);
        }
        errors
    }

    fn mark_terminating(&self, namespace: &mut Namespace) {
        namespace.status.get_or_insert_default().phase = Some(TERMINATING.to_owned());
    }

    fn holds_deletion(&self, namespace: &Namespace) -> bool {
        namespace
            .spec
            .iter()
            .flat_map(|s| s.finalizers.iter().flatten())
            .next()
            .is_some()
    }

    fn fields(&self, namespace: &Namespace) -> Fields {
        vec![("status.phase", phase(namespace).to_owned())]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Status", "The status of the namespace"),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, namespace: &Namespace, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&namespace.metadata),
            phase(namespace).into(),
            cells::age(&namespace.metadata, now),
        ]
    }
}

fn phase(namespace: &Namespace) -> &str {
    namespace
        .status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, created, object};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_one_is_active_and_finalized_by_kubernetes() {
        let value = json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}});
        check_create(&NamespaceStrategy, &value, &[]);
        let namespace = created(&NamespaceStrategy, &value);
        assert!(NamespaceStrategy.holds_deletion(&namespace));
        let shown = serde_json::to_value(namespace).unwrap();
        assert_eq!(shown["spec"], json!({"finalizers": ["kubernetes"]}));
        assert_eq!(shown["status"], json!({"phase": "Active"}));
        assert_eq!(
            shown["metadata"]["labels"],
            json!({"kubernetes.io/metadata.name": "a"})
        );
        check_row(
            &NamespaceStrategy,
            &shown,
            0,
            &[("Name", "a"), ("Status", "Active")],
        );
    }

    #[test]
    fn finalizers_are_qualified() {
        let check = |finalizer: &str, expected: &[&str]| {
            check_create(
                &NamespaceStrategy,
                &json!({"spec": {"finalizers": [finalizer]}}),
                expected,
            );
        };
        check("example.com/mine", &[]);
        check("orphan", &[]);
        check(
            "mine",
            &["spec.finalizers: Invalid value: \"mine\": name is neither a standard"],
        );
        check(
            "a b/c",
            &["spec.finalizers: Invalid value: \"a b/c\": prefix part"],
        );
    }

    #[test]
    fn an_update_keeps_spec_and_status() {
        let old = created(&NamespaceStrategy, &json!({"metadata": {"name": "a"}}));
        let mut new: Namespace =
            object(&json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {}}));
        NamespaceStrategy.default(&mut new);
        NamespaceStrategy.prepare_for_update(&mut new, &old);
        assert_eq!((&new.spec, &new.status), (&old.spec, &old.status));
        assert_eq!(new.metadata.labels.as_ref().map(|l| l.len()), Some(2));
    }

    #[test]
    fn the_phase_follows_the_deletion() {
        let status = |deleting: bool, phase: &str| -> Vec<String> {
            let mut namespace: Namespace = object(&json!({"status": {"phase": phase}}));
            if deleting {
                namespace.metadata.deletion_timestamp =
                    Some(euston_api::time::whole_seconds(Timestamp::UNIX_EPOCH));
            }
            let errors = NamespaceStrategy.validate_status_update(&namespace, &namespace);
            errors.iter().map(ToString::to_string).collect()
        };
        assert!(status(false, ACTIVE).is_empty() && status(true, TERMINATING).is_empty());
        assert_eq!(
            status(false, TERMINATING),
            [
                "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
            ],
        );
        assert_eq!(status(true, ACTIVE).len(), 1);
        let mut namespace = Namespace::default();
        NamespaceStrategy.mark_terminating(&mut namespace);
        assert_eq!(phase(&namespace), TERMINATING);
        assert!(!NamespaceStrategy.holds_deletion(&namespace));
    }
}
