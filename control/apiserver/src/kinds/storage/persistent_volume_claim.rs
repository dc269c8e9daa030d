//! PersistentVolumeClaim: storage that a pod asks for.

use euston_api::field::{ErrorList, Path};
use euston_api::quantity::Quantity;
use euston_api::{names, selector};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus,
};
use serde_json::Value;

use super::{
    CLASS_ANNOTATION, FILESYSTEM, shown_access_modes, validate_access_modes, validate_size,
    validate_volume_mode,
};
use crate::kinds::pod_spec::text;
use crate::kinds::{cells, pod_spec};
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

const PENDING: &str = "Pending";
const BOUND: &str = "Bound";
const CLAIM: &str = "PersistentVolumeClaim";

/// The class that a claim names: by the annotation that came before the field, or by the field.
pub fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let annotations = claim.metadata.annotations.as_ref();
    let spec = claim.spec.as_ref();
    let field = || spec.and_then(|s| s.storage_class_name.as_ref());
    let class = annotations
        .and_then(|a| a.get(CLASS_ANNOTATION))
        .or_else(field);
    class.map(String::as_str).filter(|class| !class.is_empty())
}

/// True if the claim says which class it wants, even if it wants none.
pub fn names_a_class(claim: &PersistentVolumeClaim) -> bool {
    let annotations = claim.metadata.annotations.as_ref();
    annotations.is_some_and(|a| a.contains_key(CLASS_ANNOTATION))
        || claim
            .spec
            .as_ref()
            .is_some_and(|s| s.storage_class_name.is_some())
}

/// The rules of PersistentVolumeClaims.
pub struct PersistentVolumeClaimStrategy;

impl Strategy for PersistentVolumeClaimStrategy {
    type Object = PersistentVolumeClaim;

