//! On the server that leads: definitions get their names, and are let go when their objects are gone.
//!
//! Level-driven: every look goes over all definitions, and writes what differs from what should
//! be. Whatever fails is looked at again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use euston_api::time::whole_seconds;
use euston_custom::definition::{self, FINALIZER, TERMINATING, Taken};
use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, Result};
use crate::registry::options::{Deletion, Propagation, WriteOptions};
use crate::registry::table::Row;
use crate::registry::{Part, Precondition, Registry};
use crate::storage::{Entry, ObjectKey};

/// How often a server looks without a change: after it came to lead, and after a failure.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When it looks again while objects of a definition are going away; then after twice that, and so on up to
/// [`LOOK_EVERY`], since something may hold them for long.
const LOOK_WHILE_ENDING: Duration = Duration::from_millis(100);

/// Deletions of objects under way at a time; the store groups them.
const DELETIONS_AT_ONCE: usize = 64;

/// What of the definitions was looked at: without schemas, which are large and no affair of names.
type Known = HashMap<String, (u64, CustomResourceDefinition)>;

/// Looks at the definitions until `shutdown`, and acts where this server leads.
pub async fn run(registry: Arc<Registry>, definitions: Row, shutdown: CancellationToken) {
    let mut changed = definitions.cache.subscribe();
    let mut pause = LOOK_EVERY;
    let mut while_ending = LOOK_WHILE_ENDING;
    let mut known = Known::new();
    // The change that was looked at last, while this server led.
    let mut seen = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = changed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
        pause = LOOK_EVERY;
        if !registry.storage().leads() {
            seen = None;
            known.clear();
            continue;
        }
        let newest = *changed.borrow_and_update();
        if seen == Some(newest) {
            continue;
        }
        match look(&registry, &definitions, &mut known).await {
            Ok(true) => {
                seen = Some(newest);
                while_ending = LOOK_WHILE_ENDING;
            }
            // Something is going on that no change of a definition tells the end of.
            Ok(false) => {
                pause = while_ending;
                while_ending = LOOK_EVERY.min(while_ending * 2);
            }
            Err(error) => {
                tracing::warn!(%error, "a CustomResourceDefinition could not be seen to; trying again");
            }
        }
    }
}

/// One look at all definitions. True if there is nothing to come back for.
async fn look(registry: &Registry, definitions: &Row, known: &mut Known) -> Result<bool> {
    let snapshot = definitions.cache.snapshot();
    known.retain(|name, _| snapshot.contains_key(&ObjectKey::new(None, name)));
    for entry in snapshot.values() {
        let name = entry.name();
        if known.get(name).is_some_and(|(at, _)| *at == entry.revision) {
            continue;
        }
        if let Some(mut definition) = super::definition(entry) {
            definition.spec.versions = Vec::new();
            known.insert(name.to_owned(), (entry.revision, definition));
        }
    }
    let now = whole_seconds(jiff::Timestamp::now());
    let mut done = true;
    for entry in snapshot.values() {
        let Some((_, definition)) = known.get(entry.name()) else {
            continue;
        };
        if definition.metadata.deletion_timestamp.is_some() {
            let mut held = definition.metadata.finalizers.iter().flatten();
            if held.any(|finalizer| finalizer == FINALIZER) {
                done &= end(registry, definitions, entry, definition, &now).await?;
            }
            continue;
        }
        let others = known.iter().filter(|(name, _)| *name != entry.name());
        let taken = taken(registry, definition, others.map(|(_, (_, other))| other));
        if definition::accept(definition, &taken, &now) != *definition {
            write(registry, definitions, entry, Part::Status, |old| {
                definition::accept(old, &taken, &now)
            })
            .await?;
        }
    }
    Ok(done)
}

