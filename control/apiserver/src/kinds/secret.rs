//! Secret: like a ConfigMap, but not for everyone's eyes.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::cells;
use super::config_map::{DATA_BYTES_MAX, IMMUTABLE};
use crate::registry::strategy::{AGE, Column, Fields, NAME, Strategy};

const OPAQUE: &str = "Opaque";
/// Annotation of a token Secret: whose token it is.
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// The rules of Secrets.
pub struct SecretStrategy;

impl Strategy for SecretStrategy {
    type Object = Secret;

    fn default(&self, secret: &mut Secret) {
        // `stringData` is for writing only: it becomes `data`, and wins over it.
        if let Some(strings) = secret.string_data.take()
            && !strings.is_empty()
        {
            let data = secret.data.get_or_insert_default();
            data.extend(
                strings
                    .into_iter()
                    .map(|(key, v)| (key, ByteString(v.into_bytes()))),
            );
        }
        if secret.type_.as_deref().is_none_or(str::is_empty) {
            secret.type_ = Some(OPAQUE.to_owned());
        }
    }

    fn validate(&self, secret: &Secret) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("data");
        let mut bytes = 0;
        for (key, value) in secret.data.iter().flatten() {
            errors.invalid_each(&path.key(key), key, names::config_map_key(key));
            bytes += value.0.len();
        }
        if bytes > DATA_BYTES_MAX {
            errors.too_long(path, DATA_BYTES_MAX);
        }
        validate_type(secret, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Secret, old: &Secret) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(Path::new("type"), &new.type_, &old.type_);
        if old.immutable == Some(true) {
            if new.immutable != Some(true) {
                errors.forbidden(Path::new("immutable"), IMMUTABLE);
            }
            if new.data != old.data {
                errors.forbidden(Path::new("data"), IMMUTABLE);
            }
        }
        errors
    }

    fn fields(&self, secret: &Secret) -> Fields {
        vec![("type", secret.type_.clone().unwrap_or_default())]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string(
                "Type",
                "Used to facilitate programmatic handling of secret data.",
            ),
            Column::string("Data", "How many keys there are."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, secret: &Secret, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&secret.metadata),
            secret.type_.as_deref().unwrap_or_default().into(),
            secret.data.as_ref().map_or(0, |d| d.len()).into(),
            cells::age(&secret.metadata, now),
        ]
    }
}

/// What the well-known types must hold.
fn validate_type(secret: &Secret, errors: &mut ErrorList) {
    let value = |key: &str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .map(|v| &v.0)
    };
    let path = |key: &str| Path::new("data").key(key);
    let mut require = |key: &str| {
        if value(key).is_none() {
            errors.required(path(key), "");
        }
    };
    match secret.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/service-account-token" => {
            let annotations = secret.metadata.annotations.as_ref();
            if annotations
                .and_then(|a| a.get(SERVICE_ACCOUNT_NAME))
                .is_none_or(|n| n.is_empty())
            {
                let annotations = Path::new("metadata").child("annotations");
                errors.required(annotations.key(SERVICE_ACCOUNT_NAME), "");
            }
        }
        "kubernetes.io/dockercfg" => validate_json(".dockercfg", &value, errors),
        "kubernetes.io/dockerconfigjson" => validate_json(".dockerconfigjson", &value, errors),
        // One of the two is enough: a token needs no name.
        "kubernetes.io/basic-auth"
            if value("username").is_none() && value("password").is_none() =>
        {
            require("username");
            require("password");
        }
        "kubernetes.io/ssh-auth" if value("ssh-privatekey").is_none_or(|key| key.is_empty()) => {
            errors.required(path("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        _ => {}
    }
}

fn validate_json<'a>(
    key: &str,
    value: &impl Fn(&str) -> Option<&'a Vec<u8>>,
    errors: &mut ErrorList,
) {
    let path = Path::new("data").key(key);
    match value(key) {
        None => errors.required(path, ""),
        Some(bytes) => {
            if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
                errors.invalid(path, "<secret contents redacted>", error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_update, created};
    use super::*;
    use serde_json::json;

    #[test]
    fn string_data_becomes_data() {
        let secret = created(
            &SecretStrategy,
            &json!({"data": {"a": "AA==", "b": "Yg=="}, "stringData": {"a": "x"}}),
        );
        let shown = serde_json::to_value(secret).unwrap();
        assert_eq!(shown["data"], json!({"a": "eA==", "b": "Yg=="}));
        assert_eq!(shown["type"], "Opaque");
        assert_eq!(shown.get("stringData"), None);
    }

    #[test]
    fn types_say_what_they_hold() {
        let check =
            |value: Value, expected: &[&str]| check_create(&SecretStrategy, &value, expected);
        check(json!({"stringData": {"a": "b"}}), &[]);
        check(json!({"type": "example.com/mine"}), &[]);
        check(
            json!({"stringData": {"a/b": ""}}),
            &["data[a/b]: Invalid value: \"a/b\": a valid config key"],
        );
        check(
            json!({"stringData": {"a": "x".repeat(DATA_BYTES_MAX + 1)}}),
            &["data: Too long: may not be more than 1048576 bytes"],
        );
        check(
            json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": ""}}),
            &["data[tls.key]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/basic-auth"}),
            &[
                "data[username]: Required value",
                "data[password]: Required value",
            ],
        );
        check(
            json!({"type": "kubernetes.io/basic-auth", "stringData": {"password": ""}}),
            &[],
        );
        check(
            json!({"type": "kubernetes.io/ssh-auth"}),
            &["data[ssh-privatekey]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/service-account-token"}),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/dockerconfigjson"}),
            &["data[.dockerconfigjson]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "{secret"}}),
            &["data[.dockercfg]: Invalid value: \"<secret contents redacted>\": "],
        );
        check(
            json!({"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "{}"}}),
            &[],
        );
    }

    #[test]
    fn the_type_never_changes() {
        let check = |old: Value, new: Value, expected: &[&str]| {
            check_update(&SecretStrategy, &old, &new, expected);
        };
        check(json!({}), json!({"stringData": {"a": "b"}}), &[]);
        check(
            json!({}),
            json!({"type": "example.com/x"}),
            &["type: Invalid value: \"example.com/x\": field is immutable"],
        );
        check(
            json!({"immutable": true}),
            json!({"stringData": {"a": "b"}}),
            &[
                "immutable: Forbidden: field is immutable when",
                "data: Forbidden: field is immutable when",
            ],
        );
    }

    #[test]
    fn its_row_hides_values() {
        let secret = json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": "eA=="}});
        check_row(
            &SecretStrategy,
            &secret,
            0,
            &[("Type", "Opaque"), ("Data", "1"), ("Age", "<unknown>")],
        );
    }
}
