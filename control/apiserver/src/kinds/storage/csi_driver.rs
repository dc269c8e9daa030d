//! CSIDriver: what a storage driver can do, and what it wants to know.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSIDriver, TokenRequest};
use serde_json::Value;

use super::validate_driver_name;
use crate::kinds::cells;
use crate::kinds::pod_spec::none_or_one_of;
use crate::registry::strategy::{AGE, Column, NAME, Strategy, counts_spec_changes};

const GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
const PERSISTENT: &str = "Persistent";
const MODES: [&str; 2] = ["Ephemeral", PERSISTENT];
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// How seldom a driver's limits are read again, in seconds.
const UPDATE_SECONDS_MIN: i64 = 10;

/// The rules of CSIDrivers.
pub struct CsiDriverStrategy;

impl Strategy for CsiDriverStrategy {
    type Object = CSIDriver;

    fn default(&self, driver: &mut CSIDriver) {
        let spec = &mut driver.spec;
        spec.attach_required.get_or_insert(true);
        for flag in [
            &mut spec.pod_info_on_mount,
            &mut spec.storage_capacity,
            &mut spec.requires_republish,
            &mut spec.se_linux_mount,
        ] {
            flag.get_or_insert(false);
        }
        spec.fs_group_policy
            .get_or_insert_with(|| GROUP_POLICIES[2].to_owned());
        let modes = spec.volume_lifecycle_modes.get_or_insert_default();
        if modes.is_empty() {
            modes.push(PERSISTENT.to_owned());
        }
    }

    fn validate(&self, driver: &CSIDriver) -> ErrorList {
        let mut errors = ErrorList::new();
        let name = driver.metadata.name.as_deref().unwrap_or_default();
        validate_driver_name(name, &Path::new("metadata").child("name"), &mut errors);
        let (spec, path) = (&driver.spec, Path::new("spec"));
        let policy = spec.fs_group_policy.as_deref();
        none_or_one_of(
            policy,
            &GROUP_POLICIES,
            path.child("fsGroupPolicy"),
            &mut errors,
        );
        let tokens = spec.token_requests.as_deref().unwrap_or_default();
        validate_tokens(tokens, &path.child("tokenRequests"), &mut errors);
        for mode in spec.volume_lifecycle_modes.iter().flatten() {
            if !MODES.contains(&mode.as_str()) {
                errors.not_supported(path.child("volumeLifecycleModes"), mode, &MODES);
            }
        }
        if let Some(seconds) = spec.node_allocatable_update_period_seconds
            && seconds < UPDATE_SECONDS_MIN
        {
            errors.invalid(
                path.child("nodeAllocatableUpdatePeriodSeconds"),
                seconds,
                format!("must be greater than or equal to {UPDATE_SECONDS_MIN} seconds"),
            );
        }
        errors
    }

