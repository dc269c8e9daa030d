//! Volumes: what a pod's containers mount.

use std::collections::{BTreeMap, BTreeSet};

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use euston_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, NFSVolumeSource, PodSpec,
    ProjectedVolumeSource, Volume, VolumeProjection,
};

use super::env::{FILE_FIELDS, validate_field, validate_resource};
use super::required_name;

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// A pod's volumes by name, and whether each stands for a claim on storage.
pub(super) struct Volumes<'a>(BTreeMap<&'a str, bool>);

impl Volumes<'_> {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn is_claim(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or_default()
    }
}

pub(super) fn validate_volumes<'a>(
    spec: &'a PodSpec,
    path: &Path,
    errors: &mut ErrorList,
) -> Volumes<'a> {
    let mut volumes = BTreeMap::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.index(index);
        validate_source(volume, &path, errors);
        let before = errors.len();
        required_name(
            &volume.name,
            names::dns1123_label,
            path.child("name"),
            errors,
        );
        let is_claim = volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
        if errors.len() == before && volumes.insert(volume.name.as_str(), is_claim).is_some() {
            errors.duplicate(path.child("name"), &volume.name);
        }
    }
    Volumes(volumes)
}

/// The sources that a volume has, by their names. Kubernetes has many more than these
/// kinds of storage; a Wasm node knows the first ones, but an object is an object.
fn sources(volume: &Volume) -> Vec<&'static str> {
    let all = [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("secret", volume.secret.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("projected", volume.projected.is_some()),
        (
            "persistentVolumeClaim",
            volume.persistent_volume_claim.is_some(),
        ),
        ("ephemeral", volume.ephemeral.is_some()),
        ("image", volume.image.is_some()),
        ("csi", volume.csi.is_some()),
        ("nfs", volume.nfs.is_some()),
        (
            "awsElasticBlockStore",
            volume.aws_elastic_block_store.is_some(),
        ),
        ("azureDisk", volume.azure_disk.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("fc", volume.fc.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        (
            "photonPersistentDisk",
            volume.photon_persistent_disk.is_some(),
        ),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
    ];
    all.into_iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| name)
        .collect()
}

fn validate_source(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    let sources = sources(volume);
    match sources.as_slice() {
        [] => errors.required(path.clone(), "must specify a volume type"),
        [_, others @ ..] => {
            for other in others {
                errors.forbidden(path.child(other), "may not specify more than 1 volume type");
            }
        }
    }
    validate_plain(volume, path, errors);
    validate_files(volume, path, errors);
    if let Some(projected) = &volume.projected {
        validate_projected(projected, &path.child("projected"), errors);
    }
}

fn validate_plain(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    if let Some(empty) = &volume.empty_dir
        && let Some(limit) = &empty.size_limit
        && !Quantity::from_api(limit).is_ok_and(|limit| !limit.is_negative())
    {
        errors.forbidden(
            path.child("emptyDir").child("sizeLimit"),
            "SizeLimit field must be a valid resource quantity",
        );
    }
    if let Some(host) = &volume.host_path {
        validate_host_path(host, &path.child("hostPath"), errors);
    }
    if let Some(claim) = &volume.persistent_volume_claim
        && claim.claim_name.is_empty()
    {
        errors.required(path.child("persistentVolumeClaim").child("claimName"), "");
    }
    if let Some(ephemeral) = &volume.ephemeral
        && ephemeral.volume_claim_template.is_none()
    {
        errors.required(path.child("ephemeral").child("volumeClaimTemplate"), "");
    }
    if let Some(nfs) = &volume.nfs {
        validate_nfs(nfs, &path.child("nfs"), errors);
    }
    if let Some(csi) = &volume.csi
        && csi.driver.is_empty()
    {
        errors.required(path.child("csi").child("driver"), "");
    }
    if let Some(image) = &volume.image
        && image.reference.as_deref().is_none_or(str::is_empty)
    {
        errors.required(path.child("image").child("reference"), "");
    }
}

/// A path of the node.
pub(in crate::kinds) fn validate_host_path(
    host: &HostPathVolumeSource,
    path: &Path,
    errors: &mut ErrorList,
) {
    if host.path.is_empty() {
        errors.required(path.child("path"), "");
    } else if host.path.split('/').any(|part| part == "..") {
        errors.invalid(path.child("path"), &host.path, "must not contain '..'");
    }
    let kind = host.type_.as_deref().unwrap_or_default();
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, &HOST_PATH_TYPES);
    }
}

