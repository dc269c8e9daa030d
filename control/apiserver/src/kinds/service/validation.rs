//! What a Service may say. Follows `ValidateService` of `pkg/apis/core/validation`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use euston_api::field::{ErrorList, Path};
use euston_api::{metadata, names};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use serde_json::json;

use super::super::pod_spec::{PROTOCOLS, validate_port_reference};
use super::{
    CLUSTER_IP, EXTERNAL_NAME, HEADLESS, LOAD_BALANCER, NODE_PORT, is_headless, needs_cluster_ip,
    needs_health_check_port, type_of,
};

const TYPES: [&str; 4] = [CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT];
/// A client may stick to a pod for a day at most, in seconds.
const AFFINITY_SECONDS_MAX: i32 = 86_400;

pub(super) fn validate(service: &Service) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let default = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    validate_type(spec, &path, &mut errors);
    validate_ports(spec, &path.child("ports"), &mut errors);
    metadata::validate_labels(spec.selector.as_ref(), &path.child("selector"), &mut errors);
    validate_affinity(spec, &path, &mut errors);
    validate_addresses(spec, &path, &mut errors);
    validate_policies(spec, &path, &mut errors);
    validate_load_balancer(spec, &path, &mut errors);
    errors
}

pub(super) fn validate_update(new: &Service, old: &Service) -> ErrorList {
    let mut errors = ErrorList::new();
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else {
        return errors;
    };
    let path = Path::new("spec");
    if needs_cluster_ip(new) && needs_cluster_ip(old) {
        let first = |spec: &ServiceSpec| spec.cluster_ips.iter().flatten().next().cloned();
        if let Some(was) = first(old)
            && first(new).as_ref() != Some(&was)
        {
            let path = path.child("clusterIPs").index(0);
            errors.invalid(path, &new.cluster_ips, "may not change once set");
        }
    }
    if type_of(new) == LOAD_BALANCER
        && type_of(old) == LOAD_BALANCER
        && new.load_balancer_class != old.load_balancer_class
    {
        errors.invalid(
            path.child("loadBalancerClass"),
            &new.load_balancer_class,
            "may not change once set",
        );
    }
    errors
}

pub(super) fn validate_status(service: &Service) -> ErrorList {
    let mut errors = ErrorList::new();
    let ingress = service
        .status
        .iter()
        .flat_map(|s| s.load_balancer.iter())
        .flat_map(|b| b.ingress.iter().flatten());
    let path = Path::new("status").child("loadBalancer").child("ingress");
    for (index, entry) in ingress.enumerate() {
        let part = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let (ip, name) = (part(&entry.ip), part(&entry.hostname));
        let path = path.index(index);
        validate_load_balancer_point(ip.as_deref(), name.as_deref(), &path, &mut errors);
    }
    errors
}

/// Where a load balancer listens: an address or a name.
pub(in crate::kinds) fn validate_load_balancer_point(
    ip: Option<&str>,
    name: Option<&str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    if let Some(ip) = ip {
        errors.invalid_each(&path.child("ip"), ip, names::ip_address(ip));
    }
    if let Some(name) = name {
        let path = path.child("hostname");
        errors.invalid_each(&path, name, names::dns1123_subdomain(name));
        if name.parse::<IpAddr>().is_ok() {
            errors.invalid(path, name, "must be a DNS name, not an IP address");
        }
    }
}

fn validate_type(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let type_ = type_of(spec);
    if type_.is_empty() {
        errors.required(path.child("type"), "");
    } else if !TYPES.contains(&type_) {
        errors.not_supported(path.child("type"), type_, &TYPES);
    }
    let no_ports = spec.ports.as_ref().is_none_or(|p| p.is_empty());
    if no_ports && !is_headless(spec) && type_ != EXTERNAL_NAME {
        errors.required(path.child("ports"), "");
    }
    match type_ {
        LOAD_BALANCER | NODE_PORT if is_headless(spec) => {
            let rule = format!("may not be set to 'None' for {type_} services");
            errors.invalid(path.child("clusterIPs").index(0), HEADLESS, rule);
        }
        EXTERNAL_NAME => {
            let path_of = |field| path.child(field);
            if spec.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty()) {
                errors.forbidden(
                    path_of("clusterIPs"),
                    "may not be set for ExternalName services",
                );
            }
            let name = spec.external_name.as_deref().unwrap_or_default();
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.required(path_of("externalName"), "");
            } else {
                errors.invalid_each(
                    &path_of("externalName"),
                    name,
                    names::dns1123_subdomain(name),
                );
            }
        }
        _ => {}
    }
}

