use super::*;
use crate::names::{Resolved, resolve};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn table() -> ServiceTable {
    ServiceTable::new("n1")
}

fn service(table: &ServiceTable, name: &str, spec: Value) {
    let object = json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec});
    table.apply_service(&serde_json::from_value(object).unwrap());
}

/// A slice of `web` with a port 8080 named `http`; an endpoint is its address and flags: `r` ready,
/// `s` serving, `t` terminating, `2` on another node, `x` not a pod.
fn slice(table: &ServiceTable, name: &str, endpoints: &[(&str, &str)]) {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(ip, flags)| {
            let has = |flag: char| flags.contains(flag);
            let mut endpoint = json!({
                "addresses": [ip],
                "conditions": {"ready": has('r'), "serving": has('s') || has('r'), "terminating": has('t')},
                "nodeName": if has('2') { "n2" } else { "n1" },
                "hostname": format!("pod-{}", ip.rsplit('.').next().unwrap()),
            });
            if !has('x') {
                endpoint["targetRef"] = json!({"kind": "Pod"});
            }
            endpoint
        })
        .collect();
    let object = json!({
        "metadata": {"namespace": "shop", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    });
    table.apply_slice(&serde_json::from_value(object).unwrap());
}

fn web() -> Value {
    json!({"type": "NodePort", "clusterIP": "10.96.0.7",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}]})
}

fn picked(table: &ServiceTable, times: usize) -> BTreeSet<String> {
    let web = table.by_name("shop", "web").unwrap();
    (0..times)
        .filter_map(|_| web.pick(web.port_index(80), Scope::Internal, None, &Tried::default()))
        .map(|endpoint| endpoint.addr.to_string())
        .collect()
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(|a| (*a).to_owned()).collect()
}

#[test]
fn ready_endpoints_get_requests_and_serving_ones_only_if_none_is_ready() {
    for (endpoints, expect) in [
        (&[][..], &[][..]),
        (
            &[("10.128.0.2", "r"), ("10.128.0.3", "")],
            &["10.128.0.2:8080"],
        ),
        (
            &[("10.128.0.2", "r"), ("10.128.0.3", "r2")],
            &["10.128.0.2:8080", "10.128.0.3:8080"],
        ),
        (
            &[("10.128.0.2", "r"), ("10.128.0.3", "st")],
            &["10.128.0.2:8080"],
        ),
        (
            &[("10.128.0.2", ""), ("10.128.0.3", "st")],
            &["10.128.0.3:8080"],
        ),
        (&[("10.128.0.2", ""), ("10.128.0.3", "t")], &[]),
    ] {
        let table = table();
        service(&table, "web", web());
        slice(&table, "web-1", endpoints);
        assert_eq!(picked(&table, 20), set(expect), "{endpoints:?}");
    }
}

#[test]
fn the_order_of_events_does_not_matter() {
    let table = table();
    slice(&table, "web-1", &[("10.128.0.2", "r")]);
    assert!(table.by_name("shop", "web").is_none());
    service(&table, "web", web());
    slice(&table, "web-2", &[("10.128.0.3", "r")]);
    assert_eq!(
        picked(&table, 20),
        set(&["10.128.0.2:8080", "10.128.0.3:8080"])
    );
    table.remove_slice("shop", "web-1");
    assert_eq!(picked(&table, 20), set(&["10.128.0.3:8080"]));
    table.remove_service("shop", "web");
    assert!(table.by_name("shop", "web").is_none());
    assert!(table.by_cluster_ip("10.96.0.7".parse().unwrap()).is_none());
    service(&table, "web", web());
    assert_eq!(
        picked(&table, 20),
        set(&["10.128.0.3:8080"]),
        "its slice was kept"
    );
}

#[test]
fn indexes_follow_the_services_spec() {
    let table = table();
    let changes = table.watch_node_ports();
    service(&table, "web", web());
    assert_eq!(table.node_ports(), [30080]);
    assert!(changes.has_changed().unwrap());
    service(
        &table,
        "web",
        json!({"type": "ClusterIP", "clusterIP": "10.96.0.8", "ports": [{"port": 80}]}),
    );
    assert!(table.node_ports().is_empty());
    assert!(table.by_cluster_ip("10.96.0.7".parse().unwrap()).is_none());
    assert!(table.by_cluster_ip("10.96.0.8".parse().unwrap()).is_some());
    // A second Service that claims the address keeps it when the first goes.
    service(
        &table,
        "other",
        json!({"clusterIP": "10.96.0.8", "ports": [{"port": 80}]}),
    );
    table.remove_service("shop", "web");
    assert_eq!(
        table
            .by_cluster_ip("10.96.0.8".parse().unwrap())
            .unwrap()
            .id(),
        "shop/other"
    );
}