/// A path of a server of files.
pub(in crate::kinds) fn validate_nfs(nfs: &NFSVolumeSource, path: &Path, errors: &mut ErrorList) {
    if nfs.server.is_empty() {
        errors.required(path.child("server"), "");
    }
    if nfs.path.is_empty() {
        errors.required(path.child("path"), "");
    } else if !nfs.path.starts_with('/') {
        errors.invalid(path.child("path"), &nfs.path, "must be an absolute path");
    }
}

/// Volumes whose files come from the API.
fn validate_files(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    if let Some(secret) = &volume.secret {
        let path = path.child("secret");
        if secret.secret_name.as_deref().is_none_or(str::is_empty) {
            errors.required(path.child("secretName"), "");
        }
        validate_mode(secret.default_mode, &path.child("defaultMode"), errors);
        validate_items(secret.items.as_deref(), &path.child("items"), errors);
    }
    if let Some(map) = &volume.config_map {
        let path = path.child("configMap");
        if map.name.is_empty() {
            errors.required(path.child("name"), "");
        }
        validate_mode(map.default_mode, &path.child("defaultMode"), errors);
        validate_items(map.items.as_deref(), &path.child("items"), errors);
    }
    if let Some(downward) = &volume.downward_api {
        let path = path.child("downwardAPI");
        validate_mode(downward.default_mode, &path.child("defaultMode"), errors);
        for (index, file) in downward.items.iter().flatten().enumerate() {
            validate_downward_file(file, &path.child("items").index(index), errors);
        }
    }
}

fn validate_projected(projected: &ProjectedVolumeSource, path: &Path, errors: &mut ErrorList) {
    validate_mode(projected.default_mode, &path.child("defaultMode"), errors);
    let mut seen = BTreeSet::new();
    for (index, source) in projected.sources.iter().flatten().enumerate() {
        let path = path.child("sources").index(index);
        let all = [
            ("secret", source.secret.is_some()),
            ("configMap", source.config_map.is_some()),
            ("downwardAPI", source.downward_api.is_some()),
            (
                "serviceAccountToken",
                source.service_account_token.is_some(),
            ),
            ("clusterTrustBundle", source.cluster_trust_bundle.is_some()),
            ("podCertificate", source.pod_certificate.is_some()),
        ];
        let set: Vec<&str> = all
            .iter()
            .filter(|(_, set)| *set)
            .map(|(name, _)| *name)
            .collect();
        match set.as_slice() {
            [] => errors.required(path.clone(), "must specify a volume type"),
            [_, others @ ..] => {
                for other in others {
                    errors.forbidden(path.child(other), "may not specify more than 1 volume type");
                }
            }
        }
        validate_projection(source, &path, errors);
        for file in projected_paths(source) {
            if !file.is_empty() && !seen.insert(file) {
                errors.invalid(path.clone(), file, "conflicting duplicate paths");
            }
        }
    }
}

fn projected_paths(source: &VolumeProjection) -> Vec<&str> {
    let mut paths = Vec::new();
    if let Some(secret) = &source.secret {
        paths.extend(secret.items.iter().flatten().map(|item| item.path.as_str()));
    }
    if let Some(map) = &source.config_map {
        paths.extend(map.items.iter().flatten().map(|item| item.path.as_str()));
    }
    if let Some(downward) = &source.downward_api {
        paths.extend(
            downward
                .items
                .iter()
                .flatten()
                .map(|item| item.path.as_str()),
        );
    }
    if let Some(token) = &source.service_account_token {
        paths.push(token.path.as_str());
    }
    paths
}

