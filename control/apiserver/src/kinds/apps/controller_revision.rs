//! ControllerRevision: a state of a StatefulSet or DaemonSet to come back to.

use euston_api::field::{ErrorList, Path};
use euston_api::owners::controller_of;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Value;

use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The rules of ControllerRevisions.
pub struct ControllerRevisionStrategy;

impl Strategy for ControllerRevisionStrategy {
    type Object = ControllerRevision;

    fn validate(&self, revision: &ControllerRevision) -> ErrorList {
        let mut errors = ErrorList::new();
        if revision.data.0.is_null() {
            errors.required(Path::new("data"), "data is mandatory");
        }
        let number = revision.revision.unwrap_or_default();
        errors.non_negative(Path::new("revision"), number);
        errors
    }

    fn validate_update(&self, new: &ControllerRevision, old: &ControllerRevision) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(Path::new("data"), &new.data, &old.data);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Controller", "Controller of the object"),
            Column::string("Revision", "The revision of the controller's state."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, revision: &ControllerRevision, now: Timestamp) -> Vec<Value> {
        let controller = controller_of(&revision.metadata).map(|owner| {
            let group = owner.api_version.split_once('/').map(|(group, _)| group);
            let kind = owner.kind.to_lowercase();
            match group {
                Some(group) => format!("{kind}.{group}/{}", owner.name),
                None => format!("{kind}/{}", owner.name),
            }
        });
        vec![
            cells::name(&revision.metadata),
            cells::or_none(controller.as_deref()),
            revision.revision.unwrap_or_default().into(),
            cells::age(&revision.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update};
    use serde_json::json;

    #[test]
    fn its_data_never_changes() {
        let check = |value: Value, expected: &[&str]| {
            check_create(&ControllerRevisionStrategy, &value, expected);
        };
        check(json!({"data": {"spec": 1}, "revision": 1}), &[]);
        check(json!({"data": {}, "revision": 0}), &[]);
        check(
            json!({"data": null, "revision": -1}),
            &[
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
        let update = |new: Value, expected: &[&str]| {
            let old = json!({"data": {"a": 1}, "revision": 1});
            check_update(&ControllerRevisionStrategy, &old, &new, expected);
        };
        update(json!({"data": {"a": 1}, "revision": 2}), &[]);
        update(
            json!({"data": {"a": 2}, "revision": 1}),
            &["data: Invalid value: {\"a\":2}: field is immutable"],
        );
    }

    #[test]
    fn its_row_names_the_controller() {
        let owner = |api: &str, kind: &str| {
            json!({
                "metadata": {"name": "web-1", "ownerReferences": [
                    {"apiVersion": api, "kind": kind, "name": "web", "uid": "u", "controller": true},
                ]},
                "data": {}, "revision": 3,
            })
        };
        let check = |value: &Value, controller: &str| {
            let expected = [
                ("Name", "web-1"),
                ("Controller", controller),
                ("Revision", "3"),
            ];
            check_row(&ControllerRevisionStrategy, value, 0, &expected);
        };
        check(&owner("apps/v1", "StatefulSet"), "statefulset.apps/web");
        check(&owner("v1", "Pod"), "pod/web");
        let mut orphan = owner("v1", "Pod");
        orphan["metadata"]["ownerReferences"] = json!([]);
        check(&orphan, "<none>");
    }
}
