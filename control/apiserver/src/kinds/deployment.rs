//! Deployment: a template, and how to get from one version of it to the next.

use euston_api::field::{ErrorList, Path};
use euston_api::int_or_percent::{is_zero, validate_at_most_all, validate_non_negative};
use euston_api::selector::format_label_selector;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, DeploymentStrategy as Rollout};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{cells, workload};
use crate::registry::strategy::{AGE, Column, NAME, Scale, Strategy};

const ROLLING_UPDATE: &str = "RollingUpdate";
const RECREATE: &str = "Recreate";
/// Old ReplicaSets that are kept for a rollback.
const HISTORY: i32 = 10;
const PROGRESS_SECONDS: i32 = 600;

/// The rules of Deployments.
pub struct DeploymentStrategy;

impl Strategy for DeploymentStrategy {
    type Object = Deployment;

    fn default(&self, deployment: &mut Deployment) {
        let spec = &mut deployment.spec;
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(HISTORY);
        spec.progress_deadline_seconds
            .get_or_insert(PROGRESS_SECONDS);
        let rollout = spec.strategy.get_or_insert_default();
        if rollout.type_.as_deref().is_none_or(str::is_empty) {
            rollout.type_ = Some(ROLLING_UPDATE.to_owned());
        }
        if rollout.type_.as_deref() == Some(ROLLING_UPDATE) {
            let rolling = rollout.rolling_update.get_or_insert_default();
            let quarter = || IntOrString::String("25%".to_owned());
            rolling.max_unavailable.get_or_insert_with(quarter);
            rolling.max_surge.get_or_insert_with(quarter);
        }
        workload::default_template(&mut spec.template);
    }

    fn prepare_for_create(&self, deployment: &mut Deployment) {
        deployment.status = Some(DeploymentStatus::default());
    }

