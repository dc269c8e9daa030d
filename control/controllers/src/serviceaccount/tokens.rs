//! Secrets that hold a token of a service account: filled in, and gone with the account.
//! Follows <https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets>.

use std::collections::BTreeMap;
use std::sync::Arc;

use euston_client::{Next, ObjectKey, WorkQueue};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use crate::Shared;
use crate::error::{Attempt, Error};
use crate::run::{Reconcile, run_controller};

const WORKERS: usize = 2;

const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// Such a token has no end of its own: it is bound to the Secret. The most that may be asked for, in seconds.
const SECONDS: i64 = 1 << 32;

/// What becomes of a Secret.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Its account is gone, or was replaced by another one of the same name.
    Delete,
    /// It lacks something.
    Fill,
}

fn account_name(secret: &Secret) -> &str {
    let annotations = secret.metadata.annotations.as_ref();
    annotations
        .and_then(|a| a.get(ACCOUNT_NAME))
        .map_or("", String::as_str)
}

fn plan(secret: &Secret, account: Option<&ServiceAccount>, ca_pem: &str) -> Step {
    if secret.metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    let annotations = secret.metadata.annotations.as_ref();
    let uid = annotations
        .and_then(|a| a.get(ACCOUNT_UID))
        .map(String::as_str);
    let Some(account) = account else {
        // Not there yet, or gone: what was filled in once goes with it.
        return if uid.is_some() {
            Step::Delete
        } else {
            Step::Nothing
        };
    };
    let own_uid = account.metadata.uid.as_deref();
    if uid.is_some() && uid != own_uid {
        return Step::Delete;
    }
    let has = |key: &str, value: Option<&str>| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        data.is_some_and(|have| match value {
            Some(value) => have.0 == value.as_bytes(),
            None => !have.0.is_empty(),
        })
    };
    let full = uid.is_some()
        && has("token", None)
        && has("ca.crt", Some(ca_pem))
        && has("namespace", secret.metadata.namespace.as_deref());
    if full { Step::Nothing } else { Step::Fill }
}

struct Tokens {
    shared: Arc<Shared>,
}

pub(crate) async fn run(shared: Arc<Shared>) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    shared.informers.account_secrets.on_change({
        let queue = queue.clone();
        move |delta| {
            if let Some(secret) = delta.new {
                queue.add(ObjectKey::of(&secret.metadata));
            }
        }
    });
    shared.informers.service_accounts.on_change({
        let (queue, shared) = (queue.clone(), Arc::downgrade(&shared));
        move |delta| {
            let (Some(shared), Some(account)) = (shared.upgrade(), delta.latest()) else {
                return;
            };
            let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
            for secret in shared.informers.account_secrets.list_namespace(namespace) {
                if Some(account_name(&secret)) == account.metadata.name.as_deref() {
                    queue.add(ObjectKey::of(&secret.metadata));
                }
            }
        }
    });
    let controller = Tokens {
        shared: shared.clone(),
    };
    run_controller("serviceaccount-tokens", queue, WORKERS, &shared, controller).await;
}

impl Reconcile for Tokens {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let informers = &self.shared.informers;
        let Some(secret) = informers.account_secrets.get_key(key) else {
            return Ok(Next::Done);
        };
        let account = informers
            .service_accounts
            .get(&key.namespace, account_name(&secret));
        match plan(&secret, account.as_deref(), &self.shared.options.ca_pem) {
            Step::Nothing => {}
            Step::Delete => self.delete(&secret).await?,
            Step::Fill => {
                if let Some(account) = account {
                    self.fill(&secret, &account).await?;
                }
            }
        }
        Ok(Next::Done)
    }
}

impl Tokens {
    fn secrets(&self, secret: &Secret) -> Api<Secret> {
        let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.shared.client.clone(), namespace)
    }

    async fn delete(&self, secret: &Secret) -> Result<(), Error> {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: secret.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let deleted = self.secrets(secret).delete(name, &params).await.map(drop);
        super::tolerate(deleted)
            .attempting(|| format!("delete Secret {name}, whose service account is gone"))
    }

    async fn fill(&self, secret: &Secret, account: &ServiceAccount) -> Result<(), Error> {
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        let name = secret.metadata.name.clone().unwrap_or_default();
        let account_name = account.metadata.name.clone().unwrap_or_default();
        let ask = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(SECONDS),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Secret".to_owned()),
                    name: Some(name.clone()),
                    uid: secret.metadata.uid.clone(),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.shared.client.clone(), &namespace);
        let made = accounts
            .create_token_request(&account_name, &PostParams::default(), &ask)
            .await
            .attempting(|| format!("make a token of ServiceAccount {namespace}/{account_name}"))?;
        let token = made.status.and_then(|s| s.token).unwrap_or_default();
        let mut filled = secret.clone();
        let annotations = filled.metadata.annotations.get_or_insert_default();
        annotations.insert(
            ACCOUNT_UID.to_owned(),
            account.metadata.uid.clone().unwrap_or_default(),
        );
        let data = filled.data.get_or_insert_default();
        let ca_pem = &self.shared.options.ca_pem;
        let values = [
            ("token", &token),
            ("ca.crt", ca_pem),
            ("namespace", &namespace),
        ];
        data.extend(BTreeMap::from(
            values.map(|(k, v)| (k.to_owned(), ByteString(v.clone().into_bytes()))),
        ));
        self.secrets(secret)
            .replace(&name, &PostParams::default(), &filled)
            .await
            .attempting(|| format!("write the token into Secret {namespace}/{name}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(annotations: Value, data: Value, account_uid: Option<&str>, expect: Step) {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": "s", "namespace": "ns", "annotations": annotations },
            "data": data,
        }))
        .unwrap();
        let account = account_uid.map(|uid| {
            let account = json!({ "metadata": { "name": "a", "uid": uid } });
            serde_json::from_value::<ServiceAccount>(account).unwrap()
        });
        assert_eq!(plan(&secret, account.as_ref(), "CA"), expect, "{secret:?}");
    }

    #[test]
    fn a_secret_is_filled_once_and_goes_with_its_account() {
        let new = json!({ ACCOUNT_NAME: "a" });
        let filled = json!({ ACCOUNT_NAME: "a", ACCOUNT_UID: "u" });
        let data = json!({ "token": "dA==", "ca.crt": "Q0E=", "namespace": "bnM=" });
        check(new.clone(), json!({}), Some("u"), Step::Fill);
        check(new.clone(), json!({}), None, Step::Nothing);
        check(filled.clone(), data.clone(), Some("u"), Step::Nothing);
        check(filled.clone(), data.clone(), None, Step::Delete);
        check(filled.clone(), data.clone(), Some("other"), Step::Delete);
        check(new, data, Some("u"), Step::Fill);
        let old_ca = json!({ "token": "dA==", "ca.crt": "Q0I=", "namespace": "bnM=" });
        check(filled.clone(), old_ca, Some("u"), Step::Fill);
        check(filled, json!({ "token": "" }), Some("u"), Step::Fill);
    }
}
