//! What may be written through a pod's subresources: containers that are added to a running
//! pod (KEP-277), and resources that change while it runs (KEP-1287). Follows
//! `podEphemeralContainersStrategy` and `podResizeStrategy` of `pkg/registry/core/pod`, and
//! their validation in `pkg/apis/core/validation`.

use std::collections::BTreeMap;

use euston_api::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::pod_spec;
use super::qos;
use crate::registry::kind::Subresource;

/// A pod that its node made from a file of its own.
const MIRROR: &str = "kubernetes.io/config.mirror";
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Keeps all of the pod but what the subresource is for.
pub(super) fn prepare(part: Subresource, new: &mut Pod, old: &Pod) {
    new.status.clone_from(&old.status);
    let asked = std::mem::replace(&mut new.spec, old.spec.clone()).unwrap_or_default();
    let spec = new.spec.get_or_insert_default();
    match part {
        Subresource::EphemeralContainers => spec.ephemeral_containers = asked.ephemeral_containers,
        Subresource::Resize => {
            take_resources(&mut spec.containers, &asked.containers);
            if let (Some(mine), Some(asked)) = (&mut spec.init_containers, &asked.init_containers) {
                take_resources(mine, asked);
            }
            if asked.resources.is_some() {
                spec.resources = asked.resources;
            }
        }
        _ => {}
    }
}

/// Takes resources, and what happens when they change, by the containers' names.
fn take_resources(mine: &mut [Container], asked: &[Container]) {
    for container in mine {
        if let Some(asked) = asked.iter().find(|c| c.name == container.name) {
            container.resources.clone_from(&asked.resources);
            container.resize_policy.clone_from(&asked.resize_policy);
        }
    }
}

/// Everything wrong with the step from `old` to `new`.
pub(super) fn validate(part: Subresource, new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::new();
    let none = PodSpec::default();
    let is = new.spec.as_ref().unwrap_or(&none);
    let was = old.spec.as_ref().unwrap_or(&none);
    let path = Path::new("spec");
    match part {
        Subresource::EphemeralContainers => validate_added(is, was, &path, &mut errors),
        Subresource::Resize => {
            let annotations = old.metadata.annotations.as_ref();
            if annotations.is_some_and(|a| a.contains_key(MIRROR)) {
                errors.forbidden(Path::default(), "static pods cannot be resized");
            }
            validate_resized(is, was, &path, &mut errors);
        }
        _ => {}
    }
    errors
}

/// Containers are added; those that are there stay as they are.
fn validate_added(is: &PodSpec, was: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let path = path.child("ephemeralContainers");
    let named = |name: &str| {
        is.ephemeral_containers
            .iter()
            .flatten()
            .find(|c| c.name == name)
    };
    for old in was.ephemeral_containers.iter().flatten() {
        let name = &old.name;
        match named(name) {
            None => {
                let rule = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.forbidden(path.clone(), rule);
            }
            Some(new) if new != old => {
                let rule = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.forbidden(path.clone(), rule);
            }
            Some(_) => {}
        }
    }
}

fn validate_resized(is: &PodSpec, was: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let class = qos::class(is);
    if class != qos::class(was) {
        let rule = "Pod QOS Class may not change as a result of resizing";
        errors.invalid(path.clone(), class, rule);
    }
    let init = |spec: &PodSpec| spec.init_containers.clone().unwrap_or_default();
    let lists = [
        (
            "containers",
            is.containers.clone(),
            was.containers.clone(),
            false,
        ),
        ("initContainers", init(is), init(was), true),
    ];
    for (field, is, was, init) in lists {
        for (index, (new, old)) in is.iter().zip(&was).enumerate() {
            let path = path.child(field).index(index).child("resources");
            if init && !pod_spec::is_sidecar(old) {
                if new.resources != old.resources {
                    let rule = "resources of init containers that end cannot be resized";
                    errors.forbidden(path, rule);
                }
                continue;
            }
            let none = ResourceRequirements::default();
            let new = new.resources.as_ref().unwrap_or(&none);
            let old = old.resources.as_ref().unwrap_or(&none);
            validate_amounts(new, old, &path, errors);
        }
    }
}

type Amounts = BTreeMap<String, Quantity>;

