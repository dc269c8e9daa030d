//! ServiceAccount: a pod gets the token of its account, where programs look for it.
//! Follows `k8s.io/kubernetes/plugin/pkg/admission/serviceaccount`.

use euston_access::token::request::SECONDS_OF_PODS;
use euston_api::labels::SERVICE_ACCOUNT_DEFAULT;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
    ObjectFieldSelector, Pod, PodSpec, ProjectedVolumeSource, ServiceAccount,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};

use super::plugin::{Lookup, Plugin, Request};
use crate::error::Result;
use crate::registry::generated_name;
use crate::registry::object::AnyObject;

/// Where a program finds token, CA and namespace.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
/// The ConfigMap that every namespace gets from a controller.
const ROOT_CA: &str = "kube-root-ca.crt";
/// For files of which a container may only read.
const MODE: i32 = 0o644;

/// Gives a new pod what its account says.
pub struct ServiceAccounts {
    /// All of them.
    pub accounts: Lookup<ServiceAccount>,
}

impl Plugin for ServiceAccounts {
    fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        let pod = object.as_any_mut().downcast_mut::<Pod>();
        let Some(pod) = pod.filter(|_| request.creates()) else {
            return Ok(());
        };
        let completed = self.complete(pod);
        completed.map_err(|why| request.forbidden(object, &why))
    }
}

impl ServiceAccounts {
    /// An account that is not there is an error, but for the one that every namespace gets from a controller: the
    /// node waits for that.
    fn complete(&self, pod: &mut Pod) -> std::result::Result<(), String> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let Some(spec) = &mut pod.spec else {
            return Ok(());
        };
        let name = spec
            .service_account_name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| SERVICE_ACCOUNT_DEFAULT.to_owned());
        let account = match self.accounts.get_in(&namespace, &name) {
            Some(account) => account,
            None if name == SERVICE_ACCOUNT_DEFAULT => ServiceAccount::default(),
            None => {
                return Err(format!(
                    "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
                ));
            }
        };
        let automount = spec.automount_service_account_token;
        if automount
            .or(account.automount_service_account_token)
            .unwrap_or(true)
        {
            mount(spec);
        }
        if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
            spec.image_pull_secrets = account.image_pull_secrets.filter(|s| !s.is_empty());
        }
        Ok(())
    }
}

fn mount(spec: &mut PodSpec) {
    // A pod that was copied from another one brings the volume along.
    let volumes = spec.volumes.iter().flatten();
    let brought = volumes.filter(|v| v.name.starts_with(VOLUME) && v.projected.is_some());
    let brought = brought.map(|v| v.name.clone()).next();
    let name = brought.clone().unwrap_or_else(|| generated_name(VOLUME));
    let containers = spec.containers.iter_mut();
    let mut needed = false;
    for container in containers.chain(spec.init_containers.iter_mut().flatten()) {
        needed |= mount_in(container, &name);
    }
    if needed && brought.is_none() {
        spec.volumes.get_or_insert_default().push(volume(name));
    }
}

/// True if the container did not have anything there.
fn mount_in(container: &mut Container, volume: &str) -> bool {
    let mounts = container.volume_mounts.get_or_insert_default();
    if mounts.iter().any(|mount| mount.mount_path == MOUNT) {
        return false;
    }
    mounts.push(VolumeMount {
        name: volume.to_owned(),
        read_only: Some(true),
        mount_path: MOUNT.to_owned(),
        ..VolumeMount::default()
    });
    true
}

fn volume(name: String) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(SECONDS_OF_PODS),
        ..ServiceAccountTokenProjection::default()
    };
    let ca = ConfigMapProjection {
        name: ROOT_CA.to_owned(),
        items: Some(vec![KeyToPath {
            key: "ca.crt".to_owned(),
            path: "ca.crt".to_owned(),
            ..KeyToPath::default()
        }]),
        ..ConfigMapProjection::default()
    };
    let namespace = DownwardAPIProjection {
        items: Some(vec![DownwardAPIVolumeFile {
            path: "namespace".to_owned(),
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.namespace".to_owned(),
            }),
            ..DownwardAPIVolumeFile::default()
        }]),
    };
    Volume {
        name,
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(MODE),
            sources: Some(vec![
                VolumeProjection {
                    service_account_token: Some(token),
                    ..VolumeProjection::default()
                },
                VolumeProjection {
                    config_map: Some(ca),
                    ..VolumeProjection::default()
                },
                VolumeProjection {
                    downward_api: Some(namespace),
                    ..VolumeProjection::default()
                },
            ]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}
