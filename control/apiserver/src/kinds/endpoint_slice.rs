//! EndpointSlice: the addresses behind a Service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use serde_json::Value;

use super::cells;
use super::pod_spec::{PROTOCOLS, TCP};
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// Entries that a slice may have; more go into another slice.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const ZONE_HINTS_MAX: usize = 8;
/// Entries that a table shows.
const SHOWN_MAX: usize = 3;
const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];

/// The rules of EndpointSlices.
pub struct EndpointSliceStrategy;

impl Strategy for EndpointSliceStrategy {
    type Object = EndpointSlice;

    fn default(&self, slice: &mut EndpointSlice) {
        for port in slice.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| TCP.to_owned());
        }
    }

    fn validate(&self, slice: &EndpointSlice) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("addressType");
        if slice.address_type.is_empty() {
            errors.required(path, "");
        } else if !ADDRESS_TYPES.contains(&slice.address_type.as_str()) {
            errors.not_supported(path, &slice.address_type, &ADDRESS_TYPES);
        }
        let endpoints = slice.endpoints.as_deref().unwrap_or_default();
        let path = Path::new("endpoints");
        if endpoints.len() > ENDPOINTS_MAX {
            errors.too_many(path, endpoints.len(), ENDPOINTS_MAX);
        } else {
            for (index, endpoint) in endpoints.iter().enumerate() {
                validate_endpoint(
                    endpoint,
                    &slice.address_type,
                    &path.index(index),
                    &mut errors,
                );
            }
        }
        validate_ports(slice.ports.as_deref().unwrap_or_default(), &mut errors);
        errors
    }

    fn validate_update(&self, new: &EndpointSlice, old: &EndpointSlice) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(
            Path::new("addressType"),
            &new.address_type,
            &old.address_type,
        );
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn bumps_generation(&self, new: &EndpointSlice, old: &EndpointSlice) -> bool {
        new.endpoints != old.endpoints
            || new.ports != old.ports
            || new.metadata.labels != old.metadata.labels
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("AddressType", "What kind of addresses the slice holds."),
            Column::string("Ports", "The ports of each endpoint."),
            Column::string("Endpoints", "The addresses."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, slice: &EndpointSlice, now: Timestamp) -> Vec<Value> {
        let ports: Vec<String> = slice.ports.iter().flatten().map(shown_port).collect();
        let addresses: Vec<String> = slice
            .endpoints
            .iter()
            .flatten()
            .flat_map(|endpoint| endpoint.addresses.iter().cloned())
            .collect();
        vec![
            cells::name(&slice.metadata),
            slice.address_type.as_str().into(),
            cells::list_with_more(&ports, SHOWN_MAX).into(),
            cells::list_with_more(&addresses, SHOWN_MAX).into(),
            cells::age(&slice.metadata, now),
        ]
    }
}

fn shown_port(port: &EndpointPort) -> String {
    match (port.port, port.name.as_deref()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) if !name.is_empty() => name.to_owned(),
        (None, _) => "*".to_owned(),
    }
}

