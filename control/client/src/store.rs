//! The in-memory copy behind an informer: objects by namespace and name, secondary indexes, and
//! what changed. Pure data, no I/O.

use std::collections::HashMap as StdHashMap;
use std::sync::Arc;

use ahash::RandomState;
use kube::Resource;

use crate::key::{ObjectKey, revision_of};

type HashMap<K, V> = StdHashMap<K, V, RandomState>;

/// One object before and after a change. Exactly one side is `None` for a creation or a deletion.
#[derive(Debug)]
pub struct Delta<'a, K> {
    /// What was known before; `None` if the object is new to this informer.
    pub old: Option<&'a Arc<K>>,
    /// What holds now; `None` if the object is gone.
    pub new: Option<&'a Arc<K>>,
}

impl<K> Delta<'_, K> {
    /// The newest state known: the present one, or the last one of a deleted object.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.new.or(self.old)
    }
}

/// One object before and after, as [`Delta`] has it, but owned.
pub(crate) type Difference<K> = (Option<Arc<K>>, Option<Arc<K>>);

/// Computes the index values of an object.
pub(crate) type IndexFn<K> = Arc<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    values_of: IndexFn<K>,
    entries: HashMap<String, HashMap<ObjectKey, Arc<K>>>,
}

impl<K> Index<K> {
    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values_of)(object) {
            if let Some(entry) = self.entries.get_mut(&value) {
                entry.remove(key);
                if entry.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }

    fn insert(&mut self, key: &ObjectKey, object: &Arc<K>) {
        for value in (self.values_of)(object) {
            self.entries
                .entry(value)
                .or_default()
                .insert(key.clone(), object.clone());
        }
    }
}

pub(crate) struct Store<K> {
    namespaces: HashMap<Arc<str>, HashMap<Arc<str>, Arc<K>>>,
    indexes: StdHashMap<&'static str, Index<K>>,
    len: usize,
    revision: u64,
}

