//! What may change in a pod once it exists. Follows `ValidatePodUpdate` and
//! `ValidatePodStatusUpdate` of `pkg/apis/core/validation`.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus, Toleration};
use serde_json::{Map, Value};

use super::super::pod_spec;

const MUTABLE: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::new();
    let default = PodSpec::default();
    let new = new.spec.as_ref().unwrap_or(&default);
    let old = old.spec.as_ref().unwrap_or(&default);
    let path = Path::new("spec");
    let empty = Vec::new();
    let init = |spec: &'_ PodSpec| spec.init_containers.as_ref().map_or(0, Vec::len);
    let counts = [
        ("containers", new.containers.len(), old.containers.len()),
        ("initContainers", init(new), init(old)),
    ];
    for (field, is, was) in counts {
        if is != was {
            errors.forbidden(
                path.child(field),
                "pod updates may not add or remove containers",
            );
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    pod_spec::validate_images(&new.containers, &path.child("containers"), &mut errors);
    let init = new.init_containers.as_ref().unwrap_or(&empty);
    pod_spec::validate_images(init, &path.child("initContainers"), &mut errors);
    validate_deadline(new, old, &path, &mut errors);
    validate_tolerations(new, old, &path, &mut errors);
    validate_gates(new, old, &path, &mut errors);

    let changed = changed_fields(&with_mutable_of(new, old), old);
    if !changed.is_empty() {
        errors.forbidden(path, format!("{MUTABLE}\nchanged: {}", changed.join(", ")));
    }
    errors
}

/// `new`, but with `old`'s values where a change is allowed: what differs then is forbidden.
fn with_mutable_of(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut spec = new.clone();
    let keep = |new: &mut [Container], old: &[Container]| {
        for (new, old) in new.iter_mut().zip(old) {
            new.image.clone_from(&old.image);
        }
    };
    keep(&mut spec.containers, &old.containers);
    if let (Some(new), Some(old)) = (&mut spec.init_containers, &old.init_containers) {
        keep(new, old);
    }
    spec.active_deadline_seconds = old.active_deadline_seconds;
    spec.tolerations.clone_from(&old.tolerations);
    spec.scheduling_gates.clone_from(&old.scheduling_gates);
    if new.termination_grace_period_seconds == Some(1)
        && old
            .termination_grace_period_seconds
            .is_some_and(|seconds| seconds < 0)
    {
        spec.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    // A pod that is held back from scheduling may still be told where to go.
    if old
        .scheduling_gates
        .as_ref()
        .is_some_and(|gates| !gates.is_empty())
    {
        let kept = |new: Option<&String>, old: &String| new == Some(old);
        let narrowed =
            old.node_selector.iter().flatten().all(|(key, value)| {
                kept(new.node_selector.as_ref().and_then(|s| s.get(key)), value)
            });
        if narrowed {
            spec.node_selector.clone_from(&old.node_selector);
        }
        if old.affinity.is_none() {
            spec.affinity = None;
        }
    }
    spec
}

/// The names of the top-level fields that differ. Kubernetes prints a difference of Go
/// structs here, which helps nobody.
fn changed_fields(new: &PodSpec, old: &PodSpec) -> Vec<String> {
    if new == old {
        return Vec::new();
    }
    let fields = |spec: &PodSpec| match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (new, old) = (fields(new), fields(old));
    let mut names: Vec<String> = new
        .keys()
        .chain(old.keys())
        .filter(|name| new.get(*name) != old.get(*name))
        .map(|name| format!("spec.{name}"))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn validate_deadline(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let path = path.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(is), Some(was)) if is > was => {
            errors.invalid(path, is, "must be less than or equal to previous value");
        }
        (None, Some(_)) => errors.invalid(
            path,
            Value::Null,
            "must not update from a positive integer to nil value",
        ),
        _ => {}
    }
}

/// Tolerations may be added, and how long they hold may change.
fn validate_tolerations(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let timeless = |t: &Toleration| Toleration {
        toleration_seconds: None,
        ..t.clone()
    };
    let news: Vec<Toleration> = new.tolerations.iter().flatten().map(timeless).collect();
    for toleration in old.tolerations.iter().flatten() {
        if !news.contains(&timeless(toleration)) {
            let rule = "existing toleration can not be modified except its tolerationSeconds";
            return errors.forbidden(path.child("tolerations"), rule);
        }
    }
}

/// Gates may be opened, and no new ones closed.
fn validate_gates(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let had = old.scheduling_gates.as_deref().unwrap_or_default();
    for (index, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        if !had.contains(gate) {
            let rule = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                gate.name
            );
            errors.forbidden(path.child("schedulingGates").index(index), rule);
        }
    }
}

pub(super) fn validate_status(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, status) = (PodSpec::default(), PodStatus::default());
    let spec = new.spec.as_ref().unwrap_or(&spec);
    let is = new.status.as_ref().unwrap_or(&status);
    let was = old.status.as_ref().unwrap_or(&status);
    let path = Path::new("status");
    if let Some(node) = is.nominated_node_name.as_deref().filter(|n| !n.is_empty()) {
        errors.invalid_each(
            &path.child("nominatedNodeName"),
            node,
            names::dns1123_subdomain(node),
        );
    }
    for (index, ip) in is.pod_ips.iter().flatten().enumerate() {
        let path = path.child("podIPs").index(index);
        errors.invalid_each(&path, &ip.ip, names::ip_address(&ip.ip));
    }
    let policy = spec.restart_policy.as_deref().unwrap_or_default();
    let lists = [
        (
            "containerStatuses",
            &is.container_statuses,
            &was.container_statuses,
            false,
        ),
        (
            "initContainerStatuses",
            &is.init_container_statuses,
            &was.init_container_statuses,
            true,
        ),
    ];
    for (field, is, was, init) in lists {
        let path = path.child(field);
        for old in was.iter().flatten() {
            // Init containers, containers with a policy of their own and those that
            // are restarted anyway may start again.
            let containers = if init { &[][..] } else { &spec.containers[..] };
            let own = containers.iter().find(|c| c.name == old.name);
            let restarts = match policy {
                _ if init => true,
                "Never" => false,
                "OnFailure" => exit_code(old) != Some(0),
                _ => true,
            };
            if restarts || own.is_none_or(|c| c.restart_policy.is_some()) {
                continue;
            }
            let again = is
                .iter()
                .flatten()
                .enumerate()
                .find(|(_, new)| new.name == old.name);
            if exit_code(old).is_some()
                && let Some((index, new)) = again
                && exit_code(new).is_none()
            {
                let path = path.index(index).child("state");
                errors.forbidden(path, "may not be transitioned to non-terminated state");
            }
        }
    }
    errors
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}
