//! Ingress: which host and path leads to which Service.

use std::net::IpAddr;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressStatus, IngressTLS,
};
use serde_json::Value;

use super::validate_local_reference;
use crate::kinds::cells;
use crate::kinds::pod_spec::{required_name, text};
use crate::kinds::service::validate_load_balancer_point;
use crate::registry::strategy::{
    AGE, Column, NAME, Strategy, counts_spec_changes, keeps_status_apart,
};

/// The annotation that named the class before `spec.ingressClassName` did.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
/// What a path that is matched literally may not hold: a server would take it for another path.
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: [&str; 2] = ["/..", "/."];
/// Hosts that a table shows.
const HOSTS_SHOWN_MAX: usize = 3;

/// True if the Ingress says which class it wants.
pub fn names_a_class(ingress: &Ingress) -> bool {
    let annotations = ingress.metadata.annotations.as_ref();
    annotations.is_some_and(|a| a.contains_key(CLASS_ANNOTATION))
        || ingress
            .spec
            .as_ref()
            .is_some_and(|s| s.ingress_class_name.is_some())
}

/// The rules of Ingresses.
pub struct IngressStrategy;

impl Strategy for IngressStrategy {
    type Object = Ingress;

    fn prepare_for_create(&self, ingress: &mut Ingress) {
        ingress.status = Some(IngressStatus::default());
    }

    fn validate(&self, ingress: &Ingress) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = IngressSpec::default();
        let spec = ingress.spec.as_ref().unwrap_or(&default);
        validate_spec(spec, &Path::new("spec"), &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_status_update(&self, new: &Ingress, _old: &Ingress) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status").child("loadBalancer").child("ingress");
        for (index, point) in points(new).enumerate() {
            let (ip, name) = (text(&point.ip), text(&point.hostname));
            validate_load_balancer_point(ip, name, &path.index(index), &mut errors);
        }
        errors
    }

    counts_spec_changes!();

    fn warnings(&self, ingress: &Ingress) -> Vec<String> {
        let annotations = ingress.metadata.annotations.as_ref();
        let old = annotations.is_some_and(|a| a.contains_key(CLASS_ANNOTATION));
        let class = ingress
            .spec
            .as_ref()
            .and_then(|s| text(&s.ingress_class_name));
        if old && class.is_none() {
            vec![format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use \
                 'spec.ingressClassName' instead"
            )]
        } else {
            Vec::new()
        }
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string(
                "Class",
                "The name of the IngressClass resource that is used.",
            ),
            Column::string("Hosts", "Hosts that incoming requests are matched against."),
            Column::string("Address", "Where a load balancer takes requests."),
            Column::string("Ports", "Ports of TLS configurations that open."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, ingress: &Ingress, now: Timestamp) -> Vec<Value> {
        let default = IngressSpec::default();
        let spec = ingress.spec.as_ref().unwrap_or(&default);
        let mut addresses: Vec<&str> = points(ingress)
            .filter_map(|p| text(&p.ip).or(text(&p.hostname)))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let encrypted = spec.tls.as_ref().is_some_and(|tls| !tls.is_empty());
        vec![
            cells::name(&ingress.metadata),
            cells::or_none(spec.ingress_class_name.as_deref()),
            hosts(spec.rules.as_deref().unwrap_or_default()).into(),
            addresses.join(",").into(),
            if encrypted { "80, 443" } else { "80" }.into(),
            cells::age(&ingress.metadata, now),
        ]
    }
}

fn points(
    ingress: &Ingress,
) -> impl Iterator<Item = &k8s_openapi::api::networking::v1::IngressLoadBalancerIngress> {
    let status = ingress.status.iter();
    status
        .flat_map(|s| s.load_balancer.iter())
        .flat_map(|b| b.ingress.iter().flatten())
}

/// The first hosts, and how many rules follow; `*` if none names one.
fn hosts(rules: &[IngressRule]) -> String {
    let named = rules.iter().filter_map(|r| text(&r.host));
    let shown: Vec<&str> = named.take(HOSTS_SHOWN_MAX).collect();
    if shown.is_empty() {
        return "*".to_owned();
    }
    let text = shown.join(",");
    if shown.len() == HOSTS_SHOWN_MAX && rules.len() > HOSTS_SHOWN_MAX {
        format!("{text} + {} more...", rules.len() - HOSTS_SHOWN_MAX)
    } else {
        text
    }
}

