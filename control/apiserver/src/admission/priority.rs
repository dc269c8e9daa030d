//! Priority: from the name of a class to the number that the scheduler compares. Follows
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::api::scheduling::v1::PriorityClass;

use super::plugin::{Lookup, Plugin, Request};
use crate::error::Result;
use crate::kinds::priority_class::{PREEMPT, SYSTEM};
use crate::registry::Resource;
use crate::registry::object::AnyObject;

/// Gives pods their priority, and sees to it that there is one default at most.
pub struct Priority {
    /// The classes.
    pub classes: Lookup<PriorityClass>,
}

impl Plugin for Priority {
    fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        if !request.creates() || !object.as_any().is::<Pod>() {
            return Ok(());
        }
        let Some(pod) = object.as_any_mut().downcast_mut::<Pod>() else {
            return Ok(());
        };
        let spec = pod.spec.get_or_insert_default();
        let resolved = self.resolve(spec);
        let resolved = resolved.and_then(|class| settle(spec, &class));
        resolved.map_err(|why| request.forbidden(object, &why))
    }

    fn validate(&self, request: &Request<'_>, object: &dyn AnyObject) -> Result<()> {
        let Some(class) = object.as_any().downcast_ref::<PriorityClass>() else {
            return Ok(());
        };
        if class.global_default != Some(true) {
            return Ok(());
        }
        match self.default_class() {
            Some(other) if other.metadata.name != class.metadata.name => {
                let other = other.metadata.name.unwrap_or_default();
                let why = format!(
                    "PriorityClass {other} is already marked as default. Only one default can exist"
                );
                Err(request.forbidden(object, &why))
            }
            _ => Ok(()),
        }
    }

    fn delete(&self, resource: Resource<'_>, object: &dyn AnyObject) -> Result<()> {
        let name = object.meta().name.as_deref().unwrap_or_default();
        if object.as_any().is::<PriorityClass>() && SYSTEM.iter().any(|known| known.name == name) {
            let why = "this is a system priority class and cannot be deleted";
            let request = Request::create(resource);
            return Err(request.forbidden(object, why));
        }
        Ok(())
    }
}

impl Priority {
    /// The class of a pod; without a name the default one, or one that is nobody's.
    fn resolve(&self, spec: &PodSpec) -> std::result::Result<PriorityClass, String> {
        match spec.priority_class_name.as_deref().unwrap_or_default() {
            "" => Ok(self.default_class().unwrap_or_default()),
            name => self
                .classes
                .get(name)
                .ok_or_else(|| format!("no PriorityClass with name {name} was found")),
        }
    }

    /// The class marked as default. If two servers let one through each at the same moment, it is the lower.
    fn default_class(&self) -> Option<PriorityClass> {
        let marked = self.classes.all().into_iter();
        marked
            .filter(|class| class.global_default == Some(true))
            .min_by_key(|class| (class.value, class.metadata.name.clone()))
    }
}

/// Writes what follows from the class; a client may have written the same, and nothing else.
fn settle(spec: &mut PodSpec, class: &PriorityClass) -> std::result::Result<(), String> {
    let priority = class.value.unwrap_or_default();
    let policy = class.preemption_policy.as_deref().unwrap_or(PREEMPT);
    if let Some(given) = spec.priority
        && given != priority
    {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority \
             admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    if let Some(given) = &spec.preemption_policy
        && given != policy
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    if class.metadata.name.is_some() {
        spec.priority_class_name.clone_from(&class.metadata.name);
    }
    spec.priority = Some(priority);
    spec.preemption_policy = Some(policy.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{admitted, lookup, row, validated};
    use super::*;
    use serde_json::{Value, json};

    fn classes(default: Option<&str>) -> Vec<Value> {
        [("high", 1000, "Never"), ("low", -5, PREEMPT)]
            .iter()
            .map(|(name, value, policy)| {
                json!({
                    "metadata": {"name": name}, "value": value, "preemptionPolicy": policy,
                    "globalDefault": default == Some(name),
                })
            })
            .collect()
    }

    fn plugin(default: Option<&str>) -> Priority {
        Priority {
            classes: lookup("scheduling.k8s.io", "priorityclasses", &classes(default)),
        }
    }

    #[test]
    fn a_class_becomes_a_number() {
        let check = |default: Option<&str>, spec: Value, expected: Value| {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec});
            let made = admitted::<Pod>(&plugin(default), "", "pods", &pod).unwrap();
            let spec = &made["spec"];
            let found = json!([
                spec["priorityClassName"],
                spec["priority"],
                spec["preemptionPolicy"]
            ]);
            assert_eq!(found, expected, "{pod}");
        };
        check(None, json!({}), json!([null, 0, PREEMPT]));
        check(Some("low"), json!({}), json!(["low", -5, PREEMPT]));
        check(
            Some("low"),
            json!({"priorityClassName": "high"}),
            json!(["high", 1000, "Never"]),
        );
        check(
            None,
            json!({"priorityClassName": "high", "priority": 1000, "preemptionPolicy": "Never"}),
            json!(["high", 1000, "Never"]),
        );
    }

    #[test]
    fn a_number_by_itself_is_refused() {
        let check = |spec: Value, expected: &str| {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec});
            let error = admitted::<Pod>(&plugin(None), "", "pods", &pod).unwrap_err();
            assert_eq!((error.code, error.reason), (403, "Forbidden"));
            assert_eq!(
                error.message,
                format!("pods \"p\" is forbidden: {expected}")
            );
        };
        check(
            json!({"priorityClassName": "gold"}),
            "no PriorityClass with name gold was found",
        );
        check(
            json!({"priority": 7}),
            "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name",
        );
        check(
            json!({"priorityClassName": "high", "preemptionPolicy": PREEMPT}),
            "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name",
        );
    }

    #[test]
    fn one_default_and_the_systems_own() {
        let check = |default: Option<&str>, class: Value, expected: Option<&str>| {
            let result = validated::<PriorityClass>(
                &plugin(default),
                "scheduling.k8s.io",
                "priorityclasses",
                &class,
            );
            let message = result.err().map(|e| e.message);
            assert_eq!(message.as_deref(), expected, "{class}");
        };
        let mine = json!({"metadata": {"name": "mine"}, "globalDefault": true});
        check(None, mine.clone(), None);
        check(
            Some("low"),
            json!({"metadata": {"name": "low"}, "globalDefault": true}),
            None,
        );
        check(
            Some("low"),
            mine,
            Some(
                "priorityclasses.scheduling.k8s.io \"mine\" is forbidden: PriorityClass low is already marked as default. Only one default can exist",
            ),
        );
        let row = row("scheduling.k8s.io", "priorityclasses");
        for (name, allowed) in [("high", true), ("system-node-critical", false)] {
            let class: PriorityClass =
                serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            let deleted = plugin(None).delete(row.resource(), &class);
            assert_eq!(deleted.is_ok(), allowed, "{name}");
        }
    }
}
