//! Empties namespaces that are being deleted, and lets them go.

mod plan;

use std::sync::Arc;

use euston_api::labels::FINALIZER_KUBERNETES;
use euston_client::{Next, ObjectKey, errors, run_workers};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};

use crate::Shared;
use crate::discovery::{self, Kind, Meta};
use crate::error::{Attempt, Error, unless_gone};
use plan::Findings;

/// Namespaces emptied at once, and kinds at once within each.
const WORKERS: usize = 4;
const KINDS_AT_ONCE: usize = 8;

/// Objects listed at a time.
const PAGE: u32 = 500;

pub(crate) async fn run(shared: Arc<Shared>) {
    // The queue is shared with the garbage collector, which sees every object of every kind go and
    // so knows when it is worth looking again.
    let queue = shared.namespaces_to_empty.clone();
    shared.informers.namespaces.on_change({
        let queue = queue.clone();
        move |delta| {
            if let Some(namespace) = delta.new
                && namespace.metadata.deletion_timestamp.is_some()
            {
                queue.add(ObjectKey::of(&namespace.metadata));
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
        "namespace",
        queue,
        WORKERS,
        shared.shutdown.clone(),
        reconcile,
    )
    .await;
}

async fn reconcile(shared: &Shared, name: &str) -> Result<Next, Error> {
    let api: Api<Namespace> = Api::all(shared.client.clone());
    let Some(cached) = shared.informers.namespaces.get("", name) else {
        return Ok(Next::Done);
    };
    if cached.metadata.deletion_timestamp.is_none() {
        return Ok(Next::Done);
    }
    // Emptying a namespace is final: the decision is not left to a copy.
    let Some(namespace) = api
        .get_opt(name)
        .await
        .attempting(|| format!("read Namespace {name}"))?
    else {
        return Ok(Next::Done);
    };
    if namespace.metadata.uid != cached.metadata.uid
        || namespace.metadata.deletion_timestamp.is_none()
    {
        return Ok(Next::Done);
    }
    let finalizers = namespace
        .spec
        .as_ref()
        .and_then(|spec| spec.finalizers.clone())
        .unwrap_or_default();
    if finalizers.is_empty() {
        return finish_deletion(&api, &namespace, name).await;
    }
    if !finalizers
        .iter()
        .any(|finalizer| finalizer == FINALIZER_KUBERNETES)
    {
        // Ours is done; others hold it.
        return Ok(Next::Done);
    }
    let findings = empty(shared, name).await;
    if !findings.is_empty() {
        write_conditions(&api, &namespace, name, &findings).await?;
        return Err(Error::NotYet(format!(
            "Namespace {name} is not empty yet: {}",
            findings.summary()
        )));
    }
    finalize(&api, namespace, name).await
}

/// Asks once more for a namespace that nothing holds any more.
async fn finish_deletion(
    api: &Api<Namespace>,
    namespace: &Namespace,
    name: &str,
) -> Result<Next, Error> {
    let preconditions = Preconditions {
        uid: namespace.metadata.uid.clone(),
        resource_version: None,
    };
    let params = DeleteParams::default().preconditions(preconditions);
    unless_gone(api.delete(name, &params).await)
        .attempting(|| format!("delete Namespace {name}, which is empty"))?;
    Ok(Next::Done)
}

/// Takes our finalizer away; the API server then removes the namespace.
async fn finalize(
    api: &Api<Namespace>,
    mut namespace: Namespace,
    name: &str,
) -> Result<Next, Error> {
    if let Some(finalizers) = namespace
        .spec
        .as_mut()
        .and_then(|spec| spec.finalizers.as_mut())
    {
        finalizers.retain(|finalizer| finalizer != FINALIZER_KUBERNETES);
    }
    let attempt = || format!("finalize Namespace {name}");
    match api
        .replace_subresource("finalize", name, &PostParams::default(), &namespace)
        .await
    {
        Ok(_) => Ok(Next::Done),
        Err(error) if errors::is_not_found(&error) => Ok(Next::Done),
        Err(error) => Err(error).attempting(attempt),
    }
}

async fn write_conditions(
    api: &Api<Namespace>,
    namespace: &Namespace,
    name: &str,
    findings: &Findings,
) -> Result<(), Error> {
    let old = namespace
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let conditions = plan::conditions(&old, findings, Timestamp::now());
    if conditions == old {
        return Ok(());
    }
    let mut wanted = namespace.clone();
    wanted.status.get_or_insert_default().conditions = Some(conditions);
    match api
        .replace_status(name, &PostParams::default(), &wanted)
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if errors::is_not_found(&error) => Ok(()),
        Err(error) => Err(error).attempting(|| format!("note on Namespace {name} what holds it")),
    }
}

/// Deletes everything in the namespace and reports what is left.
async fn empty(shared: &Shared, namespace: &str) -> Findings {
    let mut findings = Findings::default();
    let kinds = match discovery::discover(&shared.client).await {
        Ok(kinds) => kinds,
        Err(error) => {
            findings.discovery_error = Some(error.to_string());
            return findings;
        }
    };
    let kinds = kinds.into_iter().filter(|kind| kind.namespaced);
    let mut results = futures::stream::iter(kinds)
        .map(|kind| async move { (kind.qualified(), empty_of(shared, &kind, namespace).await) })
        .buffer_unordered(KINDS_AT_ONCE);
    while let Some((kind, result)) = results.next().await {
        match result {
            Ok(left) => {
                for finalizer in left
                    .iter()
                    .flat_map(|object| object.metadata.finalizers.iter().flatten())
                {
                    *findings.finalizers.entry(finalizer.clone()).or_default() += 1;
                }
                if !left.is_empty() {
                    findings.remaining.insert(kind, left.len());
                }
            }
            Err(error) => findings.content_errors.push(error.to_string()),
        }
    }
    findings.content_errors.sort();
    findings
}

/// Deletes all objects of one kind; returns (the first page of) those that are still there.
async fn empty_of(shared: &Shared, kind: &Kind, namespace: &str) -> Result<Vec<Meta>, Error> {
    let api = kind.api(&shared.client, namespace);
    let what = kind.qualified();
    let page = ListParams::default().limit(PAGE);
    let list = || async {
        match api.list(&page).await {
            Ok(list) => Ok(list.items),
            // The kind was removed meanwhile (its definition was deleted).
            Err(error) if errors::is_not_found(&error) => Ok(Vec::new()),
            Err(error) => Err(error).attempting(|| format!("list {what} in Namespace {namespace}")),
        }
    };
    let found = list().await?;
    let untouched: Vec<&Meta> = found
        .iter()
        .filter(|object| object.metadata.deletion_timestamp.is_none())
        .collect();
    if untouched.is_empty() {
        return Ok(found);
    }
    if kind.delete_collection {
        api.delete_collection(&DeleteParams::background(), &ListParams::default())
            .await
            .attempting(|| format!("delete all {what} in Namespace {namespace}"))?;
    } else {
        for object in untouched {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let preconditions = Preconditions {
                uid: object.metadata.uid.clone(),
                resource_version: None,
            };
            let params = DeleteParams::background().preconditions(preconditions);
            unless_gone(api.delete(name, &params).await)
                .attempting(|| format!("delete {what} {namespace}/{name}"))?;
        }
    }
    list().await
}
