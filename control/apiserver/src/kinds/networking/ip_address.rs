//! IPAddress: an address that is given out, and to what.

use euston_api::field::{ErrorList, Path};
use euston_api::names::{self, NameRule};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ParentReference};
use serde_json::Value;

use super::required_segment;
use crate::kinds::cells;
use crate::kinds::pod_spec::text;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The rules of IPAddresses.
pub struct IpAddressStrategy;

impl Strategy for IpAddressStrategy {
    type Object = IPAddress;

    fn name_rule(&self) -> NameRule {
        NameRule::IpAddress
    }

    fn validate(&self, address: &IPAddress) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("parentRef");
        if address.spec.parent_ref == ParentReference::default() {
            errors.required(path, "");
            return errors;
        }
        let parent = &address.spec.parent_ref;
        // The core group has no name.
        if let Some(group) = text(&parent.group) {
            let path = path.child("group");
            errors.invalid_each(&path, group, names::dns1123_subdomain(group));
        }
        required_segment(&parent.resource, path.child("resource"), &mut errors);
        required_segment(&parent.name, path.child("name"), &mut errors);
        if let Some(namespace) = text(&parent.namespace) {
            required_segment(namespace, path.child("namespace"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &IPAddress, old: &IPAddress) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("parentRef");
        errors.immutable(path, &new.spec.parent_ref, &old.spec.parent_ref);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("ParentRef", "What the address belongs to."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, address: &IPAddress, now: Timestamp) -> Vec<Value> {
        let parent = &address.spec.parent_ref;
        let group = text(&parent.group).map(|g| format!(".{g}"));
        let namespace = text(&parent.namespace).map(|n| format!("{n}/"));
        let shown = format!(
            "{}{}/{}{}",
            parent.resource,
            group.unwrap_or_default(),
            namespace.unwrap_or_default(),
            parent.name
        );
        vec![
            cells::name(&address.metadata),
            shown.into(),
            cells::age(&address.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update};
    use serde_json::json;

    fn address(parent: Value) -> Value {
        json!({"metadata": {"name": "10.96.0.9"}, "spec": {"parentRef": parent}})
    }

    #[test]
    fn it_belongs_to_something() {
        let check = |value: Value, expected: &[&str]| {
            check_create(&IpAddressStrategy, &value, expected);
        };
        check(
            address(json!({"resource": "services", "namespace": "a", "name": "web"})),
            &[],
        );
        check(json!({}), &["spec.parentRef: Required value"]);
        check(
            address(json!({"resource": "", "name": "", "group": "A", "namespace": "a/b"})),
            &[
                "spec.parentRef.group: Invalid value: \"A\": a lowercase",
                "spec.parentRef.resource: Required value",
                "spec.parentRef.name: Required value",
                "spec.parentRef.namespace: Invalid value: \"a/b\": may not contain '/'",
            ],
        );
    }

    #[test]
    fn it_stays_where_it_belongs() {
        let one = address(json!({"resource": "services", "namespace": "a", "name": "web"}));
        let other = address(json!({"resource": "gateways", "group": "g.io", "name": "web"}));
        check_update(
            &IpAddressStrategy,
            &one,
            &other,
            &["spec.parentRef: Invalid value: {"],
        );
        check_row(
            &IpAddressStrategy,
            &one,
            0,
            &[("ParentRef", "services/a/web")],
        );
        check_row(
            &IpAddressStrategy,
            &other,
            0,
            &[("ParentRef", "gateways.g.io/web")],
        );
    }
}
