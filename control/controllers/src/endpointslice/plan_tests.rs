//! What slices a service gets for its pods, and how they change.

use std::sync::Arc;

use euston_api::labels::{ENDPOINT_SLICE_MANAGED_BY, SERVICE_NAME};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::plan::{ENDPOINTS_MAX, MANAGER, plan, selects};
use crate::pods::tests::{at, pod};

fn service(ports: Value) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "svc", "labels": {"team": "shop"}},
        "spec": {"clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": ports},
    }))
    .unwrap()
}

fn plain() -> Service {
    service(json!([{"port": 80, "targetPort": 8080}]))
}

fn with_ip(name: &str, ip: &str, ready: bool) -> Pod {
    let mut pod = pod(name, ready);
    pod.status.as_mut().unwrap().pod_ip = Some(ip.into());
    pod
}

fn many(count: usize) -> Vec<Arc<Pod>> {
    (0..count)
        .map(|i| {
            Arc::new(with_ip(
                &format!("p{i:04}"),
                &format!("10.128.{}.{}", i / 250, i % 250 + 1),
                true,
            ))
        })
        .collect()
}

/// Carries a plan out on the slices, as the API would.
fn apply(
    service: &Service,
    pods: &[Arc<Pod>],
    slices: &[Arc<EndpointSlice>],
) -> (Vec<Arc<EndpointSlice>>, [usize; 3]) {
    let plan = plan(service, pods, slices);
    let counts = [plan.create.len(), plan.update.len(), plan.delete.len()];
    let mut next: Vec<Arc<EndpointSlice>> = slices
        .iter()
        .filter(|slice| {
            plan.delete
                .iter()
                .all(|gone| gone.metadata.name != slice.metadata.name)
        })
        .map(|slice| {
            let updated = plan
                .update
                .iter()
                .find(|updated| updated.metadata.name == slice.metadata.name);
            updated.map_or_else(|| slice.clone(), |updated| Arc::new(updated.clone()))
        })
        .collect();
    for mut created in plan.create {
        created.metadata.name = Some(format!("web-{}", next.len()));
        next.push(Arc::new(created));
    }
    (next, counts)
}

fn endpoints(slices: &[Arc<EndpointSlice>]) -> usize {
    slices
        .iter()
        .map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len))
        .sum()
}

/// The conditions of the only endpoint of a pod described by `change`: "ready serving terminating".
fn conditions(service: &Service, change: impl FnOnce(&mut Pod)) -> String {
    let mut pod = with_ip("a", "10.128.0.5", true);
    change(&mut pod);
    let plan = plan(service, &[Arc::new(pod)], &[]);
    let endpoints = plan
        .create
        .first()
        .and_then(|slice| slice.endpoints.clone())
        .unwrap_or_default();
    endpoints
        .first()
        .and_then(|endpoint| endpoint.conditions.clone())
        .map_or_else(
            || "none".to_owned(),
            |c| {
                [
                    (c.ready, "ready"),
                    (c.serving, "serving"),
                    (c.terminating, "terminating"),
                ]
                .iter()
                .filter(|(on, _)| *on == Some(true))
                .map(|(_, name)| *name)
                .collect::<Vec<_>>()
                .join(" ")
            },
        )
}

fn unready(pod: &mut Pod) {
    pod.status.as_mut().unwrap().conditions = None;
}

fn terminating(pod: &mut Pod) {
    pod.metadata.deletion_timestamp = Some(Time(at(0)));
}

#[test]
fn conditions_say_who_gets_traffic() {
    let phase = |phase: &'static str| {
        move |pod: &mut Pod| pod.status.as_mut().unwrap().phase = Some(phase.into())
    };
    assert_eq!(conditions(&plain(), |_| {}), "ready serving");
    assert_eq!(conditions(&plain(), unready), "");
    assert_eq!(conditions(&plain(), terminating), "serving terminating");
    assert_eq!(
        conditions(&plain(), |pod| {
            unready(pod);
            terminating(pod);
        }),
        "terminating"
    );
    assert_eq!(conditions(&plain(), phase("Failed")), "none");
    assert_eq!(conditions(&plain(), phase("Succeeded")), "none");
    assert_eq!(
        conditions(&plain(), |pod| pod.status.as_mut().unwrap().pod_ip = None),
        "none"
    );
    assert_eq!(
        conditions(&plain(), |pod| pod.status.as_mut().unwrap().pod_ip =
            Some("fd00::1".into())),
        "none"
    );
    let mut tolerant = plain();
    tolerant.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
    assert_eq!(conditions(&tolerant, unready), "ready");
    assert_eq!(
        conditions(&tolerant, terminating),
        "ready serving terminating"
    );
}