fn validate_ports(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut seen_names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(path.child("name"), "");
            }
        } else {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
            if !seen_names.insert(name) {
                errors.duplicate(path.child("name"), name);
            }
        }
        validate_port(port, &path, errors);
        if type_of(spec) == CLUSTER_IP && port.node_port.unwrap_or_default() != 0 {
            errors.forbidden(
                path.child("nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            );
        }
    }
    validate_unique_ports(ports, path, errors);
}

fn validate_port(port: &ServicePort, path: &Path, errors: &mut ErrorList) {
    errors.invalid_each(
        &path.child("port"),
        port.port,
        names::port_number(port.port),
    );
    let protocol = port.protocol.as_deref().unwrap_or_default();
    if protocol.is_empty() {
        errors.required(path.child("protocol"), "");
    } else if !PROTOCOLS.contains(&protocol) {
        errors.not_supported(path.child("protocol"), protocol, &PROTOCOLS);
    }
    if let Some(target) = &port.target_port {
        validate_port_reference(target, &path.child("targetPort"), errors);
    }
    if let Some(node) = port.node_port.filter(|&port| port != 0) {
        errors.invalid_each(&path.child("nodePort"), node, names::port_number(node));
    }
    if let Some(app) = &port.app_protocol {
        errors.invalid_each(&path.child("appProtocol"), app, names::qualified_name(app));
    }
}

fn validate_unique_ports(ports: &[ServicePort], path: &Path, errors: &mut ErrorList) {
    let (mut seen, mut seen_nodes) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if let Some(node) = port.node_port.filter(|&port| port != 0)
            && !seen_nodes.insert((&port.protocol, node))
        {
            errors.duplicate(path.child("nodePort"), node);
        }
        if !seen.insert((&port.protocol, port.port)) {
            errors.duplicate(path, json!({"protocol": port.protocol, "port": port.port}));
        }
    }
}

fn validate_affinity(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let config = spec.session_affinity_config.as_ref();
    let path_of = |field| path.child(field);
    match spec.session_affinity.as_deref().unwrap_or_default() {
        "" => errors.required(path_of("sessionAffinity"), ""),
        "ClientIP" => {
            let path = path_of("sessionAffinityConfig")
                .child("clientIP")
                .child("timeoutSeconds");
            match config
                .and_then(|c| c.client_ip.as_ref())
                .and_then(|c| c.timeout_seconds)
            {
                None => errors.required(path, "when session affinity type is ClientIP"),
                Some(seconds) if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) => {
                    let rule =
                        format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                    errors.invalid(path, seconds, rule);
                }
                Some(_) => {}
            }
        }
        "None" => {
            if config.is_some() {
                errors.forbidden(
                    path_of("sessionAffinityConfig"),
                    "must not be set when session affinity is None",
                );
            }
        }
        other => errors.not_supported(path_of("sessionAffinity"), other, &["ClientIP", "None"]),
    }
}

fn validate_addresses(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    let here = path.child("clusterIPs");
    if type_of(spec) != EXTERNAL_NAME {
        match (
            spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty()),
            ips.first(),
        ) {
            (Some(one), Some(first)) if one != first => {
                errors.invalid(here.clone(), ips, "first value must match `clusterIP`");
            }
            (Some(_), None) => errors.required(here.clone(), ""),
            _ => {}
        }
    }
    for (index, ip) in ips.iter().enumerate() {
        let here = here.index(index);
        if ip == HEADLESS {
            if ips.len() > 1 {
                errors.invalid(here, ip, "'None' must be the first and only value");
            }
            continue;
        }
        errors.invalid_each(&here, ip, names::ip_address(ip));
    }
    let here = path.child("externalIPs");
    for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
        let here = here.index(index);
        errors.invalid_each(&here, ip, names::ip_address(ip));
        if ip
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified() || ip.is_loopback())
        {
            errors.invalid(here, ip, "may not be unspecified or in the loopback range");
        }
    }
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let here = path.child("ipFamilies");
    for (index, family) in families.iter().enumerate() {
        if family != "IPv4" && family != "IPv6" {
            errors.not_supported(here.index(index), family, &["IPv4", "IPv6"]);
        } else if families[..index].contains(family) {
            errors.duplicate(here.index(index), family);
        }
    }
    if let Some(policy) = spec.ip_family_policy.as_deref() {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        if !known.contains(&policy) {
            errors.not_supported(path.child("ipFamilyPolicy"), policy, &known);
        }
    }
}

