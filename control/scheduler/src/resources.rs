//! Amounts that fit or do not, as integers: parsing happens once per object, comparing per node.

use std::collections::BTreeMap;
use std::sync::Arc;

use euston_api::quantity::{parse_milli, parse_value};
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

type Amounts = BTreeMap<String, Quantity>;

/// Requested or allocatable resources. Sums saturate: what overflows does not fit anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Number of pods.
    pub pods: i64,
    /// Everything else by name, sorted; whole units.
    pub extended: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// Reads a resource list. A quantity that does not parse counts as nothing: the API server
    /// has validated it, so this is an amount that nobody wrote.
    pub fn from_amounts(amounts: Option<&Amounts>) -> Self {
        let mut found = Self::default();
        for (name, quantity) in amounts.into_iter().flatten() {
            let value = || parse_value(quantity).unwrap_or(0);
            match name.as_str() {
                "cpu" => found.cpu_milli = parse_milli(quantity).unwrap_or(0),
                "memory" => found.memory = value(),
                "ephemeral-storage" => found.ephemeral_storage = value(),
                "pods" => found.pods = value(),
                // A BTreeMap iterates in order, so this stays sorted.
                _ => found.extended.push((name.as_str().into(), value())),
            }
        }
        found
    }

    /// What one pod needs, as `PodRequests` of k8s.io/component-helpers computes it: the sum of its
    /// containers and sidecars, or the largest init container with the sidecars started before it,
    /// plus overhead; requests of the pod as a whole replace the sums of cpu and memory.
    pub fn of_pod(spec: &PodSpec) -> Self {
        let requests = |c: &Container| {
            Self::from_amounts(c.resources.as_ref().and_then(|r| r.requests.as_ref()))
        };
        let mut running = Self::default();
        for container in &spec.containers {
            running.add(&requests(container));
        }
        let mut sidecars = Self::default();
        let mut starting = Self::default();
        for container in spec.init_containers.iter().flatten() {
            let mut needs = requests(container);
            if container.restart_policy.as_deref() == Some("Always") {
                running.add(&needs);
                sidecars.add(&needs);
                needs = sidecars.clone();
            } else {
                needs.add(&sidecars);
            }
            starting.raise_to(&needs);
        }
        let mut total = running;
        total.raise_to(&starting);
        if let Some(ResourceRequirements {
            requests: Some(of_pod),
            ..
        }) = &spec.resources
        {
            let of_pod_amounts = Self::from_amounts(Some(of_pod));
            if of_pod.contains_key("cpu") {
                total.cpu_milli = of_pod_amounts.cpu_milli;
            }
            if of_pod.contains_key("memory") {
                total.memory = of_pod_amounts.memory;
            }
        }
        total.add(&Self::from_amounts(spec.overhead.as_ref()));
        total.pods = 1;
        total
    }

    /// Adds `other` to this.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes `other` away, which was added before.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.cpu_milli = with(self.cpu_milli, other.cpu_milli);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = with(self.pods, other.pods);
        for (name, amount) in &other.extended {
            match self.extended.binary_search_by(|(known, _)| known.cmp(name)) {
                Ok(at) => self.extended[at].1 = with(self.extended[at].1, *amount),
                Err(at) => self
                    .extended
                    .insert(at, (Arc::clone(name), with(0, *amount))),
            }
        }
    }

    /// The amount of an extended resource; 0 if there is none.
    pub fn extended(&self, name: &str) -> i64 {
        self.extended
            .binary_search_by(|(known, _)| known.as_ref().cmp(name))
            .map_or(0, |at| self.extended[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, cpu_milli: i64, memory: i64, extended: i64) {
        let text = spec.to_string();
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let found = Resources::of_pod(&spec);
        let shown = (
            found.cpu_milli,
            found.memory,
            found.extended("x.io/slot"),
            found.pods,
        );
        assert_eq!(shown, (cpu_milli, memory, extended, 1), "{text}");
    }

    fn container(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn a_pod_needs_what_its_containers_need_together_or_its_largest_init_container() {
        check(json!({"containers": [{"name": "a"}]}), 0, 0, 0);
        check(
            json!({"containers": [container("a", "250m", "1Ki"), container("b", "1", "1k")]}),
            1250,
            2024,
            0,
        );
        check(
            json!({"containers": [container("a", "1", "1")], "initContainers": [container("i", "3", "0"), container("j", "2", "9")]}),
            3000,
            9,
            0,
        );
        let sidecar = |cpu| {
            let mut c = container("s", cpu, "0");
            c["restartPolicy"] = json!("Always");
            c
        };
        check(
            json!({"containers": [container("a", "1", "1")], "initContainers": [sidecar("1"), container("i", "3", "0"), sidecar("1")]}),
            4000,
            1,
            0,
        );
        check(
            json!({"containers": [container("a", "1", "1")], "overhead": {"cpu": "100m", "x.io/slot": "2"}}),
            1100,
            1,
            2,
        );
        check(
            json!({"containers": [container("a", "1", "1")], "resources": {"requests": {"cpu": "5"}}}),
            5000,
            1,
            0,
        );
    }

    #[test]
    fn sums_saturate_and_differences_undo_them() {
        let slot = |n| Resources {
            cpu_milli: n,
            extended: vec![("x.io/slot".into(), n)],
            ..Resources::default()
        };
        let mut sum = slot(i64::MAX);
        sum.add(&slot(1));
        assert_eq!(sum.cpu_milli, i64::MAX);
        let mut sum = Resources::default();
        sum.add(&slot(2));
        sum.add(&slot(3));
        sum.subtract(&slot(2));
        assert_eq!(
            (sum.cpu_milli, sum.extended("x.io/slot"), sum.extended("y")),
            (3, 3, 0)
        );
    }
}
