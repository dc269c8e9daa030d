//! Containers: what runs in a pod.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, VolumeDevice, VolumeMount};

use super::volumes::{Volumes, validate_inner_path};
use super::{
    PROTOCOLS, env, handlers, is_sidecar, none_or_one_of, one_of, required_name, resources,
    security, text,
};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];

pub(super) fn validate_containers(
    spec: &PodSpec,
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let grace = spec.termination_grace_period_seconds.unwrap_or_default();
    let mut seen = BTreeSet::new();
    let here = path.child("containers");
    if spec.containers.is_empty() {
        errors.required(here.clone(), "");
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = here.index(index);
        validate_common(container, spec, volumes, &path, errors);
        if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
            errors.duplicate(path.child("name"), &container.name);
        }
        none_or_one_of(
            container.restart_policy.as_deref(),
            &RESTART_POLICIES,
            path.child("restartPolicy"),
            errors,
        );
        handlers::validate(container, grace, &path, errors);
    }
    validate_host_ports(&spec.containers, false, &here, errors);

    let here = path.child("initContainers");
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (index, container) in init.iter().enumerate() {
        let path = here.index(index);
        validate_common(container, spec, volumes, &path, errors);
        if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
            errors.duplicate(path.child("name"), &container.name);
        }
        none_or_one_of(
            container.restart_policy.as_deref(),
            &RESTART_POLICIES,
            path.child("restartPolicy"),
            errors,
        );
        handlers::validate_init(container, grace, &path, errors);
    }
    validate_host_ports(init, true, &here, errors);
    validate_ephemeral(spec, &seen, &path.child("ephemeralContainers"), errors);
}

/// The images alone: what an update may change.
pub(in super::super) fn validate_images(
    containers: &[Container],
    path: &Path,
    errors: &mut ErrorList,
) {
    for (index, container) in containers.iter().enumerate() {
        validate_image(container, &path.index(index), errors);
    }
}

fn validate_image(container: &Container, path: &Path, errors: &mut ErrorList) {
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.required(path.child("image"), "");
    } else if image != image.trim() {
        let rule = "must not have leading or trailing whitespace";
        errors.invalid(path.child("image"), image, rule);
    }
}

fn validate_common(
    container: &Container,
    spec: &PodSpec,
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    required_name(
        &container.name,
        names::dns1123_label,
        path.child("name"),
        errors,
    );
    validate_image(container, path, errors);
    one_of(
        container.termination_message_policy.as_deref(),
        &["FallbackToLogsOnError", "File"],
        path.child("terminationMessagePolicy"),
        errors,
    );
    let ports = container.ports.as_deref().unwrap_or_default();
    validate_ports(
        ports,
        spec.host_network == Some(true),
        &path.child("ports"),
        errors,
    );
    env::validate_env(
        container.env.as_deref().unwrap_or_default(),
        &path.child("env"),
        errors,
    );
    env::validate_env_from(
        container.env_from.as_deref().unwrap_or_default(),
        &path.child("envFrom"),
        errors,
    );
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    validate_mounts(
        mounts,
        devices,
        volumes,
        &path.child("volumeMounts"),
        errors,
    );
    validate_devices(
        devices,
        mounts,
        volumes,
        &path.child("volumeDevices"),
        errors,
    );
    one_of(
        container.image_pull_policy.as_deref(),
        &PULL_POLICIES,
        path.child("imagePullPolicy"),
        errors,
    );
    if let Some(wanted) = &container.resources {
        resources::validate(wanted, spec, &path.child("resources"), errors);
    }
    let here = path.child("resizePolicy");
    let mut resized = BTreeSet::new();
    for policy in container.resize_policy.iter().flatten() {
        if !resized.insert(&policy.resource_name) {
            errors.duplicate(here.clone(), &policy.resource_name);
        }
        one_of(
            Some(&policy.resource_name),
            &["cpu", "memory"],
            here.clone(),
            errors,
        );
        let known = ["NotRequired", "RestartContainer"];
        one_of(Some(&policy.restart_policy), &known, here.clone(), errors);
    }
    if let Some(context) = &container.security_context {
        security::validate_container(context, &path.child("securityContext"), errors);
    }
}

fn validate_ports(
    ports: &[ContainerPort],
    host_network: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if let Some(name) = text(&port.name) {
            let problems = names::port_name(name);
            let good = problems.is_empty();
            errors.invalid_each(&path.child("name"), name, problems);
            if good && !seen.insert(name) {
                errors.duplicate(path.child("name"), name);
            }
        }
        let number = port.container_port;
        if number == 0 {
            errors.required(path.child("containerPort"), "");
        } else {
            errors.invalid_each(
                &path.child("containerPort"),
                number,
                names::port_number(number),
            );
        }
        let host = port.host_port.unwrap_or_default();
        if host != 0 {
            errors.invalid_each(&path.child("hostPort"), host, names::port_number(host));
        }
        if host_network && host != number {
            errors.invalid(
                path.child("containerPort"),
                number,
                "must match `hostPort` when `hostNetwork` is true",
            );
        }
        one_of(
            port.protocol.as_deref(),
            &PROTOCOLS,
            path.child("protocol"),
            errors,
        );
    }
}

