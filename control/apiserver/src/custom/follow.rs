//! On every server: the table of kinds follows the definitions in its own cache.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use euston_custom::definition::{ESTABLISHED, is_true};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::kind;
use crate::error::Result;
use crate::registry::kind::Kind;
use crate::registry::{Registry, table::Row};
use crate::storage::{ObjectKey, ResourceCache, prefix};

/// How long before a definition whose objects could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What is served of one definition.
struct Served {
    /// The hash of all of the definition that its kinds are made of.
    made_of: MadeOf,
    caches: Vec<Arc<ResourceCache>>,
}

type MadeOf = [u8; 32];

/// Keeps the table like the definitions.
pub struct Follower {
    registry: Arc<Registry>,
    definitions: Row,
    served: HashMap<String, Served>,
    /// The revisions of definitions that were looked at: most never change, and they are large.
    looked_at: HashMap<String, u64>,
}

impl Follower {
    /// A follower of `definitions`; nothing is served yet.
    pub fn new(registry: Arc<Registry>, definitions: Row) -> Self {
        Follower {
            registry,
            definitions,
            served: HashMap::new(),
            looked_at: HashMap::new(),
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
        let snapshot = self.definitions.cache.snapshot();
        let there = |name: &String| snapshot.contains_key(&ObjectKey::new(None, name));
        self.looked_at.retain(|name, _| there(name));
        let gone: Vec<String> = self.served.keys().filter(|n| !there(n)).cloned().collect();
        for name in gone {
            self.replace(&name, None).await?;
        }
        let mut outcome = Ok(());
        for entry in snapshot.values() {
            let name = entry.name();
            if self.looked_at.get(name) == Some(&entry.revision) {
                continue;
            }
            // One that fails does not keep others from being served.
            match self.look(name, super::definition(entry)).await {
                Ok(()) => {
                    self.looked_at.insert(name.to_owned(), entry.revision);
                }
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Serves a definition as it is now.
    async fn look(
        &mut self,
        name: &str,
        definition: Option<CustomResourceDefinition>,
    ) -> Result<()> {
        let Some(definition) = definition.filter(|d| is_true(d, ESTABLISHED)) else {
            return match self.served.contains_key(name) {
                true => self.replace(name, None).await,
                false => Ok(()),
            };
        };
        let made_of = made_of(&definition);
        match self.served.get(name) {
            Some(served) if served.made_of == made_of => Ok(()),
            _ => self.replace(name, Some((made_of, definition))).await,
        }
    }

    async fn replace(
        &mut self,
        name: &str,
        new: Option<(MadeOf, CustomResourceDefinition)>,
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
        let old = self.served.remove(name);
        let old = old.map(|served| served.caches).unwrap_or_default();
        let attached = new.as_ref().map_or(&[][..], |served| &served.caches);
        self.registry.table().change(&old, attached);
        storage.detach(old).await;
        if let Some(served) = new {
            self.served.insert(name.to_owned(), served);
        }
        Ok(())
    }
}

/// The hash of what of a definition its kinds are made of: when this is the same, so are they.
fn made_of(definition: &CustomResourceDefinition) -> MadeOf {
    let status = definition.status.as_ref();
    let parts = (
        &definition.spec,
        status.and_then(|s| s.accepted_names.as_ref()),
        status.and_then(|s| s.stored_versions.as_ref()),
        is_true(definition, euston_custom::definition::TERMINATING),
    );
    Sha256::digest(serde_json::to_vec(&parts).unwrap_or_default()).into()
}
