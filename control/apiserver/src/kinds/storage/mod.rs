//! Volumes, claims on them, and storage.k8s.io: who makes volumes, and how.

mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod persistent_volume;
mod persistent_volume_claim;
mod storage_class;
mod volume_attachment;
mod volume_attributes_class;

use std::collections::BTreeMap;

use euston_api::field::{ErrorList, Path};
use euston_api::names;

use super::pod_spec;
use crate::registry::kind::{Kind, Subresource};

pub use persistent_volume_claim::{class_of, names_a_class};
pub use storage_class::is_default as is_default_class;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const BLOCK: &str = "Block";
const FILESYSTEM: &str = "Filesystem";
const VOLUME_MODES: [&str; 2] = [BLOCK, FILESYSTEM];
const ONE_POD: &str = "ReadWriteOncePod";
/// How a volume may be mounted, and how tables write it.
const ACCESS_MODES: [(&str, &str); 4] = [
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOnce", "RWO"),
    (ONE_POD, "RWOP"),
];
/// Keys that say how a volume is made, of one class.
const PARAMETERS_MAX: usize = 512;
const PARAMETER_BYTES_MAX: usize = 256 << 10;
const DRIVER_NAME_BYTES_MAX: usize = 63;

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    use Subresource::Status;
    vec![
        Kind::new(
            persistent_volume::PersistentVolumeStrategy,
            "persistentvolume",
            false,
        )
        .short(&["pv"])
        .with(&[Status]),
        Kind::new(
            persistent_volume_claim::PersistentVolumeClaimStrategy,
            "persistentvolumeclaim",
            true,
        )
        .short(&["pvc"])
        .with(&[Status]),
        Kind::new(storage_class::StorageClassStrategy, "storageclass", false).short(&["sc"]),
        Kind::new(csi_driver::CsiDriverStrategy, "csidriver", false),
        Kind::new(csi_node::CsiNodeStrategy, "csinode", false).with(&[Status]),
        Kind::new(
            csi_storage_capacity::CsiStorageCapacityStrategy,
            "csistoragecapacity",
            true,
        ),
        Kind::new(
            volume_attachment::VolumeAttachmentStrategy,
            "volumeattachment",
            false,
        )
        .with(&[Status]),
        Kind::new(
            volume_attributes_class::VolumeAttributesClassStrategy,
            "volumeattributesclass",
            false,
        )
        .short(&["vac"]),
    ]
}

/// The modes as tables write them: `RWO,ROX`, each once, in Kubernetes' order.
fn shown_access_modes(modes: Option<&[String]>) -> String {
    let modes = modes.unwrap_or_default();
    ["RWO", "ROX", "RWX", "RWOP"]
        .into_iter()
        .filter(|short| {
            let long = ACCESS_MODES.iter().find(|(_, s)| s == short);
            long.is_some_and(|(long, _)| modes.iter().any(|m| m == long))
        })
        .collect::<Vec<_>>()
        .join(",")
}

fn validate_access_modes(modes: &[String], path: &Path, errors: &mut ErrorList) {
    let known = ACCESS_MODES.map(|(mode, _)| mode);
    for mode in modes {
        if !known.contains(&mode.as_str()) {
            errors.not_supported(path.clone(), mode, &known);
        }
    }
    let exclusive = modes.iter().any(|m| m == ONE_POD);
    if exclusive && modes.iter().any(|m| m != ONE_POD) {
        let rule = "may not use ReadWriteOncePod with other access modes";
        errors.forbidden(path.clone(), rule);
    }
}

fn validate_volume_mode(mode: Option<&str>, path: &Path, errors: &mut ErrorList) {
    if let Some(mode) = mode
        && !VOLUME_MODES.contains(&mode)
    {
        errors.not_supported(path.child("volumeMode"), mode, &VOLUME_MODES);
    }
}

/// An amount of storage: there is some.
fn validate_size(
    amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity,
    path: &Path,
    errors: &mut ErrorList,
) {
    let parsed = pod_spec::validate_amount("storage", amount, path, errors);
    if parsed.is_some_and(|q| q.is_negative() || q.is_zero()) {
        errors.invalid(path.clone(), amount, "must be greater than zero");
    }
}

/// The name of a CSI driver, which is the domain of whoever wrote it.
fn validate_driver_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path.clone(), "");
    }
    if name.len() > DRIVER_NAME_BYTES_MAX {
        errors.too_long(path.clone(), DRIVER_NAME_BYTES_MAX);
    }
    let problems = names::dns1123_subdomain(&name.to_ascii_lowercase());
    errors.invalid_each(path, name, problems);
}

fn validate_parameters(
    parameters: Option<&BTreeMap<String, String>>,
    needed: bool,
    errors: &mut ErrorList,
) {
    let path = Path::new("parameters");
    let count = parameters.map_or(0, BTreeMap::len);
    if count > PARAMETERS_MAX {
        errors.too_long(path, PARAMETERS_MAX);
        return;
    }
    let mut bytes = 0;
    for (key, value) in parameters.into_iter().flatten() {
        if key.is_empty() {
            errors.invalid(path.clone(), key, "field can not be empty.");
        }
        bytes += key.len() + value.len();
    }
    if bytes > PARAMETER_BYTES_MAX {
        errors.too_long(path.clone(), PARAMETER_BYTES_MAX);
    }
    if needed && count == 0 {
        errors.required(path, "must contain at least one key/value pair");
    }
}

/// `value` may not change, in the words of this group.
fn forbid_change<T: PartialEq>(field: &str, new: &T, old: &T, errors: &mut ErrorList) {
    if new != old {
        let rule = format!("updates to {field} are forbidden.");
        errors.forbidden(Path::new(field), rule);
    }
}
