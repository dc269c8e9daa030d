//! What the parts of the chain have in common.

use std::sync::Arc;

use euston_access::User;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::error::{ApiError, Result};
use crate::registry::object::AnyObject;
use crate::registry::{Part, Resource};
use crate::storage::{Entry, ObjectKey, ResourceCache};

/// A write, as the chain sees it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Of which kind.
    pub resource: Resource<'a>,
    /// Which half of the object.
    pub part: Part,
    /// The object as it is stored; `None` if it is to be created.
    pub old: Option<&'a dyn AnyObject>,
}

impl<'a> Request<'a> {
    /// The creation of an object.
    pub fn create(resource: Resource<'a>) -> Self {
        Request {
            resource,
            part: Part::Main,
            old: None,
        }
    }

    /// The change of a part of an object.
    pub fn update(resource: Resource<'a>, part: Part, old: &'a dyn AnyObject) -> Self {
        Request {
            resource,
            part,
            old: Some(old),
        }
    }

    /// True if it is to be created.
    pub(super) fn creates(&self) -> bool {
        self.old.is_none()
    }

    /// 403 for `object`, for the reason `why`.
    pub(super) fn forbidden(&self, object: &dyn AnyObject, why: &str) -> ApiError {
        let names = &self.resource.kind.names;
        let name = object.meta().name.as_deref().unwrap_or_default();
        ApiError::forbidden(&names.group, &names.plural, name, why)
    }
}

/// A part of the chain. It reads caches, waits for nothing, and keeps nothing.
pub trait Plugin: Send + Sync {
    /// Fills in what a client left out. The object has its defaults, and is not validated yet.
    ///
    /// # Errors
    /// 403, if what the client wrote rules out what is to be filled in.
    fn mutate(&self, _request: &Request<'_>, _object: &mut dyn AnyObject) -> Result<()> {
        Ok(())
    }

    /// Refuses an object that is valid by itself.
    ///
    /// # Errors
    /// 403.
    fn validate(&self, _request: &Request<'_>, _object: &dyn AnyObject) -> Result<()> {
        Ok(())
    }

    /// Refuses what `by` may not write although the rules about verbs and resources allow it. Asked about every part
    /// of an object, and not about this server's own writes.
    ///
    /// # Errors
    /// 403.
    fn permit(&self, _request: &Request<'_>, _by: &User, _object: &dyn AnyObject) -> Result<()> {
        Ok(())
    }

    /// Refuses the deletion of an object.
    ///
    /// # Errors
    /// 403.
    fn delete(&self, _resource: Resource<'_>, _object: &dyn AnyObject) -> Result<()> {
        Ok(())
    }
}

/// The objects of a kind that the chain looks things up in.
pub struct Lookup<T> {
    cache: Arc<ResourceCache>,
    of: std::marker::PhantomData<fn() -> T>,
}

impl<T: AnyObject + Clone> Lookup<T> {
    /// Looks up in this cache, whose kind has the type `T`.
    pub fn new(cache: Arc<ResourceCache>) -> Self {
        Lookup {
            cache,
            of: std::marker::PhantomData,
        }
    }

    /// The object `name` of a namespace.
    pub fn get_in(&self, namespace: &str, name: &str) -> Option<T> {
        self.decode(&*self.cache.get(&ObjectKey::new(Some(namespace), name))?)
    }

    /// The object `name` of a cluster-wide kind.
    pub fn get(&self, name: &str) -> Option<T> {
        self.decode(&*self.cache.get(&ObjectKey::new(None, name))?)
    }

    /// All objects of a cluster-wide kind.
    pub fn all(&self) -> Vec<T> {
        let all = self.cache.snapshot();
        all.values()
            .filter_map(|entry| self.decode(entry))
            .collect()
    }

    /// The objects of a namespace, with where and at which revision they are stored.
    pub fn within(&self, namespace: &str) -> Vec<(Arc<Entry>, T)> {
        self.cache
            .within(namespace)
            .into_iter()
            .filter_map(|entry| {
                let object = self.decode(&entry)?;
                Some((entry, object))
            })
            .collect()
    }

    /// The cache itself.
    pub fn cache(&self) -> &Arc<ResourceCache> {
        &self.cache
    }

    fn decode(&self, entry: &Entry) -> Option<T> {
        match self.cache.kind().rules.decode_stored(&entry.value) {
            Ok(object) => object.as_any().downcast_ref::<T>().cloned(),
            Err(error) => {
                // Only a write by another version could do this; it is as if it were not there.
                tracing::error!(key = entry.key.as_str(), %error, "a stored object cannot be decoded");
                None
            }
        }
    }
}

/// Of the objects marked as the default the youngest, and of those of one age the first by name:
/// so whoever marks another one need not find and unmark the first.
pub fn newest_default<T: AnyObject>(
    objects: Vec<T>,
    is_default: impl Fn(&ObjectMeta) -> bool,
) -> Option<T> {
    let marked = objects.into_iter().filter(|o| is_default(o.meta()));
    marked.min_by_key(|object| {
        let meta = object.meta();
        let created = meta.creation_timestamp.as_ref().map(|t| t.0);
        let age = std::cmp::Reverse(created.unwrap_or(Timestamp::MIN));
        (age, meta.name.clone())
    })
}
