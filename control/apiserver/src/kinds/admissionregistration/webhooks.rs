//! ValidatingWebhookConfiguration and MutatingWebhookConfiguration.

use euston_api::field::ErrorList;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::NEVER;
use super::webhook::{Defaults, Webhook, validate};
use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

const COLUMNS: &[Column] = &[
    NAME,
    Column::integer("Webhooks", "How many webhooks there are."),
    AGE,
];

fn row(meta: &ObjectMeta, count: usize, now: Timestamp) -> Vec<Value> {
    vec![cells::name(meta), count.into(), cells::age(meta, now)]
}

/// The rules of ValidatingWebhookConfigurations.
pub struct ValidatingWebhooksStrategy;

impl Strategy for ValidatingWebhooksStrategy {
    type Object = ValidatingWebhookConfiguration;

    fn default(&self, object: &mut ValidatingWebhookConfiguration) {
        for hook in object.webhooks.iter_mut().flatten() {
            Defaults::from(hook).fill();
        }
    }

    fn validate(&self, object: &ValidatingWebhookConfiguration) -> ErrorList {
        validate(object.webhooks.iter().flatten().map(Webhook::from))
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn bumps_generation(
        &self,
        new: &ValidatingWebhookConfiguration,
        old: &ValidatingWebhookConfiguration,
    ) -> bool {
        new.webhooks != old.webhooks
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &ValidatingWebhookConfiguration, now: Timestamp) -> Vec<Value> {
        let count = object.webhooks.as_ref().map_or(0, Vec::len);
        row(&object.metadata, count, now)
    }
}

/// The rules of MutatingWebhookConfigurations.
pub struct MutatingWebhooksStrategy;

impl Strategy for MutatingWebhooksStrategy {
    type Object = MutatingWebhookConfiguration;

    fn default(&self, object: &mut MutatingWebhookConfiguration) {
        for hook in object.webhooks.iter_mut().flatten() {
            hook.reinvocation_policy
                .get_or_insert_with(|| NEVER.to_owned());
            Defaults::from(hook).fill();
        }
    }

