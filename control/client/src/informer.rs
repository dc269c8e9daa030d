//! One list and watch of a kind, kept in memory for any number of readers.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::changes::{Changes, Feed};
use crate::key::ObjectKey;
use crate::store::{Delta, IndexFn, Store};

/// The first retry comes quickly (an in-process server that is just starting), later ones spare a
/// server that is down.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(10);

/// Which objects an informer follows. The default is all of them, in all namespaces.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// A label selector, such as `app=web`.
    pub labels: Option<String>,
    /// A field selector, such as `spec.nodeName=n1`.
    pub fields: Option<String>,
}

impl Selection {
    /// Everything of the kind.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Objects that the field selector chooses.
    #[must_use]
    pub fn fields(selector: impl Into<String>) -> Self {
        Self {
            fields: Some(selector.into()),
            labels: None,
        }
    }

    /// Objects that the label selector chooses.
    #[must_use]
    pub fn labels(selector: impl Into<String>) -> Self {
        Self {
            labels: Some(selector.into()),
            fields: None,
        }
    }
}

type Handler<K> = Box<dyn Fn(&Delta<'_, K>) + Send + Sync>;

struct Inner<K> {
    kind: String,
    store: RwLock<Store<K>>,
    // Held for reading while a change is stored and announced, for writing while a handler is
    // added: so a handler sees every object exactly once and then every change, in order.
    handlers: RwLock<Vec<Handler<K>>>,
    feeds: RwLock<Vec<std::sync::Weak<Feed>>>,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Listing,
    Synced,
    Stopped,
}

/// A shared, always current copy of all (selected) objects of a kind. Cloning shares it.
///
/// Every event is decoded once; readers get `Arc`s. `managedFields` are dropped, since no
/// in-cluster reader uses them and they often outweigh the object.
pub struct Informer<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

/// Collects what an informer is to follow and keep.
pub struct InformerBuilder<K> {
    api: Api<K>,
    kind: String,
    selection: Selection,
    indexes: Vec<(&'static str, IndexFn<K>)>,
    trim: fn(&mut K),
}

impl<K> InformerBuilder<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Follows only what `selection` chooses.
    #[must_use]
    pub fn select(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Keeps a secondary index: objects by each of the values that `values_of` computes for them.
    #[must_use]
    pub fn index(
        mut self,
        name: &'static str,
        values_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.indexes.push((name, Arc::new(values_of)));
        self
    }

    /// Drops parts of each object that no reader needs, before it is stored.
    #[must_use]
    pub fn trim(mut self, trim: fn(&mut K)) -> Self {
        self.trim = trim;
        self
    }

    /// Starts the task that lists and watches until `shutdown`. Must be called within a tokio runtime.
    pub fn start(self, shutdown: CancellationToken) -> Informer<K> {
        let inner = Arc::new(Inner {
            kind: self.kind,
            store: RwLock::new(Store::new(self.indexes)),
            handlers: RwLock::default(),
            feeds: RwLock::default(),
            phase: watch::Sender::new(Phase::Listing),
        });
        let config = watcher::Config {
            label_selector: self.selection.labels,
            field_selector: self.selection.fields,
            ..watcher::Config::default()
        };
        tokio::spawn(follow(inner.clone(), self.api, config, self.trim, shutdown));
        Informer { inner }
    }
}

impl<K> Informer<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Follows the selected objects of kind `K` in all namespaces until `shutdown`.
    pub fn start(client: Client, selection: Selection, shutdown: CancellationToken) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self::builder(Api::all(client))
            .select(selection)
            .start(shutdown)
    }

    /// Prepares an informer of what `api` reaches (one namespace or all).
    pub fn builder(api: Api<K>) -> InformerBuilder<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Self::builder_dynamic(api, K::kind(&()).into_owned())
    }

    /// Like [`Self::builder`], for kinds known only at run time; `kind` is used in log lines.
    pub fn builder_dynamic(api: Api<K>, kind: String) -> InformerBuilder<K> {
        InformerBuilder {
            api,
            kind,
            selection: Selection::all(),
            indexes: Vec::new(),
            trim: |_| {},
        }
    }

    /// The object of that name; `namespace` is empty for cluster-scoped kinds.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.inner.store.read().get(namespace, name).cloned()
    }

    /// The object with that key.
    #[must_use]
    pub fn get_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// All objects, in no particular order.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.inner.store.read().list()
    }

    /// All objects of one namespace, in no particular order.
    #[must_use]
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.inner.store.read().list_namespace(namespace)
    }

    /// The objects for which the index function computed `value`; empty if there is no such index.
    #[must_use]
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        self.inner.store.read().by_index(index, value)
    }

    /// How many objects are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.store.read().len()
    }

    /// Whether no object is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest resourceVersion among the objects and deletions seen: this copy contains every
    /// write of this kind up to it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.inner.store.read().revision()
    }

    /// Waits until the first list is complete; `false` if the informer stopped before that.
    pub async fn synced(&self) -> bool {
        let mut phase = self.inner.phase.subscribe();
        phase
            .wait_for(|phase| *phase != Phase::Listing)
            .await
            .is_ok_and(|phase| *phase == Phase::Synced)
    }

    /// Whether the first list is complete.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.inner.phase.borrow() == Phase::Synced
    }

    /// Calls `handler` for every object known now (as a creation) and then for every change, in
    /// order, on the informer's task. It must not block or wait; typically it adds keys to queues.
    pub fn on_change(&self, handler: impl Fn(&Delta<'_, K>) + Send + Sync + 'static) {
        let mut handlers = self.inner.handlers.write();
        for object in self.list() {
            handler(&Delta {
                old: None,
                new: Some(&object),
            });
        }
        handlers.push(Box::new(handler));
    }

    /// Subscribes to the keys of changed objects, starting with all that are known now.
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        let feed = Arc::new(Feed::default());
        let handlers = self.inner.handlers.write();
        for object in self.list() {
            feed.push(ObjectKey::of(object.meta()));
        }
        self.inner.feeds.write().push(Arc::downgrade(&feed));
        if *self.inner.phase.borrow() == Phase::Stopped {
            feed.close();
        }
        drop(handlers);
        Changes { feed }
    }
}

