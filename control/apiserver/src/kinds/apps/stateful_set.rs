//! StatefulSet: pods with names and volumes of their own.

use euston_api::field::{ErrorList, Path};
use euston_api::int_or_percent::{is_zero, validate_at_most_all, validate_non_negative};
use euston_api::names::{self, NameRule};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec, StatefulSetStatus,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::kinds::{cells, pod_spec, workload};
use crate::registry::strategy::{
    AGE, Column, NAME, Scale, Strategy, counts_spec_changes, keeps_status_apart,
};

pub(super) const ROLLING_UPDATE: &str = "RollingUpdate";
pub(super) const ON_DELETE: &str = "OnDelete";
const ORDERED_READY: &str = "OrderedReady";
const PARALLEL: &str = "Parallel";
const RETENTION: [&str; 2] = ["Delete", "Retain"];
/// Old templates that are kept for a rollback.
const HISTORY: i32 = 10;

const MUTABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
    'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' \
    and 'minReadySeconds' are forbidden";

/// The rules of StatefulSets.
pub struct StatefulSetStrategy;

impl Strategy for StatefulSetStrategy {
    type Object = StatefulSet;

    fn name_rule(&self) -> NameRule {
        // Its pods' names are host names.
        NameRule::Dns1123Label
    }

    fn default(&self, set: &mut StatefulSet) {
        let set_text = |field: &mut Option<String>, value: &str| {
            if field.as_deref().is_none_or(str::is_empty) {
                *field = Some(value.to_owned());
            }
        };
        let spec = &mut set.spec;
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(HISTORY);
        set_text(&mut spec.pod_management_policy, ORDERED_READY);
        let strategy = spec.update_strategy.get_or_insert_default();
        set_text(&mut strategy.type_, ROLLING_UPDATE);
        if strategy.type_.as_deref() == Some(ROLLING_UPDATE) {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.partition.get_or_insert(0);
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        }
        let retention = spec
            .persistent_volume_claim_retention_policy
            .get_or_insert_default();
        set_text(&mut retention.when_deleted, "Retain");
        set_text(&mut retention.when_scaled, "Retain");
        for claim in spec.volume_claim_templates.iter_mut().flatten() {
            default_claim(claim);
        }
        workload::default_template(&mut spec.template);
    }

    fn prepare_for_create(&self, set: &mut StatefulSet) {
        set.status = Some(StatefulSetStatus::default());
    }

    fn validate(&self, set: &StatefulSet) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(&set.spec, &Path::new("spec"), &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &StatefulSet, old: &StatefulSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let mutable_of_old = StatefulSetSpec {
            replicas: old.spec.replicas,
            ordinals: old.spec.ordinals.clone(),
            template: old.spec.template.clone(),
            update_strategy: old.spec.update_strategy.clone(),
            min_ready_seconds: old.spec.min_ready_seconds,
            revision_history_limit: old.spec.revision_history_limit,
            persistent_volume_claim_retention_policy: old
                .spec
                .persistent_volume_claim_retention_policy
                .clone(),
            ..new.spec.clone()
        };
        if mutable_of_old != old.spec {
            errors.forbidden(Path::new("spec"), MUTABLE);
        }
        errors
    }

    fn validate_status_update(&self, new: &StatefulSet, old: &StatefulSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = StatefulSetStatus::default();
        let status = new.status.as_ref().unwrap_or(&default);
        workload::validate_counts(
            &[
                ("replicas", Some(status.replicas)),
                ("readyReplicas", status.ready_replicas),
                ("currentReplicas", status.current_replicas),
                ("updatedReplicas", status.updated_replicas),
                ("availableReplicas", status.available_replicas),
                ("collisionCount", status.collision_count),
            ],
            &[
                ("readyReplicas", "replicas", "status.replicas"),
                ("currentReplicas", "replicas", "status.replicas"),
                ("updatedReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "readyReplicas", "status.readyReplicas"),
            ],
            &mut errors,
        );
        workload::validate_observed_generation(status.observed_generation, &mut errors);
        let collisions = |s: &StatefulSet| s.status.as_ref().and_then(|s| s.collision_count);
        workload::validate_collisions(collisions(new), collisions(old), &mut errors);
        errors
    }

    counts_spec_changes!();

    fn warnings(&self, set: &StatefulSet) -> Vec<String> {
        workload::template_warnings(Some(&set.spec.template), &Path::new("spec"))
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Ready", "Number of the pod with ready state"),
            AGE,
            Column::string("Containers", "Names of each container in the template.").wide(),
            Column::string(
                "Images",
                "Images referenced by each container in the template.",
            )
            .wide(),
        ];
        COLUMNS
    }