    fn validate(&self, deployment: &Deployment) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = &deployment.spec;
        let path = Path::new("spec");
        errors.non_negative(
            path.child("replicas"),
            spec.replicas.unwrap_or_default().into(),
        );
        let template = Some(&spec.template);
        workload::validate_selector(&spec.selector, template, "deployment", &path, &mut errors);
        let here = path.child("template");
        workload::validate_template(&spec.template, "ReplicaSet", &here, &mut errors);
        if let Some(rollout) = &spec.strategy {
            validate_rollout(rollout, &path.child("strategy"), &mut errors);
        }
        let ready = spec.min_ready_seconds.unwrap_or_default();
        errors.non_negative(path.child("minReadySeconds"), ready.into());
        if let Some(limit) = spec.revision_history_limit {
            errors.non_negative(path.child("revisionHistoryLimit"), limit.into());
        }
        if let Some(seconds) = spec.progress_deadline_seconds {
            let path = path.child("progressDeadlineSeconds");
            errors.non_negative(path.clone(), seconds.into());
            if seconds <= ready {
                errors.invalid(path, seconds, "must be greater than minReadySeconds");
            }
        }
        errors
    }

    fn prepare_for_update(&self, new: &mut Deployment, old: &Deployment) {
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, new: &Deployment, old: &Deployment) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("selector");
        errors.immutable(path, &new.spec.selector, &old.spec.selector);
        errors
    }

    fn prepare_for_status_update(&self, new: &mut Deployment, old: &Deployment) {
        new.spec.clone_from(&old.spec);
        new.metadata.labels.clone_from(&old.metadata.labels);
    }

    fn validate_status_update(&self, new: &Deployment, old: &Deployment) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = DeploymentStatus::default();
        let status = new.status.as_ref().unwrap_or(&default);
        workload::validate_observed_generation(status.observed_generation, &mut errors);
        workload::validate_counts(
            &[
                ("replicas", status.replicas),
                ("updatedReplicas", status.updated_replicas),
                ("readyReplicas", status.ready_replicas),
                ("availableReplicas", status.available_replicas),
                ("unavailableReplicas", status.unavailable_replicas),
                ("terminatingReplicas", status.terminating_replicas),
                ("collisionCount", status.collision_count),
            ],
            &[
                ("updatedReplicas", "replicas", "status.replicas"),
                ("readyReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "readyReplicas", "readyReplicas"),
            ],
            &mut errors,
        );
        let collisions = |d: &Deployment| d.status.as_ref().and_then(|s| s.collision_count);
        workload::validate_collisions(collisions(new), collisions(old), &mut errors);
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn bumps_generation(&self, new: &Deployment, old: &Deployment) -> bool {
        // Annotations count: a rollback is asked for through one.
        new.spec != old.spec || new.metadata.annotations != old.metadata.annotations
    }

    fn warnings(&self, deployment: &Deployment) -> Vec<String> {
        workload::template_warnings(Some(&deployment.spec.template), &Path::new("spec"))
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Ready", "Number of the pod with ready state"),
            Column::string(
                "Up-to-date",
                "Number of pods that have the desired template.",
            ),
            Column::string(
                "Available",
                "Number of pods that have been ready long enough.",
            ),
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

    fn row(&self, deployment: &Deployment, now: Timestamp) -> Vec<Value> {
        let default = DeploymentStatus::default();
        let spec = &deployment.spec;
        let status = deployment.status.as_ref().unwrap_or(&default);
        let ready = status.ready_replicas.unwrap_or_default();
        let [names, images] = cells::containers(workload::containers(Some(&spec.template)));
        vec![
            cells::name(&deployment.metadata),
            format!("{ready}/{}", spec.replicas.unwrap_or_default()).into(),
            status.updated_replicas.unwrap_or_default().into(),
            status.available_replicas.unwrap_or_default().into(),
            cells::age(&deployment.metadata, now),
            names,
            images,
            format_label_selector(&spec.selector).into(),
        ]
    }

    fn scale(&self, deployment: &Deployment) -> Option<Scale> {
        let spec = &deployment.spec;
        Some(Scale {
            replicas: spec.replicas.unwrap_or_default(),
            observed: deployment
                .status
                .as_ref()
                .and_then(|s| s.replicas)
                .unwrap_or_default(),
            selector: workload::selector_text(&spec.selector),
        })
    }

    fn set_replicas(&self, deployment: &mut Deployment, replicas: i32) {
        deployment.spec.replicas = Some(replicas);
    }
}

fn validate_rollout(rollout: &Rollout, path: &Path, errors: &mut ErrorList) {
    let rolling = rollout.rolling_update.as_ref();
    match rollout.type_.as_deref().unwrap_or_default() {
        RECREATE => {
            if rolling.is_some() {
                let rule = "may not be specified when strategy `type` is 'Recreate'";
                errors.forbidden(path.child("rollingUpdate"), rule);
            }
        }
        ROLLING_UPDATE => {
            let Some(rolling) = rolling else {
                let rule = "this should be defaulted and never be nil";
                return errors.required(path.child("rollingUpdate"), rule);
            };
            let path = path.child("rollingUpdate");
            let none = IntOrString::Int(0);
            let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&none);
            let surge = rolling.max_surge.as_ref().unwrap_or(&none);
            validate_non_negative(unavailable, &path.child("maxUnavailable"), errors);
            validate_non_negative(surge, &path.child("maxSurge"), errors);
            if is_zero(unavailable) && is_zero(surge) {
                let rule = "may not be 0 when `maxSurge` is 0";
                errors.invalid(path.child("maxUnavailable"), unavailable, rule);
            }
            validate_at_most_all(unavailable, &path.child("maxUnavailable"), errors);
        }
        other => errors.not_supported(path.child("type"), other, &[RECREATE, ROLLING_UPDATE]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        check_create, check_row, check_update, compare, created, merged, object,
    };
    use super::*;
    use serde_json::json;

    fn deployment(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "a", "image": "app:v1"}]},
            },
        }});
        merged(&base, &json!({"spec": spec}))
    }

    fn check(spec: Value, expected: &[&str]) {
        check_create(&DeploymentStrategy, &deployment(spec), expected);
    }

    #[test]
    fn defaults_of_a_rollout() {
        let made =
            serde_json::to_value(created(&DeploymentStrategy, &deployment(json!({})))).unwrap();
        let expected = [
            ("/spec/replicas", json!(1)),
            ("/spec/revisionHistoryLimit", json!(10)),
            ("/spec/progressDeadlineSeconds", json!(600)),
            (
                "/spec/strategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
            ),
            ("/spec/template/spec/restartPolicy", json!("Always")),
            ("/status", json!({})),
        ];
        for (pointer, value) in expected {
            assert_eq!(made.pointer(pointer), Some(&value), "{pointer}");
        }
        // What only real pods get.
        for field in [
            "tolerations",
            "enableServiceLinks",
            "serviceAccountName",
            "priority",
        ] {
            assert_eq!(made["spec"]["template"]["spec"].get(field), None, "{field}");
        }
        let recreate = created(
            &DeploymentStrategy,
            &deployment(json!({"strategy": {"type": "Recreate"}})),
        );
        assert_eq!(recreate.spec.strategy.unwrap().rolling_update, None);
    }

    #[test]
    fn the_selector_matches_the_template() {
        check(json!({}), &[]);
        check(
            json!({"selector": {"matchLabels": {"app": "api"}}}),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ],
        );
        check(
            json!({"template": {"metadata": null}}),
            &["spec.template.metadata.labels: Invalid value: {}: `selector` does not match"],
        );
        check(
            json!({"selector": {"matchLabels": null}}),
            &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        );
        check(
            json!({"selector": {"matchExpressions": [{"key": "app", "operator": "Near"}]}}),
            &[
                "spec.selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
                "spec.selector: Invalid value: {",
            ],
        );
    }

    #[test]
    fn numbers_and_rollouts() {
        check(json!({"replicas": 0}), &[]);
        check(
            json!({"replicas": -1, "minReadySeconds": -1, "revisionHistoryLimit": -1, "progressDeadlineSeconds": -1}),
            &[
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
                "spec.progressDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.progressDeadlineSeconds: Invalid value: -1: must be greater than minReadySeconds",
            ],
        );
        let rolling = |surge: Value, unavailable: Value, expected: &[&str]| {
            let expected: Vec<String> = expected
                .iter()
                .map(|e| format!("spec.strategy.rollingUpdate.{e}"))
                .collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check(
                json!({"strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}),
                &expected,
            );
        };
        rolling(json!(1), json!(0), &[]);
        rolling(json!("0%"), json!("100%"), &[]);
        rolling(
            json!(0),
            json!(0),
            &["maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        );
        rolling(
            json!("0%"),
            json!(0),
            &["maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        );
        rolling(
            json!(-1),
            json!("101%"),
            &[
                "maxSurge: Invalid value: -1: must be greater than or equal to 0",
                "maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        );
        rolling(
            json!("half"),
            json!(1),
            &["maxSurge: Invalid value: \"half\": a valid percent string"],
        );
        check(
            json!({"strategy": {"type": "BlueGreen"}}),
            &[
                "spec.strategy.type: Unsupported value: \"BlueGreen\": supported values: \"Recreate\", \"RollingUpdate\"",
            ],
        );
        check(
            json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}),
            &[
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ],
        );
    }

    #[test]
    fn its_pods_are_kept_running() {
        check(
            json!({"template": {"spec": {"restartPolicy": "Never"}}}),
            &[
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ],
        );
        check(
            json!({"template": {"spec": {"activeDeadlineSeconds": 5}}}),
            &[
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
            ],
        );
        check(
            json!({"template": {"spec": {"containers": []}}}),
            &["spec.template.spec.containers: Required value"],
        );
        let warnings = DeploymentStrategy.warnings(&object(&deployment(
            json!({"template": {"spec": {"hostPID": true}}}),
        )));
        assert!(
            warnings[0].starts_with("spec.template.spec.hostPID: has no effect"),
            "{warnings:?}"
        );
    }

    #[test]
    fn the_selector_stays() {
        check_update(
            &DeploymentStrategy,
            &deployment(json!({})),
            &deployment(json!({"replicas": 5})),
            &[],
        );
        let other = deployment(json!({
            "selector": {"matchLabels": {"tier": "x"}},
            "template": {"metadata": {"labels": {"tier": "x"}}},
        }));
        check_update(
            &DeploymentStrategy,
            &deployment(json!({})),
            &other,
            &[
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"tier\":\"x\"}}: field is immutable",
            ],
        );
    }

    #[test]
    fn generations_follow_spec_and_annotations() {
        let old: Deployment = object(&deployment(json!({})));
        let mut relabelled = old.clone();
        relabelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        let mut annotated = old.clone();
        annotated.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
        let scaled: Deployment = object(&deployment(json!({"replicas": 2})));
        assert!(!DeploymentStrategy.bumps_generation(&relabelled, &old));
        assert!(DeploymentStrategy.bumps_generation(&annotated, &old));
        assert!(DeploymentStrategy.bumps_generation(&scaled, &old));
    }

    #[test]
    fn a_status_adds_up() {
        let check = |old: Value, new: Value, expected: &[&str]| {
            let with = |status: &Value| {
                object(&merged(&deployment(json!({})), &json!({"status": status})))
            };
            let errors = DeploymentStrategy.validate_status_update(&with(&new), &with(&old));
            compare(&new, &errors, expected);
        };
        check(
            json!({}),
            json!({"replicas": 3, "updatedReplicas": 3, "readyReplicas": 2, "availableReplicas": 1}),
            &[],
        );
        check(
            json!({"collisionCount": 2}),
            json!({"replicas": 1, "updatedReplicas": 2, "readyReplicas": -1, "availableReplicas": 1, "observedGeneration": -1, "collisionCount": 1}),
            &[
                "status.observedGeneration: Invalid value: -1",
                "status.readyReplicas: Invalid value: -1: must be greater than or equal to 0",
                "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
                "status.collisionCount: Invalid value: 1: cannot be decremented",
            ],
        );
    }

    #[test]
    fn rows_and_scale() {
        let value = merged(
            &deployment(json!({"replicas": 3})),
            &json!({"status": {"replicas": 4, "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}),
        );
        check_row(
            &DeploymentStrategy,
            &value,
            0,
            &[
                ("Name", "web"),
                ("Ready", "2/3"),
                ("Up-to-date", "3"),
                ("Available", "1"),
                ("Containers", "a"),
                ("Images", "app:v1"),
                ("Selector", "app=web"),
            ],
        );
        let mut object: Deployment = object(&value);
        let scale = DeploymentStrategy.scale(&object).unwrap();
        assert_eq!(
            (scale.replicas, scale.observed, scale.selector.as_str()),
            (3, 4, "app=web")
        );
        DeploymentStrategy.set_replicas(&mut object, 7);
        assert_eq!(object.spec.replicas, Some(7));
    }
}
