//! PersistentVolume: a piece of storage that a claim may take.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus};
use serde_json::Value;

use super::{
    FILESYSTEM, shown_access_modes, validate_access_modes, validate_driver_name, validate_size,
    validate_volume_mode,
};
use crate::kinds::pod_spec::{none_or_one_of, text};
use crate::kinds::{cells, pod_spec};
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

const PENDING: &str = "Pending";
const RETAIN: &str = "Retain";
const RECYCLE: &str = "Recycle";
const POLICIES: [&str; 3] = ["Delete", RECYCLE, RETAIN];

/// The rules of PersistentVolumes.
pub struct PersistentVolumeStrategy;

impl Strategy for PersistentVolumeStrategy {
    type Object = PersistentVolume;

    fn default(&self, volume: &mut PersistentVolume) {
        let spec = volume.spec.get_or_insert_default();
        spec.persistent_volume_reclaim_policy
            .get_or_insert_with(|| RETAIN.to_owned());
        spec.volume_mode
            .get_or_insert_with(|| FILESYSTEM.to_owned());
        if let Some(path) = &mut spec.host_path {
            path.type_.get_or_insert_default();
        }
        pod_spec::canonical_amounts(spec.capacity.as_mut());
        let status = volume.status.get_or_insert_default();
        status.phase.get_or_insert_with(|| PENDING.to_owned());
    }

    fn prepare_for_create(&self, volume: &mut PersistentVolume) {
        volume.status = Some(PersistentVolumeStatus {
            phase: Some(PENDING.to_owned()),
            last_phase_transition_time: volume.metadata.creation_timestamp.clone(),
            ..PersistentVolumeStatus::default()
        });
    }

    fn validate(&self, volume: &PersistentVolume) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = PersistentVolumeSpec::default();
        let spec = volume.spec.as_ref().unwrap_or(&default);
        validate_spec(spec, &Path::new("spec"), &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let (Some(new), Some(old)) = (&new.spec, &old.spec) else {
            return errors;
        };
        if only_source(new) != only_source(old) {
            errors.forbidden(
                path.child("persistentvolumesource"),
                "spec.persistentvolumesource is immutable after creation",
            );
        }
        let here = path.child("volumeMode");
        errors.immutable(here, &new.volume_mode, &old.volume_mode);
        if old.node_affinity.is_some() {
            let here = path.child("nodeAffinity");
            errors.immutable(here, &new.node_affinity, &old.node_affinity);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Capacity", "How much fits."),
            Column::string("Access Modes", "How it may be mounted."),
            Column::string(
                "Reclaim Policy",
                "What becomes of it when its claim is gone.",
            ),
            Column::string("Status", "Whether a claim has it."),
            Column::string("Claim", "The claim that has it."),
            Column::string("StorageClass", "The class it belongs to."),
            Column::string("VolumeAttributesClass", "Its settings that may change."),
            Column::string("Reason", "Why it is in this state."),
            AGE,
            Column::string("VolumeMode", "A file system or a block device.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, volume: &PersistentVolume, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (
            PersistentVolumeSpec::default(),
            PersistentVolumeStatus::default(),
        );
        let spec = volume.spec.as_ref().unwrap_or(&spec);
        let status = volume.status.as_ref().unwrap_or(&status);
        let claim = spec.claim_ref.as_ref().map(|claim| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", part(&claim.namespace), part(&claim.name))
        });
        let phase = match &volume.metadata.deletion_timestamp {
            Some(_) => "Terminating",
            None => status.phase.as_deref().unwrap_or_default(),
        };
        let class = spec.storage_class_name.as_deref();
        let attributes = text(&spec.volume_attributes_class_name);
        vec![
            cells::name(&volume.metadata),
            cells::amount(spec.capacity.as_ref(), "storage"),
            shown_access_modes(spec.access_modes.as_deref()).into(),
            spec.persistent_volume_reclaim_policy
                .as_deref()
                .unwrap_or_default()
                .into(),
            phase.into(),
            claim.unwrap_or_default().into(),
            class.unwrap_or_default().into(),
            attributes.unwrap_or("<unset>").into(),
            status.reason.as_deref().unwrap_or_default().into(),
            cells::age(&volume.metadata, now),
            spec.volume_mode.as_deref().unwrap_or("<unset>").into(),
        ]
    }
}

