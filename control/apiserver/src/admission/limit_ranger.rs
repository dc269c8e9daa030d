//! LimitRanger: containers get a namespace's defaults, and pods and claims stay within its bounds.
//! Follows <https://kubernetes.io/docs/concepts/policy/limit-range/> and the plugin of that name.

use std::collections::BTreeMap;

use euston_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, PodSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::plugin::{Lookup, Plugin, Request};
use super::pod_totals::{Amounts, Side, of_container, of_pod, parsed};
use crate::error::Result;
use crate::kinds::limits::{CONTAINER, PERSISTENT_VOLUME_CLAIM, POD};
use crate::registry::Part;
use crate::registry::object::AnyObject;

/// Where a pod says what it got unasked.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Applies the LimitRanges of a namespace.
pub struct LimitRanger {
    /// The ranges.
    pub ranges: Lookup<LimitRange>,
}

impl LimitRanger {
    /// The namespace's ranges, in the order of their names.
    fn items(&self, object: &dyn AnyObject) -> Vec<LimitRangeItem> {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let ranges = self.ranges.within(namespace).into_iter();
        ranges
            .filter_map(|(_, range)| range.spec)
            .flat_map(|spec| spec.limits)
            .collect()
    }
}

impl Plugin for LimitRanger {
    fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        if !request.creates() || !object.as_any().is::<Pod>() {
            return Ok(());
        }
        let items = self.items(object);
        if let Some(pod) = object.as_any_mut().downcast_mut::<Pod>() {
            give_defaults(pod, &items);
        }
        Ok(())
    }

    fn validate(&self, request: &Request<'_>, object: &dyn AnyObject) -> Result<()> {
        // What is going away is let go, however large it is.
        if request.part != Part::Main || object.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let any = object.as_any();
        let found = if let Some(pod) = any.downcast_ref::<Pod>() {
            // A pod's resources do not change in place.
            if !request.creates() {
                return Ok(());
            }
            let spec = pod.spec.clone().unwrap_or_default();
            check_pod(&spec, &self.items(object))
        } else if let Some(claim) = any.downcast_ref::<PersistentVolumeClaim>() {
            check_claim(claim, &self.items(object))
        } else {
            return Ok(());
        };
        match found.as_slice() {
            [] => Ok(()),
            [one] => Err(request.forbidden(object, one)),
            many => Err(request.forbidden(object, &format!("[{}]", many.join(", ")))),
        }
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
}

/// Fills in the requests and limits that containers leave out, and notes which.
fn give_defaults(pod: &mut Pod, items: &[LimitRangeItem]) {
    let spec = pod.spec.get_or_insert_default();
    let mut given = Vec::new();
    let all = spec.containers.iter_mut().map(|c| (c, "container"));
    let init = spec.init_containers.iter_mut().flatten();
    for (container, what) in all.chain(init.map(|c| (c, "init container"))) {
        let resources = container.resources.get_or_insert_default();
        let mut note = |to: &mut Option<BTreeMap<String, ApiQuantity>>, side: &str| {
            let mut set = Vec::new();
            for item in items.iter().filter(|item| item.type_ == CONTAINER) {
                let from = match side {
                    "request" => &item.default_request,
                    _ => &item.default,
                };
                for (name, amount) in from.iter().flatten() {
                    if !to.as_ref().is_some_and(|to| to.contains_key(name)) {
                        to.get_or_insert_default()
                            .insert(name.clone(), amount.clone());
                        set.push(name.clone());
                    }
                }
            }
            set.sort_unstable();
            if !set.is_empty() {
                given.push(format!(
                    "{} {side} for {what} {}",
                    set.join(", "),
                    container.name
                ));
            }
        };
        note(&mut resources.requests, "request");
        note(&mut resources.limits, "limit");
    }
    if !given.is_empty() {
        let note = format!("LimitRanger plugin set: {}", given.join("; "));
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION.to_owned(), note);
    }
}

/// Every bound that the pod or one of its containers breaks.
fn check_pod(spec: &PodSpec, items: &[LimitRangeItem]) -> Vec<String> {
    let mut found = Vec::new();
    for item in items {
        match item.type_.as_str() {
            CONTAINER => {
                for container in containers(spec) {
                    let requests = of_container(container, Side::Requests);
                    let limits = of_container(container, Side::Limits);
                    check(item, &requests, &limits, &mut found);
                }
            }
            POD => {
                let (requests, limits) = (of_pod(spec, Side::Requests), of_pod(spec, Side::Limits));
                check(item, &requests, &limits, &mut found);
            }
            _ => {}
        }
    }
    found
}

