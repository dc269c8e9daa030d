//! On every server: the table of kinds follows the definitions in its own cache.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use euston_custom::definition::{ESTABLISHED, is_true};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tokio_util::sync::CancellationToken;

use super::kind;
use crate::error::Result;
use crate::registry::kind::Kind;
use crate::registry::{Registry, table::Row};
use crate::storage::{ResourceCache, prefix};

/// How long before a definition whose objects could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What is served of one definition.
struct Served {
    /// All of the definition that its kinds are made of.
    made_of: Vec<u8>,
    caches: Vec<Arc<ResourceCache>>,
}

/// Keeps the table like the definitions.
pub struct Follower {
    registry: Arc<Registry>,
    definitions: Row,
    served: HashMap<String, Served>,
}

impl Follower {
    /// A follower of `definitions`; nothing is served yet.
    pub fn new(registry: Arc<Registry>, definitions: Row) -> Self {
        Follower {
            registry,
            definitions,
            served: HashMap::new(),
        }
    }

    /// Follows until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut changed = self.definitions.cache.subscribe();
        changed.mark_changed();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = changed.changed() => if changed.is_err() { return },
            }
            while let Err(error) = self.catch_up().await {
                tracing::warn!(%error, "custom resources cannot be served yet; trying again");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }

    /// Makes the table like the definitions are now.
    ///
    /// # Errors
    /// If objects could not be read; what could be is served.
    pub async fn catch_up(&mut self) -> Result<()> {
        let mut wanted: HashMap<String, CustomResourceDefinition> = HashMap::new();
        for entry in self.definitions.cache.snapshot().values() {
            if let Some(definition) = super::definition(entry)
                && is_true(&definition, ESTABLISHED)
            {
                wanted.insert(entry.name().to_owned(), definition);
            }
        }
        let gone = self
            .served
            .keys()
            .filter(|name| !wanted.contains_key(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.replace(name, None).await?;
        }
        let mut outcome = Ok(());
        for (name, definition) in wanted {
            let made_of = made_of(&definition);
            if (self.served.get(&name)).is_some_and(|served| served.made_of == made_of) {
                continue;
            }
            // One that fails does not keep others from being served.
            if let Err(error) = self.replace(name, Some((made_of, definition))).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn replace(
        &mut self,
        name: String,
        new: Option<(Vec<u8>, CustomResourceDefinition)>,
    ) -> Result<()> {
        let storage = self.registry.storage();
        let new = match new {
            None => None,
            Some((made_of, definition)) => {
                let guard = format!("{}{name}", prefix(&self.definitions.kind));
                let kinds: Vec<Arc<Kind>> = kind::kinds(&definition, &guard)
                    .into_iter()
                    .map(Arc::new)
                    .collect();
                let caches = storage.attach(kinds).await?;
                Some(Served { made_of, caches })
            }
        };
        let old = self.served.remove(&name);
        let old = old.map(|served| served.caches).unwrap_or_default();
        let attached = new.as_ref().map_or(&[][..], |served| &served.caches);
        self.registry.table().change(&old, attached);
        storage.detach(old).await;
        if let Some(served) = new {
            self.served.insert(name, served);
        }
        Ok(())
    }
}

/// What of a definition its kinds are made of: when this is the same, so are they.
fn made_of(definition: &CustomResourceDefinition) -> Vec<u8> {
    let status = definition.status.as_ref();
    let parts = (
        &definition.spec,
        status.and_then(|s| s.accepted_names.as_ref()),
        status.and_then(|s| s.stored_versions.as_ref()),
        is_true(definition, euston_custom::definition::TERMINATING),
    );
    serde_json::to_vec(&parts).unwrap_or_default()
}
