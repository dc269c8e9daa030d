//! Checks for the tests of the chain's parts: JSON in, JSON or an error out.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::plugin::{Lookup, Plugin, Request};
use crate::error::Result;
use crate::registry::object::AnyObject;
use crate::registry::strategy::Object;
use crate::registry::{Resource, kind::Kind, table};
use crate::storage::{Entry, ObjectKey, ResourceCache};

/// A built-in kind and a cache of its objects.
pub(super) struct Row {
    kind: Arc<Kind>,
    pub(super) cache: Arc<ResourceCache>,
}

impl Row {
    pub(super) fn resource(&self) -> Resource<'_> {
        Resource {
            by: None,
            kind: &self.kind,
            cache: &self.cache,
        }
    }

    /// Puts objects into the cache as the store's feed would, at ever higher revisions.
    pub(super) fn hold(&self, objects: &[Value], from: u64) {
        for (at, object) in (from..).zip(objects) {
            let meta = &object["metadata"];
            let name = meta["name"].as_str().unwrap();
            let key = ObjectKey::new(meta["namespace"].as_str(), name);
            let value = object.to_string().into_bytes().into();
            let entry = Arc::new(Entry::new(key.clone(), at, value));
            self.cache.apply(vec![(key, Some(entry), at)], at);
        }
    }
}

pub(super) fn row(group: &str, plural: &str) -> Row {
    let kind = table::builtin()
        .into_iter()
        .find(|kind| kind.names.group == group && kind.names.plural == plural)
        .unwrap();
    let kind = Arc::new(kind);
    Row {
        cache: Arc::new(ResourceCache::new(kind.clone())),
        kind,
    }
}

pub(super) fn lookup<T: AnyObject + Clone>(
    group: &str,
    plural: &str,
    objects: &[Value],
) -> Lookup<T> {
    let row = row(group, plural);
    row.hold(objects, 2);
    Lookup::new(row.cache)
}

fn object<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"))
}

/// What a plugin makes of an object that is created.
pub(super) fn admitted<T: Object>(
    plugin: &dyn Plugin,
    group: &str,
    plural: &str,
    value: &Value,
) -> Result<Value> {
    let row = row(group, plural);
    let mut object: T = object(value);
    plugin.mutate(&Request::create(row.resource()), &mut object)?;
    Ok(serde_json::to_value(object).unwrap())
}

/// What a plugin says of an object that is created.
pub(super) fn validated<T: Object>(
    plugin: &dyn Plugin,
    group: &str,
    plural: &str,
    value: &Value,
) -> Result<()> {
    let row = row(group, plural);
    let object: T = object(value);
    plugin.validate(&Request::create(row.resource()), &object)
}
