//! What is allowed in a pod and is probably not what was meant, and what has no effect
//! where a container is a sandbox and not a Linux process. Settings that ask for less
//! than a sandbox grants anyway (users, dropped capabilities, seccomp) are met and not
//! mentioned.

use std::collections::BTreeSet;

use euston_api::field::Path;
use k8s_openapi::api::core::v1::{Container, PodSpec, WindowsSecurityContextOptions};

use super::text;

const NO_DEVICES: &str = "a sandbox has no devices";

/// Sentences for the client, each with the path of the field.
pub(in super::super) fn pod_warnings(spec: &PodSpec, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    without_effect(spec, path, &mut warnings);
    for (field, containers) in [
        (
            "initContainers",
            spec.init_containers.as_deref().unwrap_or_default(),
        ),
        ("containers", &spec.containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            container_warnings(container, &path.child(field).index(index), &mut warnings);
        }
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.child("volumes").index(index);
        if volume.git_repo.is_some() {
            warnings.push(format!(
                "{}: deprecated in v1.11, and disabled by default in v1.33+",
                path.child("gitRepo")
            ));
        }
    }
    if spec
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0)
    {
        warnings.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.child("terminationGracePeriodSeconds")
        ));
    }
    duplicates(&spec.containers, path, &mut warnings);
    warnings
}

fn no_effect(path: &Path, why: &str, warnings: &mut Vec<String>) {
    warnings.push(format!("{path}: has no effect on a WebAssembly pod: {why}"));
}

fn without_effect(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let flags = [
        (
            "hostPID",
            spec.host_pid,
            "a sandbox has no processes to share",
        ),
        (
            "hostIPC",
            spec.host_ipc,
            "a sandbox has no shared memory or message queues",
        ),
        (
            "hostNetwork",
            spec.host_network,
            "its network is the cluster's own, not the node's",
        ),
        (
            "shareProcessNamespace",
            spec.share_process_namespace,
            "a sandbox has no processes",
        ),
    ];
    for (field, value, why) in flags {
        if value == Some(true) {
            no_effect(&path.child(field), why, warnings);
        }
    }
    if let Some(context) = &spec.security_context {
        let path = path.child("securityContext");
        if context.sysctls.as_ref().is_some_and(|s| !s.is_empty()) {
            let why = "there is no kernel of its own to set up";
            no_effect(&path.child("sysctls"), why, warnings);
        }
        let windows = context.windows_options.as_ref();
        on_the_host(windows, &path, warnings);
    }
    if spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty()) {
        no_effect(&path.child("resourceClaims"), NO_DEVICES, warnings);
    }
}

/// A container of Windows that is none.
fn on_the_host(
    windows: Option<&WindowsSecurityContextOptions>,
    path: &Path,
    warnings: &mut Vec<String>,
) {
    if windows.is_some_and(|w| w.host_process == Some(true)) {
        let path = path.child("windowsOptions").child("hostProcess");
        no_effect(
            &path,
            "it is a sandbox and not a process of the node",
            warnings,
        );
    }
}

fn container_warnings(container: &Container, path: &Path, warnings: &mut Vec<String>) {
    if let Some(context) = &container.security_context {
        let path = path.child("securityContext");
        if context.privileged == Some(true) {
            let why = "a sandbox never has more rights than the node grants it";
            no_effect(&path.child("privileged"), why, warnings);
        }
        if context.proc_mount.as_deref() == Some("Unmasked") {
            let why = "a sandbox has no /proc";
            no_effect(&path.child("procMount"), why, warnings);
        }
        on_the_host(context.windows_options.as_ref(), &path, warnings);
        let capabilities = context.capabilities.as_ref();
        if capabilities.is_some_and(|c| c.add.as_ref().is_some_and(|add| !add.is_empty())) {
            let why = "a sandbox has no Linux capabilities";
            no_effect(&path.child("capabilities").child("add"), why, warnings);
        }
    }
    if container
        .volume_devices
        .as_ref()
        .is_some_and(|d| !d.is_empty())
    {
        no_effect(&path.child("volumeDevices"), NO_DEVICES, warnings);
    }
    for (index, port) in container.ports.iter().flatten().enumerate() {
        if text(&port.host_ip).is_some() && port.host_port.unwrap_or_default() == 0 {
            let path = path.child("ports").index(index).child("hostIP");
            warnings.push(format!("{path}: set without hostPort: has no effect"));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if !seen.insert(&variable.name) {
            warnings.push(format!(
                "{}: hides previous definition of {:?}, which may be dropped when using apply",
                path.child("env").index(index),
                variable.name
            ));
        }
    }
}

/// Ports that stand twice in a pod, which strategic merges cannot tell apart.
fn duplicates(containers: &[Container], path: &Path, warnings: &mut Vec<String>) {
    let mut seen = std::collections::BTreeMap::new();
    for (index, container) in containers.iter().enumerate() {
        for (port_index, port) in container.ports.iter().flatten().enumerate() {
            let here = path
                .child("containers")
                .index(index)
                .child("ports")
                .index(port_index);
            let key = (port.container_port, port.protocol.clone());
            if let Some(other) = seen.get(&key) {
                warnings.push(format!("{here}: duplicate port definition with {other}"));
            } else {
                seen.insert(key, here);
            }
        }
    }
}
