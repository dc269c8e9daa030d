//! Objects that describe the cluster itself: the priority classes of its own pods, the network of
//! its Services, the groups of its API, and the two flows that nothing can do without.

use std::collections::BTreeSet;

use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRSpec};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use serde_json::{Value, json};

use super::ensure;
use crate::error::{ApiError, Result};
use crate::kinds::priority_class::SYSTEM;
use crate::registry::Registry;
use crate::registry::object::AnyObject;

/// The network of Services, as `kubectl get servicecidr` shows it.
const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// Says which API groups are this server's own, and follow what it serves (Kubernetes' label).
const AUTO_REGISTERED: (&str, &str) = ("kube-aggregator.kubernetes.io/automanaged", "onstart");

/// Group, version and plural of a kind, and an object of it.
type Wanted = (
    (&'static str, &'static str, &'static str),
    Box<dyn AnyObject>,
);

/// Creates what is missing, all at once: the store groups the writes.
///
/// # Errors
/// The store's.
pub(super) async fn ensure_all(registry: &Registry) -> Result<()> {
    let wanted = wanted(registry)?.into_iter();
    let all = wanted.map(|(of, object)| ensure(registry, of, None, object));
    futures::future::try_join_all(all).await?;
    Ok(())
}

fn wanted(registry: &Registry) -> Result<Vec<Wanted>> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for class in &SYSTEM {
        let class = PriorityClass {
            metadata: named(class.name),
            value: Some(class.value),
            description: Some(class.description.to_owned()),
            ..PriorityClass::default()
        };
        let of = ("scheduling.k8s.io", "v1", "priorityclasses");
        wanted.push((of, Box::new(class)));
    }
    let network = ServiceCIDR {
        metadata: named("kubernetes"),
        spec: Some(ServiceCIDRSpec {
            cidrs: Some(vec![SERVICE_NETWORK.to_owned()]),
        }),
        status: None,
    };
    let of = ("networking.k8s.io", "v1", "servicecidrs");
    wanted.push((of, Box::new(network)));
    for (group, version) in served(registry) {
        let of = ("apiregistration.k8s.io", "v1", "apiservices");
        wanted.push((of, Box::new(local(&group, &version))));
    }
    for level in levels() {
        let level: PriorityLevelConfiguration = decoded(level)?;
        let of = (
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "prioritylevelconfigurations",
        );
        wanted.push((of, Box::new(level)));
    }
    for flow in flows() {
        let flow: FlowSchema = decoded(flow)?;
        let of = ("flowcontrol.apiserver.k8s.io", "v1", "flowschemas");
        wanted.push((of, Box::new(flow)));
    }
    Ok(wanted)
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

fn decoded<T: AnyObject + serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(ApiError::internal)
}

/// The groups and versions that this server was built with.
fn served(registry: &Registry) -> BTreeSet<(String, String)> {
    let rows = registry.table().now();
    rows.kinds()
        .map(|kind| (kind.names.group.clone(), kind.names.version.clone()))
        .collect()
}

/// The APIService of a group that this server serves itself.
fn local(group: &str, version: &str) -> APIService {
    // The core group comes first, as in Kubernetes; the order among the others means little.
    let (minimum, priority) = if group.is_empty() {
        (18_000, 1)
    } else {
        (17_000, 15)
    };
    let label = (AUTO_REGISTERED.0.to_owned(), AUTO_REGISTERED.1.to_owned());
    APIService {
        metadata: ObjectMeta {
            labels: Some([label].into()),
            ..named(&format!("{version}.{group}"))
        },
        spec: Some(APIServiceSpec {
            group: Some(group.to_owned()).filter(|g| !g.is_empty()),
            version: Some(version.to_owned()),
            group_priority_minimum: minimum,
            version_priority: priority,
            ..APIServiceSpec::default()
        }),
        status: None,
    }
}

/// The levels that are always there: what is never held up, and what belongs nowhere else.
fn levels() -> [Value; 2] {
    [
        json!({"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": {}}}),
        json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"},
        }}}),
    ]
}

/// The flows that are always there: administrators, and everybody else.
fn flows() -> [Value; 2] {
    let groups = |names: &[&str]| -> Vec<Value> {
        let subject = |name: &&str| json!({"kind": "Group", "group": {"name": name}});
        names.iter().map(subject).collect()
    };
    let all_of = |subjects: Vec<Value>| {
        json!([{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                "clusterScope": true, "namespaces": ["*"],
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    [
        json!({"metadata": {"name": "exempt"}, "spec": {
            "matchingPrecedence": 1, "priorityLevelConfiguration": {"name": "exempt"},
            "rules": all_of(groups(&["system:masters"])),
        }}),
        json!({"metadata": {"name": "catch-all"}, "spec": {
            "matchingPrecedence": 10_000, "priorityLevelConfiguration": {"name": "catch-all"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": all_of(groups(&["system:unauthenticated", "system:authenticated"])),
        }}),
    ]
}