#[test]
fn a_slice_carries_labels_owner_and_target() {
    let plan = plan(&plain(), &[Arc::new(with_ip("a", "10.128.0.5", true))], &[]);
    let slice = serde_json::to_value(&plan.create[0]).unwrap();
    assert_eq!(
        slice,
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "generateName": "web-", "namespace": "ns",
                "labels": {"team": "shop", SERVICE_NAME: "web", ENDPOINT_SLICE_MANAGED_BY: MANAGER},
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Service", "name": "web", "uid": "svc", "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "endpoints": [{
                "addresses": ["10.128.0.5"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "n1", "targetRef": {"kind": "Pod", "namespace": "ns", "name": "a", "uid": "uid-a"},
            }],
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        })
    );
}

#[test]
fn target_ports_are_found_by_number_or_name() {
    let declared = |protocol: &str| {
        let mut pod = with_ip("a", "10.128.0.5", true);
        let ports = json!([{"name": "http", "containerPort": 9000, "protocol": protocol}]);
        pod.spec.as_mut().unwrap().containers[0].ports = serde_json::from_value(ports).unwrap();
        Arc::new(pod)
    };
    for (ports, protocol, expect) in [
        (json!([{"port": 80}]), "TCP", vec![80]),
        (json!([{"port": 80, "targetPort": 8080}]), "TCP", vec![8080]),
        (json!([{"port": 80, "targetPort": 0}]), "TCP", vec![80]),
        (
            json!([{"port": 80, "targetPort": "http"}]),
            "TCP",
            vec![9000],
        ),
        (json!([{"port": 80, "targetPort": "http"}]), "UDP", vec![]),
        (json!([{"port": 80, "targetPort": "none"}]), "TCP", vec![]),
        (
            json!([{"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": "none"}]),
            "TCP",
            vec![80],
        ),
        (
            json!([{"name": "b", "port": 81}, {"name": "a", "port": 80}]),
            "TCP",
            vec![80, 81],
        ),
        (json!([]), "TCP", vec![]),
    ] {
        let plan = plan(&service(ports.clone()), &[declared(protocol)], &[]);
        let got: Vec<i32> = plan.create[0]
            .ports
            .iter()
            .flatten()
            .filter_map(|port| port.port)
            .collect();
        assert_eq!(got, expect, "{ports}");
        assert_eq!(
            plan.create[0].endpoints.as_ref().map(Vec::len),
            Some(1),
            "{ports}"
        );
    }
}

#[test]
fn pods_whose_ports_differ_live_in_different_slices() {
    let with_port = |name: &str, ip: &str, number: i32| {
        let mut pod = with_ip(name, ip, true);
        let ports = json!([{"name": "http", "containerPort": number}]);
        pod.spec.as_mut().unwrap().containers[0].ports = serde_json::from_value(ports).unwrap();
        Arc::new(pod)
    };
    let service = service(json!([{"port": 80, "targetPort": "http"}]));
    let pods = [
        with_port("a", "10.128.0.1", 1),
        with_port("b", "10.128.0.2", 2),
        with_port("c", "10.128.0.3", 1),
    ];
    let (slices, _) = apply(&service, &pods, &[]);
    let mut sizes: Vec<usize> = slices
        .iter()
        .map(|slice| slice.endpoints.as_ref().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2]);
    // When the last pod of one kind of ports goes, so does its slice.
    let (slices, counts) = apply(&service, &pods[..1], &slices);
    assert_eq!((slices.len(), counts), (1, [0, 1, 1]));
}

