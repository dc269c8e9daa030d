//! DaemonSet: one pod on every node.

use euston_api::field::{ErrorList, Path};
use euston_api::int_or_percent::{is_zero, validate_at_most_all, validate_non_negative};
use euston_api::selector::format_label_selector;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus, DaemonSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::stateful_set::{ON_DELETE, ROLLING_UPDATE};
use crate::kinds::{cells, workload};
use crate::registry::strategy::{AGE, Column, NAME, Strategy, counts_spec_changes};

/// Counts the versions of the template, from 1. The field that once held it is gone from
/// the API, and clients still look for the annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Old templates that are kept for a rollback.
const HISTORY: i32 = 10;

/// The rules of DaemonSets.
pub struct DaemonSetStrategy;

impl Strategy for DaemonSetStrategy {
    type Object = DaemonSet;

    fn default(&self, set: &mut DaemonSet) {
        let spec = &mut set.spec;
        spec.revision_history_limit.get_or_insert(HISTORY);
        let strategy = spec.update_strategy.get_or_insert_default();
        if strategy.type_.as_deref().is_none_or(str::is_empty) {
            strategy.type_ = Some(ROLLING_UPDATE.to_owned());
        }
        if strategy.type_.as_deref() == Some(ROLLING_UPDATE) {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        workload::default_template(&mut spec.template);
    }

    fn prepare_for_create(&self, set: &mut DaemonSet) {
        set.status = Some(DaemonSetStatus::default());
        let given = template_generation(set);
        set_template_generation(set, given.unwrap_or_default().max(1));
    }

    fn validate(&self, set: &DaemonSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = &set.spec;
        let template = Some(&spec.template);
        workload::validate_selector(&spec.selector, template, "daemonset", &path, &mut errors);
        let here = path.child("template");
        workload::validate_template(&spec.template, "DaemonSet", &here, &mut errors);
        let ready = spec.min_ready_seconds.unwrap_or_default();
        errors.non_negative(path.child("minReadySeconds"), ready.into());
        if let Some(strategy) = &spec.update_strategy {
            validate_strategy(strategy, &path.child("updateStrategy"), &mut errors);
        }
        if let Some(limit) = spec.revision_history_limit {
            errors.non_negative(path.child("revisionHistoryLimit"), limit.into());
        }
        if set
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|a| a.contains_key(TEMPLATE_GENERATION))
            && template_generation(set).is_none()
        {
            let path = Path::new("metadata")
                .child("annotations")
                .key(TEMPLATE_GENERATION);
            let given = set
                .metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get(TEMPLATE_GENERATION));
            errors.invalid(path, given, "must be a number");
        }
        errors
    }

    fn prepare_for_update(&self, new: &mut DaemonSet, old: &DaemonSet) {
        new.status.clone_from(&old.status);
        let changed = new.spec.template != old.spec.template;
        let was = template_generation(old).unwrap_or(1);
        set_template_generation(new, if changed { was.saturating_add(1) } else { was });
    }

    fn validate_update(&self, new: &DaemonSet, old: &DaemonSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("selector");
        errors.immutable(path, &new.spec.selector, &old.spec.selector);
        errors
    }

    fn prepare_for_status_update(&self, new: &mut DaemonSet, old: &DaemonSet) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, new: &DaemonSet, old: &DaemonSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = DaemonSetStatus::default();
        let status = new.status.as_ref().unwrap_or(&default);
        let counts = [
            (
                "currentNumberScheduled",
                Some(status.current_number_scheduled),
            ),
            ("numberMisscheduled", Some(status.number_misscheduled)),
            (
                "desiredNumberScheduled",
                Some(status.desired_number_scheduled),
            ),
            ("numberReady", Some(status.number_ready)),
            ("updatedNumberScheduled", status.updated_number_scheduled),
            ("numberAvailable", status.number_available),
            ("numberUnavailable", status.number_unavailable),
            ("collisionCount", status.collision_count),
        ];
        workload::validate_counts(&counts, &[], &mut errors);
        workload::validate_observed_generation(status.observed_generation, &mut errors);
        let collisions = |s: &DaemonSet| s.status.as_ref().and_then(|s| s.collision_count);
        workload::validate_collisions(collisions(new), collisions(old), &mut errors);
        errors
    }

    counts_spec_changes!();

    fn warnings(&self, set: &DaemonSet) -> Vec<String> {
        workload::template_warnings(Some(&set.spec.template), &Path::new("spec"))
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::integer("Desired", "Nodes that should run the pod."),
            Column::integer("Current", "Nodes that should run the pod and have one."),
            Column::integer("Ready", "Nodes whose pod is ready."),
            Column::integer("Up-to-date", "Nodes whose pod has the current template."),
            Column::integer("Available", "Nodes whose pod has been ready long enough."),
            Column::string("Node Selector", "Labels of the nodes that are meant."),
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

    fn row(&self, set: &DaemonSet, now: Timestamp) -> Vec<Value> {
        let default = DaemonSetStatus::default();
        let status = set.status.as_ref().unwrap_or(&default);
        let template = &set.spec.template;
        let nodes = template
            .spec
            .as_ref()
            .and_then(|s| s.node_selector.as_ref());
        let [names, images] = cells::containers(workload::containers(Some(template)));
        vec![
            cells::name(&set.metadata),
            status.desired_number_scheduled.into(),
            status.current_number_scheduled.into(),
            status.number_ready.into(),
            status.updated_number_scheduled.unwrap_or_default().into(),
            status.number_available.unwrap_or_default().into(),
            cells::labels(nodes),
            cells::age(&set.metadata, now),
            names,
            images,
            format_label_selector(&set.spec.selector).into(),
        ]
    }
}

