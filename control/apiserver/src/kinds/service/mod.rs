//! Service: one name and address for a set of pods.

mod table;
mod transition;
mod validation;

use euston_api::field::ErrorList;
use euston_api::names::NameRule;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ClientIPConfig, Service, ServiceSpec, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::pod_spec::TCP;
use crate::registry::strategy::{AGE, Column, Fields, NAME, Strategy};

pub(super) use validation::validate_load_balancer_point;

pub(super) const CLUSTER_IP: &str = "ClusterIP";
pub(super) const NODE_PORT: &str = "NodePort";
pub(super) const LOAD_BALANCER: &str = "LoadBalancer";
pub(super) const EXTERNAL_NAME: &str = "ExternalName";
/// The cluster IP of a headless Service: its name means its pods' addresses.
pub(super) const HEADLESS: &str = "None";

/// How long a client sticks to a pod unless told, in seconds.
const AFFINITY_SECONDS: i32 = 10_800;

/// The rules of Services. The API server gives out cluster IPs and node ports after
/// [`prepare_for_create`](Strategy::prepare_for_create) or
/// [`prepare_for_update`](Strategy::prepare_for_update), where the fields are empty.
pub struct ServiceStrategy;

impl Strategy for ServiceStrategy {
    type Object = Service;

    fn name_rule(&self) -> NameRule {
        // Since 1.36 a Service's name may start with a digit.
        NameRule::Dns1123Label
    }

    fn default(&self, service: &mut Service) {
        default_spec(service.spec.get_or_insert_default());
    }

    fn prepare_for_create(&self, service: &mut Service) {
        service.status = Some(k8s_openapi::api::core::v1::ServiceStatus {
            load_balancer: Some(Default::default()),
            conditions: None,
        });
        if let Some(spec) = &mut service.spec {
            transition::pair_cluster_ips(spec);
        }
    }

    fn validate(&self, service: &Service) -> ErrorList {
        validation::validate(service)
    }

    fn prepare_for_update(&self, new: &mut Service, old: &Service) {
        new.status.clone_from(&old.status);
        let (Some(new), Some(old)) = (&mut new.spec, &old.spec) else {
            return;
        };
        transition::keep_allocated(new, old);
        transition::drop_unused(new, old);
    }

    fn validate_update(&self, new: &Service, old: &Service) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, new: &mut Service, old: &Service) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, new: &Service, _old: &Service) -> ErrorList {
        validation::validate_status(new)
    }

    fn warnings(&self, service: &Service) -> Vec<String> {
        let Some(spec) = &service.spec else {
            return Vec::new();
        };
        let mut warnings = Vec::new();
        if spec
            .external_ips
            .as_ref()
            .is_some_and(|ips| !ips.is_empty())
            && type_of(spec) == EXTERNAL_NAME
        {
            warnings
                .push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
        }
        let headless = is_headless(spec);
        if headless && spec.session_affinity.as_deref() == Some("ClientIP") {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
        if headless
            && spec
                .load_balancer_ip
                .as_ref()
                .is_some_and(|ip| !ip.is_empty())
        {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        warnings
    }

    fn fields(&self, service: &Service) -> Fields {
        let spec = service.spec.as_ref();
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        vec![
            (
                "spec.clusterIP",
                text(spec.and_then(|s| s.cluster_ip.as_ref())),
            ),
            ("spec.type", text(spec.and_then(|s| s.type_.as_ref()))),
        ]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Type", "How the service is exposed."),
            Column::string("Cluster-IP", "The service's address inside the cluster."),
            Column::string(
                "External-IP",
                "The service's addresses outside the cluster.",
            ),
            Column::string("Port(s)", "The ports that the service listens on."),
            AGE,
            Column::string("Selector", "Labels of the pods behind the service.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, service: &Service, now: Timestamp) -> Vec<Value> {
        table::row(service, now)
    }
}

pub(super) fn type_of(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or_default()
}

pub(super) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some(HEADLESS)
        || spec
            .cluster_ips
            .iter()
            .flatten()
            .next()
            .is_some_and(|ip| ip == HEADLESS)
}

pub(super) fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    matches!(type_of(spec), CLUSTER_IP | NODE_PORT | LOAD_BALANCER)
}

