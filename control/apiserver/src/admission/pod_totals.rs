//! What a whole pod asks for, or may take. Follows `PodRequests` and `PodLimits` of
//! k8s.io/component-helpers.

use std::collections::BTreeMap;

use euston_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

/// Amounts by resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Which of the two a sum is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What is set aside.
    Requests,
    /// What is not exceeded.
    Limits,
}

/// Parsed amounts. One that does not parse counts as nothing: validation has refused it.
pub(super) fn parsed(amounts: Option<&BTreeMap<String, ApiQuantity>>) -> Amounts {
    let amounts = amounts.into_iter().flatten();
    amounts
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::from_api(amount).ok()?)))
        .collect()
}

fn side(resources: Option<&ResourceRequirements>, side: Side) -> Amounts {
    parsed(resources.and_then(|r| match side {
        Side::Requests => r.requests.as_ref(),
        Side::Limits => r.limits.as_ref(),
    }))
}

/// One side of a container's resources.
pub(super) fn of_container(container: &Container, of: Side) -> Amounts {
    side(container.resources.as_ref(), of)
}

/// Adds `more` to `to`.
pub(super) fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.entry(name.clone()).or_insert(Quantity::ZERO);
        *sum = sum.plus(*amount);
    }
}

fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        let most = to.entry(name.clone()).or_insert(*amount);
        if *most < *amount {
            *most = *amount;
        }
    }
}

/// The sum over all containers and sidecars, or what the largest init container needs beside
/// the sidecars started before it; what is said of the pod as a whole goes first.
pub(super) fn of_pod(spec: &PodSpec, of: Side) -> Amounts {
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &of_container(container, of));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut needs = of_container(container, of);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut running, &needs);
            add(&mut sidecars, &needs);
            needs = sidecars.clone();
        } else {
            add(&mut needs, &sidecars);
        }
        raise(&mut starting, &needs);
    }
    let mut total = running;
    raise(&mut total, &starting);
    total.extend(side(spec.resources.as_ref(), of));
    let overhead = parsed(spec.overhead.as_ref());
    for (name, amount) in overhead {
        // A pod without a limit stays without one.
        if of == Side::Requests || total.contains_key(&name) {
            add(&mut total, &[(name, amount)].into());
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_largest_moment_counts() {
        let check = |spec: Value, expected: &str| {
            let parsed: PodSpec = serde_json::from_value(spec.clone()).unwrap();
            let shown = |of: Side| {
                let total = of_pod(&parsed, of);
                let shown: Vec<String> = total.iter().map(|(n, q)| format!("{n}={q}")).collect();
                shown.join(",")
            };
            let found = format!("{} / {}", shown(Side::Requests), shown(Side::Limits));
            assert_eq!(found, expected, "{spec}");
        };
        let container = |requests: Value, limits: Value| json!({"name": "a", "resources": {"requests": requests, "limits": limits}});
        let cpu = |amount: &str| container(json!({"cpu": amount}), json!({}));
        let sidecar = |amount: &str| {
            let mut sidecar = cpu(amount);
            sidecar["restartPolicy"] = json!("Always");
            sidecar
        };
        check(json!({"containers": []}), " / ");
        check(
            json!({"containers": [cpu("500m"), cpu("1")]}),
            "cpu=1500m / ",
        );
        check(
            json!({"containers": [cpu("1")], "initContainers": [cpu("3"), cpu("2")]}),
            "cpu=3 / ",
        );
        check(
            json!({"containers": [cpu("1")], "initContainers": [sidecar("1"), cpu("3")]}),
            "cpu=4 / ",
        );
        check(
            json!({"containers": [cpu("4")], "initContainers": [sidecar("1"), cpu("3")]}),
            "cpu=5 / ",
        );
        check(
            json!({"containers": [container(json!({"memory": "1Gi"}), json!({"memory": "2Gi"}))], "overhead": {"memory": "1Gi", "cpu": "1"}}),
            "cpu=1,memory=2Gi / memory=3Gi",
        );
        check(
            json!({"containers": [cpu("1")], "resources": {"requests": {"cpu": "5"}, "limits": {"cpu": "6"}}}),
            "cpu=5 / cpu=6",
        );
    }
}