fn validate_spec(spec: &PersistentVolumeSpec, path: &Path, errors: &mut ErrorList) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let here = path.child("accessModes");
    if modes.is_empty() {
        errors.required(here.clone(), "");
    }
    validate_access_modes(modes, &here, errors);
    let here = path.child("capacity");
    let capacity = spec.capacity.clone().unwrap_or_default();
    if capacity.is_empty() {
        errors.required(here.clone(), "");
    }
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        errors.not_supported(here.clone(), &capacity, &["storage"]);
    }
    for (name, amount) in &capacity {
        validate_size(amount, &here.key(name), errors);
    }
    let policy = text(&spec.persistent_volume_reclaim_policy);
    let here = path.child("persistentVolumeReclaimPolicy");
    none_or_one_of(policy, &POLICIES, here.clone(), errors);
    if let Some(affinity) = &spec.node_affinity {
        let path = path.child("nodeAffinity").child("required");
        match &affinity.required {
            Some(required) => pod_spec::validate_node_selector(required, &path, errors),
            None => errors.required(path, "must specify required node constraints"),
        }
    }
    validate_source(spec, path, errors);
    let root = spec
        .host_path
        .as_ref()
        .is_some_and(|p| p.path.trim_end_matches('/').is_empty());
    if root && policy == Some(RECYCLE) {
        let rule = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(here, rule);
    }
    if let Some(class) = text(&spec.storage_class_name) {
        let path = path.child("storageClassName");
        errors.invalid_each(&path, class, names::dns1123_subdomain(class));
    }
    validate_volume_mode(spec.volume_mode.as_deref(), path, errors);
}

/// The fields that say where the bytes are, and whether each is set.
fn sources(spec: &PersistentVolumeSpec) -> [(&'static str, bool); 22] {
    [
        ("hostPath", spec.host_path.is_some()),
        ("gcePersistentDisk", spec.gce_persistent_disk.is_some()),
        (
            "awsElasticBlockStore",
            spec.aws_elastic_block_store.is_some(),
        ),
        ("glusterfs", spec.glusterfs.is_some()),
        ("flocker", spec.flocker.is_some()),
        ("nfs", spec.nfs.is_some()),
        ("rbd", spec.rbd.is_some()),
        ("quobyte", spec.quobyte.is_some()),
        ("cephFS", spec.cephfs.is_some()),
        ("iscsi", spec.iscsi.is_some()),
        ("cinder", spec.cinder.is_some()),
        ("fc", spec.fc.is_some()),
        ("flexVolume", spec.flex_volume.is_some()),
        ("azureFile", spec.azure_file.is_some()),
        ("vsphereVolume", spec.vsphere_volume.is_some()),
        (
            "photonPersistentDisk",
            spec.photon_persistent_disk.is_some(),
        ),
        ("portworxVolume", spec.portworx_volume.is_some()),
        ("azureDisk", spec.azure_disk.is_some()),
        ("scaleIO", spec.scale_io.is_some()),
        ("local", spec.local.is_some()),
        ("storageos", spec.storageos.is_some()),
        ("csi", spec.csi.is_some()),
    ]
}

/// The spec without all that is not its source.
fn only_source(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..spec.clone()
    }
}

