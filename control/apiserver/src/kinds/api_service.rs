//! APIService: who serves which version of which group.

use euston_api::field::{ErrorList, Path};
use euston_api::names::{self, NameRule};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceCondition, APIServiceSpec, APIServiceStatus,
};
use serde_json::Value;

use super::cells;
use super::pod_spec::{one_of, text};
use crate::registry::kind::{Kind, Subresource};
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

const AVAILABLE: &str = "Available";
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const HTTPS: i32 = 443;
const GROUP_PRIORITY_MAX: i32 = 20_000;
const VERSION_PRIORITY_MAX: i32 = 1_000;

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(ApiServiceStrategy, "apiservice", false)
            .update_needs_version()
            .with(&[Subresource::Status]),
    ]
}

/// The condition of what this server serves itself.
pub fn local_condition(since: Option<Time>) -> APIServiceCondition {
    APIServiceCondition {
        type_: AVAILABLE.to_owned(),
        status: "True".to_owned(),
        reason: Some("Local".to_owned()),
        message: Some("Local APIServices are always available".to_owned()),
        last_transition_time: since,
    }
}

/// The rules of APIServices.
pub struct ApiServiceStrategy;

impl Strategy for ApiServiceStrategy {
    type Object = APIService;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, service: &mut APIService) {
        if let Some(backend) = service.spec.as_mut().and_then(|s| s.service.as_mut()) {
            backend.port.get_or_insert(HTTPS);
        }
    }

    fn prepare_for_create(&self, service: &mut APIService) {
        let local = service.spec.as_ref().is_none_or(|s| s.service.is_none());
        let since = service.metadata.creation_timestamp.clone();
        service.status = Some(APIServiceStatus {
            conditions: local.then(|| vec![local_condition(since)]),
        });
    }

    fn validate(&self, service: &APIService) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = APIServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&default);
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let group = spec.group.as_deref().unwrap_or_default();
        let version = spec.version.as_deref().unwrap_or_default();
        let expected = format!("{version}.{group}");
        if name != expected {
            let path = Path::new("metadata").child("name");
            let rule = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
            errors.invalid(path, name, rule);
        }
        let path = Path::new("spec");
        if group.is_empty() {
            if version != "v1" {
                errors.required(
                    path.child("group"),
                    "only v1 may have an empty group and it better be legacy kube",
                );
            }
        } else {
            errors.invalid_each(&path.child("group"), group, names::dns1123_subdomain(group));
        }
        errors.invalid_each(
            &path.child("version"),
            version,
            names::dns1035_label(version),
        );
        for (field, priority, max) in [
            (
                "groupPriorityMinimum",
                spec.group_priority_minimum,
                GROUP_PRIORITY_MAX,
            ),
            (
                "versionPriority",
                spec.version_priority,
                VERSION_PRIORITY_MAX,
            ),
        ] {
            if !(1..=max).contains(&priority) {
                let rule = format!("must be positive and less than {max}");
                errors.invalid(path.child(field), priority, rule);
            }
        }
        validate_backend(spec, &path, &mut errors);
        errors
    }

    keeps_status_apart!();

    fn validate_status_update(&self, new: &APIService, _old: &APIService) -> ErrorList {
        let mut errors = ErrorList::new();
        let conditions = new
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten());
        for (index, condition) in conditions.enumerate() {
            let path = Path::new("status").child("conditions").index(index);
            let status = Some(condition.status.as_str());
            one_of(status, &STATUSES, path.child("status"), &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Service", "Who serves it: this server, or a Service."),
            Column::string("Available", "Whether it answers."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, service: &APIService, now: Timestamp) -> Vec<Value> {
        let backend = service.spec.as_ref().and_then(|s| s.service.as_ref());
        let backend = backend.map(|b| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", part(&b.namespace), part(&b.name))
        });
        let conditions = service
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten());
        let available = conditions.into_iter().find(|c| c.type_ == AVAILABLE);
        let available = match available {
            None => "Unknown".to_owned(),
            Some(condition) if condition.status == "True" => "True".to_owned(),
            Some(condition) => {
                let reason = condition.reason.as_deref().unwrap_or_default();
                format!("{} ({reason})", condition.status)
            }
        };
        vec![
            cells::name(&service.metadata),
            backend.unwrap_or_else(|| "Local".to_owned()).into(),
            available.into(),
            cells::age(&service.metadata, now),
        ]
    }
}