fn validate_spec(spec: &IngressSpec, path: &Path, errors: &mut ErrorList) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        let rule = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(path.clone(), rules, rule);
    }
    if let Some(backend) = &spec.default_backend {
        validate_backend(backend, &path.child("defaultBackend"), errors);
    }
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(index), errors);
    }
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        validate_tls(tls, &path.child("tls").index(index), errors);
    }
    if let Some(class) = &spec.ingress_class_name {
        let path = path.child("ingressClassName");
        errors.invalid_each(&path, class, names::dns1123_subdomain(class));
    }
}

fn validate_host(host: &str, path: &Path, errors: &mut ErrorList) {
    let problems = if host.contains('*') {
        names::wildcard_dns1123_subdomain(host)
    } else {
        names::dns1123_subdomain(host)
    };
    errors.invalid_each(path, host, problems);
}

fn validate_tls(tls: &IngressTLS, path: &Path, errors: &mut ErrorList) {
    for (index, host) in tls.hosts.iter().flatten().enumerate() {
        validate_host(host, &path.child("hosts").index(index), errors);
    }
    if let Some(secret) = text(&tls.secret_name) {
        let problems = names::dns1123_subdomain(secret);
        errors.invalid_each(&path.child("secretName"), secret, problems);
    }
}

fn validate_rule(rule: &IngressRule, path: &Path, errors: &mut ErrorList) {
    if let Some(host) = text(&rule.host) {
        let path = path.child("host");
        if host.parse::<IpAddr>().is_ok() {
            errors.invalid(path.clone(), host, "must be a DNS name, not an IP address");
        }
        validate_host(host, &path, errors);
    }
    let Some(http) = &rule.http else { return };
    let path = path.child("http").child("paths");
    if http.paths.is_empty() {
        errors.required(path, "");
        return;
    }
    for (index, one) in http.paths.iter().enumerate() {
        validate_path(one, &path.index(index), errors);
    }
}

fn validate_path(one: &HTTPIngressPath, path: &Path, errors: &mut ErrorList) {
    let text = one.path.as_deref().unwrap_or_default();
    let here = path.child("path");
    let absolute = text.starts_with('/');
    let not_absolute = "must be an absolute path";
    match one.path_type.as_str() {
        "" => {
            errors.required(path.child("pathType"), "pathType must be specified");
            return;
        }
        "Exact" | "Prefix" => {
            if !absolute {
                errors.invalid(here.clone(), text, not_absolute);
            }
            for bad in BAD_SEQUENCES.iter().filter(|bad| text.contains(**bad)) {
                errors.invalid(here.clone(), text, format!("must not contain '{bad}'"));
            }
            for bad in BAD_ENDS.iter().filter(|bad| text.ends_with(**bad)) {
                errors.invalid(here.clone(), text, format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !absolute {
                errors.invalid(here, text, not_absolute);
            }
        }
        other => errors.not_supported(path.child("pathType"), other, &PATH_TYPES),
    }
    validate_backend(&one.backend, &path.child("backend"), errors);
}

fn validate_backend(backend: &IngressBackend, path: &Path, errors: &mut ErrorList) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            let rule = "cannot set both resource and service backends";
            errors.invalid(path.clone(), "", rule);
        }
        (Some(resource), None) => {
            validate_local_reference(resource, &path.child("resource"), errors);
        }
        (None, Some(service)) => validate_service(service, path, errors),
        (None, None) => {
            errors.invalid(path.clone(), "", "resource or service backend is required");
        }
    }
}

