//! Keeps the graph current: every kind that the API serves is followed, the ones that other
//! controllers follow anyway through their informers, the rest by metadata alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use euston_client::{Backoff, Delta, Informer, ObjectKey};
use kube::Resource;
use kube::core::ApiResource;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Collector;
use crate::discovery::{self, Kind};

/// A kind was added or removed: wait until its definition has settled, then discover anew.
const SETTLE: Duration = Duration::from_millis(200);

/// Follows what the API serves until shutdown.
pub(super) async fn run(collector: Arc<Collector>) {
    let shutdown = collector.shared.shutdown.clone();
    let mut followed: HashMap<ApiResource, CancellationToken> = HashMap::new();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    loop {
        match discovery::discover(&collector.shared.client).await {
            Ok(kinds) => {
                follow(&collector, &kinds, &mut followed).await;
                backoff.reset();
                collector.set_kinds(kinds);
                collector.complete.cancel();
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = collector.rediscover.notified() => {}
                }
                tokio::time::sleep(SETTLE).await;
            }
            Err(error) => {
                let delay = backoff.next_delay();
                warn!(%error, ?delay, "garbage collection does not know all kinds; trying again");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(delay) => {}
                }
            }
        }
    }
}

async fn follow(
    collector: &Arc<Collector>,
    kinds: &[Kind],
    followed: &mut HashMap<ApiResource, CancellationToken>,
) {
    followed.retain(|resource, stop| {
        let served = kinds.iter().any(|kind| kind.resource == *resource);
        if !served {
            stop.cancel();
        }
        served
    });
    let mut new = Vec::new();
    for kind in kinds
        .iter()
        .filter(|kind| kind.watchable && !kind_is_noise(kind))
    {
        if followed.contains_key(&kind.resource) {
            continue;
        }
        let stop = collector.shared.shutdown.child_token();
        followed.insert(kind.resource.clone(), stop.clone());
        let kind = Arc::new(kind.clone());
        if !follow_typed(collector, &kind) {
            let informer =
                Informer::builder_dynamic(kind.api(&collector.shared.client, ""), kind.qualified())
                    .trim(|object: &mut discovery::Meta| {
                        object.metadata.annotations = None;
                        object.metadata.labels = None;
                    })
                    .start(stop);
            listen(collector, &informer, &kind);
            new.push(informer);
        }
    }
    // Judging a dependent before its owners are known costs a needless read of the owner.
    for informer in new {
        if tokio::time::timeout(Duration::from_secs(30), informer.synced())
            .await
            .is_err()
        {
            warn!(
                "a kind could not be listed within 30 s; garbage collection goes on without waiting for it"
            );
        }
    }
}

/// Events neither own nor are owned, and there are many of them.
fn kind_is_noise(kind: &Kind) -> bool {
    kind.resource.kind == "Event"
}

/// Listens to a shared informer if there is one for the kind.
fn follow_typed(collector: &Arc<Collector>, kind: &Arc<Kind>) -> bool {
    let informers = &collector.shared.informers;
    match (kind.resource.group.as_str(), kind.resource.kind.as_str()) {
        ("", "Pod") => listen(collector, &informers.pods, kind),
        ("", "Node") => listen(collector, &informers.nodes, kind),
        ("", "Namespace") => listen(collector, &informers.namespaces, kind),
        ("", "Service") => listen(collector, &informers.services, kind),
        ("", "ServiceAccount") => listen(collector, &informers.service_accounts, kind),
        ("apps", "ReplicaSet") => listen(collector, &informers.replica_sets, kind),
        ("apps", "Deployment") => listen(collector, &informers.deployments, kind),
        ("discovery.k8s.io", "EndpointSlice") => {
            listen(collector, &informers.endpoint_slices, kind)
        }
        ("coordination.k8s.io", "Lease") => listen(collector, &informers.leases, kind),
        _ => return false,
    }
    true
}

fn listen<K>(collector: &Arc<Collector>, informer: &Informer<K>, kind: &Arc<Kind>)
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let (graph, queue) = (collector.graph.clone(), collector.queue.clone());
    let (namespaces, to_empty) = (
        collector.shared.informers.namespaces.clone(),
        collector.shared.namespaces_to_empty.clone(),
    );
    let rediscover = defines_kinds(kind).then(|| collector.rediscover.clone());
    let kind = kind.clone();
    informer.on_change(move |delta: &Delta<'_, K>| {
        let mut work = Vec::new();
        {
            let mut graph = graph.lock();
            let new_uid = delta.new.and_then(|new| new.meta().uid.as_deref());
            if let Some(old) = delta.old
                && old.meta().uid.as_deref() != new_uid
            {
                work.extend(graph.forget(old.meta().uid.as_deref().unwrap_or_default()));
            }
            if let Some(new) = delta.new {
                work.extend(graph.observe(&kind, new.meta()));
            }
        }
        for uid in work {
            queue.add(uid);
        }
        if delta.new.is_none()
            && let Some(namespace) = delta.old.and_then(|old| old.meta().namespace.as_deref())
            && namespaces
                .get("", namespace)
                .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
        {
            to_empty.add(ObjectKey::cluster(namespace));
        }
        if let Some(rediscover) = &rediscover {
            rediscover.notify_one();
        }
    });
}

/// Whether objects of this kind add kinds to the API.
fn defines_kinds(kind: &Kind) -> bool {
    matches!(
        kind.resource.kind.as_str(),
        "CustomResourceDefinition" | "APIService"
    )
}