impl<K: Resource> Store<K> {
    pub(crate) fn new(indexes: Vec<(&'static str, IndexFn<K>)>) -> Self {
        let indexes = indexes
            .into_iter()
            .map(|(name, values_of)| {
                (
                    name,
                    Index {
                        values_of,
                        entries: HashMap::default(),
                    },
                )
            })
            .collect();
        Self {
            namespaces: HashMap::default(),
            indexes,
            len: 0,
            revision: 0,
        }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.namespaces.get(namespace)?.get(name)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The highest resourceVersion seen on any object or deletion.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn list(&self) -> Vec<Arc<K>> {
        self.namespaces
            .values()
            .flat_map(|names| names.values().cloned())
            .collect()
    }

    pub(crate) fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.namespaces
            .get(namespace)
            .map(|names| names.values().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        self.indexes
            .get(index)
            .and_then(|index| index.entries.get(value))
            .map(|entry| entry.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Stores `object` and returns what it replaced.
    pub(crate) fn apply(&mut self, object: &Arc<K>) -> Option<Arc<K>> {
        let meta = object.meta();
        let key = ObjectKey::of(meta);
        self.revision = self.revision.max(revision_of(meta).unwrap_or_default());
        let old = self
            .namespaces
            .entry(key.namespace.clone())
            .or_default()
            .insert(key.name.clone(), object.clone());
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, object);
        }
        self.len += usize::from(old.is_none());
        old
    }

    /// Forgets the object that `last` was the final state of and returns what was stored.
    pub(crate) fn delete(&mut self, last: &K) -> Option<Arc<K>> {
        self.revision = self
            .revision
            .max(revision_of(last.meta()).unwrap_or_default());
        self.remove(&ObjectKey::of(last.meta()))
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let names = self.namespaces.get_mut(&key.namespace)?;
        let old = names.remove(&key.name)?;
        if names.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        for index in self.indexes.values_mut() {
            index.remove(key, &old);
        }
        self.len -= 1;
        Some(old)
    }

    /// Makes the content exactly `objects`, as after a fresh list, and returns every difference as
    /// (old, new). Objects whose resourceVersion is unchanged keep their allocation and are no difference.
    pub(crate) fn replace(&mut self, objects: Vec<Arc<K>>) -> Vec<Difference<K>> {
        let mut gone: HashMap<ObjectKey, ()> = self
            .list()
            .iter()
            .map(|object| (ObjectKey::of(object.meta()), ()))
            .collect();
        let mut differences = Vec::new();
        for object in objects {
            let key = ObjectKey::of(object.meta());
            gone.remove(&key);
            let same = self.get(&key.namespace, &key.name).is_some_and(|old| {
                old.meta().uid == object.meta().uid
                    && old.meta().resource_version == object.meta().resource_version
                    && object.meta().resource_version.is_some()
            });
            if !same {
                let old = self.apply(&object);
                differences.push((old, Some(object)));
            }
        }
        for key in gone.into_keys() {
            if let Some(old) = self.remove(&key) {
                differences.push((Some(old), None));
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;

    fn object(namespace: &str, name: &str, rv: &str, colour: &str) -> Arc<ConfigMap> {
        let mut cm = ConfigMap::default();
        cm.metadata.namespace = Some(namespace.into());
        cm.metadata.name = Some(name.into());
        cm.metadata.uid = Some(format!("uid-{name}"));
        cm.metadata.resource_version = Some(rv.into());
        cm.labels_mut().insert("colour".into(), colour.into());
        Arc::new(cm)
    }

    fn store() -> Store<ConfigMap> {
        let colour: IndexFn<ConfigMap> = Arc::new(|cm| cm.labels().values().cloned().collect());
        Store::new(vec![("colour", colour)])
    }

    fn names(list: &[Arc<ConfigMap>]) -> Vec<String> {
        let mut names: Vec<String> = list.iter().map(|object| object.name_any()).collect();
        names.sort();
        names
    }

    #[test]
    fn objects_are_found_by_name_namespace_and_index() {
        let mut store = store();
        store.apply(&object("a", "one", "1", "red"));
        store.apply(&object("a", "two", "2", "blue"));
        store.apply(&object("b", "one", "3", "red"));
        assert_eq!(store.len(), 3);
        assert_eq!(
            store.get("b", "one").map(|o| o.name_any()),
            Some("one".to_owned())
        );
        assert!(store.get("b", "two").is_none());
        assert_eq!(names(&store.list_namespace("a")), ["one", "two"]);
        assert_eq!(store.by_index("colour", "red").len(), 2);
        assert_eq!(store.by_index("no such index", "red").len(), 0);
        assert_eq!(store.revision(), 3);
    }

    #[test]
    fn an_index_follows_updates_and_deletions() {
        let mut store = store();
        store.apply(&object("a", "one", "1", "red"));
        store.apply(&object("a", "one", "2", "blue"));
        assert!(store.by_index("colour", "red").is_empty());
        assert_eq!(names(&store.by_index("colour", "blue")), ["one"]);
        assert!(store.delete(&object("a", "one", "9", "blue")).is_some());
        assert!(store.by_index("colour", "blue").is_empty());
        assert_eq!((store.len(), store.revision()), (0, 9));
        assert!(
            store.delete(&object("a", "one", "9", "blue")).is_none(),
            "a second deletion changes nothing"
        );
    }

    #[test]
    fn a_relist_yields_exactly_the_differences() {
        let mut store = store();
        for name in ["kept", "changed", "gone"] {
            store.apply(&object("a", name, "1", "red"));
        }
        let list = vec![
            object("a", "kept", "1", "red"),
            object("a", "changed", "5", "blue"),
            object("a", "new", "6", "red"),
        ];
        let mut seen: Vec<String> = store
            .replace(list)
            .into_iter()
            .map(|(old, new)| match (old, new) {
                (Some(_), Some(new)) => format!("~{}", new.name_any()),
                (None, Some(new)) => format!("+{}", new.name_any()),
                (Some(old), None) => format!("-{}", old.name_any()),
                (None, None) => "nothing".to_owned(),
            })
            .collect();
        seen.sort();
        assert_eq!(seen, ["+new", "-gone", "~changed"]);
        assert_eq!(names(&store.list()), ["changed", "kept", "new"]);
    }
}
