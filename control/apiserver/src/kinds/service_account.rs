//! ServiceAccount: who a pod is towards the API.

use euston_api::field::ErrorList;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, ServiceAccount};
use serde_json::Value;

use super::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The rules of ServiceAccounts.
pub struct ServiceAccountStrategy;

impl Strategy for ServiceAccountStrategy {
    type Object = ServiceAccount;

    fn prepare_for_create(&self, account: &mut ServiceAccount) {
        keep_names_only(account);
    }

    fn prepare_for_update(&self, new: &mut ServiceAccount, _old: &ServiceAccount) {
        keep_names_only(new);
    }

    fn validate(&self, _account: &ServiceAccount) -> ErrorList {
        ErrorList::new()
    }

    fn columns(&self) -> &'static [Column] {
        // No `Secrets`: nothing fills it any more, so Kubernetes 1.35 stopped to show it.
        const COLUMNS: &[Column] = &[NAME, AGE];
        COLUMNS
    }

    fn row(&self, account: &ServiceAccount, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&account.metadata),
            cells::age(&account.metadata, now),
        ]
    }
}

/// Secrets are named within the namespace; the rest of a reference would be a lie.
fn keep_names_only(account: &mut ServiceAccount) {
    for secret in account.secrets.iter_mut().flatten() {
        *secret = ObjectReference {
            name: secret.name.take(),
            ..ObjectReference::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, created};
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_names() {
        let value = json!({"metadata": {"name": "a"}, "secrets": [{"name": "s", "namespace": "x", "kind": "Secret"}]});
        check_create(&ServiceAccountStrategy, &value, &[]);
        let account = serde_json::to_value(created(&ServiceAccountStrategy, &value)).unwrap();
        assert_eq!(account["secrets"], json!([{"name": "s"}]));
        check_row(&ServiceAccountStrategy, &value, 0, &[("Name", "a")]);
    }
}
