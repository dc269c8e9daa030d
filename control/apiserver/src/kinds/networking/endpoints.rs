//! Endpoints: the addresses behind a Service, as clients from before EndpointSlices know them.

use std::net::{IpAddr, SocketAddr};

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use serde_json::Value;

use crate::kinds::cells;
use crate::kinds::endpoint_slice::validate_reachable;
use crate::kinds::pod_spec::{PROTOCOLS, TCP, one_of, text};
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// Addresses that a table shows.
const SHOWN_MAX: usize = 3;

/// The rules of Endpoints.
pub struct EndpointsStrategy;

impl Strategy for EndpointsStrategy {
    type Object = Endpoints;

    fn default(&self, endpoints: &mut Endpoints) {
        for subset in endpoints.subsets.iter_mut().flatten() {
            for port in subset.ports.iter_mut().flatten() {
                port.protocol.get_or_insert_with(|| TCP.to_owned());
            }
        }
    }

    fn validate(&self, endpoints: &Endpoints) -> ErrorList {
        let mut errors = ErrorList::new();
        for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
            validate_subset(subset, &Path::new("subsets").index(index), &mut errors);
        }
        errors
    }

    fn warnings(&self, _endpoints: &Endpoints) -> Vec<String> {
        vec![
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
                .to_owned(),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Endpoints", "The addresses with their ports."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, endpoints: &Endpoints, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&endpoints.metadata),
            cells::or_none(Some(&shown(endpoints))),
            cells::age(&endpoints.metadata, now),
        ]
    }
}

/// The first addresses with their ports, and how many more there are.
fn shown(endpoints: &Endpoints) -> String {
    let mut all = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let addresses = || subset.addresses.iter().flatten().map(|a| a.ip.as_str());
        match subset.ports.as_deref().unwrap_or_default() {
            // A headless Service may have no ports.
            [] => all.extend(addresses().map(str::to_owned)),
            ports => {
                for port in ports {
                    all.extend(addresses().map(|ip| with_port(ip, port.port)));
                }
            }
        }
    }
    if all.is_empty() {
        return String::new();
    }
    cells::list_with_more(&all, SHOWN_MAX)
}

fn with_port(ip: &str, port: i32) -> String {
    match (ip.parse::<IpAddr>(), u16::try_from(port)) {
        (Ok(ip), Ok(port)) => SocketAddr::new(ip, port).to_string(),
        _ => format!("{ip}:{port}"),
    }
}

fn validate_subset(subset: &EndpointSubset, path: &Path, errors: &mut ErrorList) {
    let lists = [
        ("addresses", subset.addresses.as_deref().unwrap_or_default()),
        (
            "notReadyAddresses",
            subset.not_ready_addresses.as_deref().unwrap_or_default(),
        ),
    ];
    if lists.iter().all(|(_, list)| list.is_empty()) {
        let rule = "must specify `addresses` or `notReadyAddresses`";
        errors.required(path.clone(), rule);
    }
    for (field, list) in lists {
        for (index, address) in list.iter().enumerate() {
            validate_address(address, &path.child(field).index(index), errors);
        }
    }
    let ports = subset.ports.as_deref().unwrap_or_default();
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        validate_port(port, ports.len() > 1, &path, errors);
    }
}

fn validate_address(address: &EndpointAddress, path: &Path, errors: &mut ErrorList) {
    let here = path.child("ip");
    errors.invalid_each(&here, &address.ip, names::ip_address(&address.ip));
    if let Some(name) = text(&address.hostname) {
        errors.invalid_each(&path.child("hostname"), name, names::dns1123_label(name));
    }
    if let Some(node) = &address.node_name {
        let path = path.child("nodeName");
        errors.invalid_each(&path, node, names::dns1123_subdomain(node));
    }
    if let Ok(ip) = address.ip.parse() {
        validate_reachable(ip, &address.ip, &here, errors);
    }
}

fn validate_port(port: &EndpointPort, needs_name: bool, path: &Path, errors: &mut ErrorList) {
    match text(&port.name) {
        Some(name) => {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
        }
        None if needs_name => errors.required(path.child("name"), ""),
        None => {}
    }
    let number = port.port;
    errors.invalid_each(&path.child("port"), number, names::port_number(number));
    let protocol = port.protocol.as_deref();
    one_of(protocol, &PROTOCOLS, path.child("protocol"), errors);
    if let Some(app) = &port.app_protocol {
        errors.invalid_each(&path.child("appProtocol"), app, names::qualified_name(app));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, object};
    use serde_json::json;

    fn subsets(subsets: Value) -> Value {
        json!({"metadata": {"name": "e"}, "subsets": subsets})
    }

    #[test]
    fn a_subset_has_addresses() {
        let check = |subset: Value, expected: &[&str]| {
            check_create(&EndpointsStrategy, &subsets(json!([subset])), expected);
        };
        check_create(&EndpointsStrategy, &json!({}), &[]);
        check(json!({"addresses": [{"ip": "10.0.0.1"}]}), &[]);
        check(
            json!({"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}),
            &[],
        );
        check(
            json!({}),
            &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
        );
        check(
            json!({"addresses": [{"ip": "x", "hostname": "A", "nodeName": "B"}, {"ip": "0.0.0.0"}]}),
            &[
                "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address",
                "subsets[0].addresses[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label",
                "subsets[0].addresses[0].nodeName: Invalid value: \"B\": a lowercase RFC 1123 subdomain",
                "subsets[0].addresses[1].ip: Invalid value: \"0.0.0.0\": may not be unspecified",
            ],
        );
        check(
            json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [
                {"port": 0}, {"name": "B", "port": 1, "protocol": "x", "appProtocol": "a b"},
            ]}),
            &[
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[0].port: Invalid value: 0",
                "subsets[0].ports[1].name: Invalid value: \"B\"",
                "subsets[0].ports[1].protocol: Unsupported value: \"x\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "subsets[0].ports[1].appProtocol: Invalid value: \"a b\"",
            ],
        );
    }

    #[test]
    fn rows_pair_addresses_with_ports() {
        let check = |value: Value, expected: &str| {
            check_row(
                &EndpointsStrategy,
                &subsets(value),
                0,
                &[("Endpoints", expected)],
            );
        };
        let two = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
        check(json!(null), "<none>");
        check(json!([{"notReadyAddresses": two}]), "<none>");
        check(json!([{"addresses": two}]), "10.0.0.1,fd00::1");
        check(
            json!([{"addresses": two, "ports": [{"port": 80}, {"port": 81}]}]),
            "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more...",
        );
        let warnings = EndpointsStrategy.warnings(&object(&json!({})));
        assert!(warnings[0].starts_with("v1 Endpoints is deprecated in v1.33+"));
    }
}