fn validate_endpoint(endpoint: &Endpoint, kind: &str, path: &Path, errors: &mut ErrorList) {
    let addresses = &endpoint.addresses;
    let here = path.child("addresses");
    if addresses.is_empty() {
        errors.required(here, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        errors.too_many(here, addresses.len(), ADDRESSES_MAX);
    } else {
        for (index, address) in addresses.iter().enumerate() {
            validate_address(address, kind, &here.index(index), errors);
        }
    }
    if let Some(hostname) = &endpoint.hostname {
        errors.invalid_each(
            &path.child("hostname"),
            hostname,
            names::dns1123_label(hostname),
        );
    }
    if let Some(node) = &endpoint.node_name {
        errors.invalid_each(
            &path.child("nodeName"),
            node,
            names::dns1123_subdomain(node),
        );
    }
    for (key, value) in endpoint.deprecated_topology.iter().flatten() {
        let path = path.child("deprecatedTopology");
        errors.invalid_each(&path, key, names::qualified_name(key));
        errors.invalid_each(&path, value, names::label_value(value));
    }
    let zones = endpoint
        .hints
        .as_ref()
        .and_then(|h| h.for_zones.as_deref())
        .unwrap_or_default();
    let here = path.child("hints").child("forZones");
    if zones.len() > ZONE_HINTS_MAX {
        errors.too_many(here, zones.len(), ZONE_HINTS_MAX);
    } else {
        let mut seen = BTreeSet::new();
        for (index, zone) in zones.iter().enumerate() {
            let here = here.index(index).child("name");
            if !seen.insert(&zone.name) {
                errors.duplicate(here.clone(), &zone.name);
            }
            errors.invalid_each(&here, &zone.name, names::label_value(&zone.name));
        }
    }
}

fn validate_address(address: &str, kind: &str, path: &Path, errors: &mut ErrorList) {
    let ip = address.parse::<IpAddr>();
    match kind {
        "IPv4" if !ip.as_ref().is_ok_and(IpAddr::is_ipv4) => {
            errors.invalid(path.clone(), address, "must be a valid IPv4 address");
        }
        "IPv6" if !ip.as_ref().is_ok_and(IpAddr::is_ipv6) => {
            errors.invalid(path.clone(), address, "must be a valid IPv6 address");
        }
        "FQDN" => errors.invalid_each(path, address, names::dns1123_subdomain(address)),
        _ => {}
    }
    if let Ok(ip) = ip
        && kind != "FQDN"
    {
        validate_reachable(ip, address, path, errors);
    }
}

/// Refuses addresses that mean something else on each machine. Loopback is allowed, unlike
/// in Kubernetes: the API server and the nodes of a one-machine cluster listen there.
pub(super) fn validate_reachable(ip: IpAddr, address: &str, path: &Path, errors: &mut ErrorList) {
    let (local, local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (
            ip.is_unicast_link_local(),
            ip.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    let rules = [
        (
            ip.is_unspecified(),
            "may not be unspecified (0.0.0.0 or ::)",
        ),
        (
            local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ];
    for (broken, rule) in rules {
        if broken {
            errors.invalid(path.clone(), address, rule);
        }
    }
}

fn validate_ports(ports: &[EndpointPort], errors: &mut ErrorList) {
    let path = Path::new("ports");
    if ports.len() > PORTS_MAX {
        return errors.too_many(path, ports.len(), PORTS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(path.child("name"), name);
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if protocol.is_empty() {
            errors.required(path.child("protocol"), "");
        } else if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(path.child("protocol"), protocol, &PROTOCOLS);
        }
        if let Some(app) = &port.app_protocol {
            errors.invalid_each(&path.child("appProtocol"), app, names::qualified_name(app));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_update, created};
    use super::*;
    use serde_json::json;

    fn slice(endpoints: Value, ports: Value) -> Value {
        json!({"addressType": "IPv4", "endpoints": endpoints, "ports": ports})
    }

    #[test]
    fn ports_have_defaults() {
        let slice = created(
            &EndpointSliceStrategy,
            &slice(json!([]), json!([{"port": 80}])),
        );
        let shown = serde_json::to_value(slice).unwrap();
        assert_eq!(
            shown["ports"],
            json!([{"name": "", "port": 80, "protocol": "TCP"}])
        );
    }

    #[test]
    fn addresses_fit_their_type() {
        let check = |value: Value, expected: &[&str]| {
            check_create(&EndpointSliceStrategy, &value, expected)
        };
        let addresses = |list: Value| slice(json!([{"addresses": list}]), json!([]));
        check(addresses(json!(["10.0.0.1", "127.0.0.1"])), &[]);
        check(
            addresses(json!([])),
            &["endpoints[0].addresses: Required value: must contain"],
        );
        check(
            addresses(json!(["::1", "web", "0.0.0.0", "169.254.1.1", "224.0.0.1"])),
            &[
                "endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
                "endpoints[0].addresses[1]: Invalid value: \"web\": must be a valid IPv4 address",
                "endpoints[0].addresses[2]: Invalid value: \"0.0.0.0\": may not be unspecified",
                "endpoints[0].addresses[3]: Invalid value: \"169.254.1.1\": may not be in the link-local range",
                "endpoints[0].addresses[4]: Invalid value: \"224.0.0.1\": may not be in the link-local multicast",
            ],
        );
        check(
            json!({"addressType": "FQDN", "endpoints": [{"addresses": ["A.b"]}]}),
            &["endpoints[0].addresses[0]: Invalid value: \"A.b\": a lowercase"],
        );
        check(
            json!({"addressType": "IPv6", "endpoints": [{"addresses": ["fe80::1"]}]}),
            &[
                "endpoints[0].addresses[0]: Invalid value: \"fe80::1\": may not be in the link-local range",
            ],
        );
        check(json!({}), &["addressType: Required value"]);
        check(
            json!({"addressType": "X25"}),
            &[
                "addressType: Unsupported value: \"X25\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
            ],
        );
        check(
            addresses(json!(vec!["10.0.0.1"; 101])),
            &["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
        );
        check(
            slice(
                json!(vec![json!({"addresses": ["10.0.0.1"]}); 1001]),
                json!([]),
            ),
            &["endpoints: Too many: 1001: must have at most 1000 items"],
        );
        check(
            slice(
                json!([{"addresses": ["10.0.0.1"], "hostname": "a.b", "nodeName": "A", "hints": {"forZones": [{"name": "z"}, {"name": "z"}]}}]),
                json!([]),
            ),
            &[
                "endpoints[0].hostname: Invalid value: \"a.b\": must not contain dots",
                "endpoints[0].nodeName: Invalid value: \"A\": a lowercase",
                "endpoints[0].hints.forZones[1].name: Duplicate value: \"z\"",
            ],
        );
    }

    #[test]
    fn ports_are_unique_by_name() {
        let check = |ports: Value, expected: &[&str]| {
            check_create(&EndpointSliceStrategy, &slice(json!([]), ports), expected);
        };
        check(
            json!([{"name": "a", "port": 1}, {"name": "b", "port": 1}]),
            &[],
        );
        check(
            json!([{"name": "a"}, {"name": "a"}, {"name": "A", "protocol": "ICMP", "appProtocol": "x y"}]),
            &[
                "ports[1].name: Duplicate value: \"a\"",
                "ports[2].name: Invalid value: \"A\": a lowercase RFC 1123 label",
                "ports[2].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "ports[2].appProtocol: Invalid value: \"x y\": name part",
            ],
        );
    }

    #[test]
    fn the_address_type_stays() {
        check_update(
            &EndpointSliceStrategy,
            &json!({"addressType": "IPv4"}),
            &json!({"addressType": "IPv6"}),
            &["addressType: Invalid value: \"IPv6\": field is immutable"],
        );
    }

    #[test]
    fn its_row_shows_three() {
        let value = slice(
            json!([{"addresses": ["10.0.0.1", "10.0.0.2"]}, {"addresses": ["10.0.0.3", "10.0.0.4"]}]),
            json!([{"port": 80}, {"name": "x"}, {}]),
        );
        check_row(
            &EndpointSliceStrategy,
            &value,
            0,
            &[
                ("AddressType", "IPv4"),
                ("Ports", "80,x,*"),
                ("Endpoints", "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more..."),
            ],
        );
        check_row(
            &EndpointSliceStrategy,
            &json!({"addressType": "IPv4"}),
            0,
            &[("Ports", "<unset>"), ("Endpoints", "<unset>")],
        );
    }
}