/// A port of the host goes to one container only. Init containers run one after the
/// other, so only sidecars count among them.
fn validate_host_ports(containers: &[Container], init: bool, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        if init && !is_sidecar(container) {
            continue;
        }
        let path = path.index(index).child("ports");
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let host = port.host_port.unwrap_or_default();
            if host == 0 {
                continue;
            }
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let ip = port.host_ip.as_deref().unwrap_or_default();
            let whole = format!("{protocol}/{ip}/{host}");
            if !seen.insert(whole.clone()) {
                errors.duplicate(path.index(index).child("hostPort"), whole);
            }
        }
    }
}

fn validate_mounts(
    mounts: &[VolumeMount],
    devices: &[VolumeDevice],
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut seen = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = path.index(index);
        let name = mount.name.as_str();
        if name.is_empty() {
            errors.required(path.child("name"), "");
        }
        if !volumes.contains(name) {
            errors.not_found(path.child("name"), name);
        }
        if mount.mount_path.is_empty() {
            errors.required(path.child("mountPath"), "");
        }
        let taken = devices
            .iter()
            .any(|device| device.device_path == mount.mount_path);
        if !seen.insert(mount.mount_path.as_str()) {
            errors.invalid(path.child("mountPath"), &mount.mount_path, "must be unique");
        } else if taken {
            let rule = "must not already exist as a path in volumeDevices";
            errors.invalid(path.child("mountPath"), &mount.mount_path, rule);
        }
        if let Some(sub) = text(&mount.sub_path) {
            validate_inner_path(sub, &path.child("subPath"), errors);
        }
        if let Some(sub) = text(&mount.sub_path_expr) {
            if text(&mount.sub_path).is_some() {
                let rule = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(path.child("subPathExpr"), sub, rule);
            }
            validate_inner_path(sub, &path.child("subPathExpr"), errors);
        }
        none_or_one_of(
            mount.mount_propagation.as_deref(),
            &["Bidirectional", "HostToContainer", "None"],
            path.child("mountPropagation"),
            errors,
        );
        if let Some(recursive) = mount.recursive_read_only.as_deref() {
            let path = path.child("recursiveReadOnly");
            let known = ["Disabled", "Enabled", "IfPossible"];
            if recursive != "Disabled" && mount.read_only != Some(true) {
                errors.forbidden(path.clone(), "may only be specified when readOnly is true");
            }
            one_of(Some(recursive), &known, path, errors);
        }
    }
}

fn validate_devices(
    devices: &[VolumeDevice],
    mounts: &[VolumeMount],
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (mut names_seen, mut paths_seen) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in devices.iter().enumerate() {
        let path = path.index(index);
        let name = device.name.as_str();
        if name.is_empty() {
            errors.required(path.child("name"), "");
        }
        if !names_seen.insert(name) {
            errors.invalid(path.child("name"), name, "must be unique");
        }
        if !volumes.contains(name) {
            errors.not_found(path.child("name"), name);
        } else if !volumes.is_claim(name) {
            errors.invalid(
                path.child("name"),
                name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            );
        }
        let here = path.child("devicePath");
        if device.device_path.is_empty() {
            errors.required(here, "");
        } else if !paths_seen.insert(device.device_path.as_str()) {
            errors.invalid(here, &device.device_path, "must be unique");
        } else {
            validate_inner_path(
                device.device_path.trim_start_matches('/'),
                &path.child("devicePath"),
                errors,
            );
        }
        if mounts.iter().any(|mount| mount.name == name) {
            errors.invalid(
                path.child("name"),
                name,
                "must not already exist in volumeMounts",
            );
        }
    }
}

/// Containers that were added to a running pod.
fn validate_ephemeral(
    spec: &PodSpec,
    others: &BTreeSet<&str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut seen = others.clone();
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = path.index(index);
        required_name(
            &container.name,
            names::dns1123_label,
            path.child("name"),
            errors,
        );
        if !container.name.is_empty() && !seen.insert(&container.name) {
            errors.duplicate(path.child("name"), &container.name);
        }
        if text(&container.image).is_none() {
            errors.required(path.child("image"), "");
        }
        if let Some(target) = text(&container.target_container_name)
            && !others.contains(target)
        {
            errors.not_found(path.child("targetContainerName"), target);
        }
        let set = [
            ("lifecycle", container.lifecycle.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
            (
                "ports",
                container.ports.as_ref().is_some_and(|p| !p.is_empty()),
            ),
            (
                "resources",
                container
                    .resources
                    .as_ref()
                    .is_some_and(|r| *r != Default::default()),
            ),
        ];
        for (field, set) in set {
            if set {
                let rule = "cannot be set for an Ephemeral Container";
                errors.forbidden(path.child(field), rule);
            }
        }
    }
}
