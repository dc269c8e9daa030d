//! What an object takes of what quotas bound, and which scopes it is in. Follows the evaluators
//! of `pkg/quota/v1/evaluator/core`.

use std::collections::BTreeMap;

use euston_api::quantity::{Format, Quantity};
use euston_api::selector::LabelSelector;
use k8s_openapi::api::core::v1::{
    Affinity, Container, PersistentVolumeClaim, Pod, PodAffinityTerm, PodSpec, ResourceQuotaSpec,
    ScopedResourceSelectorRequirement, Service, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::super::pod_totals::{Amounts, Side, of_container, of_pod};
use crate::error::qualified;
use crate::kinds::{pod, storage};
use crate::registry::kind::Names;
use crate::registry::object::AnyObject;

/// Kinds of the core group that may be counted by their bare plural, as before `count/` existed.
const BARE_COUNTS: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];
/// What a quota on it makes every container ask for by name.
const EXPLICIT: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];
const OF_A_CLASS: &str = ".storageclass.storage.k8s.io/";

/// An object as quotas see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// What it takes.
    pub(super) usage: Amounts,
    /// Its scopes by name, with the class that the scope is about where there is one. `None` for
    /// kinds that have no scopes: a quota with a scope is not about them.
    scopes: Option<BTreeMap<&'static str, Option<String>>>,
    /// What the containers leave out, by resource: the containers' names.
    unspecified: BTreeMap<&'static str, Vec<String>>,
}

fn one() -> Quantity {
    pieces(1)
}

fn pieces(count: usize) -> Quantity {
    Quantity::from_value(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// The name under which a quota counts the objects of a kind.
pub(super) fn count_name(names: &Names) -> String {
    format!("count/{}", qualified(&names.plural, &names.group))
}

/// True if all objects of the kind take the same, and no decoding is needed to count them.
pub(super) fn is_plain(names: &Names) -> bool {
    !(names.group.is_empty()
        && ["pods", "services", "persistentvolumeclaims"].contains(&names.plural.as_str()))
}

/// What any object of the kind takes.
pub(super) fn plain(names: &Names) -> Amounts {
    let mut usage = Amounts::from([(count_name(names), one())]);
    // Pods that have ended count only under their long name.
    let bare = names.group.is_empty() && BARE_COUNTS.contains(&names.plural.as_str());
    if bare && names.plural != "pods" {
        usage.insert(names.plural.clone(), one());
    }
    usage
}

/// What this object takes, and where it belongs.
pub(super) fn measure(names: &Names, object: &dyn AnyObject) -> Measured {
    let mut measured = Measured {
        usage: plain(names),
        ..Measured::default()
    };
    let any = object.as_any();
    if let Some(pod) = any.downcast_ref::<Pod>() {
        measure_pod(pod, &mut measured);
    } else if let Some(service) = any.downcast_ref::<Service>() {
        measure_service(service, &mut measured.usage);
    } else if let Some(claim) = any.downcast_ref::<PersistentVolumeClaim>() {
        measure_claim(claim, &mut measured);
    }
    measured
}

fn measure_pod(object: &Pod, measured: &mut Measured) {
    let default = PodSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&default);
    measured.scopes = Some(scopes_of_pod(spec));
    if pod::is_terminal(object) {
        return;
    }
    measured.usage.insert("pods".to_owned(), one());
    for side in [Side::Requests, Side::Limits] {
        measured.usage.extend(bounded(side, &of_pod(spec, side)));
    }
    // A pod that says it as a whole need not say it again for each container.
    if spec.resources.is_none() {
        let init = spec.init_containers.iter().flatten();
        for container in spec.containers.iter().chain(init) {
            let has = specified(container);
            for name in EXPLICIT.iter().filter(|name| !has.contains_key(**name)) {
                let names = measured.unspecified.entry(name).or_default();
                names.push(container.name.clone());
            }
        }
    }
}

fn specified(container: &Container) -> Amounts {
    let mut has = bounded(Side::Requests, &of_container(container, Side::Requests));
    has.extend(bounded(
        Side::Limits,
        &of_container(container, Side::Limits),
    ));
    has
}

/// Amounts under the names that quotas know them by.
fn bounded(side: Side, amounts: &Amounts) -> Amounts {
    let mut bounded = Amounts::new();
    for (name, amount) in amounts {
        let long = match side {
            Side::Requests => format!("requests.{name}"),
            Side::Limits => format!("limits.{name}"),
        };
        let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str());
        let huge = name.starts_with("hugepages-");
        // What comes in pieces is bounded by its requests, which are its limits.
        if side == Side::Limits && !standard {
            continue;
        }
        if side == Side::Requests && (standard || huge) {
            bounded.insert(name.clone(), *amount);
        }
        bounded.insert(long, *amount);
    }
    bounded
}