#[test]
fn slices_hold_a_hundred_and_change_as_little_as_possible() {
    let service = plain();
    let pods = many(1000);
    let (slices, counts) = apply(&service, &pods, &[]);
    assert_eq!(
        (slices.len(), counts, endpoints(&slices)),
        (10, [10, 0, 0], 1000)
    );
    assert!(
        slices
            .iter()
            .all(|slice| slice.endpoints.as_ref().unwrap().len() <= ENDPOINTS_MAX)
    );
    // Nothing changed, nothing is written.
    assert_eq!(apply(&service, &pods, &slices).1, [0, 0, 0]);
    // One pod turns unready: one slice.
    let mut one = pods.clone();
    one[500] = Arc::new({
        let mut pod = (*pods[500]).clone();
        unready(&mut pod);
        pod
    });
    assert_eq!(apply(&service, &one, &slices).1, [0, 1, 0]);
    // One pod is replaced: still one slice.
    let mut replaced = pods.clone();
    replaced[3] = Arc::new(with_ip("new", "10.129.0.1", true));
    let (slices, counts) = apply(&service, &replaced, &slices);
    assert_eq!((counts, endpoints(&slices)), ([0, 1, 0], 1000));
    // A thousand and one need another slice.
    let mut more = replaced;
    more.push(Arc::new(with_ip("more", "10.129.0.2", true)));
    let (slices, counts) = apply(&service, &more, &slices);
    assert_eq!((counts, endpoints(&slices)), ([1, 0, 0], 1001));
    // Gone: one empty slice stays.
    let (slices, _) = apply(&service, &[], &slices);
    assert_eq!((slices.len(), endpoints(&slices)), (1, 0));
    assert_eq!(apply(&service, &[], &slices).1, [0, 0, 0]);
    // And is used again.
    let (slices, counts) = apply(&service, &many(3), &slices);
    assert_eq!(
        (slices.len(), counts, endpoints(&slices)),
        (1, [0, 1, 0], 3)
    );
}

#[test]
fn a_service_without_pods_has_an_empty_slice() {
    let (slices, counts) = apply(&plain(), &[], &[]);
    assert_eq!((counts, endpoints(&slices)), ([1, 0, 0], 0));
    // The first pod gives it ports: the placeholder has none, so another slice takes its place.
    let (slices, counts) = apply(&plain(), &many(1), &slices);
    assert_eq!((slices.len(), counts), (1, [1, 0, 1]));
}

#[test]
fn services_that_name_their_endpoints_themselves_are_left_alone() {
    let mut external = plain();
    external.spec.as_mut().unwrap().type_ = Some("ExternalName".into());
    let mut unselecting = plain();
    unselecting.spec.as_mut().unwrap().selector = None;
    for service in [external, unselecting] {
        assert!(!selects(&service, &many(1)[0]));
        assert_eq!(apply(&service, &many(2), &[]).1, [0, 0, 0]);
    }
    // Slices that somebody else made are nobody's business here.
    let mut foreign = plan(&plain(), &many(1), &[]).create.remove(0);
    foreign.metadata.name = Some("theirs".into());
    foreign
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert(ENDPOINT_SLICE_MANAGED_BY.into(), "somebody".into());
    let (slices, counts) = apply(&plain(), &[], &[Arc::new(foreign)]);
    assert_eq!((slices.len(), counts), (2, [1, 0, 0]));
}

#[test]
fn headless_services_and_hostnames() {
    let mut headless = plain();
    headless.spec.as_mut().unwrap().cluster_ip = Some("None".into());
    let mut named = with_ip("a", "10.128.0.5", true);
    named.spec.as_mut().unwrap().hostname = Some("db-0".into());
    named.spec.as_mut().unwrap().subdomain = Some("web".into());
    let mut elsewhere = with_ip("b", "10.128.0.6", true);
    elsewhere.spec.as_mut().unwrap().hostname = Some("db-1".into());
    elsewhere.spec.as_mut().unwrap().subdomain = Some("other".into());
    let plan = plan(&headless, &[Arc::new(named), Arc::new(elsewhere)], &[]);
    let slice = &plan.create[0];
    assert_eq!(
        slice.metadata.labels.as_ref().unwrap()["service.kubernetes.io/headless"],
        ""
    );
    let hostnames: Vec<_> = slice
        .endpoints
        .iter()
        .flatten()
        .map(|endpoint| endpoint.hostname.as_deref())
        .collect();
    assert_eq!(hostnames, [Some("db-0"), None]);
}

#[test]
fn changed_service_labels_reach_the_slices() {
    let (slices, _) = apply(&plain(), &many(1), &[]);
    let mut relabelled = plain();
    relabelled.metadata.labels = None;
    assert_eq!(apply(&relabelled, &many(1), &slices).1, [0, 1, 0]);
}
