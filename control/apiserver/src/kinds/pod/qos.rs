//! The quality of service class of a pod: who is stopped first where memory runs short.

use euston_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

/// `Guaranteed` if every container has limits for processor and memory and asks for all
/// of them, `BestEffort` if none asks for anything, else `Burstable`.
pub fn class(spec: &PodSpec) -> &'static str {
    let containers = || {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    };
    let whole: Vec<&ResourceRequirements> = spec.resources.iter().collect();
    let none = ResourceRequirements::default();
    let all: Vec<&ResourceRequirements> = if whole.iter().any(|resources| asks(resources)) {
        whole
    } else {
        containers()
            .map(|c| c.resources.as_ref().unwrap_or(&none))
            .collect()
    };
    if !all.iter().any(|resources| asks(resources)) {
        "BestEffort"
    } else if all.iter().all(|resources| is_guaranteed(resources)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn amount(resources: &ResourceRequirements, limit: bool, name: &str) -> Option<Quantity> {
    let amounts = if limit {
        &resources.limits
    } else {
        &resources.requests
    };
    let quantity = amounts.as_ref()?.get(name)?;
    Quantity::from_api(quantity).ok().filter(|q| !q.is_zero())
}

fn asks(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().any(|name| {
        [true, false]
            .iter()
            .any(|limit| amount(resources, *limit, name).is_some())
    })
}

fn is_guaranteed(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|name| {
        let limit = amount(resources, true, name);
        limit.is_some() && limit == amount(resources, false, name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::object;
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn classes_follow_requests_and_limits() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}});
        let cases: Vec<(Vec<Value>, &str)> = vec![
            (vec![json!({})], "BestEffort"),
            (vec![Value::Null], "BestEffort"),
            (
                vec![json!({"requests": {"ephemeral-storage": "1Gi"}})],
                "BestEffort",
            ),
            (vec![json!({"requests": {"cpu": "0"}})], "BestEffort"),
            (vec![full.clone()], "Guaranteed"),
            (vec![full.clone(), full.clone()], "Guaranteed"),
            (vec![full.clone(), json!({})], "Burstable"),
            (vec![json!({"requests": {"cpu": "1"}})], "Burstable"),
            (
                vec![json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})],
                "Burstable",
            ),
            (
                vec![
                    json!({"limits": {"cpu": "2", "memory": "1"}, "requests": {"cpu": "1", "memory": "1"}}),
                ],
                "Burstable",
            ),
        ];
        for (resources, expected) in cases {
            let containers: Vec<Value> = resources
                .iter()
                .map(|r| json!({"name": "a", "resources": r}))
                .collect();
            let spec = json!({"containers": containers});
            assert_eq!(class(&object(&spec)), expected, "{spec}");
        }
        let pod_level = json!({"resources": full, "containers": [{"name": "a"}]});
        assert_eq!(class(&object(&pod_level)), "Guaranteed");
    }
}