fn scopes_of_pod(spec: &PodSpec) -> BTreeMap<&'static str, Option<String>> {
    let ends = spec
        .active_deadline_seconds
        .is_some_and(|seconds| seconds >= 0);
    let mut scopes = BTreeMap::new();
    scopes.insert(
        if ends {
            "Terminating"
        } else {
            "NotTerminating"
        },
        None,
    );
    let best_effort = pod::quality(spec) == "BestEffort";
    let quality = if best_effort {
        "BestEffort"
    } else {
        "NotBestEffort"
    };
    scopes.insert(quality, None);
    let class = spec.priority_class_name.clone();
    if let Some(class) = class.filter(|class| !class.is_empty()) {
        scopes.insert("PriorityClass", Some(class));
    }
    if spec.affinity.as_ref().is_some_and(looks_elsewhere) {
        scopes.insert("CrossNamespacePodAffinity", None);
    }
    scopes
}

/// True if the pod's place depends on pods of other namespaces.
fn looks_elsewhere(affinity: &Affinity) -> bool {
    let of_term = |term: &PodAffinityTerm| {
        term.namespaces.as_ref().is_some_and(|n| !n.is_empty()) || term.namespace_selector.is_some()
    };
    let of_terms = |required: &Option<Vec<PodAffinityTerm>>,
                    preferred: &Option<Vec<WeightedPodAffinityTerm>>| {
        required.iter().flatten().any(of_term)
            || preferred
                .iter()
                .flatten()
                .any(|weighted| of_term(&weighted.pod_affinity_term))
    };
    let with = affinity.pod_affinity.as_ref().is_some_and(|a| {
        of_terms(
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let without = affinity.pod_anti_affinity.as_ref().is_some_and(|a| {
        of_terms(
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        )
    });
    with || without
}

fn measure_service(service: &Service, usage: &mut Amounts) {
    let Some(spec) = &service.spec else { return };
    let ports = spec.ports.as_deref().unwrap_or_default();
    match spec.type_.as_deref() {
        Some("NodePort") => {
            usage.insert("services.nodeports".to_owned(), pieces(ports.len()));
        }
        Some("LoadBalancer") => {
            let all = spec.allocate_load_balancer_node_ports.unwrap_or(true);
            let open = ports
                .iter()
                .filter(|port| all || port.node_port.unwrap_or_default() != 0);
            usage.insert("services.nodeports".to_owned(), pieces(open.count()));
            usage.insert("services.loadbalancers".to_owned(), one());
        }
        _ => {}
    }
}

fn measure_claim(claim: &PersistentVolumeClaim, measured: &mut Measured) {
    let class = storage::class_of(claim);
    let usage = &mut measured.usage;
    if let Some(class) = class {
        usage.insert(format!("{class}{OF_A_CLASS}persistentvolumeclaims"), one());
    }
    let spec = claim.spec.as_ref();
    let requests = spec.and_then(|s| s.resources.as_ref()?.requests.as_ref());
    if let Some(size) = super::super::pod_totals::parsed(requests).get("storage") {
        usage.insert("requests.storage".to_owned(), *size);
        if let Some(class) = class {
            usage.insert(format!("{class}{OF_A_CLASS}requests.storage"), *size);
        }
    }
    let attributes = spec.and_then(|s| s.volume_attributes_class_name.clone());
    let attributes = attributes.filter(|class| !class.is_empty());
    measured.scopes = Some(
        attributes
            .map(|class| ("VolumeAttributesClass", Some(class)))
            .into_iter()
            .collect(),
    );
}

impl Measured {
    /// True if a quota with this spec is about the object.
    pub(super) fn is_within(&self, spec: &ResourceQuotaSpec) -> bool {
        let plain = spec
            .scopes
            .iter()
            .flatten()
            .map(|scope| ScopedResourceSelectorRequirement {
                operator: "Exists".to_owned(),
                scope_name: scope.clone(),
                values: None,
            });
        let selector = spec.scope_selector.iter();
        let selected = selector.flat_map(|s| s.match_expressions.iter().flatten().cloned());
        plain.chain(selected).all(|wanted| self.matches(&wanted))
    }

    fn matches(&self, wanted: &ScopedResourceSelectorRequirement) -> bool {
        let Some(scopes) = &self.scopes else {
            return false;
        };
        let Some(class) = scopes.get(wanted.scope_name.as_str()) else {
            // A pod without a class is in no class's scope, and outside of any.
            return ["PriorityClass", "VolumeAttributesClass"]
                .contains(&wanted.scope_name.as_str())
                && ["NotIn", "DoesNotExist"].contains(&wanted.operator.as_str());
        };
        let Some(class) = class else {
            return wanted.operator == "Exists";
        };
        // A class is compared as a label would be.
        let labels = BTreeMap::from([("class".to_owned(), class.clone())]);
        let selector = meta::LabelSelector {
            match_expressions: Some(vec![meta::LabelSelectorRequirement {
                key: "class".to_owned(),
                operator: wanted.operator.clone(),
                values: wanted.values.clone(),
            }]),
            match_labels: None,
        };
        LabelSelector::from_api(Some(&selector)).is_ok_and(|s| s.matches(&labels))
    }

    /// What containers must say because a quota bounds one of `names`, and do not:
    /// `cpu for: a,b; memory for: a`. `None` if nothing is missing.
    pub(super) fn missing<'a>(&self, names: impl Iterator<Item = &'a String>) -> Option<String> {
        let mut found: Vec<String> = names
            .filter_map(|name| {
                let mut containers = self.unspecified.get(name.as_str())?.clone();
                containers.sort_unstable();
                Some(format!("{name} for: {}", containers.join(",")))
            })
            .collect();
        found.sort_unstable();
        (!found.is_empty()).then(|| found.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::row;
    use super::*;
    use crate::registry::strategy::Object;
    use serde_json::{Value, json};

    fn measured<T: Object>(plural: &str, value: &Value) -> Measured {
        let row = row("", plural);
        let object: T = serde_json::from_value(value.clone()).unwrap();
        measure(&row.resource().kind.names, &object)
    }

    fn shown(measured: &Measured) -> String {
        let usage = measured.usage.iter();
        usage
            .map(|(n, q)| format!("{n}={q}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_pod_takes_until_it_has_ended() {
        let check = |pod: Value, expected: &str| {
            assert_eq!(shown(&measured::<Pod>("pods", &pod)), expected, "{pod}");
        };
        let containers = json!([{"name": "a", "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi", "x.io/gpu": "2", "hugepages-2Mi": "2Mi"},
            "limits": {"cpu": "1", "x.io/gpu": "2"},
        }}]);
        check(json!({"spec": {"containers": []}}), "count/pods=1 pods=1");
        check(
            json!({"spec": {"containers": containers}}),
            "count/pods=1 cpu=500m hugepages-2Mi=2Mi limits.cpu=1 memory=1Gi pods=1 requests.cpu=500m \
             requests.hugepages-2Mi=2Mi requests.memory=1Gi requests.x.io/gpu=2",
        );
        for phase in ["Succeeded", "Failed"] {
            let ended = json!({"spec": {"containers": containers}, "status": {"phase": phase}});
            check(ended, "count/pods=1");
        }
    }

    #[test]
    fn services_and_claims_take_what_is_scarce() {
        let check = |spec: Value, expected: &str| {
            let value = json!({"spec": spec});
            assert_eq!(
                shown(&measured::<Service>("services", &value)),
                expected,
                "{value}"
            );
        };
        let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
        check(
            json!({"type": "ClusterIP", "ports": ports}),
            "count/services=1 services=1",
        );
        check(
            json!({"type": "NodePort", "ports": ports}),
            "count/services=1 services=1 services.nodeports=2",
        );
        check(
            json!({"type": "LoadBalancer", "ports": ports}),
            "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2",
        );
        check(
            json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false}),
            "count/services=1 services=1 services.loadbalancers=1 services.nodeports=1",
        );
        let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(
            shown(&measured::<PersistentVolumeClaim>(
                "persistentvolumeclaims",
                &claim
            )),
            "count/persistentvolumeclaims=1 fast.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
             fast.storageclass.storage.k8s.io/requests.storage=1Gi persistentvolumeclaims=1 requests.storage=1Gi"
        );
        let names = |group: &str, plural: &str| {
            let row = row(group, plural);
            let plain = plain(&row.resource().kind.names);
            plain.into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("", "secrets"), "count/secrets secrets");
        assert_eq!(names("apps", "deployments"), "count/deployments.apps");
        assert_eq!(names("", "endpoints"), "count/endpoints");
    }

    #[test]
    fn scopes_follow_the_pod() {
        let check = |spec: Value, quota: Value, expected: bool| {
            let pod = measured::<Pod>("pods", &json!({"spec": spec}));
            let parsed: ResourceQuotaSpec = serde_json::from_value(quota.clone()).unwrap();
            assert_eq!(pod.is_within(&parsed), expected, "{spec} {quota}");
        };
        let scope = |scope: &str| json!({"scopes": [scope]});
        let class = |operator: &str, values: Value| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values},
            ]}})
        };
        let plain = json!({"containers": [{"name": "a"}]});
        let ends = json!({"containers": [{"name": "a"}], "activeDeadlineSeconds": 0});
        let asks = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]});
        let high = json!({"containers": [], "priorityClassName": "high"});
        check(plain.clone(), json!({}), true);
        check(plain.clone(), scope("NotTerminating"), true);
        check(plain.clone(), scope("Terminating"), false);
        check(ends, scope("Terminating"), true);
        check(plain.clone(), scope("BestEffort"), true);
        check(asks.clone(), scope("BestEffort"), false);
        check(
            asks,
            json!({"scopes": ["NotBestEffort", "NotTerminating"]}),
            true,
        );
        check(high.clone(), scope("PriorityClass"), true);
        check(plain.clone(), scope("PriorityClass"), false);
        check(high.clone(), class("In", json!(["high", "low"])), true);
        check(high.clone(), class("In", json!(["low"])), false);
        check(high.clone(), class("NotIn", json!(["low"])), true);
        check(plain.clone(), class("NotIn", json!(["low"])), true);
        check(plain.clone(), class("DoesNotExist", Value::Null), true);
        check(high, class("DoesNotExist", Value::Null), false);
        check(plain, scope("CrossNamespacePodAffinity"), false);
        let near = json!({"containers": [], "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "namespaces": ["other"]},
        ]}}});
        check(near, scope("CrossNamespacePodAffinity"), true);
        let secret = measured::<k8s_openapi::api::core::v1::Secret>("secrets", &json!({}));
        let quota: ResourceQuotaSpec = serde_json::from_value(scope("BestEffort")).unwrap();
        assert!(!secret.is_within(&quota) && secret.is_within(&ResourceQuotaSpec::default()));
    }

    #[test]
    fn containers_must_say_what_is_bounded() {
        let check = |pod: Value, bounded: &[&str], expected: Option<&str>| {
            let measured = measured::<Pod>("pods", &json!({"spec": pod}));
            let names: Vec<String> = bounded.iter().map(|&n| n.to_owned()).collect();
            assert_eq!(
                measured.missing(names.iter()).as_deref(),
                expected,
                "{pod} {bounded:?}"
            );
        };
        let pod = json!({"containers": [
            {"name": "b"}, {"name": "a"}, {"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1"}, "limits": {"memory": "1"}}},
        ]});
        check(
            pod.clone(),
            &["pods", "count/pods", "requests.ephemeral-storage"],
            None,
        );
        check(pod.clone(), &["cpu"], Some("cpu for: a,b"));
        check(
            pod,
            &["limits.cpu", "requests.memory"],
            Some("limits.cpu for: a,b,c; requests.memory for: a,b"),
        );
        check(
            json!({"containers": [{"name": "a"}], "resources": {"requests": {"cpu": "1"}}}),
            &["cpu", "limits.memory"],
            None,
        );
    }
}