fn validate_amounts(
    new: &ResourceRequirements,
    old: &ResourceRequirements,
    path: &Path,
    errors: &mut ErrorList,
) {
    let none = Amounts::new();
    for (field, words, new, old) in [
        (
            "requests",
            "resource requests cannot be removed",
            &new.requests,
            &old.requests,
        ),
        (
            "limits",
            "resource limits cannot be removed",
            &new.limits,
            &old.limits,
        ),
    ] {
        let (new, old) = (new.as_ref().unwrap_or(&none), old.as_ref().unwrap_or(&none));
        if old.keys().any(|name| !new.contains_key(name)) {
            errors.forbidden(path.child(field), words);
        }
        let others = new.keys().chain(old.keys());
        let changed = |name: &&String| new.get(*name) != old.get(*name);
        if others
            .filter(changed)
            .any(|name| !RESIZABLE.contains(&name.as_str()))
        {
            errors.forbidden(
                path.child(field),
                "only cpu and memory resources are mutable",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PodStrategy;
    use super::*;
    use crate::kinds::testing::{compare, created, merged, object};
    use crate::registry::strategy::Strategy;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a", "image": "app:v1"}],
        }});
        merged(&base, &json!({"spec": spec}))
    }

    /// What the pod becomes, and what is wrong with that.
    fn written(part: Subresource, old: &Value, change: Value) -> (Value, ErrorList) {
        let old: Pod = object(old);
        let new = merged(&serde_json::to_value(&old).unwrap(), &change);
        let mut new: Pod = object(&new);
        PodStrategy.prepare_for_part_update(part, &mut new, &old);
        PodStrategy.default(&mut new);
        let mut errors = PodStrategy.validate(&new);
        errors.extend(PodStrategy.validate_part_update(part, &new, &old));
        (serde_json::to_value(&new).unwrap(), errors)
    }

    fn stored(spec: Value) -> Value {
        serde_json::to_value(created(&PodStrategy, &pod(spec))).unwrap()
    }

    #[test]
    fn ephemeral_containers_are_added_and_stay() {
        let part = Subresource::EphemeralContainers;
        let check = |old: &Value, change: Value, expected: &[&str]| {
            let (new, errors) = written(part, old, change);
            compare(&new, &errors, expected);
            new
        };
        let debug = json!({"name": "debug", "image": "sh:v1", "targetContainerName": "a"});
        let old = stored(json!({}));
        let change = json!({"spec": {"ephemeralContainers": [debug], "nodeName": "elsewhere"}});
        let with = check(&old, change, &[]);
        assert_eq!(with["spec"].get("nodeName"), None);
        let added = &with["spec"]["ephemeralContainers"][0];
        assert_eq!(added["imagePullPolicy"], "IfNotPresent");
        assert_eq!(added["terminationMessagePolicy"], "File");
        check(
            &with,
            json!({"spec": {"ephemeralContainers": []}}),
            &[
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be removed",
            ],
        );
        let mut other = added.clone();
        other["image"] = json!("sh:v2");
        check(
            &with,
            json!({"spec": {"ephemeralContainers": [other]}}),
            &[
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be changed",
            ],
        );
        check(
            &old,
            json!({"spec": {"ephemeralContainers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]}}),
            &[
                "spec.ephemeralContainers[0].name: Duplicate value: \"a\"",
                "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            ],
        );
    }

    #[test]
    fn a_new_pod_has_no_ephemeral_containers() {
        let new = pod(json!({"ephemeralContainers": [{"name": "debug", "image": "sh:v1"}]}));
        let errors = PodStrategy.validate_create(&object(&new));
        compare(
            &new,
            &errors,
            &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        );
    }

    #[test]
    fn processor_and_memory_change_while_a_pod_runs() {
        let with = |requests: Value, limits: Value| {
            json!({"containers": [{"name": "a", "image": "app:v1",
                "resources": {"requests": requests, "limits": limits}}]})
        };
        let old = stored(with(
            json!({"cpu": "100m"}),
            json!({"cpu": "1", "memory": "1Gi"}),
        ));
        let check = |spec: Value, expected: &[&str]| {
            let (new, errors) = written(Subresource::Resize, &old, json!({"spec": spec}));
            compare(&new, &errors, expected);
            new
        };
        let memory = json!({"cpu": "1", "memory": "2Gi"});
        let new = check(
            with(json!({"cpu": "200m", "memory": "1Gi"}), memory.clone()),
            &[],
        );
        let resources = &new["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"]["cpu"], "200m");
        // Only resources are taken.
        let mut image = with(json!({"cpu": "100m", "memory": "1Gi"}), memory);
        image["containers"][0]["image"] = json!("app:v2");
        let new = check(image, &[]);
        assert_eq!(new["spec"]["containers"][0]["image"], "app:v1");
        check(
            with(
                json!({"cpu": "1", "memory": "1Gi"}),
                json!({"cpu": "1", "memory": "1Gi"}),
            ),
            &[
                "spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing",
            ],
        );
        check(
            with(
                json!({"cpu": "100m", "memory": "1Gi"}),
                json!({"memory": "1Gi"}),
            ),
            &["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"],
        );
        check(
            with(
                json!({"cpu": "100m", "memory": "1Gi", "ephemeral-storage": "1Gi"}),
                json!({"cpu": "1", "memory": "1Gi"}),
            ),
            &[
                "spec.containers[0].resources.requests: Forbidden: only cpu and memory resources are mutable",
            ],
        );
    }
}