    fn row(&self, set: &StatefulSet, now: Timestamp) -> Vec<Value> {
        let desired = set.spec.replicas.unwrap_or_default();
        let ready = set.status.as_ref().and_then(|s| s.ready_replicas);
        let [names, images] = cells::containers(workload::containers(Some(&set.spec.template)));
        vec![
            cells::name(&set.metadata),
            format!("{}/{desired}", ready.unwrap_or_default()).into(),
            cells::age(&set.metadata, now),
            names,
            images,
        ]
    }

    fn scale(&self, set: &StatefulSet) -> Option<Scale> {
        let spec = &set.spec;
        Some(Scale {
            replicas: spec.replicas.unwrap_or_default(),
            observed: set.status.as_ref().map(|s| s.replicas).unwrap_or_default(),
            selector: workload::selector_text(&spec.selector),
        })
    }

    fn set_replicas(&self, set: &mut StatefulSet, replicas: i32) {
        set.spec.replicas = Some(replicas);
    }
}

/// The defaults of a claim that becomes a PersistentVolumeClaim for each pod.
fn default_claim(claim: &mut PersistentVolumeClaim) {
    let status = claim.status.get_or_insert_default();
    status.phase.get_or_insert_with(|| "Pending".to_owned());
    let spec = claim.spec.get_or_insert_default();
    spec.volume_mode
        .get_or_insert_with(|| "Filesystem".to_owned());
    if let Some(resources) = &mut spec.resources {
        pod_spec::canonical_amounts(resources.limits.as_mut());
        pod_spec::canonical_amounts(resources.requests.as_mut());
    }
}

fn validate_spec(spec: &StatefulSetSpec, path: &Path, errors: &mut ErrorList) {
    let policy = spec.pod_management_policy.as_deref().unwrap_or_default();
    let here = path.child("podManagementPolicy");
    match policy {
        "" => errors.required(here, ""),
        ORDERED_READY | PARALLEL => {}
        other => {
            let rule = format!("must be '{ORDERED_READY}' or '{PARALLEL}'");
            errors.invalid(here, other, rule);
        }
    }
    if let Some(strategy) = &spec.update_strategy {
        validate_strategy(strategy, &path.child("updateStrategy"), errors);
    }
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        for (field, value) in [
            ("whenDeleted", &retention.when_deleted),
            ("whenScaled", &retention.when_scaled),
        ] {
            let value = value.as_deref().unwrap_or_default();
            if !RETENTION.contains(&value) {
                errors.not_supported(path.child(field), value, &RETENTION);
            }
        }
    }
    let replicas = spec.replicas.unwrap_or_default();
    errors.non_negative(path.child("replicas"), replicas.into());
    let ready = spec.min_ready_seconds.unwrap_or_default();
    errors.non_negative(path.child("minReadySeconds"), ready.into());
    if let Some(start) = spec.ordinals.as_ref().and_then(|o| o.start) {
        errors.non_negative(path.child("ordinals").child("start"), start.into());
    }
    if let Some(limit) = spec.revision_history_limit {
        errors.non_negative(path.child("revisionHistoryLimit"), limit.into());
    }
    if let Some(service) = spec.service_name.as_deref().filter(|s| !s.is_empty()) {
        let problems = names::dns1123_subdomain(service);
        errors.invalid_each(&path.child("serviceName"), service, problems);
    }
    let template = Some(&spec.template);
    workload::validate_selector(&spec.selector, template, "statefulset", path, errors);
    // Volumes of the same name as a claim's template are put in by the controller.
    let mut template = spec.template.clone();
    add_claimed_volumes(&mut template, spec);
    let here = path.child("template");
    workload::validate_template(&template, "StatefulSet", &here, errors);
}