    fn default(&self, claim: &mut PersistentVolumeClaim) {
        let spec = claim.spec.get_or_insert_default();
        spec.volume_mode
            .get_or_insert_with(|| FILESYSTEM.to_owned());
        if let Some(resources) = &mut spec.resources {
            pod_spec::canonical_amounts(resources.requests.as_mut());
            pod_spec::canonical_amounts(resources.limits.as_mut());
        }
        // One says the same as the other, for clients that know only one of them.
        if let (Some(source), None) = (&spec.data_source, &spec.data_source_ref) {
            spec.data_source_ref = Some(k8s_openapi::api::core::v1::TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        let status = claim.status.get_or_insert_default();
        status.phase.get_or_insert_with(|| PENDING.to_owned());
    }

    fn prepare_for_create(&self, claim: &mut PersistentVolumeClaim) {
        claim.status = Some(PersistentVolumeClaimStatus {
            phase: Some(PENDING.to_owned()),
            ..PersistentVolumeClaimStatus::default()
        });
    }

    fn validate(&self, claim: &PersistentVolumeClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = PersistentVolumeClaimSpec::default();
        let spec = claim.spec.as_ref().unwrap_or(&default);
        validate_spec(spec, &Path::new("spec"), &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_update(
        &self,
        new: &PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) -> ErrorList {
        validate_change(new, old)
    }

    fn validate_status_update(
        &self,
        new: &PersistentVolumeClaim,
        _old: &PersistentVolumeClaim,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        let capacity = new.status.as_ref().and_then(|s| s.capacity.as_ref());
        let path = Path::new("status").child("capacity");
        for (name, amount) in capacity.into_iter().flatten() {
            pod_spec::validate_amount(name, amount, &path.key(name), &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Status", "Whether it has a volume."),
            Column::string("Volume", "The volume it has."),
            Column::string("Capacity", "How much fits."),
            Column::string("Access Modes", "How it may be mounted."),
            Column::string("StorageClass", "The class that it names."),
            Column::string("VolumeAttributesClass", "Its settings that may change."),
            AGE,
            Column::string("VolumeMode", "A file system or a block device.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (
            PersistentVolumeClaimSpec::default(),
            PersistentVolumeClaimStatus::default(),
        );
        let spec = claim.spec.as_ref().unwrap_or(&spec);
        let status = claim.status.as_ref().unwrap_or(&status);
        let phase = match &claim.metadata.deletion_timestamp {
            Some(_) => "Terminating",
            None => status.phase.as_deref().unwrap_or_default(),
        };
        let volume = text(&spec.volume_name);
        let (size, modes) = match volume {
            Some(_) => (
                cells::amount(status.capacity.as_ref(), "storage"),
                shown_access_modes(status.access_modes.as_deref()),
            ),
            None => ("".into(), String::new()),
        };
        let attributes = text(&spec.volume_attributes_class_name);
        vec![
            cells::name(&claim.metadata),
            phase.into(),
            volume.unwrap_or_default().into(),
            size,
            modes.into(),
            class_of(claim).unwrap_or_default().into(),
            attributes.unwrap_or("<unset>").into(),
            cells::age(&claim.metadata, now),
            spec.volume_mode.as_deref().unwrap_or("<unset>").into(),
        ]
    }
}

fn validate_spec(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut ErrorList) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let here = path.child("accessModes");
    if modes.is_empty() {
        errors.required(here.clone(), "at least 1 access mode is required");
    }
    if let Some(wanted) = &spec.selector {
        selector::validate(wanted, &path.child("selector"), errors);
    }
    validate_access_modes(modes, &here, errors);
    let requests = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let here = path.child("resources").key("storage");
    match requests.and_then(|r| r.get("storage")) {
        None => errors.required(here, ""),
        Some(amount) => validate_size(amount, &here, errors),
    }
    for (field, class) in [
        ("storageClassName", &spec.storage_class_name),
        (
            "volumeAttributesClassName",
            &spec.volume_attributes_class_name,
        ),
    ] {
        if let Some(class) = text(class) {
            let path = path.child(field);
            errors.invalid_each(&path, class, names::dns1123_subdomain(class));
        }
    }
    validate_volume_mode(spec.volume_mode.as_deref(), path, errors);
    let source = spec.data_source.as_ref().map(|s| {
        let group = text(&s.api_group);
        ("dataSource", group, s.kind.as_str(), s.name.as_str())
    });
    let reference = spec.data_source_ref.as_ref().map(|s| {
        let group = text(&s.api_group);
        ("dataSourceRef", group, s.kind.as_str(), s.name.as_str())
    });
    for (field, group, kind, name) in source.into_iter().chain(reference) {
        validate_data_source(group, kind, name, &path.child(field), errors);
    }
    if let (Some((field, group, kind, name)), Some(reference)) = (source, reference)
        && (group, kind, name) != (reference.1, reference.2, reference.3)
    {
        let rule = "must match dataSourceRef";
        errors.invalid(path.child(field), &spec.data_source, rule);
    }
}

fn validate_data_source(
    group: Option<&str>,
    kind: &str,
    name: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    if name.is_empty() {
        errors.required(path.child("name"), "");
    }
    if kind.is_empty() {
        errors.required(path.child("kind"), "");
    }
    match group {
        None if kind != CLAIM => {
            let rule = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid(path.clone(), kind, rule);
        }
        Some(group) => {
            let path = path.child("apiGroup");
            errors.invalid_each(&path, group, names::dns1123_subdomain(group));
        }
        None => {}
    }
}

fn storage_of(spec: &PersistentVolumeClaimSpec) -> Option<Quantity> {
    let requests = spec.resources.as_ref()?.requests.as_ref()?;
    Quantity::from_api(requests.get("storage")?).ok()
}

/// A claim is settled once it is made: it may get its volume and its class, and grow once it is bound.
fn validate_change(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let (Some(spec), Some(was)) = (&new.spec, &old.spec) else {
        return errors;
    };
    let mut allowed = was.clone();
    // The controllers bind it, and give it the class that became the default later.
    if text(&was.volume_name).is_none() {
        allowed.volume_name.clone_from(&spec.volume_name);
    }
    if was.storage_class_name.is_none() {
        allowed
            .storage_class_name
            .clone_from(&spec.storage_class_name);
    }
    let bound = old.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(BOUND);
    if bound {
        if let (Some(allowed), Some(spec)) = (&mut allowed.resources, &spec.resources) {
            allowed.requests.clone_from(&spec.requests);
        }
        allowed
            .volume_attributes_class_name
            .clone_from(&spec.volume_attributes_class_name);
    }
    if *spec != allowed {
        errors.forbidden(
            path.clone(),
            "spec is immutable after creation except resources.requests and \
             volumeAttributesClassName for bound claims",
        );
    }
    let here = path.child("resources").child("requests").child("storage");
    if bound
        && let (Some(size), Some(had)) = (storage_of(spec), storage_of(was))
        && size < had
    {
        let capacity = old.status.as_ref().and_then(|s| s.capacity.as_ref());
        let capacity = capacity
            .and_then(|c| c.get("storage"))
            .and_then(|q| Quantity::from_api(q).ok());
        // What was asked for in vain may be taken back.
        match capacity {
            Some(has) if size > has => {}
            Some(_) => errors.forbidden(here, "field can not be less than status.capacity"),
            None => errors.forbidden(here, "field can not be less than previous value"),
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, compare, created, merged, object};
    use serde_json::json;

    fn claim(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }});
        merged(&base, &json!({"spec": spec}))
    }

    #[test]
    fn a_claim_says_how_much_and_how() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&PersistentVolumeClaimStrategy, &claim(spec), expected);
        };
        check(json!({}), &[]);
        check(json!({"storageClassName": "", "volumeMode": "Block"}), &[]);
        check(
            json!({"accessModes": null, "resources": null}),
            &[
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ],
        );
        check(
            json!({"resources": {"requests": {"storage": "-1Gi"}}}),
            &[
                "spec.resources[storage]: Invalid value: \"-1Gi\": must be greater than or equal to 0",
                "spec.resources[storage]: Invalid value: \"-1Gi\": must be greater than zero",
            ],
        );
        check(
            json!({"resources": {"requests": {"storage": "much"}}}),
            &["spec.resources[storage]: Invalid value: \"much\": "],
        );
        check(
            json!({"accessModes": ["x"], "storageClassName": "A", "volumeMode": "x", "selector": {"matchLabels": {"a b": ""}}}),
            &[
                "spec.selector.matchLabels: Invalid value: \"a b\"",
                "spec.accessModes: Unsupported value: \"x\"",
                "spec.storageClassName: Invalid value: \"A\"",
                "spec.volumeMode: Unsupported value: \"x\"",
            ],
        );
        check(
            json!({"dataSource": {"kind": "Pod", "name": ""}}),
            &[
                "spec.dataSource.name: Required value",
                "spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when",
                "spec.dataSourceRef.name: Required value",
                "spec.dataSourceRef: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when",
            ],
        );
        check(
            json!({"dataSource": {"kind": CLAIM, "name": "a"}, "dataSourceRef": {"kind": CLAIM, "name": "b"}}),
            &[
                "spec.dataSource: Invalid value: {\"kind\":\"PersistentVolumeClaim\",\"name\":\"a\"}: must match dataSourceRef",
            ],
        );
    }