impl<K: Resource> Inner<K> {
    fn announce(&self, handlers: &[Handler<K>], old: Option<&Arc<K>>, new: Option<&Arc<K>>) {
        let delta = Delta { old, new };
        for handler in handlers {
            handler(&delta);
        }
        if let Some(object) = delta.latest() {
            self.feeds.write().retain(|feed| {
                feed.upgrade()
                    .inspect(|feed| feed.push(ObjectKey::of(object.meta())))
                    .is_some()
            });
        }
    }

    fn apply(&self, object: K) {
        let handlers = self.handlers.read();
        let object = Arc::new(object);
        let old = self.store.write().apply(&object);
        self.announce(&handlers, old.as_ref(), Some(&object));
    }

    fn delete(&self, last: &K) {
        let handlers = self.handlers.read();
        let old = self.store.write().delete(last);
        if old.is_some() {
            self.announce(&handlers, old.as_ref(), None);
        }
    }

    fn replace(&self, objects: Vec<Arc<K>>) {
        let handlers = self.handlers.read();
        let differences = self.store.write().replace(objects);
        for (old, new) in &differences {
            self.announce(&handlers, old.as_ref(), new.as_ref());
        }
        drop(handlers);
        self.phase.send_replace(Phase::Synced);
    }

    fn close(&self) {
        self.phase.send_replace(Phase::Stopped);
        // Handlers often hold other informers; letting go of them here frees cycles of them.
        self.handlers.write().clear();
        for feed in self
            .feeds
            .write()
            .drain(..)
            .filter_map(|feed| feed.upgrade())
        {
            feed.close();
        }
    }
}

async fn follow<K>(
    inner: Arc<Inner<K>>,
    api: Api<K>,
    config: watcher::Config,
    trim: fn(&mut K),
    shutdown: CancellationToken,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let stream = watcher(api, config);
    pin_mut!(stream);
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
    // Grows to the size of the collection, as the store itself does; emptied at the end of the list.
    let mut listing: Vec<Arc<K>> = Vec::new();
    let prepare = |mut object: K| {
        object.meta_mut().managed_fields = None;
        trim(&mut object);
        object
    };
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => break,
            event = stream.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                // `Init` comes before the list is even asked for, so it proves nothing.
                if !matches!(event, watcher::Event::Init) {
                    backoff.reset();
                }
                match event {
                    watcher::Event::Init => listing.clear(),
                    watcher::Event::InitApply(object) => listing.push(Arc::new(prepare(object))),
                    watcher::Event::InitDone => inner.replace(std::mem::take(&mut listing)),
                    watcher::Event::Apply(object) => inner.apply(prepare(object)),
                    watcher::Event::Delete(object) => inner.delete(&prepare(object)),
                }
            }
            Some(Err(error)) => {
                let delay = backoff.next_delay();
                if delay > Duration::from_secs(1) {
                    warn!(kind = inner.kind, %error, ?delay, "cannot list or watch; trying again");
                } else {
                    debug!(kind = inner.kind, %error, ?delay, "list or watch interrupted; trying again");
                }
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(delay) => {}
                }
            }
            None => break,
        }
    }
    inner.close();
}
