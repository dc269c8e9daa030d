//! The default roles and bindings: created, and at each start given back what they lost.

use euston_access::defaults::{self, Restored};
use futures::{TryStreamExt, stream};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::de::DeserializeOwned;

use super::ensure;
use crate::error::{ApiError, Result};
use crate::registry::object::BoxObject;
use crate::registry::options::{Deletion, WriteOptions};
use crate::registry::table::Row;
use crate::registry::{Part, Precondition, Registry, Resource};
use crate::storage::ObjectKey;

const ROLES: (&str, &str, &str) = (defaults::GROUP, "v1", "clusterroles");
const BINDINGS: (&str, &str, &str) = (defaults::GROUP, "v1", "clusterrolebindings");

/// Writes under way at a time: the store puts them into one fsync.
const AT_ONCE: usize = 16;

/// Makes the stored roles and bindings what [`defaults`] says.
///
/// # Errors
/// The store's.
pub async fn run(registry: &Registry) -> Result<()> {
    stream::iter(defaults::cluster_roles().into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |want| role(registry, want))
        .await?;
    stream::iter(defaults::cluster_role_bindings().into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |want| binding(registry, want))
        .await
}

async fn role(registry: &Registry, want: ClusterRole) -> Result<()> {
    let Some((row, key)) = find(registry, ROLES, want.metadata.name.as_deref()) else {
        return Ok(());
    };
    let resource = row.resource();
    let Some(stored) = stored::<ClusterRole>(resource, &key)? else {
        return ensure(registry, ROLES, None, Box::new(want)).await;
    };
    match defaults::restored_role(&stored, &want) {
        Some(restored) => replace(registry, resource, &key, Box::new(restored)).await,
        None => Ok(()),
    }
}

async fn binding(registry: &Registry, want: ClusterRoleBinding) -> Result<()> {
    let Some((row, key)) = find(registry, BINDINGS, want.metadata.name.as_deref()) else {
        return Ok(());
    };
    let resource = row.resource();
    let Some(stored) = stored::<ClusterRoleBinding>(resource, &key)? else {
        return ensure(registry, BINDINGS, None, Box::new(want)).await;
    };
    match defaults::restored_binding(&stored, &want) {
        Restored::Right => Ok(()),
        Restored::Changed(binding) => replace(registry, resource, &key, binding).await,
        Restored::Replaced => match registry.delete(resource, &key, &Deletion::default()).await {
            Err(error) if error.code != 404 => Err(error),
            _ => ensure(registry, BINDINGS, None, Box::new(want)).await,
        },
    }
}

fn find(
    registry: &Registry,
    (group, version, plural): (&str, &str, &str),
    name: Option<&str>,
) -> Option<(Row, ObjectKey)> {
    let row = registry.resource(group, version, plural)?;
    Some((row, ObjectKey::new(None, name?)))
}

fn stored<T: DeserializeOwned>(resource: Resource<'_>, key: &ObjectKey) -> Result<Option<T>> {
    let entry = resource.cache.get(key);
    entry
        .map(|entry| serde_json::from_slice(&entry.value))
        .transpose()
        .map_err(ApiError::internal)
}

/// Another server may do the same at the same moment; then it is done.
async fn replace(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    object: BoxObject,
) -> Result<()> {
    let options = WriteOptions::default();
    let replaced = registry.update(resource, key, Part::Main, &options, |_, _| {
        Ok((object.clone_box(), Precondition::default(), Vec::new()))
    });
    match replaced.await {
        Err(error) if error.code != 404 => Err(error),
        _ => Ok(()),
    }
}