    #[test]
    fn a_bound_claim_may_grow() {
        let check = |status: Value, new: Value, expected: &[&str]| {
            let mut old: PersistentVolumeClaim =
                created(&PersistentVolumeClaimStrategy, &claim(json!({})));
            old.status = Some(object(&status));
            let mut changed: PersistentVolumeClaim = object(&claim(new.clone()));
            PersistentVolumeClaimStrategy.default(&mut changed);
            compare(&new, &validate_change(&changed, &old), expected);
        };
        let pending = json!({"phase": "Pending"});
        let bound = json!({"phase": "Bound", "capacity": {"storage": "512Mi"}});
        let immutable = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        check(pending.clone(), json!({}), &[]);
        check(
            pending.clone(),
            json!({"volumeName": "pv", "storageClassName": "late"}),
            &[],
        );
        check(
            pending.clone(),
            json!({"resources": {"requests": {"storage": "2Gi"}}}),
            &[immutable],
        );
        check(
            pending,
            json!({"accessModes": ["ReadWriteMany"]}),
            &[immutable],
        );
        check(
            bound.clone(),
            json!({"resources": {"requests": {"storage": "2Gi"}}}),
            &[],
        );
        check(
            bound.clone(),
            json!({"volumeAttributesClassName": "gold"}),
            &[],
        );
        check(
            bound.clone(),
            json!({"resources": {"requests": {"storage": "768Mi"}}}),
            &[],
        );
        check(
            bound.clone(),
            json!({"resources": {"requests": {"storage": "256Mi"}}}),
            &[
                "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
            ],
        );
        check(
            json!({"phase": "Bound"}),
            json!({"resources": {"requests": {"storage": "256Mi"}}}),
            &[
                "spec.resources.requests.storage: Forbidden: field can not be less than previous value",
            ],
        );
        check(bound, json!({"volumeMode": "Block"}), &[immutable]);
    }

    #[test]
    fn its_row_shows_what_it_got() {
        let check = |spec: Value, expected: &[(&str, &str)]| {
            let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"]}});
            check_row(
                &PersistentVolumeClaimStrategy,
                &merged(&claim(spec), &status),
                0,
                expected,
            );
        };
        check(
            json!({"volumeName": "pv", "storageClassName": "fast"}),
            &[
                ("Status", "Bound"),
                ("Volume", "pv"),
                ("Capacity", "2Gi"),
                ("Access Modes", "RWO"),
                ("StorageClass", "fast"),
            ],
        );
        check(
            json!({}),
            &[
                ("Volume", ""),
                ("Capacity", ""),
                ("Access Modes", ""),
                ("StorageClass", ""),
            ],
        );
    }
}