fn validate_service(service: &IngressServiceBackend, path: &Path, errors: &mut ErrorList) {
    let here = path.child("service");
    required_name(
        &service.name,
        names::dns1035_label,
        here.child("name"),
        errors,
    );
    let port = service.port.clone().unwrap_or_default();
    let here = here.child("port");
    match (text(&port.name), port.number.filter(|&n| n != 0)) {
        (Some(_), Some(_)) => {
            errors.invalid(path.clone(), "", "cannot set both port name & port number");
        }
        (Some(name), None) => {
            errors.invalid_each(&here.child("name"), name, names::port_name(name));
        }
        (None, Some(number)) => {
            errors.invalid_each(&here.child("number"), number, names::port_number(number));
        }
        (None, None) => errors.required(path.clone(), "port name or number is required"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, compare, created, merged, object};
    use serde_json::json;

    fn backend() -> Value {
        json!({"service": {"name": "web", "port": {"number": 80}}})
    }

    fn path(path: Value) -> Value {
        let base = json!({"path": "/", "pathType": "Prefix", "backend": backend()});
        let rule = json!({"host": "a.example.com", "http": {"paths": [merged(&base, &path)]}});
        json!({"spec": {"rules": [rule]}})
    }

    #[test]
    fn something_must_answer() {
        let check =
            |spec: Value, expected: &[&str]| check_create(&IngressStrategy, &spec, expected);
        let missing =
            "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified";
        check(json!({}), &[missing]);
        check(json!({"spec": {"rules": []}}), &[missing]);
        check(json!({"spec": {"defaultBackend": backend()}}), &[]);
        check(
            json!({"spec": {"defaultBackend": {}}}),
            &["spec.defaultBackend: Invalid value: \"\": resource or service backend is required"],
        );
        check(
            json!({"spec": {"defaultBackend": {"service": {"name": "Web", "port": {}}}}}),
            &[
                "spec.defaultBackend.service.name: Invalid value: \"Web\": a DNS-1035 label",
                "spec.defaultBackend: Required value: port name or number is required",
            ],
        );
        check(
            json!({"spec": {"defaultBackend": {"service": {"name": "", "port": {"name": "a", "number": 1}}}}}),
            &[
                "spec.defaultBackend.service.name: Required value",
                "spec.defaultBackend: Invalid value: \"\": cannot set both port name & port number",
            ],
        );
        check(
            json!({"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 65536}}}}}),
            &[
                "spec.defaultBackend.service.port.number: Invalid value: 65536: must be between 1 and 65535, inclusive",
            ],
        );
        check(
            json!({"spec": {"defaultBackend": {"service": {"name": "a", "port": {"name": "A"}}}}}),
            &[
                "spec.defaultBackend.service.port.name: Invalid value: \"A\": must contain only",
                "spec.defaultBackend.service.port.name: Invalid value: \"A\": must contain at least",
            ],
        );
        check(
            json!({"spec": {"defaultBackend": {"resource": {"kind": "", "name": "a/b", "apiGroup": "X"}}}}),
            &[
                "spec.defaultBackend.resource.apiGroup: Invalid value: \"X\": a lowercase",
                "spec.defaultBackend.resource.kind: Required value: kind is required",
                "spec.defaultBackend.resource.name: Invalid value: \"a/b\": may not contain '/'",
            ],
        );
        check(
            json!({"spec": {"defaultBackend": {"service": {"name": "a"}, "resource": {"kind": "k", "name": "n"}}}}),
            &[
                "spec.defaultBackend: Invalid value: \"\": cannot set both resource and service backends",
            ],
        );
    }

    #[test]
    fn paths_cannot_climb() {
        let check = |one: Value, expected: &[&str]| {
            let expected: Vec<String> = expected
                .iter()
                .map(|e| format!("spec.rules[0].http.paths[0].{e}"))
                .collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check_create(&IngressStrategy, &path(one), &expected);
        };
        check(json!({}), &[]);
        check(json!({"pathType": "Exact", "path": "/a/b"}), &[]);
        check(
            json!({"pathType": "ImplementationSpecific", "path": null}),
            &[],
        );
        check(
            json!({"pathType": "ImplementationSpecific", "path": "/a//b"}),
            &[],
        );
        check(
            json!({"pathType": "ImplementationSpecific", "path": "a"}),
            &["path: Invalid value: \"a\": must be an absolute path"],
        );
        check(
            json!({"path": null}),
            &["path: Invalid value: \"\": must be an absolute path"],
        );
        check(
            json!({"path": "a"}),
            &["path: Invalid value: \"a\": must be an absolute path"],
        );
        for (bad, words) in [
            ("/a//b", "must not contain '//'"),
            ("/a/./b", "must not contain '/./'"),
            ("/a/../b", "must not contain '/../'"),
            ("/a%2fb", "must not contain '%2f'"),
            ("/a%2Fb", "must not contain '%2F'"),
            ("/a/..", "cannot end with '/..'"),
            ("/a/.", "cannot end with '/.'"),
        ] {
            let expected = format!("path: Invalid value: {bad:?}: {words}");
            check(json!({"path": bad}), &[&expected]);
        }
        check(
            json!({"pathType": ""}),
            &["pathType: Required value: pathType must be specified"],
        );
        check(
            json!({"pathType": "Regex"}),
            &[
                "pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
            ],
        );
    }

    #[test]
    fn hosts_are_names() {
        let check = |host: &str, expected: &[&str]| {
            let rule = json!({"spec": {"rules": [{"host": host}]}});
            check_create(&IngressStrategy, &rule, expected);
        };
        check("", &[]);
        check("a.example.com", &[]);
        check("*.example.com", &[]);
        check(
            "*",
            &[
                "spec.rules[0].host: Invalid value: \"*\": a wildcard DNS-1123 subdomain must start with '*.'",
            ],
        );
        check(
            "a.*.com",
            &["spec.rules[0].host: Invalid value: \"a.*.com\": a wildcard DNS-1123"],
        );
        check(
            "A.b",
            &["spec.rules[0].host: Invalid value: \"A.b\": a lowercase RFC 1123 subdomain"],
        );
        check(
            "10.0.0.1",
            &[
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ],
        );
        check_create(
            &IngressStrategy,
            &json!({"spec": {"rules": [{"http": {"paths": []}}]}}),
            &["spec.rules[0].http.paths: Required value"],
        );
        check_create(
            &IngressStrategy,
            &json!({"spec": {
                "defaultBackend": backend(), "ingressClassName": "A",
                "tls": [{"hosts": ["*.x", "B"], "secretName": "-"}],
            }}),
            &[
                "spec.tls[0].hosts[1]: Invalid value: \"B\": a lowercase",
                "spec.tls[0].secretName: Invalid value: \"-\": a lowercase",
                "spec.ingressClassName: Invalid value: \"A\": a lowercase",
            ],
        );
    }

    #[test]
    fn a_status_names_where_it_listens() {
        let status = |point: Value| json!({"spec": {"defaultBackend": backend()}, "status": {"loadBalancer": {"ingress": [point]}}});
        let check = |point: Value, expected: &[&str]| {
            let value = status(point);
            let errors = IngressStrategy.validate_status_update(&object(&value), &object(&value));
            compare(&value, &errors, expected);
        };
        check(json!({"ip": "10.0.0.1"}), &[]);
        check(
            json!({"ip": "x"}),
            &["status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP"],
        );
        check(
            json!({"hostname": "10.0.0.1"}),
            &[
                "status.loadBalancer.ingress[0].hostname: Invalid value: \"10.0.0.1\": must be a DNS name",
            ],
        );
        let made = created(&IngressStrategy, &status(json!({"ip": "10.0.0.1"})));
        assert_eq!(made.status, Some(IngressStatus::default()));
    }

    #[test]
    fn the_old_annotation_is_warned_of() {
        let old = json!({"metadata": {"annotations": {(CLASS_ANNOTATION): "x"}}});
        assert_eq!(
            IngressStrategy.warnings(&object(&old)),
            [
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
            ]
        );
        assert!(IngressStrategy.warnings(&object(&json!({}))).is_empty());
    }

    #[test]
    fn rows_show_hosts_and_addresses() {
        let rules: Vec<Value> = (1..=5).map(|i| json!({"host": format!("h{i}")})).collect();
        let value = json!({
            "metadata": {"name": "i"},
            "spec": {"ingressClassName": "c", "rules": rules, "tls": [{}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.2"}, {"hostname": "lb"}, {"ip": "10.0.0.1"}]}},
        });
        check_row(
            &IngressStrategy,
            &value,
            0,
            &[
                ("Name", "i"),
                ("Class", "c"),
                ("Hosts", "h1,h2,h3 + 2 more..."),
                ("Address", "10.0.0.1,10.0.0.2,lb"),
                ("Ports", "80, 443"),
            ],
        );
        let bare = json!({"spec": {"rules": [{}]}});
        let expected = [
            ("Class", "<none>"),
            ("Hosts", "*"),
            ("Address", ""),
            ("Ports", "80"),
        ];
        check_row(&IngressStrategy, &bare, 0, &expected);
    }
}
