//! RuntimeClass: what a class of pods costs besides, and where it runs. Follows
//! <https://kubernetes.io/docs/concepts/containers/runtime-class/> and the plugin of that name.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::api::node::v1::{RuntimeClass, Scheduling};

use super::plugin::{Lookup, Plugin, Request};
use crate::error::Result;
use crate::registry::object::AnyObject;

/// Gives pods the overhead and the nodes of their class.
pub struct RuntimeClasses {
    /// The classes.
    pub classes: Lookup<RuntimeClass>,
}

impl Plugin for RuntimeClasses {
    fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        if !request.creates() {
            return Ok(());
        }
        let Some(pod) = object.as_any_mut().downcast_mut::<Pod>() else {
            return Ok(());
        };
        let spec = pod.spec.get_or_insert_default();
        self.settle(spec)
            .map_err(|why| request.forbidden(object, &why))
    }
}

impl RuntimeClasses {
    fn settle(&self, spec: &mut PodSpec) -> std::result::Result<(), String> {
        let Some(name) = spec.runtime_class_name.as_deref() else {
            return match spec.overhead.as_ref().is_some_and(|o| !o.is_empty()) {
                true => Err(
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined \
                     Overhead"
                        .to_owned(),
                ),
                false => Ok(()),
            };
        };
        let class = self
            .classes
            .get(name)
            .ok_or_else(|| format!("pod rejected: RuntimeClass {name:?} not found"))?;
        let overhead = class.overhead.and_then(|o| o.pod_fixed);
        if spec.overhead.is_some() && spec.overhead != overhead {
            return Err(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
                    .to_owned(),
            );
        }
        spec.overhead = overhead;
        match class.scheduling {
            Some(scheduling) => place(spec, scheduling),
            None => Ok(()),
        }
    }
}

/// Adds the nodes that the class runs on to those that the pod wants.
fn place(spec: &mut PodSpec, scheduling: Scheduling) -> std::result::Result<(), String> {
    for (key, value) in scheduling.node_selector.into_iter().flatten() {
        let wanted = spec.node_selector.get_or_insert_default();
        let had = wanted.insert(key.clone(), value.clone());
        if had.is_some_and(|had| had != value) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; the pod's \
                 nodeSelector has another value"
            ));
        }
    }
    for toleration in scheduling.tolerations.into_iter().flatten() {
        let tolerations = spec.tolerations.get_or_insert_default();
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{admitted, lookup};
    use super::*;
    use serde_json::{Value, json};

    fn plugin() -> RuntimeClasses {
        let class = json!({
            "metadata": {"name": "heavy"}, "handler": "heavy", "overhead": {"podFixed": {"cpu": "1"}},
            "scheduling": {
                "nodeSelector": {"heavy": "yes"}, "tolerations": [{"key": "heavy", "operator": "Exists"}],
            },
        });
        let plain = json!({"metadata": {"name": "plain"}, "handler": "plain"});
        RuntimeClasses {
            classes: lookup("node.k8s.io", "runtimeclasses", &[class, plain]),
        }
    }

    #[test]
    fn a_class_brings_costs_and_nodes() {
        let check = |spec: Value, expected: Value| {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec});
            let made = admitted::<Pod>(&plugin(), "", "pods", &pod).unwrap();
            let spec = &made["spec"];
            let found = json!([spec["overhead"], spec["nodeSelector"], spec["tolerations"]]);
            assert_eq!(found, expected, "{pod}");
        };
        check(json!({}), json!([null, null, null]));
        check(
            json!({"runtimeClassName": "plain"}),
            json!([null, null, null]),
        );
        check(
            json!({"runtimeClassName": "heavy", "nodeSelector": {"a": "b"}, "overhead": {"cpu": "1"}}),
            json!([{"cpu": "1"}, {"a": "b", "heavy": "yes"}, [{"key": "heavy", "operator": "Exists"}]]),
        );
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let check = |spec: Value, expected: &str| {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec});
            let error = admitted::<Pod>(&plugin(), "", "pods", &pod).unwrap_err();
            let start = format!("pods \"p\" is forbidden: {expected}");
            assert!(
                error.message.starts_with(&start),
                "{pod}: {}",
                error.message
            );
        };
        check(
            json!({"runtimeClassName": "lost"}),
            "pod rejected: RuntimeClass \"lost\" not found",
        );
        check(
            json!({"overhead": {"cpu": "1"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        );
        check(
            json!({"runtimeClassName": "heavy", "overhead": {"cpu": "2"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        );
        check(
            json!({"runtimeClassName": "heavy", "nodeSelector": {"heavy": "no"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[heavy] = yes",
        );
    }
}
