//! The row of a Service.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use serde_json::Value;

use super::super::cells::{self, NONE};
use super::{CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT, type_of};

pub(super) fn row(service: &Service, now: Timestamp) -> Vec<Value> {
    let default = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    let first_ip = spec
        .cluster_ips
        .iter()
        .flatten()
        .next()
        .or(spec.cluster_ip.as_ref());
    let ports: Vec<String> = spec.ports.iter().flatten().map(port).collect();
    vec![
        cells::name(&service.metadata),
        type_of(spec).into(),
        cells::or_none(first_ip.map(String::as_str)),
        external(service, spec).into(),
        cells::or_none(Some(&ports.join(","))),
        cells::age(&service.metadata, now),
        cells::labels(spec.selector.as_ref()),
    ]
}

fn port(port: &ServicePort) -> String {
    let protocol = port.protocol.as_deref().unwrap_or_default();
    match port.node_port {
        Some(node) if node > 0 => format!("{}:{node}/{protocol}", port.port),
        _ => format!("{}/{protocol}", port.port),
    }
}

fn external(service: &Service, spec: &ServiceSpec) -> String {
    let ips = || spec.external_ips.iter().flatten().cloned();
    let joined = |list: Vec<String>, empty: &str| {
        if list.is_empty() {
            empty.to_owned()
        } else {
            list.join(",")
        }
    };
    match type_of(spec) {
        CLUSTER_IP | NODE_PORT => joined(ips().collect(), NONE),
        LOAD_BALANCER => {
            let status = service
                .status
                .as_ref()
                .and_then(|s| s.load_balancer.as_ref());
            let balancers = status
                .iter()
                .flat_map(|s| s.ingress.iter().flatten())
                .filter_map(|i| {
                    [&i.ip, &i.hostname]
                        .into_iter()
                        .flatten()
                        .find(|text| !text.is_empty())
                        .cloned()
                });
            joined(balancers.chain(ips()).collect(), "<pending>")
        }
        EXTERNAL_NAME => spec.external_name.clone().unwrap_or_default(),
        _ => "<unknown>".to_owned(),
    }
}