fn validate_projection(source: &VolumeProjection, path: &Path, errors: &mut ErrorList) {
    if let Some(secret) = &source.secret {
        let path = path.child("secret");
        if secret.name.is_empty() {
            errors.required(path.child("name"), "");
        }
        validate_items(secret.items.as_deref(), &path.child("items"), errors);
    }
    if let Some(map) = &source.config_map {
        let path = path.child("configMap");
        if map.name.is_empty() {
            errors.required(path.child("name"), "");
        }
        validate_items(map.items.as_deref(), &path.child("items"), errors);
    }
    if let Some(downward) = &source.downward_api {
        let path = path.child("downwardAPI");
        for (index, file) in downward.items.iter().flatten().enumerate() {
            validate_downward_file(file, &path.child("items").index(index), errors);
        }
    }
    if let Some(token) = &source.service_account_token {
        let path = path.child("serviceAccountToken");
        match token.expiration_seconds {
            Some(seconds) if seconds < TOKEN_SECONDS_MIN => errors.invalid(
                path.child("expirationSeconds"),
                seconds,
                "may not specify a duration less than 10 minutes",
            ),
            Some(seconds) if seconds > TOKEN_SECONDS_MAX => errors.invalid(
                path.child("expirationSeconds"),
                seconds,
                "may not specify a duration larger than 2^32 seconds",
            ),
            _ => {}
        }
        validate_file_path(&token.path, &path.child("path"), errors);
    }
}

fn validate_items(items: Option<&[KeyToPath]>, path: &Path, errors: &mut ErrorList) {
    for (index, item) in items.into_iter().flatten().enumerate() {
        let path = path.index(index);
        if item.key.is_empty() {
            errors.required(path.child("key"), "");
        }
        validate_file_path(&item.path, &path.child("path"), errors);
        validate_mode(item.mode, &path.child("mode"), errors);
    }
}

fn validate_downward_file(file: &DownwardAPIVolumeFile, path: &Path, errors: &mut ErrorList) {
    validate_file_path(&file.path, &path.child("path"), errors);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(_), Some(_)) => errors.invalid(
            path.clone(),
            "resource",
            "fieldRef and resourceFieldRef can not be specified simultaneously",
        ),
        (Some(field), None) => {
            validate_field(field, &FILE_FIELDS, &path.child("fieldRef"), errors);
        }
        (None, Some(resource)) => {
            validate_resource(resource, true, &path.child("resourceFieldRef"), errors);
        }
        (None, None) => errors.required(
            path.clone(),
            "one of fieldRef and resourceFieldRef is required",
        ),
    }
    validate_mode(file.mode, &path.child("mode"), errors);
}

fn validate_mode(mode: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(mode) = mode
        && !(0..=0o777).contains(&mode)
    {
        let rule = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(path.clone(), mode, rule);
    }
}

/// The path of a file in a volume: relative, inside, and not among the node's own files.
fn validate_file_path(file: &str, path: &Path, errors: &mut ErrorList) {
    if file.is_empty() {
        return errors.required(path.clone(), "");
    }
    validate_inner_path(file, path, errors);
    // `..` at the start is how a node marks its versions of a volume.
    if file.starts_with("..") && !file.starts_with("../") {
        errors.invalid(path.clone(), file, "must not start with '..'");
    }
}

/// A path that stays below where it starts.
pub(super) fn validate_inner_path(inner: &str, path: &Path, errors: &mut ErrorList) {
    if inner.starts_with('/') {
        errors.invalid(path.clone(), inner, "must be a relative path");
    }
    if inner.split('/').any(|part| part == "..") {
        errors.invalid(path.clone(), inner, "must not contain '..'");
    }
}