fn validate_backend(spec: &APIServiceSpec, path: &Path, errors: &mut ErrorList) {
    let bundle = spec.ca_bundle.as_ref().map_or(0, |b| b.0.len());
    let insecure = spec.insecure_skip_tls_verify == Some(true);
    let skip = path.child("insecureSkipTLSVerify");
    let Some(backend) = &spec.service else {
        if bundle > 0 {
            let shown = format!("{bundle} bytes");
            let rule = "local APIServices may not have a caBundle";
            errors.invalid(path.child("caBundle"), shown, rule);
        }
        if insecure {
            let rule = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid(skip, insecure, rule);
        }
        return;
    };
    let here = path.child("service");
    for (field, value) in [("namespace", &backend.namespace), ("name", &backend.name)] {
        if text(value).is_none() {
            errors.required(here.child(field), "");
        }
    }
    if let Some(port) = backend.port {
        let problems = names::port_number(port);
        if !problems.is_empty() {
            let rule = format!("port is not valid: {}", problems.join(", "));
            errors.invalid(here.child("port"), port, rule);
        }
    }
    if insecure && bundle > 0 {
        errors.invalid(skip, insecure, "may not be true if caBundle is present");
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, created, merged};
    use super::*;
    use serde_json::json;

    fn service(name: &str, spec: Value) -> Value {
        let base = json!({"group": "example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15});
        json!({"metadata": {"name": name}, "spec": merged(&base, &spec)})
    }

    #[test]
    fn a_name_is_the_version_and_the_group() {
        let check = |name: &str, spec: Value, expected: &[&str]| {
            check_create(&ApiServiceStrategy, &service(name, spec), expected);
        };
        check("v1.example.com", json!({}), &[]);
        check("v1.", json!({"group": null}), &[]);
        check(
            "v1.other",
            json!({}),
            &[
                "metadata.name: Invalid value: \"v1.other\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\"",
            ],
        );
        check(
            "v2.",
            json!({"group": "", "version": "v2"}),
            &[
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
            ],
        );
        check(
            "V.A",
            json!({"group": "A", "version": "V", "groupPriorityMinimum": 0, "versionPriority": 1001}),
            &[
                "spec.group: Invalid value: \"A\"",
                "spec.version: Invalid value: \"V\": a DNS-1035 label",
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
            ],
        );
        check(
            "v1.example.com",
            json!({"caBundle": "AAAA", "insecureSkipTLSVerify": true}),
            &[
                "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle",
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have",
            ],
        );
        check(
            "v1.example.com",
            json!({"caBundle": "AAAA", "insecureSkipTLSVerify": true, "service": {"port": 0}}),
            &[
                "spec.service.namespace: Required value",
                "spec.service.name: Required value",
                "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ],
        );
    }

    #[test]
    fn what_is_served_here_is_available() {
        let check = |spec: Value, expected: &[(&str, &str)]| {
            let made = created(&ApiServiceStrategy, &service("v1.example.com", spec));
            let made = serde_json::to_value(made).unwrap();
            check_row(&ApiServiceStrategy, &made, 0, expected);
        };
        check(json!({}), &[("Service", "Local"), ("Available", "True")]);
        check(
            json!({"service": {"name": "m", "namespace": "n"}}),
            &[("Service", "n/m"), ("Available", "Unknown")],
        );
        let down = merged(
            &service(
                "v1.example.com",
                json!({"service": {"name": "m", "namespace": "n"}}),
            ),
            &json!({"status": {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}}),
        );
        check_row(
            &ApiServiceStrategy,
            &down,
            0,
            &[("Available", "False (MissingEndpoints)")],
        );
    }
}
