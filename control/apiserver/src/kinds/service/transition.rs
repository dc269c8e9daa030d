//! What an update of a Service keeps of what was given out to it, and what it gives back.
//! Follows `pkg/registry/core/service/strategy.go` and `storage/alloc.go`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ServiceSpec;

use super::{is_empty, needs_cluster_ip, needs_health_check_port, needs_node_ports, type_of};

/// Old clients know `clusterIP` only, new ones may send `clusterIPs` only: fills in the other.
pub(super) fn pair_cluster_ips(spec: &mut ServiceSpec) {
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    match (is_empty(&spec.cluster_ip), ips.first()) {
        (true, Some(first)) => spec.cluster_ip = Some(first.clone()),
        (false, None) => spec.cluster_ips = spec.cluster_ip.clone().map(|ip| vec![ip]),
        _ => {}
    }
}

/// Keeps addresses and ports that the client did not send, since it need not know them.
pub(super) fn keep_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    follow_changed_ip(new, old);
    if needs_cluster_ip(new) && needs_cluster_ip(old) {
        if is_empty(&new.cluster_ip) && new.cluster_ips.as_ref().is_none_or(|ips| ips.is_empty()) {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ips.as_ref().is_none_or(|ips| ips.is_empty())
            && new.cluster_ip == old.cluster_ip
        {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    if needs_node_ports(new) && needs_node_ports(old) {
        keep_node_ports(new, old);
    }
    if needs_health_check_port(new)
        && needs_health_check_port(old)
        && new.health_check_node_port.unwrap_or_default() == 0
    {
        new.health_check_node_port = old.health_check_node_port;
    }
    pair_cluster_ips(new);
}

/// A client that changes one of `clusterIP` and `clusterIPs` need not change the other.
fn follow_changed_ip(new: &mut ServiceSpec, old: &ServiceSpec) {
    if new.cluster_ip != old.cluster_ip && new.cluster_ips == old.cluster_ips {
        if is_empty(&new.cluster_ip) {
            new.cluster_ips = None;
        } else {
            new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]);
        }
    } else if new.cluster_ip == old.cluster_ip
        && new.cluster_ips != old.cluster_ips
        && let Some(first) = new.cluster_ips.iter().flatten().next()
    {
        new.cluster_ip = Some(first.clone());
    }
}

fn keep_node_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let mut taken: BTreeSet<i32> = new
        .ports
        .iter()
        .flatten()
        .filter_map(|p| p.node_port)
        .filter(|&p| p != 0)
        .collect();
    for port in new.ports.iter_mut().flatten() {
        if port.node_port.unwrap_or_default() != 0 {
            continue;
        }
        let same = old.ports.iter().flatten().find(|was| {
            was.port == port.port && was.protocol == port.protocol && was.node_port != Some(0)
        });
        if let Some(number) = same.and_then(|was| was.node_port)
            && taken.insert(number)
        {
            port.node_port = Some(number);
        }
    }
}

/// Clears what the new type has no use for, unless the client set it just now:
/// then validation says why it cannot stand.
pub(super) fn drop_unused(new: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(old)
        && !needs_cluster_ip(new)
        && new.cluster_ip == old.cluster_ip
        && new.cluster_ips == old.cluster_ips
    {
        new.cluster_ip = None;
        new.cluster_ips = None;
        new.ip_families = None;
        new.ip_family_policy = None;
        new.internal_traffic_policy = None;
    }
    if needs_node_ports(old) && !needs_node_ports(new) {
        let old_ports: BTreeSet<i32> = old
            .ports
            .iter()
            .flatten()
            .filter_map(|p| p.node_port)
            .collect();
        let untouched = new
            .ports
            .iter()
            .flatten()
            .all(|p| p.node_port.is_none_or(|number| old_ports.contains(&number)));
        if untouched {
            for port in new.ports.iter_mut().flatten() {
                port.node_port = None;
            }
        }
    }
    if needs_health_check_port(old)
        && !needs_health_check_port(new)
        && new.health_check_node_port == old.health_check_node_port
    {
        new.health_check_node_port = None;
    }
    let type_changed = type_of(new) != type_of(old);
    let exposed = |spec: &ServiceSpec| {
        matches!(type_of(spec), super::NODE_PORT | super::LOAD_BALANCER)
            || spec
                .external_ips
                .as_ref()
                .is_some_and(|ips| !ips.is_empty())
    };
    if exposed(old) && !exposed(new) && new.external_traffic_policy == old.external_traffic_policy {
        new.external_traffic_policy = None;
    }
    if type_changed && type_of(old) == super::LOAD_BALANCER {
        let (was, is) = (
            old.allocate_load_balancer_node_ports,
            &mut new.allocate_load_balancer_node_ports,
        );
        if *is == was {
            *is = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{created, object};
    use super::super::ServiceStrategy;
    use crate::registry::strategy::Strategy;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::{Value, json};

    fn updated(old: Value, new: Value) -> Value {
        let old = created(&ServiceStrategy, &json!({"spec": old}));
        let mut new: Service = object(&json!({"spec": new}));
        ServiceStrategy.default(&mut new);
        ServiceStrategy.prepare_for_update(&mut new, &old);
        serde_json::to_value(new).unwrap()["spec"].clone()
    }

    #[test]
    fn what_was_given_out_stays() {
        let old = json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30080}]});
        let spec = updated(
            old.clone(),
            json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}),
        );
        assert_eq!(spec["clusterIP"], "10.96.0.9");
        assert_eq!(spec["clusterIPs"], json!(["10.96.0.9"]));
        assert_eq!(spec["ports"][0]["nodePort"], 30080);
        assert_eq!(spec["ports"][1].get("nodePort"), None);

        let taken = updated(
            old,
            json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "nodePort": 30080}]}),
        );
        assert_eq!(taken["ports"][0].get("nodePort"), None);
    }

    #[test]
    fn what_the_new_type_does_not_use_goes() {
        let old = json!({"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80, "nodePort": 30080}]});
        let mut inner = old.clone();
        inner["type"] = json!("ClusterIP");
        inner["externalTrafficPolicy"] = json!("Cluster");
        let spec = updated(old.clone(), inner);
        assert_eq!(spec["clusterIP"], "10.96.0.9");
        assert_eq!(spec["ports"][0].get("nodePort"), None);
        assert_eq!(spec.get("externalTrafficPolicy"), None);

        let named = updated(
            old,
            json!({"type": "ExternalName", "externalName": "example.com", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}),
        );
        assert_eq!(named.get("clusterIP"), None);
        assert_eq!(named.get("ipFamilies"), None);
    }
}