fn validate_policies(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let exposed = matches!(type_of(spec), NODE_PORT | LOAD_BALANCER)
        || spec
            .external_ips
            .as_ref()
            .is_some_and(|ips| !ips.is_empty());
    let known = ["Cluster", "Local"];
    let policies = [
        (
            "externalTrafficPolicy",
            &spec.external_traffic_policy,
            exposed,
        ),
        (
            "internalTrafficPolicy",
            &spec.internal_traffic_policy,
            needs_cluster_ip(spec),
        ),
    ];
    for (field, policy, applies) in policies {
        let path = path.child(field);
        match policy.as_deref().filter(|p| !p.is_empty()) {
            None if applies => errors.required(path, ""),
            Some(_) if !exposed && field == "externalTrafficPolicy" => {
                errors.forbidden(path, "may only be set for externally-accessible services")
            }
            Some(policy) if !known.contains(&policy) => {
                errors.not_supported(path, policy, &known);
            }
            _ => {}
        }
    }
    if let Some(distribution) = spec.traffic_distribution.as_deref() {
        let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        if !known.contains(&distribution) {
            errors.not_supported(path.child("trafficDistribution"), distribution, &known);
        }
    }
    if let Some(port) = spec.health_check_node_port.filter(|&port| port != 0) {
        let path = path.child("healthCheckNodePort");
        errors.invalid_each(&path, port, names::port_number(port));
        if !needs_health_check_port(spec) {
            errors.invalid(
                path,
                port,
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is \
                 'Local'",
            );
        }
    }
}

