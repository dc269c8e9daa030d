//! ReplicaSet: so many pods of one template.

use euston_api::field::{ErrorList, Path};
use euston_api::selector::format_label_selector;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use serde_json::Value;

use super::{cells, workload};
use crate::registry::strategy::{
    AGE, Column, NAME, Scale, Strategy, counts_spec_changes, keeps_status_apart,
};

/// The rules of ReplicaSets.
pub struct ReplicaSetStrategy;

impl Strategy for ReplicaSetStrategy {
    type Object = ReplicaSet;

    fn default(&self, set: &mut ReplicaSet) {
        let spec = &mut set.spec;
        spec.replicas.get_or_insert(1);
        if let Some(template) = &mut spec.template {
            workload::default_template(template);
        }
    }

    fn prepare_for_create(&self, set: &mut ReplicaSet) {
        set.status = Some(ReplicaSetStatus::default());
    }

    fn validate(&self, set: &ReplicaSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = &set.spec;
        let path = Path::new("spec");
        errors.non_negative(
            path.child("replicas"),
            spec.replicas.unwrap_or_default().into(),
        );
        let ready = spec.min_ready_seconds.unwrap_or_default();
        errors.non_negative(path.child("minReadySeconds"), ready.into());
        let template = spec.template.as_ref();
        workload::validate_selector(&spec.selector, template, "replicaset", &path, &mut errors);
        match template {
            None => errors.required(path.child("template"), ""),
            Some(template) => {
                let path = path.child("template");
                workload::validate_template(template, "ReplicaSet", &path, &mut errors);
            }
        }
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("selector");
        errors.immutable(path, &new.spec.selector, &old.spec.selector);
        errors
    }

    fn validate_status_update(&self, new: &ReplicaSet, _old: &ReplicaSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = ReplicaSetStatus::default();
        let status = new.status.as_ref().unwrap_or(&default);
        workload::validate_observed_generation(status.observed_generation, &mut errors);
        workload::validate_counts(
            &[
                ("replicas", Some(status.replicas)),
                ("fullyLabeledReplicas", status.fully_labeled_replicas),
                ("readyReplicas", status.ready_replicas),
                ("availableReplicas", status.available_replicas),
                ("terminatingReplicas", status.terminating_replicas),
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

    fn warnings(&self, set: &ReplicaSet) -> Vec<String> {
        workload::template_warnings(set.spec.template.as_ref(), &Path::new("spec"))
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

    fn row(&self, set: &ReplicaSet, now: Timestamp) -> Vec<Value> {
        let default = ReplicaSetStatus::default();
        let spec = &set.spec;
        let status = set.status.as_ref().unwrap_or(&default);
        let [names, images] = cells::containers(workload::containers(spec.template.as_ref()));
        vec![
            cells::name(&set.metadata),
            spec.replicas.unwrap_or_default().into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or_default().into(),
            cells::age(&set.metadata, now),
            names,
            images,
            format_label_selector(&spec.selector).into(),
        ]
    }

    fn scale(&self, set: &ReplicaSet) -> Option<Scale> {
        let spec = &set.spec;
        Some(Scale {
            replicas: spec.replicas.unwrap_or_default(),
            observed: set.status.as_ref().map(|s| s.replicas).unwrap_or_default(),
            selector: workload::selector_text(&spec.selector),
        })
    }

    fn set_replicas(&self, set: &mut ReplicaSet, replicas: i32) {
        set.spec.replicas = Some(replicas);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_update, compare, merged, object};
    use super::*;
    use serde_json::json;

    fn set(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "web-1"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "a", "image": "app:v1"}]},
            },
        }});
        merged(&base, &json!({"spec": spec}))
    }

    #[test]
    fn a_template_is_needed_and_matched() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&ReplicaSetStrategy, &set(spec), expected)
        };
        check(json!({}), &[]);
        check(
            json!({"template": null}),
            &["spec.template: Required value"],
        );
        check(
            json!({"replicas": -1, "minReadySeconds": -1}),
            &[
                "spec.replicas: Invalid value: -1",
                "spec.minReadySeconds: Invalid value: -1",
            ],
        );
        check(
            json!({"selector": {"matchLabels": {"app": "x"}}}),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ],
        );
        check(
            json!({"selector": {"matchLabels": null}}),
            &["spec.selector: Invalid value: {}: empty selector is invalid for replicaset"],
        );
        check(
            json!({"template": {"spec": {"restartPolicy": "OnFailure"}}}),
            &["spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\""],
        );
    }

    #[test]
    fn the_selector_stays() {
        let other = set(
            json!({"selector": {"matchLabels": {"b": "c"}}, "template": {"metadata": {"labels": {"b": "c"}}}}),
        );
        check_update(
            &ReplicaSetStrategy,
            &set(json!({})),
            &other,
            &["spec.selector: Invalid value: {"],
        );
        check_update(
            &ReplicaSetStrategy,
            &set(json!({})),
            &set(json!({"template": {"spec": {"containers": [{"name": "b", "image": "x"}]}}})),
            &[],
        );
    }

    #[test]
    fn a_status_adds_up() {
        let status = merged(
            &set(json!({})),
            &json!({"status": {"replicas": 1, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}}),
        );
        let errors = ReplicaSetStrategy.validate_status_update(&object(&status), &object(&status));
        compare(
            &status,
            &errors,
            &[
                "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
            ],
        );
    }

    #[test]
    fn rows_and_scale() {
        let value = merged(
            &set(json!({"replicas": 3})),
            &json!({"status": {"replicas": 2, "readyReplicas": 1}}),
        );
        check_row(
            &ReplicaSetStrategy,
            &value,
            0,
            &[
                ("Desired", "3"),
                ("Current", "2"),
                ("Ready", "1"),
                ("Images", "app:v1"),
                ("Selector", "app=web"),
            ],
        );
        let mut set: ReplicaSet = object(&value);
        assert_eq!(
            ReplicaSetStrategy
                .scale(&set)
                .map(|s| (s.replicas, s.observed)),
            Some((3, 2))
        );
        ReplicaSetStrategy.set_replicas(&mut set, 0);
        assert_eq!(set.spec.replicas, Some(0));
    }
}