    fn validate(&self, object: &MutatingWebhookConfiguration) -> ErrorList {
        validate(object.webhooks.iter().flatten().map(Webhook::from))
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn bumps_generation(
        &self,
        new: &MutatingWebhookConfiguration,
        old: &MutatingWebhookConfiguration,
    ) -> bool {
        new.webhooks != old.webhooks
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &MutatingWebhookConfiguration, now: Timestamp) -> Vec<Value> {
        let count = object.webhooks.as_ref().map_or(0, Vec::len);
        row(&object.metadata, count, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, created, merged};
    use serde_json::json;

    fn hook(patch: &Value) -> Value {
        let base = json!({
            "name": "check.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "hook", "namespace": "default"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        });
        json!({"metadata": {"name": "w"}, "webhooks": [merged(&base, patch)]})
    }

    #[test]
    fn defaults_are_written_out() {
        let made = created(&MutatingWebhooksStrategy, &hook(&json!({})));
        let made = serde_json::to_value(made).unwrap();
        let hook_made = &made["webhooks"][0];
        let expected = json!({
            "failurePolicy": "Fail", "matchPolicy": "Equivalent", "timeoutSeconds": 10,
            "namespaceSelector": {}, "objectSelector": {}, "reinvocationPolicy": "Never",
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&hook_made[field], value, "{field}");
        }
        assert_eq!(hook_made["rules"][0]["scope"], "*");
        assert_eq!(hook_made["clientConfig"]["service"]["port"], 443);
        let made = created(&ValidatingWebhooksStrategy, &hook(&json!({})));
        let made = serde_json::to_value(made).unwrap();
        assert_eq!(made["webhooks"][0]["reinvocationPolicy"], Value::Null);
        check_row(&ValidatingWebhooksStrategy, &made, 0, &[("Webhooks", "1")]);
    }

    #[test]
    fn both_sorts_are_checked_alike() {
        let check = |patch: Value, expected: &[&str]| {
            let expected: Vec<String> = expected
                .iter()
                .map(|e| format!("webhooks[0].{e}"))
                .collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check_create(&ValidatingWebhooksStrategy, &hook(&patch), &expected);
            check_create(&MutatingWebhooksStrategy, &hook(&patch), &expected);
        };
        check(json!({}), &[]);
        check(
            json!({"name": "short.name", "admissionReviewVersions": []}),
            &[
                "admissionReviewVersions: Required value: must specify one of v1, v1beta1",
                "name: Invalid value: \"short.name\": should be a domain with at least three segments separated by dots",
            ],
        );
        check(
            json!({"name": "", "admissionReviewVersions": ["v2", "v2", "1"]}),
            &[
                "admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
                "admissionReviewVersions[2]: Invalid value: \"1\": a DNS-1035 label",
                "admissionReviewVersions: Invalid value: [\"v2\",\"v2\",\"1\"]: must include at least one of v1, v1beta1",
                "name: Required value",
            ],
        );
        check(
            json!({"failurePolicy": "Shrug", "matchPolicy": "Fuzzy", "sideEffects": "Some", "timeoutSeconds": 31}),
            &[
                "failurePolicy: Unsupported value: \"Shrug\": supported values: \"Fail\", \"Ignore\"",
                "matchPolicy: Unsupported value: \"Fuzzy\": supported values: \"Equivalent\", \"Exact\"",
                "sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
                "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ],
        );
        check(
            json!({"sideEffects": "", "namespaceSelector": {"matchLabels": {"a b": ""}}}),
            &[
                "sideEffects: Required value",
                "namespaceSelector.matchLabels: Invalid value: \"a b\"",
            ],
        );
        check(
            json!({"clientConfig": {"url": "https://x"}}),
            &["clientConfig: Required value: exactly one of url or service is required"],
        );
        check(
            json!({"clientConfig": {"service": {"name": "", "namespace": "", "port": 0, "path": "x"}}}),
            &[
                "clientConfig.service.name: Required value: service name is required",
                "clientConfig.service.namespace: Required value: service namespace is required",
                "clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "clientConfig.service.path: Invalid value: \"x\": must start with a '/'",
            ],
        );
        for (path, expected) in [
            ("/", None),
            ("/a/b/", None),
            ("//", Some("segment[0] may not be empty")),
            ("/a//b", Some("segment[1] may not be empty")),
            ("/a/B", Some("segment[1]: a lowercase RFC 1123 subdomain")),
        ] {
            let expected = expected
                .map(|rule| format!("clientConfig.service.path: Invalid value: {path:?}: {rule}"));
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check(
                json!({"clientConfig": {"service": {"path": path}}}),
                &expected,
            );
        }
        let url = |url: &str, expected: &[&str]| {
            check(
                json!({"clientConfig": {"service": null, "url": url}}),
                expected,
            );
        };
        url("https://example.com:8443/x", &[]);
        url(
            "http://example.com",
            &[
                "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ],
        );
        url(
            "https:///x",
            &["clientConfig.url: Invalid value: \"\": host must be specified"],
        );
        url(
            "https://me@example.com/?a=b#c",
            &[
                "clientConfig.url: Invalid value: \"me\": user information is not permitted in the URL",
                "clientConfig.url: Invalid value: \"c\": fragments are not permitted in the URL",
                "clientConfig.url: Invalid value: \"a=b\": query parameters are not permitted in the URL",
            ],
        );
        let mut twice = hook(&json!({}));
        let one = twice["webhooks"][0].clone();
        twice["webhooks"].as_array_mut().unwrap().push(one);
        check_create(
            &ValidatingWebhooksStrategy,
            &twice,
            &["webhooks[1].name: Duplicate value: \"check.example.com\""],
        );
    }
}