    fn validate_update(&self, new: &CSIDriver, old: &CSIDriver) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let (new, old) = (&new.spec, &old.spec);
        // Kubernetes spells the path so.
        let here = path.child("attachedRequired");
        errors.immutable(here, &new.attach_required, &old.attach_required);
        errors.immutable(
            path.child("volumeLifecycleModes"),
            &new.volume_lifecycle_modes,
            &old.volume_lifecycle_modes,
        );
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const fn boolean(name: &'static str, description: &'static str) -> Column {
            Column {
                kind: "boolean",
                ..Column::string(name, description)
            }
        }
        const COLUMNS: &[Column] = &[
            NAME,
            boolean(
                "AttachRequired",
                "Volumes are attached to a node before they are mounted.",
            ),
            boolean("PodInfoOnMount", "The driver learns which pod mounts."),
            boolean(
                "StorageCapacity",
                "Pods go only where the driver says there is room.",
            ),
            Column::string("TokenRequests", "Whose tokens the driver gets."),
            boolean("RequiresRepublish", "The driver is called again and again."),
            Column::string("Modes", "How long its volumes live."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, driver: &CSIDriver, now: Timestamp) -> Vec<Value> {
        let spec = &driver.spec;
        let audiences = spec
            .token_requests
            .iter()
            .flatten()
            .map(|t| t.audience.as_str());
        let tokens = audiences.collect::<Vec<_>>().join(",");
        let modes = spec.volume_lifecycle_modes.iter().flatten().cloned();
        let tokens = if tokens.is_empty() {
            "<unset>"
        } else {
            &tokens
        };
        vec![
            cells::name(&driver.metadata),
            spec.attach_required.unwrap_or(true).into(),
            spec.pod_info_on_mount.unwrap_or_default().into(),
            spec.storage_capacity.unwrap_or_default().into(),
            tokens.into(),
            spec.requires_republish.unwrap_or_default().into(),
            cells::or_none(Some(&modes.collect::<Vec<_>>().join(","))),
            cells::age(&driver.metadata, now),
        ]
    }
}

fn validate_tokens(tokens: &[TokenRequest], path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, token) in tokens.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(&token.audience) {
            errors.duplicate(path.child("audience"), &token.audience);
            continue;
        }
        let here = path.child("expirationSeconds");
        match token.expiration_seconds {
            Some(seconds) if seconds < TOKEN_SECONDS_MIN => {
                let rule = "may not specify a duration less than 10 minutes";
                errors.invalid(here, seconds, rule);
            }
            Some(seconds) if seconds > TOKEN_SECONDS_MAX => {
                let rule = "may not specify a duration larger than 2^32 seconds";
                errors.invalid(here, seconds, rule);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, created};
    use serde_json::json;

    fn driver(spec: Value) -> Value {
        json!({"metadata": {"name": "disk.example.com"}, "spec": spec})
    }

    #[test]
    fn a_driver_has_a_domain_and_known_modes() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&CsiDriverStrategy, &driver(spec), expected);
        };
        check(json!({}), &[]);
        check_create(
            &CsiDriverStrategy,
            &json!({"metadata": {"name": "a b"}}),
            &["metadata.name: Invalid value: \"a b\": a lowercase RFC 1123 subdomain"],
        );
        check_create(
            &CsiDriverStrategy,
            &json!({"metadata": {"name": "a".repeat(64)}}),
            &["metadata.name: Too long: may not be more than 63 bytes"],
        );
        check(
            json!({"fsGroupPolicy": "All", "volumeLifecycleModes": ["Short"], "nodeAllocatableUpdatePeriodSeconds": 9}),
            &[
                "spec.fsGroupPolicy: Unsupported value: \"All\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                "spec.volumeLifecycleModes: Unsupported value: \"Short\": supported values: \"Ephemeral\", \"Persistent\"",
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
            ],
        );
        check(
            json!({"tokenRequests": [{"audience": "a", "expirationSeconds": 599}, {"audience": "a"}, {"audience": "b", "expirationSeconds": TOKEN_SECONDS_MAX + 1}]}),
            &[
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                "spec.tokenRequests[2].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger",
            ],
        );
    }

    #[test]
    fn defaults_are_written_out() {
        let made = created(&CsiDriverStrategy, &driver(json!({})));
        assert_eq!(
            serde_json::to_value(made).unwrap()["spec"],
            json!({
                "attachRequired": true, "podInfoOnMount": false, "storageCapacity": false,
                "requiresRepublish": false, "seLinuxMount": false,
                "fsGroupPolicy": "ReadWriteOnceWithFSType", "volumeLifecycleModes": ["Persistent"],
            })
        );
        check_update(
            &CsiDriverStrategy,
            &driver(json!({})),
            &driver(json!({"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"]})),
            &[
                "spec.attachedRequired: Invalid value: false: field is immutable",
                "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable",
            ],
        );
        let row = [
            ("AttachRequired", "true"),
            ("TokenRequests", "<unset>"),
            ("Modes", "<none>"),
        ];
        check_row(&CsiDriverStrategy, &driver(json!({})), 0, &row);
        let value = driver(
            json!({"tokenRequests": [{"audience": "a"}, {"audience": "b"}], "volumeLifecycleModes": ["Persistent", "Ephemeral"]}),
        );
        let row = [("TokenRequests", "a,b"), ("Modes", "Persistent,Ephemeral")];
        check_row(&CsiDriverStrategy, &value, 0, &row);
    }
}
