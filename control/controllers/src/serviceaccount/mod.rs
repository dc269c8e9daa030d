//! Gives every namespace what pods expect to find there: the ServiceAccount `default` and the
//! ConfigMap `kube-root-ca.crt` with the cluster's CA.

pub(crate) mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use euston_api::labels::SERVICE_ACCOUNT_DEFAULT;
use euston_client::{Next, ObjectKey, WorkQueue, errors, run_workers};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::Shared;
use crate::error::{Attempt, Error};
use crate::informers::ROOT_CA_CONFIG_MAP;

/// Namespaces served at once.
const WORKERS: usize = 4;

const CA_KEY: &str = "ca.crt";
const CA_NOTE: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the API server of this cluster.",
);

pub(crate) async fn run(shared: Arc<Shared>) {
    // Keys are names of namespaces.
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    let namespace_of =
        |namespace: &Option<String>| ObjectKey::cluster(namespace.as_deref().unwrap_or_default());
    shared.informers.namespaces.on_change({
        let queue = queue.clone();
        move |delta| {
            if let Some(namespace) = delta.new {
                queue.add(ObjectKey::of(&namespace.metadata));
            }
        }
    });
    shared.informers.service_accounts.on_change({
        let queue = queue.clone();
        move |delta| {
            if let (Some(gone), None) = (delta.old, delta.new) {
                queue.add(namespace_of(&gone.metadata.namespace));
            }
        }
    });
    shared.informers.root_ca.on_change({
        let queue = queue.clone();
        move |delta| {
            if let Some(old) = delta.old {
                queue.add(namespace_of(&old.metadata.namespace));
            }
        }
    });
    let reconcile = {
        let shared = shared.clone();
        move |key: ObjectKey| {
            let shared = shared.clone();
            async move { reconcile(&shared, &key.name).await }
        }
    };
    run_workers(
        "serviceaccount",
        queue,
        WORKERS,
        shared.shutdown.clone(),
        reconcile,
    )
    .await;
}

fn is_active(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
        && namespace
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            != Some("Terminating")
}

async fn reconcile(shared: &Shared, namespace: &str) -> Result<Next, Error> {
    if !shared
        .informers
        .namespaces
        .get("", namespace)
        .is_some_and(|namespace| is_active(&namespace))
    {
        return Ok(Next::Done);
    }
    let account = shared
        .informers
        .service_accounts
        .get(namespace, SERVICE_ACCOUNT_DEFAULT);
    if account.is_none() {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(SERVICE_ACCOUNT_DEFAULT.to_owned());
        let api: Api<ServiceAccount> = Api::namespaced(shared.client.clone(), namespace);
        tolerate(api.create(&PostParams::default(), &account).await.map(drop)).attempting(
            || format!("create ServiceAccount {namespace}/{SERVICE_ACCOUNT_DEFAULT}"),
        )?;
    }
    let wanted: BTreeMap<String, String> =
        [(CA_KEY.to_owned(), shared.options.ca_pem.clone())].into();
    let api: Api<ConfigMap> = Api::namespaced(shared.client.clone(), namespace);
    match shared.informers.root_ca.get(namespace, ROOT_CA_CONFIG_MAP) {
        None => {
            let mut map = ConfigMap {
                data: Some(wanted),
                ..ConfigMap::default()
            };
            map.metadata.name = Some(ROOT_CA_CONFIG_MAP.to_owned());
            map.metadata.annotations = Some([(CA_NOTE.0.to_owned(), CA_NOTE.1.to_owned())].into());
            tolerate(api.create(&PostParams::default(), &map).await.map(drop))
                .attempting(|| format!("create ConfigMap {namespace}/{ROOT_CA_CONFIG_MAP}"))?;
        }
        Some(map) if map.data.as_ref() != Some(&wanted) => {
            // A merge patch keeps what it does not name, so entries that do not belong are nulled.
            let mut data = serde_json::Map::new();
            for name in map.data.iter().flatten().map(|(name, _)| name) {
                data.insert(name.clone(), serde_json::Value::Null);
            }
            data.insert(CA_KEY.to_owned(), shared.options.ca_pem.clone().into());
            let patch = json!({"metadata": {"resourceVersion": map.metadata.resource_version}, "data": data});
            api.patch(
                ROOT_CA_CONFIG_MAP,
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await
            .attempting(|| format!("restore ConfigMap {namespace}/{ROOT_CA_CONFIG_MAP}"))?;
        }
        Some(_) => {}
    }
    Ok(Next::Done)
}

/// Somebody else was quicker, or the namespace is going or gone: all the same to us.
fn tolerate(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error)
            if errors::is_already_exists(&error)
                || errors::is_namespace_terminating(&error)
                || errors::is_not_found(&error) =>
        {
            Ok(())
        }
        result => result,
    }
}