#[test]
fn busy_endpoints_are_passed_over_and_refusing_ones_left_out() {
    let table = table();
    service(&table, "web", web());
    slice(&table, "web-1", &[("10.128.0.2", "r"), ("10.128.0.3", "r")]);
    let web = table.by_name("shop", "web").unwrap();
    let pick = |tried: &Tried| web.pick(Some(0), Scope::Internal, None, tried);
    let first = pick(&Tried::default()).unwrap();
    let held: Vec<_> = (0..3).map(|_| InFlight::new(first.clone())).collect();
    for _ in 0..4 {
        assert_ne!(pick(&Tried::default()).unwrap().addr, first.addr);
    }
    drop(held);
    let mut tried = Tried::default();
    tried.push(first.addr);
    let second = pick(&tried).unwrap();
    assert_ne!(second.addr, first.addr);
    tried.push(second.addr);
    assert!(pick(&tried).is_none());
}

#[test]
fn policies_and_affinity_narrow_the_choice() {
    let table = table();
    let mut spec = web();
    spec["internalTrafficPolicy"] = json!("Local");
    spec["sessionAffinity"] = json!("ClientIP");
    service(&table, "web", spec);
    slice(
        &table,
        "web-1",
        &[
            ("10.128.0.2", "r2"),
            ("10.128.0.3", "r"),
            ("10.128.0.4", "r2"),
        ],
    );
    assert_eq!(picked(&table, 10), set(&["10.128.0.3:8080"]));
    let web = table.by_name("shop", "web").unwrap();
    let of = |client: &str| {
        let client = client.parse().ok();
        web.pick(Some(0), Scope::External, client, &Tried::default())
            .unwrap()
            .addr
    };
    let all: BTreeSet<_> = (0..50).map(|n| of(&format!("192.0.2.{n}"))).collect();
    assert_eq!(all.len(), 3, "clients spread");
    assert_eq!(of("192.0.2.9"), of("192.0.2.9"), "and a client stays");
}

#[test]
fn names_mean_what_they_mean_in_kubernetes() {
    let table = table();
    service(&table, "web", web());
    service(
        &table,
        "alias",
        json!({"type": "ExternalName", "externalName": "example.com"}),
    );
    slice(&table, "web-1", &[("10.128.0.2", "r")]);
    for (namespace, host, expect) in [
        ("shop", "web", "service shop/web"),
        ("shop", "WEB", "service shop/web"),
        ("shop", "web.", "service shop/web"),
        ("bakery", "web", "nothing"),
        ("bakery", "web.shop", "service shop/web"),
        ("bakery", "web.shop.svc", "service shop/web"),
        ("bakery", "web.shop.svc.cluster.local", "service shop/web"),
        ("bakery", "web.shop.svc.cluster.local.", "service shop/web"),
        ("bakery", "none.shop.svc.cluster.local", "nothing"),
        ("bakery", "none.shop.svc", "nothing"),
        ("shop", "alias", "service shop/alias"),
        ("shop", "pod-2.web", "pod 10.128.0.2"),
        ("bakery", "pod-2.web.shop", "pod 10.128.0.2"),
        (
            "bakery",
            "pod-2.web.shop.svc.cluster.local",
            "pod 10.128.0.2",
        ),
        ("bakery", "pod-9.web.shop.svc.cluster.local", "nothing"),
        (
            "bakery",
            "10-128-0-2.shop.pod.cluster.local",
            "ip 10.128.0.2",
        ),
        ("bakery", "10.128.0.2", "ip 10.128.0.2"),
        ("bakery", "[fd00::1]", "ip fd00::1"),
        ("bakery", "localhost", "loopback"),
        ("bakery", "127.0.0.1", "loopback"),
        ("bakery", "[::1]", "loopback"),
        ("bakery", "example.com", "outside"),
        ("bakery", "web.other", "outside"),
        ("bakery", "none", "nothing"),
    ] {
        let got = match resolve(&table, namespace, host) {
            Resolved::Service(service) => format!("service {}", service.id()),
            Resolved::Pod(endpoint) => format!("pod {}", endpoint.addr.ip()),
            Resolved::Ip(ip) => format!("ip {ip}"),
            Resolved::Loopback => "loopback".into(),
            Resolved::Outside => "outside".into(),
            Resolved::Nothing => "nothing".into(),
        };
        assert_eq!(got, expect, "{host} in {namespace}");
    }
}

#[tokio::test]
async fn withdrawal_is_seen_when_the_last_service_lets_go() {
    let table = Arc::new(table());
    let ip: IpAddr = "10.128.0.2".parse().unwrap();
    service(&table, "web", web());
    slice(&table, "web-1", &[("10.128.0.2", "r"), ("10.128.0.3", "r")]);
    slice(&table, "web-2", &[("10.128.0.2", "r")]);
    assert!(table.takes_requests(ip));
    assert!(!table.withdrawn(ip, Duration::from_millis(1)).await);
    let waiting = tokio::spawn({
        let table = table.clone();
        async move { table.withdrawn(ip, Duration::from_secs(10)).await }
    });
    slice(
        &table,
        "web-1",
        &[("10.128.0.2", "st"), ("10.128.0.3", "r")],
    );
    assert!(table.takes_requests(ip), "the other slice still has it");
    table.remove_slice("shop", "web-2");
    assert!(waiting.await.unwrap());
}