/// The names that others of the definition's group have, built-in kinds included.
fn taken<'d>(
    registry: &Registry,
    definition: &CustomResourceDefinition,
    others: impl Iterator<Item = &'d CustomResourceDefinition>,
) -> Taken {
    let group = &definition.spec.group;
    let mut taken = Taken::default();
    for other in others.filter(|other| other.spec.group == *group) {
        taken.add_accepted(other);
    }
    for kind in registry.table().now().kinds() {
        let names = &kind.names;
        if kind.guard.is_none() && names.group == *group {
            let short = names.short.iter().map(String::as_str);
            let single = [names.plural.as_str(), names.singular.as_str()];
            let kinds = [names.kind.as_str(), names.list_kind.as_str()];
            taken.add(single.into_iter().chain(short), kinds);
        }
    }
    taken
}

/// Writes what `change` makes of a definition; if `entry` is not the newest, the next look sees why.
async fn write(
    registry: &Registry,
    definitions: &Row,
    entry: &Entry,
    part: Part,
    change: impl Fn(&CustomResourceDefinition) -> CustomResourceDefinition + Send + Sync,
) -> Result<()> {
    let precondition = Precondition {
        uid: None,
        resource_version: Some(entry.revision.to_string()),
    };
    let (resource, options) = (definitions.resource(), WriteOptions::default());
    let written = registry
        .update(resource, &entry.key, part, &options, |old, _| {
            let old = old.as_any().downcast_ref::<CustomResourceDefinition>();
            let old = old.ok_or_else(|| ApiError::internal("a definition is none"))?;
            Ok((Box::new(change(old)), precondition.clone(), Vec::new()))
        })
        .await;
    match written {
        Err(error) if matches!(error.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Deletes a definition's objects, and lets it go when there are none. True once that is done.
async fn end(
    registry: &Registry,
    definitions: &Row,
    entry: &Entry,
    definition: &CustomResourceDefinition,
    now: &Time,
) -> Result<bool> {
    let spec = &definition.spec;
    registry.storage().fresh().await?;
    let served = registry.table().row_of(&spec.group, &spec.names.plural);
    // Never more than the definition's own: a built-in kind of that name is not to be emptied.
    let objects = served.filter(|row| row.kind.guard.is_some());
    let keys: Vec<ObjectKey> = objects
        .as_ref()
        .map(|row| row.cache.snapshot().keys().cloned().collect())
        .unwrap_or_default();
    if let (false, Some(row)) = (keys.is_empty(), &objects) {
        let in_progress = |old: &CustomResourceDefinition| {
            let mut new = old.clone();
            let why = (
                "InstanceDeletionInProgress",
                "CustomResource deletion is in progress",
            );
            definition::set_condition(&mut new, TERMINATING, true, why, now);
            new
        };
        if in_progress(definition) != *definition {
            write(registry, definitions, entry, Part::Status, in_progress).await?;
        }
        let deletion = Deletion {
            propagation: Some(Propagation::Background),
            ..Deletion::default()
        };
        let deletion = &deletion;
        let deletions = keys.into_iter().map(|key| async move {
            let resource = row.resource();
            registry.delete(resource, &key, deletion).await
        });
        let mut deletions = futures::stream::iter(deletions).buffer_unordered(DELETIONS_AT_ONCE);
        while let Some(deleted) = deletions.next().await {
            match deleted {
                Err(error) if error.code != 404 => return Err(error),
                _ => {}
            }
        }
        return Ok(false);
    }
    write(registry, definitions, entry, Part::Computed, |old| {
        let mut new = old.clone();
        let why = ("InstanceDeletionCompleted", "removed all instances");
        definition::set_condition(&mut new, TERMINATING, false, why, now);
        if let Some(finalizers) = &mut new.metadata.finalizers {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        new
    })
    .await?;
    if let Some(row) = objects {
        // What another server let in between the last look and now; nothing can follow, since
        // an object is created only while its definition is there.
        registry.storage().sweep(&row.kind).await?;
    }
    Ok(true)
}