pub(super) fn needs_node_ports(spec: &ServiceSpec) -> bool {
    match type_of(spec) {
        NODE_PORT => true,
        LOAD_BALANCER => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

/// True if only this field may route to pods of the same node, which needs a health check port.
pub(super) fn needs_health_check_port(spec: &ServiceSpec) -> bool {
    type_of(spec) == LOAD_BALANCER && spec.external_traffic_policy.as_deref() == Some("Local")
}

pub(super) fn is_empty(text: &Option<String>) -> bool {
    text.as_deref().is_none_or(str::is_empty)
}

fn default_spec(spec: &mut ServiceSpec) {
    let set = |field: &mut Option<String>, value: &str| {
        if is_empty(field) {
            *field = Some(value.to_owned());
        }
    };
    set(&mut spec.session_affinity, "None");
    set(&mut spec.type_, CLUSTER_IP);
    match spec.session_affinity.as_deref() {
        Some("None") => spec.session_affinity_config = None,
        Some("ClientIP") => {
            let config: &mut SessionAffinityConfig =
                spec.session_affinity_config.get_or_insert_default();
            let client: &mut ClientIPConfig = config.client_ip.get_or_insert_default();
            client.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
        }
        _ => {}
    }
    for port in spec.ports.iter_mut().flatten() {
        set(&mut port.protocol, TCP);
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    let type_ = type_of(spec).to_owned();
    let exposed = matches!(type_.as_str(), NODE_PORT | LOAD_BALANCER)
        || (type_ == CLUSTER_IP
            && spec
                .external_ips
                .as_ref()
                .is_some_and(|ips| !ips.is_empty()));
    if exposed {
        set(&mut spec.external_traffic_policy, "Cluster");
    }
    if needs_cluster_ip(spec) {
        set(&mut spec.internal_traffic_policy, "Cluster");
        // One family: pods have IPv4 addresses only.
        set(&mut spec.ip_family_policy, "SingleStack");
        if spec.ip_families.as_ref().is_none_or(|f| f.is_empty()) {
            let six = spec
                .cluster_ip
                .as_deref()
                .is_some_and(|ip| ip.contains(':'));
            spec.ip_families = Some(vec![if six { "IPv6" } else { "IPv4" }.to_owned()]);
        }
    }
    if type_ == LOAD_BALANCER {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_row, created, object};
    use super::*;
    use serde_json::json;

    fn spec(value: Value) -> Value {
        let service = created(&ServiceStrategy, &json!({"spec": value}));
        serde_json::to_value(service).unwrap()["spec"].clone()
    }

    #[test]
    fn defaults_follow_the_type() {
        assert_eq!(
            spec(
                json!({"ports": [{"port": 80}, {"port": 81, "targetPort": "web", "protocol": "UDP"}]})
            ),
            json!({
                "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [
                    {"port": 80, "protocol": "TCP", "targetPort": 80},
                    {"port": 81, "protocol": "UDP", "targetPort": "web"},
                ],
            }),
        );
        let cases = [
            (
                json!({"type": "NodePort"}),
                "externalTrafficPolicy",
                json!("Cluster"),
            ),
            (
                json!({"type": "LoadBalancer"}),
                "allocateLoadBalancerNodePorts",
                json!(true),
            ),
            (
                json!({"type": "ExternalName"}),
                "internalTrafficPolicy",
                Value::Null,
            ),
            (json!({"type": "ExternalName"}), "ipFamilies", Value::Null),
            (
                json!({"externalIPs": ["10.0.0.1"]}),
                "externalTrafficPolicy",
                json!("Cluster"),
            ),
            (json!({}), "externalTrafficPolicy", Value::Null),
            (
                json!({"sessionAffinity": "ClientIP"}),
                "sessionAffinityConfig",
                json!({"clientIP": {"timeoutSeconds": 10800}}),
            ),
            (json!({"clusterIP": "None"}), "clusterIPs", json!(["None"])),
            (
                json!({"clusterIP": "10.96.0.9"}),
                "clusterIPs",
                json!(["10.96.0.9"]),
            ),
            (
                json!({"clusterIPs": ["10.96.0.9"]}),
                "clusterIP",
                json!("10.96.0.9"),
            ),
        ];
        for (sent, field, expected) in cases {
            assert_eq!(spec(sent.clone())[field], expected, "{field} of {sent}");
        }
    }

    #[test]
    fn its_row_shows_how_to_reach_it() {
        let service = json!({
            "metadata": {"name": "web"},
            "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
                "selector": {"app": "web", "tier": "a"}},
        });
        check_row(
            &ServiceStrategy,
            &service,
            0,
            &[
                ("Name", "web"),
                ("Type", "NodePort"),
                ("Cluster-IP", "10.96.0.9"),
                ("External-IP", "<none>"),
                ("Port(s)", "80:30080/TCP,53/UDP"),
                ("Selector", "app=web,tier=a"),
            ],
        );
        let row = |spec: Value, expected: &[(&str, &str)]| {
            check_row(&ServiceStrategy, &json!({"spec": spec}), 0, expected);
        };
        row(
            json!({"type": "ClusterIP", "clusterIPs": ["None"]}),
            &[
                ("Cluster-IP", "None"),
                ("Port(s)", "<none>"),
                ("Selector", "<none>"),
            ],
        );
        row(
            json!({"type": "LoadBalancer"}),
            &[("External-IP", "<pending>"), ("Cluster-IP", "<none>")],
        );
        row(
            json!({"type": "ExternalName", "externalName": "example.com"}),
            &[("External-IP", "example.com")],
        );
        row(
            json!({"type": "ClusterIP", "externalIPs": ["1.1.1.1", "2.2.2.2"]}),
            &[("External-IP", "1.1.1.1,2.2.2.2")],
        );
        let balanced = json!({
            "spec": {"type": "LoadBalancer", "externalIPs": ["2.2.2.2"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}, {"hostname": "lb.example"}]}},
        });
        check_row(
            &ServiceStrategy,
            &balanced,
            0,
            &[("External-IP", "1.1.1.1,lb.example,2.2.2.2")],
        );
    }

    #[test]
    fn fields_and_warnings() {
        let service: Service = object(
            &json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP"}}),
        );
        assert_eq!(
            ServiceStrategy.fields(&service),
            [
                ("spec.clusterIP", "None".to_owned()),
                ("spec.type", "ClusterIP".to_owned())
            ],
        );
        assert_eq!(
            ServiceStrategy.warnings(&service),
            ["spec.SessionAffinity is ignored for headless services"]
        );
    }
}