fn template_generation(set: &DaemonSet) -> Option<i64> {
    set.metadata
        .annotations
        .as_ref()?
        .get(TEMPLATE_GENERATION)?
        .parse()
        .ok()
}

fn set_template_generation(set: &mut DaemonSet, generation: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
}

fn validate_strategy(strategy: &DaemonSetUpdateStrategy, path: &Path, errors: &mut ErrorList) {
    match strategy.type_.as_deref().unwrap_or_default() {
        ON_DELETE => {}
        ROLLING_UPDATE => {
            let path = path.child("rollingUpdate");
            let Some(rolling) = &strategy.rolling_update else {
                return errors.required(path, "");
            };
            let none = IntOrString::Int(0);
            let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&none);
            let surge = rolling.max_surge.as_ref().unwrap_or(&none);
            let (here, surges) = (path.child("maxUnavailable"), path.child("maxSurge"));
            validate_non_negative(unavailable, &here, errors);
            validate_non_negative(surge, &surges, errors);
            validate_at_most_all(unavailable, &here, errors);
            validate_at_most_all(surge, &surges, errors);
            match (is_zero(unavailable), is_zero(surge)) {
                (false, false) => {
                    let rule = "may not be set when maxUnavailable is non-zero";
                    errors.invalid(surges, surge, rule);
                }
                (true, true) => errors.required(here, "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => errors.not_supported(path.clone(), strategy, &[ON_DELETE, ROLLING_UPDATE]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{
        check_create, check_row, check_status, check_update, created, merged, object,
    };
    use serde_json::json;

    fn set(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "log"}, "spec": {
            "selector": {"matchLabels": {"app": "log"}},
            "template": {
                "metadata": {"labels": {"app": "log"}},
                "spec": {"containers": [{"name": "a", "image": "log:v1"}]},
            },
        }});
        merged(&base, &json!({"spec": spec}))
    }

    #[test]
    fn defaults() {
        let made = serde_json::to_value(created(&DaemonSetStrategy, &set(json!({})))).unwrap();
        for (pointer, value) in [
            ("/spec/revisionHistoryLimit", json!(10)),
            (
                "/spec/updateStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
            ),
            ("/spec/template/spec/restartPolicy", json!("Always")),
            (
                "/metadata/annotations",
                json!({"deprecated.daemonset.template.generation": "1"}),
            ),
        ] {
            assert_eq!(made.pointer(pointer), Some(&value), "{pointer}");
        }
        let made = created(
            &DaemonSetStrategy,
            &set(json!({"updateStrategy": {"type": "OnDelete"}})),
        );
        let strategy = made.spec.update_strategy.unwrap();
        assert_eq!(strategy.rolling_update, None);
    }

    #[test]
    fn what_is_wrong_is_told_by_path() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&DaemonSetStrategy, &set(spec), expected);
        };
        let rolling = |surge: Value, unavailable: Value, expected: &[&str]| {
            check(
                json!({"updateStrategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}),
                expected,
            );
        };
        check(json!({}), &[]);
        rolling(json!("10%"), json!(0), &[]);
        rolling(
            json!(1),
            json!(1),
            &[
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
            ],
        );
        rolling(
            json!("0%"),
            json!(0),
            &[
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ],
        );
        rolling(
            json!(0),
            json!("101%"),
            &[
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        );
        rolling(
            json!(0),
            json!(-1),
            &[
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
        check(
            json!({"updateStrategy": {"type": "Never"}}),
            &[
                "spec.updateStrategy: Unsupported value: {\"type\":\"Never\"}: supported values: \"OnDelete\", \"RollingUpdate\"",
            ],
        );
        check(
            json!({"selector": {"matchLabels": {"app": "x"}}, "minReadySeconds": -1, "revisionHistoryLimit": -1}),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"log\"}: `selector` does not match template `labels`",
                "spec.minReadySeconds: Invalid value: -1",
                "spec.revisionHistoryLimit: Invalid value: -1",
            ],
        );
        check(
            json!({"selector": {"matchLabels": null}}),
            &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
        );
        check(
            json!({"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 5}}}),
            &[
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
            ],
        );
    }

    #[test]
    fn a_new_template_has_a_new_generation() {
        let check = |spec: Value, expected: &str, bumps: bool| {
            let old = created(&DaemonSetStrategy, &set(json!({})));
            let mut new: DaemonSet = object(&set(spec.clone()));
            DaemonSetStrategy.default(&mut new);
            DaemonSetStrategy.prepare_for_update(&mut new, &old);
            let annotations = new.metadata.annotations.clone().unwrap();
            assert_eq!(annotations[TEMPLATE_GENERATION], expected, "{spec}");
            assert_eq!(
                DaemonSetStrategy.bumps_generation(&new, &old),
                bumps,
                "{spec}"
            );
        };
        check(json!({}), "1", false);
        check(json!({"minReadySeconds": 5}), "1", true);
        check(
            json!({"template": {"metadata": {"labels": {"v": "2"}}}}),
            "2",
            true,
        );
        let mut given = set(json!({}));
        given["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "7"});
        let made = created(&DaemonSetStrategy, &given);
        assert_eq!(made.metadata.annotations.unwrap()[TEMPLATE_GENERATION], "7");
    }

    #[test]
    fn the_selector_never_changes() {
        let other = json!({
            "selector": {"matchLabels": {"app": "other"}},
            "template": {"metadata": {"labels": {"app": "other"}}},
        });
        check_update(
            &DaemonSetStrategy,
            &set(json!({})),
            &set(other),
            &[
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"other\"}}: field is immutable",
            ],
        );
    }

    #[test]
    fn counts_of_a_status_are_not_negative() {
        let whole = |status: Value| merged(&set(json!({})), &json!({"status": status}));
        let good = json!({"currentNumberScheduled": 1, "numberMisscheduled": 0,
                          "desiredNumberScheduled": 2, "numberReady": 1, "collisionCount": 2});
        check_status(
            &DaemonSetStrategy,
            &whole(good.clone()),
            &whole(good.clone()),
            &[],
        );
        let bad = merged(
            &good,
            &json!({"numberReady": -1, "numberAvailable": -2,
                                        "observedGeneration": -1, "collisionCount": 1}),
        );
        check_status(
            &DaemonSetStrategy,
            &whole(good),
            &whole(bad),
            &[
                "status.numberReady: Invalid value: -1",
                "status.numberAvailable: Invalid value: -2",
                "status.observedGeneration: Invalid value: -1",
                "status.collisionCount: Invalid value: 1: cannot be decremented",
            ],
        );
    }

    #[test]
    fn its_row_counts_nodes() {
        let value = merged(
            &set(json!({"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}})),
            &json!({"status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 2,
                "numberReady": 1, "updatedNumberScheduled": 2, "numberAvailable": 1, "numberMisscheduled": 0}}),
        );
        check_row(
            &DaemonSetStrategy,
            &value,
            0,
            &[
                ("Desired", "3"),
                ("Current", "2"),
                ("Ready", "1"),
                ("Up-to-date", "2"),
                ("Available", "1"),
                ("Node Selector", "disk=ssd"),
                ("Images", "log:v1"),
                ("Selector", "app=log"),
            ],
        );
        check_row(
            &DaemonSetStrategy,
            &set(json!({})),
            0,
            &[("Node Selector", "<none>")],
        );
    }
}
