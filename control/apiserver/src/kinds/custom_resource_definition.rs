//! CustomResourceDefinition: a kind that a user brings. What it says of its objects is the
//! affair of the crate `euston-custom`.

use euston_api::field::ErrorList;
use euston_api::time::whole_seconds;
use euston_custom::definition;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionStatus,
};
use serde_json::Value;

use crate::registry::strategy::{Column, NAME, Strategy};

/// The rules of CustomResourceDefinitions.
pub struct CustomResourceDefinitionStrategy;

impl Strategy for CustomResourceDefinitionStrategy {
    type Object = CustomResourceDefinition;

    fn default(&self, object: &mut CustomResourceDefinition) {
        definition::default(&mut object.spec);
    }

    fn prepare_for_create(&self, object: &mut CustomResourceDefinition) {
        object.status = Some(CustomResourceDefinitionStatus::default());
        definition::note_storage_version(object);
    }

    fn validate(&self, object: &CustomResourceDefinition) -> ErrorList {
        definition::validate(object)
    }

    fn prepare_for_update(
        &self,
        new: &mut CustomResourceDefinition,
        old: &CustomResourceDefinition,
    ) {
        new.status = old.status.clone();
        definition::note_storage_version(new);
    }

    fn validate_update(
        &self,
        new: &CustomResourceDefinition,
        old: &CustomResourceDefinition,
    ) -> ErrorList {
        definition::validate_update(new, old)
    }

    fn prepare_for_status_update(
        &self,
        new: &mut CustomResourceDefinition,
        old: &CustomResourceDefinition,
    ) {
        new.spec = old.spec.clone();
    }

    fn validate_status_update(
        &self,
        new: &CustomResourceDefinition,
        _old: &CustomResourceDefinition,
    ) -> ErrorList {
        definition::validate_status_update(new)
    }

    fn bumps_generation(
        &self,
        new: &CustomResourceDefinition,
        old: &CustomResourceDefinition,
    ) -> bool {
        new.spec != old.spec
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn mark_terminating(&self, object: &mut CustomResourceDefinition) {
        let now = object.metadata.deletion_timestamp.clone();
        let now = now.unwrap_or_else(|| whole_seconds(Timestamp::UNIX_EPOCH));
        definition::mark_terminating(object, &now);
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column {
                name: "Created At",
                kind: "date",
                format: "",
                description: "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.",
                priority: 0,
            },
        ];
        COLUMNS
    }

    fn row(&self, object: &CustomResourceDefinition, _now: Timestamp) -> Vec<Value> {
        let created = object.metadata.creation_timestamp.as_ref();
        vec![
            super::cells::name(&object.metadata),
            created.map(|time| time.0.to_string()).into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{check_create, check_update, created};
    use super::*;

    fn shirts() -> Value {
        json!({
            "metadata": { "name": "shirts.example.org" },
            "spec": {
                "group": "example.org", "scope": "Namespaced",
                "names": { "plural": "shirts", "kind": "Shirt" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }],
            },
        })
    }

    #[test]
    fn a_definition_gets_its_defaults_and_notes_what_it_stores() {
        let object = created(&CustomResourceDefinitionStrategy, &shirts());
        let names = &object.spec.names;
        assert_eq!(names.singular.as_deref(), Some("shirt"));
        assert_eq!(names.list_kind.as_deref(), Some("ShirtList"));
        assert_eq!(object.spec.conversion.unwrap().strategy, "None");
        let status = object.status.unwrap();
        assert_eq!(status.stored_versions, Some(vec!["v1".to_owned()]));
    }

    #[test]
    fn definitions_are_checked_when_they_come_and_when_they_change() {
        check_create(&CustomResourceDefinitionStrategy, &shirts(), &[]);
        let mut renamed = shirts();
        renamed["spec"]["names"]["plural"] = "trousers".into();
        check_update(
            &CustomResourceDefinitionStrategy,
            &shirts(),
            &renamed,
            &[
                "metadata.name: Invalid value",
                "spec.names.plural: Invalid value: \"trousers\": field is immutable",
            ],
        );
    }

    #[test]
    fn a_definition_that_is_deleted_waits_for_its_objects() {
        let mut object = created(&CustomResourceDefinitionStrategy, &shirts());
        object.metadata.deletion_timestamp = Some(whole_seconds(Timestamp::UNIX_EPOCH));
        CustomResourceDefinitionStrategy.mark_terminating(&mut object);
        assert_eq!(
            object.metadata.finalizers,
            Some(vec![definition::FINALIZER.to_owned()])
        );
        assert!(definition::is_true(&object, definition::TERMINATING));
    }
}
