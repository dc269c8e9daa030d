//! ReplicationController: what ReplicaSets were before they had selectors with operators.

use std::collections::BTreeMap;

use euston_api::field::{ErrorList, Path};
use euston_api::selector::LabelSelector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerStatus};
use serde_json::Value;

use super::{cells, workload};
use crate::registry::strategy::{
    AGE, Column, Fields, NAME, Scale, Strategy, counts_spec_changes, keeps_status_apart,
};

/// The rules of ReplicationControllers.
pub struct ReplicationControllerStrategy;

impl Strategy for ReplicationControllerStrategy {
    type Object = ReplicationController;

    fn default(&self, object: &mut ReplicationController) {
        let spec = object.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        let Some(template) = &mut spec.template else {
            return;
        };
        workload::default_template(template);
        // Both are the template's labels where they are not given.
        let labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref());
        for mine in [&mut spec.selector, &mut object.metadata.labels] {
            if mine.as_ref().is_none_or(BTreeMap::is_empty) {
                *mine = labels.cloned();
            }
        }
    }

    fn prepare_for_create(&self, object: &mut ReplicationController) {
        object.status = Some(ReplicationControllerStatus::default());
    }

    fn validate(&self, object: &ReplicationController) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let Some(spec) = &object.spec else {
            errors.required(path, "");
            return errors;
        };
        let ready = spec.min_ready_seconds.unwrap_or_default();
        errors.non_negative(path.child("minReadySeconds"), ready.into());
        let none = BTreeMap::new();
        let selector = spec.selector.as_ref().unwrap_or(&none);
        if selector.is_empty() {
            errors.required(path.child("selector"), "");
        }
        let replicas = spec.replicas.unwrap_or_default();
        errors.non_negative(path.child("replicas"), replicas.into());
        let here = path.child("template");
        let Some(template) = &spec.template else {
            errors.required(here, "");
            return errors;
        };
        let labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref());
        let labels = labels.unwrap_or(&none);
        if selector
            .iter()
            .any(|(key, value)| labels.get(key) != Some(value))
        {
            errors.invalid(
                here.child("metadata").child("labels"),
                labels,
                "`selector` does not match template `labels`",
            );
        }
        workload::validate_template(template, "ReplicationController", &here, &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_status_update(
        &self,
        new: &ReplicationController,
        _old: &ReplicationController,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = ReplicationControllerStatus::default();
        let status = new.status.as_ref().unwrap_or(&default);
        workload::validate_observed_generation(status.observed_generation, &mut errors);
        workload::validate_counts(
            &[
                ("replicas", Some(status.replicas)),
                ("fullyLabeledReplicas", status.fully_labeled_replicas),
                ("readyReplicas", status.ready_replicas),
                ("availableReplicas", status.available_replicas),
            ],
            &[
                ("fullyLabeledReplicas", "replicas", "status.replicas"),
                ("readyReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "readyReplicas", "readyReplicas"),
            ],
            &mut errors,
        );
        errors
    }

    counts_spec_changes!();

    fn warnings(&self, object: &ReplicationController) -> Vec<String> {
        let template = object.spec.as_ref().and_then(|s| s.template.as_ref());
        workload::template_warnings(template, &Path::new("spec"))
    }

    fn fields(&self, object: &ReplicationController) -> Fields {
        vec![("status.replicas", observed(object).to_string())]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::integer("Desired", "The number of desired pods."),
            Column::integer("Current", "The most recently observed number of pods."),
            Column::integer("Ready", "The number of pods that are ready."),
            AGE,
            Column::string("Containers", "Names of each container in the template.").wide(),
            Column::string(
                "Images",
                "Images referenced by each container in the template.",
            )
            .wide(),
            Column::string("Selector", "Label selector for pods.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &ReplicationController, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.as_ref();
        let ready = object.status.as_ref().and_then(|s| s.ready_replicas);
        let template = spec.and_then(|s| s.template.as_ref());
        let [names, images] = cells::containers(workload::containers(template));
        vec![
            cells::name(&object.metadata),
            spec.and_then(|s| s.replicas).unwrap_or_default().into(),
            observed(object).into(),
            ready.unwrap_or_default().into(),
            cells::age(&object.metadata, now),
            names,
            images,
            cells::labels(spec.and_then(|s| s.selector.as_ref())),
        ]
    }

    fn scale(&self, object: &ReplicationController) -> Option<Scale> {
        let spec = object.spec.as_ref()?;
        let selector = spec.selector.as_ref().map(LabelSelector::from_map);
        Some(Scale {
            replicas: spec.replicas.unwrap_or_default(),
            observed: observed(object),
            selector: match selector {
                Some(Ok(selector)) => selector.to_string(),
                _ => String::new(),
            },
        })
    }

    fn set_replicas(&self, object: &mut ReplicationController, replicas: i32) {
        object.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn observed(object: &ReplicationController) -> i32 {
    object
        .status
        .as_ref()
        .map(|s| s.replicas)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_status, created, merged, object};
    use super::*;
    use serde_json::json;

    fn controller(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "web"}, "spec": {
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "a", "image": "app:v1"}]},
            },
        }});
        merged(&base, &json!({"spec": spec}))
    }

    fn check(spec: Value, expected: &[&str]) {
        check_create(&ReplicationControllerStrategy, &controller(spec), expected);
    }

    #[test]
    fn labels_come_from_the_template() {
        let made = created(&ReplicationControllerStrategy, &controller(json!({})));
        let wanted = Some([("app".to_owned(), "web".to_owned())].into());
        assert_eq!(made.metadata.labels, wanted);
        let spec = made.spec.unwrap();
        assert_eq!((spec.selector, spec.replicas), (wanted, Some(1)));
    }

    #[test]
    fn what_is_wrong_is_told_by_path() {
        check(json!({}), &[]);
        check(json!({"selector": {"app": "web"}, "replicas": 0}), &[]);
        check(
            json!({"selector": {"app": "api"}, "replicas": -1, "minReadySeconds": -1}),
            &[
                "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ],
        );
        check(
            json!({"template": null}),
            &[
                "spec.selector: Required value",
                "spec.template: Required value",
            ],
        );
        check(
            json!({"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 1}}}),
            &[
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
            ],
        );
    }

    #[test]
    fn a_status_adds_up() {
        let whole = |status: Value| merged(&controller(json!({})), &json!({"status": status}));
        let old = whole(json!({"replicas": 0}));
        let check = |status: Value, expected: &[&str]| {
            check_status(
                &ReplicationControllerStrategy,
                &old,
                &whole(status),
                expected,
            );
        };
        check(
            json!({"replicas": 2, "readyReplicas": 1, "availableReplicas": 1}),
            &[],
        );
        check(
            json!({"replicas": 1, "fullyLabeledReplicas": 2, "availableReplicas": 1, "observedGeneration": -1}),
            &[
                "status.observedGeneration: Invalid value: -1",
                "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
            ],
        );
    }

    #[test]
    fn its_row_its_field_and_its_scale() {
        let value = merged(
            &controller(json!({"replicas": 3, "selector": {"app": "web"}})),
            &json!({"status": {"replicas": 2, "readyReplicas": 1}}),
        );
        check_row(
            &ReplicationControllerStrategy,
            &value,
            0,
            &[
                ("Desired", "3"),
                ("Current", "2"),
                ("Ready", "1"),
                ("Selector", "app=web"),
            ],
        );
        let object: ReplicationController = object(&value);
        let fields = ReplicationControllerStrategy.fields(&object);
        assert_eq!(fields, [("status.replicas", "2".to_owned())]);
        let scale = ReplicationControllerStrategy.scale(&object).unwrap();
        assert_eq!((scale.replicas, scale.observed), (3, 2));
        assert_eq!(scale.selector, "app=web");
    }
}