fn validate_load_balancer(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let balanced = type_of(spec) == LOAD_BALANCER;
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    let here = path.child("loadBalancerSourceRanges");
    if !balanced && !ranges.is_empty() {
        errors.forbidden(here.clone(), only);
    }
    for (index, range) in ranges.iter().enumerate() {
        // Spaces around a range have always been allowed.
        errors.invalid_each(&here.index(index), range, names::cidr(range.trim()));
    }
    if !balanced && spec.allocate_load_balancer_node_ports.is_some() {
        errors.forbidden(path.child("allocateLoadBalancerNodePorts"), only);
    }
    if let Some(class) = &spec.load_balancer_class {
        let here = path.child("loadBalancerClass");
        if balanced {
            errors.invalid_each(&here, class, names::qualified_name(class));
        } else {
            errors.forbidden(here, only);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{check_create, check_update, compare, merged, object};
    use super::super::ServiceStrategy;
    use super::*;
    use serde_json::Value;

    fn check(patch: Value, expected: &[&str]) {
        let good = json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}});
        check_create(
            &ServiceStrategy,
            &merged(&good, &json!({"spec": patch})),
            expected,
        );
    }

    #[test]
    fn ports_are_named_and_unique() {
        check(json!({}), &[]);
        check(json!({"ports": []}), &["spec.ports: Required value"]);
        check(json!({"ports": [], "clusterIP": "None"}), &[]);
        check(
            json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}]}),
            &[],
        );
        check(
            json!({"ports": [{"port": 80}, {"name": "a", "port": 81}]}),
            &["spec.ports[0].name: Required value"],
        );
        check(
            json!({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 80}]}),
            &[
                "spec.ports[1].name: Duplicate value: \"a\"",
                "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}",
            ],
        );
        check(
            json!({"ports": [{"name": "A", "port": 0, "protocol": "tcp", "targetPort": 70000, "appProtocol": "a b"}]}),
            &[
                "spec.ports[0].name: Invalid value: \"A\": a lowercase RFC 1123 label",
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535",
                "spec.ports[0].appProtocol: Invalid value: \"a b\": name part",
            ],
        );
        check(
            json!({"ports": [{"port": 80, "targetPort": "Web_"}]}),
            &["spec.ports[0].targetPort: Invalid value: \"Web_\": must contain only alpha-numeric"],
        );
        check(
            json!({"ports": [{"port": 80, "nodePort": 30000}]}),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        );
        check(
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 30000}, {"name": "b", "port": 81, "nodePort": 30000}]}),
            &["spec.ports[1].nodePort: Duplicate value: 30000"],
        );
    }

    #[test]
    fn types_and_addresses() {
        check(
            json!({"type": "Magic"}),
            &[
                "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        );
        check(
            json!({"type": "ExternalName", "ports": null}),
            &["spec.externalName: Required value"],
        );
        check(
            json!({"type": "ExternalName", "externalName": "a_b"}),
            &["spec.externalName: Invalid value: \"a_b\": a lowercase"],
        );
        check(
            json!({"type": "ExternalName", "externalName": "example.com."}),
            &[],
        );
        check(
            json!({"type": "ExternalName", "externalName": "a", "clusterIPs": ["10.0.0.1"]}),
            &["spec.clusterIPs: Forbidden: may not be set for ExternalName"],
        );
        check(
            json!({"type": "NodePort", "clusterIP": "None"}),
            &[
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            ],
        );
        check(
            json!({"clusterIP": "10.0.0"}),
            &["spec.clusterIPs[0]: Invalid value: \"10.0.0\": must be a valid IP"],
        );
        check(
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}),
            &["spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`"],
        );
        check(
            json!({"externalIPs": ["x", "127.0.0.1"]}),
            &[
                "spec.externalIPs[0]: Invalid value: \"x\": must be a valid IP",
                "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be",
            ],
        );
        check(
            json!({"ipFamilies": ["IPv4", "IPv4", "X"]}),
            &[
                "spec.ipFamilies[1]: Duplicate value: \"IPv4\"",
                "spec.ipFamilies[2]: Unsupported value: \"X\"",
            ],
        );
        check(
            json!({"selector": {"a b": "c"}}),
            &["spec.selector: Invalid value: \"a b\": name part"],
        );
    }

    #[test]
    fn affinity_and_policies() {
        check(
            json!({"sessionAffinity": "Cookie"}),
            &[
                "spec.sessionAffinity: Unsupported value: \"Cookie\": supported values: \"ClientIP\", \"None\"",
            ],
        );
        check(
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
            &[
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
            ],
        );
        check(
            json!({"externalTrafficPolicy": "Local"}),
            &[
                "spec.externalTrafficPolicy: Forbidden: may only be set for externally-accessible services",
            ],
        );
        check(
            json!({"type": "NodePort", "externalTrafficPolicy": "Some"}),
            &["spec.externalTrafficPolicy: Unsupported value: \"Some\""],
        );
        check(
            json!({"internalTrafficPolicy": "Some"}),
            &["spec.internalTrafficPolicy: Unsupported value: \"Some\""],
        );
        check(
            json!({"trafficDistribution": "Far"}),
            &["spec.trafficDistribution: Unsupported value: \"Far\""],
        );
        check(
            json!({"healthCheckNodePort": 30000}),
            &["spec.healthCheckNodePort: Invalid value: 30000: may only be set when"],
        );
        check(
            json!({"loadBalancerSourceRanges": ["10.0.0.0"], "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b"}),
            &[
                "spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.loadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0\": must be a valid CIDR",
                "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used",
                "spec.loadBalancerClass: Forbidden: may only be used",
            ],
        );
        check(
            json!({"type": "LoadBalancer", "loadBalancerSourceRanges": [" 10.0.0.0/8 "], "loadBalancerClass": "a/b"}),
            &[],
        );
    }

    #[test]
    fn the_address_stays() {
        let with = |ip: &str| json!({"spec": {"ports": [{"port": 80}], "clusterIP": ip}});
        let check = |old: Value, new: Value, expected: &[&str]| {
            check_update(&ServiceStrategy, &old, &new, expected)
        };
        check(with("10.96.0.1"), with("10.96.0.1"), &[]);
        check(
            with("10.96.0.1"),
            json!({"spec": {"ports": [{"port": 81}]}}),
            &[],
        );
        check(
            with("10.96.0.1"),
            with("10.96.0.2"),
            &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.2\"]: may not change once set"],
        );
        check(
            with("None"),
            with("10.96.0.2"),
            &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.2\"]: may not change once set"],
        );
        check(
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "a/b", "ports": [{"port": 80}]}}),
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "a/c", "ports": [{"port": 80}]}}),
            &["spec.loadBalancerClass: Invalid value: \"a/c\": may not change once set"],
        );
    }

    #[test]
    fn balancers_have_addresses() {
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "1.1"}, {"hostname": "1.1.1.1"}, {"hostname": "lb.example"}]}}});
        compare(
            &status,
            &validate_status(&object(&status)),
            &[
                "status.loadBalancer.ingress[0].ip: Invalid value: \"1.1\"",
                "status.loadBalancer.ingress[1].hostname: Invalid value: \"1.1.1.1\": must be a DNS name",
            ],
        );
    }
}