fn check(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts, found: &mut Vec<String>) {
    let kind = &item.type_;
    for (name, min) in parsed(item.min.as_ref()) {
        let rule = format!("minimum {name} usage per {kind} is {min}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => found.push(format!("{rule}.  No request is specified")),
            (Some(request), _) if *request < min => {
                found.push(format!("{rule}, but request is {request}"));
            }
            (_, Some(limit)) if *limit < min => found.push(format!("{rule}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, max) in parsed(item.max.as_ref()) {
        let rule = format!("maximum {name} usage per {kind} is {max}");
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => found.push(format!("{rule}.  No limit is specified")),
            (_, Some(limit)) if *limit > max => found.push(format!("{rule}, but limit is {limit}")),
            (Some(request), _) if *request > max => {
                found.push(format!("{rule}, but request is {request}"));
            }
            _ => {}
        }
    }
    for (name, max) in parsed(item.max_limit_request_ratio.as_ref()) {
        let rule = format!("{name} max limit to request ratio per {kind} is {max}");
        let some = |amounts: &Amounts| amounts.get(&name).copied().filter(|q| !q.is_zero());
        match (some(requests), some(limits)) {
            (None, _) => {
                found.push(format!(
                    "{rule}, but no request is specified or request is 0"
                ));
            }
            (_, None) => found.push(format!("{rule}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let ratio = limit.as_f64() / request.as_f64();
                if ratio > max.as_f64() {
                    found.push(format!("{rule}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

/// Every bound that the claim breaks.
fn check_claim(claim: &PersistentVolumeClaim, items: &[LimitRangeItem]) -> Vec<String> {
    let requests = claim.spec.as_ref().and_then(|s| s.resources.as_ref());
    let requests = parsed(requests.and_then(|r| r.requests.as_ref()));
    let mut found = Vec::new();
    let claims = items.iter().filter(|i| i.type_ == PERSISTENT_VOLUME_CLAIM);
    for item in claims {
        let bounds = [
            ("minimum", parsed(item.min.as_ref())),
            ("maximum", parsed(item.max.as_ref())),
        ];
        for (word, amounts) in bounds {
            for (name, bound) in amounts {
                let rule = format!("{word} {name} usage per {PERSISTENT_VOLUME_CLAIM} is {bound}");
                let broken = |asked: &Quantity| match word {
                    "minimum" => *asked < bound,
                    _ => *asked > bound,
                };
                match requests.get(&name) {
                    None => found.push(format!("{rule}.  No request is specified")),
                    Some(asked) if broken(asked) => {
                        found.push(format!("{rule}, but request is {asked}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::{admitted, lookup, validated};
    use super::*;
    use serde_json::{Value, json};

    fn plugin(items: &[Value]) -> LimitRanger {
        let range = json!({"metadata": {"name": "r", "namespace": "a"}, "spec": {"limits": items}});
        let other = json!({"metadata": {"name": "r", "namespace": "b"}, "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "7"}, "min": {"cpu": "7"}},
        ]}});
        LimitRanger {
            ranges: lookup("", "limitranges", &[range, other]),
        }
    }

    fn pod(requests: Value, limits: Value) -> Value {
        json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"containers": [
            {"name": "main", "resources": {"requests": requests, "limits": limits}},
        ]}})
    }

    #[test]
    fn what_a_container_leaves_out_is_filled_in() {
        let items = [json!({
            "type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "1"},
        })];
        let check = |pod: Value, expected: Value, note: Value| {
            let made = admitted::<Pod>(&plugin(&items), "", "pods", &pod).unwrap();
            assert_eq!(
                made["spec"]["containers"][0]["resources"], expected,
                "{pod}"
            );
            assert_eq!(made["metadata"]["annotations"][ANNOTATION], note, "{pod}");
        };
        check(
            pod(json!({}), json!({})),
            json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}),
            json!(
                "LimitRanger plugin set: cpu request for container main; cpu, memory limit for container main"
            ),
        );
        check(
            pod(json!({"cpu": "1"}), json!({"cpu": "3", "memory": "2Gi"})),
            json!({"limits": {"cpu": "3", "memory": "2Gi"}, "requests": {"cpu": "1"}}),
            Value::Null,
        );
        let mut with_init = pod(json!({"cpu": "1"}), json!({"cpu": "3", "memory": "2Gi"}));
        with_init["spec"]["initContainers"] = json!([{"name": "first"}]);
        let made = admitted::<Pod>(&plugin(&items), "", "pods", &with_init).unwrap();
        assert_eq!(
            made["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for init container first; cpu, memory limit for init container first"
        );
        let elsewhere = json!({"metadata": {"name": "p", "namespace": "c"}, "spec": {"containers": [{"name": "main"}]}});
        let made = admitted::<Pod>(&plugin(&items), "", "pods", &elsewhere).unwrap();
        assert_eq!(made["metadata"]["annotations"], Value::Null);
    }

    #[test]
    fn bounds_are_kept() {
        let check = |item: Value, pod: Value, expected: &str| {
            let result = validated::<Pod>(&plugin(std::slice::from_ref(&item)), "", "pods", &pod);
            let message = result.err().map(|e| e.message).unwrap_or_default();
            let expected = match expected {
                "" => String::new(),
                why => format!("pods \"p\" is forbidden: {why}"),
            };
            assert_eq!(message, expected, "{item} {pod}");
        };
        let of = |bound: &str, value: &str| json!({"type": "Container", (bound): {"cpu": value}});
        let (none, cpu) = (json!({}), |amount: &str| json!({"cpu": amount}));
        check(of("min", "1"), pod(cpu("1"), none.clone()), "");
        check(
            of("min", "1"),
            pod(none.clone(), none.clone()),
            "minimum cpu usage per Container is 1.  No request is specified",
        );
        check(
            of("min", "1"),
            pod(cpu("500m"), none.clone()),
            "minimum cpu usage per Container is 1, but request is 500m",
        );
        check(
            of("min", "1"),
            pod(cpu("1"), cpu("900m")),
            "minimum cpu usage per Container is 1, but limit is 900m",
        );
        check(of("max", "2"), pod(cpu("1"), cpu("2")), "");
        check(
            of("max", "2"),
            pod(none.clone(), none.clone()),
            "maximum cpu usage per Container is 2.  No limit is specified",
        );
        check(
            of("max", "2"),
            pod(none.clone(), cpu("4")),
            "maximum cpu usage per Container is 2, but limit is 4",
        );
        check(
            of("max", "2"),
            pod(cpu("3"), cpu("2")),
            "maximum cpu usage per Container is 2, but request is 3",
        );
        let ratio = "maxLimitRequestRatio";
        check(of(ratio, "2"), pod(cpu("1"), cpu("2")), "");
        check(
            of(ratio, "2"),
            pod(cpu("0"), cpu("2")),
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        );
        check(
            of(ratio, "2"),
            pod(cpu("1"), none.clone()),
            "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
        );
        check(
            of(ratio, "2"),
            pod(cpu("1"), cpu("3")),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        );
        check(
            json!({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}}),
            pod(none.clone(), json!({"cpu": "2", "memory": "2Gi"})),
            "[maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Container is 1Gi, but limit is 2Gi]",
        );
        let mut two = pod(cpu("1"), cpu("1"));
        two["spec"]["initContainers"] =
            json!([{"name": "i", "resources": {"requests": {"cpu": "3"}, "limits": {"cpu": "3"}}}]);
        check(
            json!({"type": "Pod", "max": {"cpu": "2"}}),
            two,
            "maximum cpu usage per Pod is 2, but limit is 3",
        );
    }

    #[test]
    fn claims_have_bounds_of_their_own() {
        let check = |item: Value, size: &str, expected: &str| {
            let claim = json!({"metadata": {"name": "c", "namespace": "a"}, "spec": {"resources": {"requests": {"storage": size}}}});
            let plugin = plugin(std::slice::from_ref(&item));
            let result =
                validated::<PersistentVolumeClaim>(&plugin, "", "persistentvolumeclaims", &claim);
            let message = result.err().map(|e| e.message).unwrap_or_default();
            let expected = match expected {
                "" => String::new(),
                why => format!("persistentvolumeclaims \"c\" is forbidden: {why}"),
            };
            assert_eq!(message, expected, "{item} {size}");
        };
        let of =
            |bound: &str| json!({"type": "PersistentVolumeClaim", (bound): {"storage": "1Gi"}});
        check(of("min"), "1Gi", "");
        check(
            of("min"),
            "1Mi",
            "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi",
        );
        check(
            of("max"),
            "2Gi",
            "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi",
        );
        check(
            json!({"type": "Container", "max": {"storage": "1"}}),
            "2Gi",
            "",
        );
        check(
            json!({"type": "PersistentVolumeClaim", "min": {"other": "1"}}),
            "1Gi",
            "minimum other usage per PersistentVolumeClaim is 1.  No request is specified",
        );
        let going = json!({
            "metadata": {"name": "c", "namespace": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"resources": {"requests": {"storage": "2Gi"}}},
        });
        let plugin = plugin(&[of("max")]);
        validated::<PersistentVolumeClaim>(&plugin, "", "persistentvolumeclaims", &going).unwrap();
    }
}
