//! What the API server does by the clock: forgets old history and old events, counts quotas anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::endpoints::Published;
use crate::registry::options::{Deletion, WriteOptions};
use crate::registry::{Part, Precondition, Registry, Resource};
use crate::storage::{Entry, ObjectKey};

/// How long a client may take over a paged list or come back to a watch: history
/// this old is compacted (kube-apiserver's `etcd-compaction-interval`).
const HISTORY: Duration = Duration::from_secs(300);
/// How often it is looked at.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// How long events are kept (kube-apiserver's `event-ttl`).
const EVENT_TTL_SECONDS: i64 = 3600;
const EVENTS_EVERY: Duration = Duration::from_secs(60);

/// How often quotas are counted anew. They are exact from write to write; this catches the writes
/// that were under way when a quota was made.
const QUOTAS_EVERY: Duration = Duration::from_secs(60);

/// OpenAPI documents that nobody has asked for in this long are dropped; they are
/// made again in some ten milliseconds.
const DOCUMENTS_IDLE: Duration = Duration::from_secs(120);

/// Runs until `shutdown`.
pub async fn run(registry: Arc<Registry>, published: Arc<Published>, shutdown: CancellationToken) {
    let mut compact = tokio::time::interval(COMPACT_EVERY);
    let mut events = tokio::time::interval(EVENTS_EVERY);
    events.reset();
    let mut quotas = tokio::time::interval(QUOTAS_EVERY);
    quotas.reset();
    // One mark a minute; the oldest is HISTORY ago once the queue is full.
    let marks_max = (HISTORY.as_secs() / COMPACT_EVERY.as_secs()) as usize;
    let mut marks = VecDeque::with_capacity(marks_max + 1);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = compact.tick() => {
                marks.push_back(registry.storage().revision());
                // Every server counts, so that a new leader need not begin.
                let due = if marks.len() > marks_max { marks.pop_front() } else { None };
                if let Some(revision) = due
                    && registry.storage().leads()
                    && revision > 0
                    && let Err(error) = registry.storage().compact(revision).await
                    && error.reason != "Expired"
                {
                    tracing::warn!(%error, revision, "history cannot be compacted; trying again in a minute");
                }
            }
            _ = quotas.tick() => {
                if registry.storage().leads()
                    && let Some(row) = registry.resource("", "v1", "resourcequotas")
                {
                    recount(&registry, row.resource(), &shutdown).await;
                }
            }
            _ = events.tick() => {
                published.trim(DOCUMENTS_IDLE);
                if registry.storage().leads()
                    && let Some(row) = registry.resource("", "v1", "events")
                {
                    expire(&registry, row.resource(), &shutdown).await;
                }
            }
        }
    }
}

/// Counts every quota anew. One that is right already is not written.
async fn recount(registry: &Registry, resource: Resource<'_>, shutdown: &CancellationToken) {
    for (key, _) in &resource.cache.snapshot() {
        if shutdown.is_cancelled() {
            return;
        }
        // An update that changes nothing: the count is admission's.
        let options = WriteOptions::default();
        let unchanged = registry.update(resource, key, Part::Main, &options, |old, _| {
            Ok((old.clone_box(), Precondition::default(), Vec::new()))
        });
        match unchanged.await {
            Err(error) if error.code != 404 => {
                tracing::warn!(%error, key = key.as_str(), "a quota cannot be counted; trying again in a minute");
            }
            _ => {}
        }
    }
}

/// Deletes the events that are too old.
async fn expire(registry: &Registry, resource: Resource<'_>, shutdown: &CancellationToken) {
    let limit = Timestamp::now().as_second() - EVENT_TTL_SECONDS;
    let snapshot = resource.cache.snapshot();
    let old: Vec<ObjectKey> = snapshot
        .iter()
        .filter(|(_, entry)| last_seen(resource, entry).is_some_and(|at| at < limit))
        .map(|(key, _)| key.clone())
        .collect();
    for key in old {
        if shutdown.is_cancelled() {
            return;
        }
        match registry.delete(resource, &key, &Deletion::default()).await {
            Err(error) if error.code != 404 => {
                tracing::warn!(%error, key = key.as_str(), "an old event cannot be deleted");
                return;
            }
            _ => {}
        }
    }
}

/// When an event was last written, in seconds since 1970.
fn last_seen(resource: Resource<'_>, entry: &Entry) -> Option<i64> {
    let object = resource.kind.rules.decode_stored(&entry.value).ok()?;
    let event = object
        .as_any()
        .downcast_ref::<k8s_openapi::api::core::v1::Event>()?;
    let micro = event
        .series
        .as_ref()
        .and_then(|s| s.last_observed_time.as_ref());
    let times = [
        event.last_timestamp.as_ref().map(|t| t.0),
        micro.map(|t| t.0),
        event.event_time.as_ref().map(|t| t.0),
        event.metadata.creation_timestamp.as_ref().map(|t| t.0),
    ];
    times.into_iter().flatten().max().map(Timestamp::as_second)
}
