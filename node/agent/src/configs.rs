//! ConfigMaps and Secrets: fetched when a container needs them, watched only for pods that mount
//! them.

use bytes::Bytes;
use euston_client::{Changes, Informer, Selection};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Objects remembered for containers that start together. A fetched object is used only for
/// containers that were already waiting for it when the fetch began, so nothing old is ever used;
/// the memory serves bursts, and need not be long.
const REMEMBERED_MAX: usize = 512;
const REMEMBER: Duration = Duration::from_secs(10);
/// A first list takes at most this long before the mount is tried again later.
const SYNC_MAX: Duration = Duration::from_secs(10);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ConfigKind {
    ConfigMap,
    Secret,
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ConfigKey {
    pub(crate) kind: ConfigKind,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl ConfigKey {
    pub(crate) fn new(kind: ConfigKind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ConfigKind::ConfigMap => "configmap",
            ConfigKind::Secret => "secret",
        };
        write!(f, "{kind} \"{}/{}\"", self.namespace, self.name)
    }
}

/// The entries of an object. It has no `Debug` output of its values, so that no log can have them.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct ConfigData(BTreeMap<String, Bytes>);

impl fmt::Debug for ConfigData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl ConfigData {
    pub(crate) fn of(entries: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        Self(entries.into_iter().collect())
    }

    fn of_map(map: &ConfigMap) -> Self {
        let text = map.data.iter().flatten();
        let text = text.map(|(key, value)| (key.clone(), Bytes::copy_from_slice(value.as_bytes())));
        let binary = map.binary_data.iter().flatten();
        let binary = binary.map(|(key, value)| (key.clone(), Bytes::copy_from_slice(&value.0)));
        Self::of(text.chain(binary))
    }

    fn of_secret(secret: &Secret) -> Self {
        let entries = secret.data.iter().flatten();
        Self::of(entries.map(|(key, value)| (key.clone(), Bytes::copy_from_slice(&value.0))))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Bytes> {
        self.0.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Bytes)> {
        self.0.iter()
    }
}

/// An object, or the fact that there is none.
pub(crate) type Found = Option<Arc<ConfigData>>;

/// Held by whoever fetches, so that the others wait for what it finds.
type FetchSlot = Arc<tokio::sync::Mutex<Fetched>>;

#[derive(Default)]
struct Fetched {
    began: Option<Instant>,
    found: Found,
}

/// The node's access to ConfigMaps and Secrets.
pub(crate) struct Configs {
    client: kube::Client,
    /// With the time of the last use.
    fetched: Mutex<HashMap<ConfigKey, (Instant, FetchSlot)>>,
    watched: Mutex<HashMap<ConfigKey, Weak<Watched>>>,
}

impl Configs {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            client,
            fetched: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    /// The object as it is now, or was at some time after `since`. Containers that ask together
    /// share a request.
    pub(crate) async fn get(&self, key: &ConfigKey, since: Instant) -> Result<Found, kube::Error> {
        let slot = {
            let now = Instant::now();
            let mut fetched = self.fetched.lock();
            if fetched.len() >= REMEMBERED_MAX {
                fetched.retain(|_, (used, _)| now.duration_since(*used) < REMEMBER);
            }
            if fetched.len() >= REMEMBERED_MAX {
                fetched.clear();
            }
            let entry = fetched
                .entry(key.clone())
                .or_insert_with(|| (now, Arc::default()));
            entry.0 = now;
            entry.1.clone()
        };
        let mut slot = slot.lock().await;
        if slot.began.is_some_and(|began| began >= since) {
            return Ok(slot.found.clone());
        }
        let began = Instant::now();
        let found = match key.kind {
            ConfigKind::ConfigMap => {
                Api::<ConfigMap>::namespaced(self.client.clone(), &key.namespace)
                    .get_opt(&key.name)
                    .await?
                    .map(|map| Arc::new(ConfigData::of_map(&map)))
            }
            ConfigKind::Secret => Api::<Secret>::namespaced(self.client.clone(), &key.namespace)
                .get_opt(&key.name)
                .await?
                .map(|secret| Arc::new(ConfigData::of_secret(&secret))),
        };
        *slot = Fetched {
            began: Some(began),
            found: found.clone(),
        };
        Ok(found)
    }

    /// Follows an object for as long as somebody holds the result.
    pub(crate) fn watch(&self, key: &ConfigKey) -> Arc<Watched> {
        let mut watched = self.watched.lock();
        if let Some(found) = watched.get(key).and_then(Weak::upgrade) {
            return found;
        }
        watched.retain(|_, watch| watch.strong_count() > 0);
        let stop = CancellationToken::new();
        let selection = Selection::fields(format!("metadata.name={}", key.name));
        let source = match key.kind {
            ConfigKind::ConfigMap => Source::Map(
                Informer::builder(Api::namespaced(self.client.clone(), &key.namespace))
                    .select(selection)
                    .start(stop.clone()),
            ),
            ConfigKind::Secret => Source::Secret(
                Informer::builder(Api::namespaced(self.client.clone(), &key.namespace))
                    .select(selection)
                    .start(stop.clone()),
            ),
        };
        let new = Arc::new(Watched {
            key: key.clone(),
            source,
            _stop: stop.drop_guard(),
        });
        watched.insert(key.clone(), Arc::downgrade(&new));
        new
    }
}

enum Source {
    Map(Informer<ConfigMap>),
    Secret(Informer<Secret>),
}

/// An object that is followed.
pub(crate) struct Watched {
    pub(crate) key: ConfigKey,
    source: Source,
    _stop: DropGuard,
}

impl Watched {
    /// The object as far as is known; waits for the first answer. `Err` when there is none in time.
    pub(crate) async fn get(&self) -> Result<Found, String> {
        let synced = async {
            match &self.source {
                Source::Map(informer) => informer.synced().await,
                Source::Secret(informer) => informer.synced().await,
            }
        };
        if !tokio::time::timeout(SYNC_MAX, synced)
            .await
            .unwrap_or(false)
        {
            return Err(format!(
                "cannot read {} from the API server in {SYNC_MAX:?}",
                self.key
            ));
        }
        let (namespace, name) = (&self.key.namespace, &self.key.name);
        Ok(match &self.source {
            Source::Map(informer) => informer
                .get(namespace, name)
                .map(|map| Arc::new(ConfigData::of_map(&map))),
            Source::Secret(informer) => informer
                .get(namespace, name)
                .map(|secret| Arc::new(ConfigData::of_secret(&secret))),
        })
    }

    /// Tells when it changes, beginning with its present state.
    pub(crate) fn changes(&self) -> Changes {
        match &self.source {
            Source::Map(informer) => informer.subscribe(),
            Source::Secret(informer) => informer.subscribe(),
        }
    }
}