/// Adds a volume for each claim that its pods get, so that their mounts name something.
fn add_claimed_volumes(
    template: &mut k8s_openapi::api::core::v1::PodTemplateSpec,
    spec: &StatefulSetSpec,
) {
    use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Volume};
    let claims = spec.volume_claim_templates.iter().flatten();
    let names: Vec<&String> = claims.filter_map(|c| c.metadata.name.as_ref()).collect();
    if names.is_empty() {
        return;
    }
    let volumes = template
        .spec
        .get_or_insert_default()
        .volumes
        .get_or_insert_default();
    for name in names {
        if volumes.iter().any(|volume| volume.name == *name) {
            continue;
        }
        volumes.push(Volume {
            name: name.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: name.clone(),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
}

fn validate_strategy(strategy: &StatefulSetUpdateStrategy, path: &Path, errors: &mut ErrorList) {
    let rolling = strategy.rolling_update.as_ref();
    match strategy.type_.as_deref().unwrap_or_default() {
        "" => errors.required(path.clone(), ""),
        ON_DELETE => {
            if let Some(rolling) = rolling {
                let rule = format!("only allowed for updateStrategy '{ROLLING_UPDATE}'");
                errors.invalid(path.child("rollingUpdate"), rolling, rule);
            }
        }
        ROLLING_UPDATE => {
            if let Some(rolling) = rolling {
                validate_rolling(rolling, &path.child("rollingUpdate"), errors);
            }
        }
        _ => {
            let rule = format!("must be '{ROLLING_UPDATE}' or '{ON_DELETE}'");
            errors.invalid(path.clone(), strategy, rule);
        }
    }
}

fn validate_rolling(
    rolling: &RollingUpdateStatefulSetStrategy,
    path: &Path,
    errors: &mut ErrorList,
) {
    if let Some(unavailable) = &rolling.max_unavailable {
        let path = path.child("maxUnavailable");
        validate_non_negative(unavailable, &path, errors);
        if is_zero(unavailable) {
            errors.invalid(path.clone(), unavailable, "cannot be 0");
        }
        validate_at_most_all(unavailable, &path, errors);
    }
    let partition = rolling.partition.unwrap_or_default();
    errors.non_negative(path.child("partition"), partition.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{
        check_create, check_row, check_status, check_update, created, merged, object,
    };
    use serde_json::json;

    fn set(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "db"}, "spec": {
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "a", "image": "db:v1"}]},
            },
        }});
        merged(&base, &json!({"spec": spec}))
    }

    fn check(spec: Value, expected: &[&str]) {
        check_create(&StatefulSetStrategy, &set(spec), expected);
    }

    #[test]
    fn defaults() {
        let claim =
            json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let value = set(json!({"volumeClaimTemplates": [claim]}));
        let made = serde_json::to_value(created(&StatefulSetStrategy, &value)).unwrap();
        for (pointer, value) in [
            ("/spec/replicas", json!(1)),
            ("/spec/revisionHistoryLimit", json!(10)),
            ("/spec/podManagementPolicy", json!("OrderedReady")),
            (
                "/spec/updateStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}}),
            ),
            (
                "/spec/persistentVolumeClaimRetentionPolicy",
                json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
            ),
            (
                "/spec/volumeClaimTemplates/0/kind",
                json!("PersistentVolumeClaim"),
            ),
            (
                "/spec/volumeClaimTemplates/0/status/phase",
                json!("Pending"),
            ),
            (
                "/spec/volumeClaimTemplates/0/spec/volumeMode",
                json!("Filesystem"),
            ),
            ("/status", json!({"replicas": 0})),
        ] {
            assert_eq!(made.pointer(pointer), Some(&value), "{pointer}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_path() {
        check(json!({}), &[]);
        check(
            json!({"serviceName": null, "podManagementPolicy": "Parallel"}),
            &[],
        );
        check(
            json!({"podManagementPolicy": "Random", "replicas": -1, "minReadySeconds": -1,
                   "ordinals": {"start": -1}, "revisionHistoryLimit": -1}),
            &[
                "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.minReadySeconds: Invalid value: -1",
                "spec.ordinals.start: Invalid value: -1",
                "spec.revisionHistoryLimit: Invalid value: -1",
            ],
        );
        check(
            json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}),
            &[
                "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
            ],
        );
        check(
            json!({"updateStrategy": {"type": "Recreate"}}),
            &[
                "spec.updateStrategy: Invalid value: {\"type\":\"Recreate\"}: must be 'RollingUpdate' or 'OnDelete'",
            ],
        );
        check(
            json!({"updateStrategy": {"rollingUpdate": {"partition": -1, "maxUnavailable": 0}}}),
            &[
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
                "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1",
            ],
        );
        check(
            json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "200%"}}}),
            &[
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"200%\": must not be greater than 100%",
            ],
        );
        check(
            json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Keep", "whenScaled": "Delete"}}),
            &[
                "spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"Keep\": supported values: \"Delete\", \"Retain\"",
            ],
        );
        check(
            json!({"serviceName": "a b"}),
            &["spec.serviceName: Invalid value: \"a b\": a lowercase RFC 1123 subdomain"],
        );
        check(
            json!({"selector": {"matchLabels": null}}),
            &["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"],
        );
        check(
            json!({"template": {"metadata": {"labels": {"app": "x"}}, "spec": {"restartPolicy": "OnFailure", "activeDeadlineSeconds": 1}}}),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`",
                "spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\"",
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
            ],
        );
    }

    #[test]
    fn mounts_may_name_claims() {
        let mounting = |name: &str, expected: &[&str]| {
            check(
                json!({
                    "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                    "template": {"spec": {"containers": [{"name": "a", "image": "db:v1",
                        "volumeMounts": [{"name": name, "mountPath": "/data"}]}]}},
                }),
                expected,
            );
        };
        mounting("data", &[]);
        mounting(
            "date",
            &["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"date\""],
        );
    }

    #[test]
    fn what_may_change() {
        let update = |spec: Value, expected: &[&str]| {
            check_update(&StatefulSetStrategy, &set(json!({})), &set(spec), expected);
        };
        let forbidden = [format!("spec: Forbidden: {MUTABLE}")];
        let forbidden: Vec<&str> = forbidden.iter().map(String::as_str).collect();
        update(
            json!({"replicas": 3, "minReadySeconds": 1, "ordinals": {"start": 2},
                   "revisionHistoryLimit": 2, "updateStrategy": {"type": "OnDelete"},
                   "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"},
                   "template": {"metadata": {"labels": {"v": "2"}}}}),
            &[],
        );
        update(json!({"serviceName": "other"}), &forbidden);
        update(json!({"podManagementPolicy": "Parallel"}), &forbidden);
        update(
            json!({"volumeClaimTemplates": [{"metadata": {"name": "x"}}]}),
            &forbidden,
        );
        update(
            json!({"selector": {"matchLabels": {"app": "db", "v": "2"}},
                      "template": {"metadata": {"labels": {"v": "2"}}}}),
            &forbidden,
        );
    }

    #[test]
    fn a_status_adds_up() {
        let whole = |status: Value| merged(&set(json!({})), &json!({"status": status}));
        let check = |old: Value, new: Value, expected: &[&str]| {
            check_status(&StatefulSetStrategy, &whole(old), &whole(new), expected);
        };
        check(
            json!({"replicas": 0}),
            json!({"replicas": 2, "readyReplicas": 2}),
            &[],
        );
        check(
            json!({"replicas": 1, "collisionCount": 3}),
            json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 3, "currentReplicas": -1}),
            &[
                "status.currentReplicas: Invalid value: -1",
                "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than status.readyReplicas",
                "status.collisionCount: Invalid value: 0: cannot be decremented",
            ],
        );
    }

    #[test]
    fn its_row_and_its_scale() {
        let value = merged(
            &set(json!({"replicas": 3})),
            &json!({"status": {"replicas": 2, "readyReplicas": 1}}),
        );
        let expected = [("Name", "db"), ("Ready", "1/3"), ("Images", "db:v1")];
        check_row(&StatefulSetStrategy, &value, 0, &expected);
        let scale = StatefulSetStrategy.scale(&object(&value)).unwrap();
        assert_eq!((scale.replicas, scale.observed), (3, 2));
        assert_eq!(scale.selector, "app=db");
    }
}