fn validate_source(spec: &PersistentVolumeSpec, path: &Path, errors: &mut ErrorList) {
    let mut set = sources(spec).into_iter().filter(|(_, set)| *set);
    if set.next().is_none() {
        errors.required(path.clone(), "must specify a volume type");
    }
    for (field, _) in set {
        errors.forbidden(path.child(field), "may not specify more than 1 volume type");
    }
    if let Some(host) = &spec.host_path {
        pod_spec::validate_host_path(host, &path.child("hostPath"), errors);
    }
    if let Some(nfs) = &spec.nfs {
        pod_spec::validate_nfs(nfs, &path.child("nfs"), errors);
    }
    if let Some(local) = &spec.local {
        let here = path.child("local").child("path");
        if local.path.is_empty() {
            errors.required(here, "");
        } else if local.path.split('/').any(|part| part == "..") {
            errors.invalid(here, &local.path, "must not contain '..'");
        }
        if spec.node_affinity.is_none() {
            errors.required(
                path.child("nodeAffinity"),
                "Local volume requires node affinity",
            );
        }
    }
    if let Some(csi) = &spec.csi {
        let path = path.child("csi");
        validate_driver_name(&csi.driver, &path.child("driver"), errors);
        if csi.volume_handle.is_empty() {
            errors.required(path.child("volumeHandle"), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, created, merged};
    use serde_json::json;

    fn volume(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "pv"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"},
        }});
        merged(&base, &json!({"spec": spec}))
    }

    #[test]
    fn storage_has_a_size_and_one_place() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&PersistentVolumeStrategy, &volume(spec), expected);
        };
        check(json!({}), &[]);
        check(
            json!({"accessModes": null, "capacity": null, "hostPath": null}),
            &[
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                "spec.capacity: Unsupported value: {}: supported values: \"storage\"",
                "spec: Required value: must specify a volume type",
            ],
        );
        check(
            json!({"capacity": {"storage": "0", "cpu": "-1"}}),
            &[
                "spec.capacity: Unsupported value: {\"cpu\":\"-1\",\"storage\":\"0\"}: supported values: \"storage\"",
                "spec.capacity[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.capacity[cpu]: Invalid value: \"-1\": must be greater than zero",
                "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
            ],
        );
        check(
            json!({"accessModes": ["ReadWriteOncePod", "Sometimes"]}),
            &[
                "spec.accessModes: Unsupported value: \"Sometimes\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            ],
        );
        check(
            json!({"persistentVolumeReclaimPolicy": "Burn", "volumeMode": "Tape", "storageClassName": "A"}),
            &[
                "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Burn\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
                "spec.storageClassName: Invalid value: \"A\": a lowercase",
                "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
            ],
        );
        check(
            json!({"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}),
            &[
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ],
        );
    }

    #[test]
    fn places_are_complete() {
        let check = |spec: Value, expected: &[&str]| {
            let spec = merged(&json!({"hostPath": null}), &spec);
            check_create(&PersistentVolumeStrategy, &volume(spec), expected);
        };
        check(json!({"nfs": {"server": "n", "path": "/x"}}), &[]);
        check(
            json!({"nfs": {"server": "", "path": "x"}}),
            &[
                "spec.nfs.server: Required value",
                "spec.nfs.path: Invalid value: \"x\": must be an absolute path",
            ],
        );
        check(
            json!({"csi": {"driver": "", "volumeHandle": ""}}),
            &[
                "spec.csi.driver: Required value",
                "spec.csi.driver: Invalid value: \"\": a lowercase",
                "spec.csi.volumeHandle: Required value",
            ],
        );
        check(
            json!({"local": {"path": "/a/../b"}}),
            &[
                "spec.local.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ],
        );
        check(
            json!({"hostPath": {"path": ""}, "nfs": {"server": "n", "path": "/x"}}),
            &[
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
                "spec.hostPath.path: Required value",
            ],
        );
        check(
            json!({"local": {"path": "/a"}, "nodeAffinity": {}}),
            &["spec.nodeAffinity.required: Required value: must specify required node constraints"],
        );
        check(
            json!({"local": {"path": "/a"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}}}),
            &[
                "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values: Required value",
            ],
        );
    }

    #[test]
    fn where_it_is_stays() {
        let check = |new: Value, expected: &[&str]| {
            check_update(
                &PersistentVolumeStrategy,
                &volume(json!({})),
                &volume(new),
                expected,
            );
        };
        check(
            json!({"claimRef": {"name": "c"}, "capacity": {"storage": "2Gi"}, "storageClassName": "x"}),
            &[],
        );
        check(
            json!({"hostPath": {"path": "/other"}, "volumeMode": "Block"}),
            &[
                "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
                "spec.volumeMode: Invalid value: \"Block\": field is immutable",
            ],
        );
        let made = created(
            &PersistentVolumeStrategy,
            &merged(&volume(json!({})), &json!({"status": {"phase": "Bound"}})),
        );
        assert_eq!(made.status.unwrap().phase.as_deref(), Some("Pending"));
        assert_eq!(
            made.spec.unwrap().volume_mode.as_deref(),
            Some("Filesystem")
        );
    }

    #[test]
    fn its_row_says_whose_it_is() {
        let value = merged(
            &volume(
                json!({"claimRef": {"namespace": "a", "name": "c"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "fast"}),
            ),
            &json!({"status": {"phase": "Bound"}}),
        );
        let row = [
            ("Capacity", "1Gi"),
            ("Access Modes", "RWO,RWX"),
            ("Reclaim Policy", "Delete"),
            ("Status", "Bound"),
            ("Claim", "a/c"),
            ("StorageClass", "fast"),
            ("VolumeAttributesClass", "<unset>"),
            ("Reason", ""),
        ];
        check_row(&PersistentVolumeStrategy, &value, 0, &row);
        let gone = merged(
            &value,
            &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        );
        check_row(
            &PersistentVolumeStrategy,
            &gone,
            0,
            &[("Status", "Terminating")],
        );
    }
}
