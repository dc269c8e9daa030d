//! Which objects a controller owns: adopt what matches and is free, release what no longer matches.

use std::fmt::Debug;
use std::sync::Arc;

use euston_api::owners;
use euston_api::selector::LabelSelector;
use euston_client::{Delta, ObjectKey};
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{Attempt, Error};

/// What to do with the candidates of one owner.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    pub(crate) owned: Vec<Arc<K>>,
    pub(crate) adopt: Vec<Arc<K>>,
    pub(crate) release: Vec<Arc<K>>,
}

/// Sorts `candidates` by the owner's uid and selector. An owner that is being deleted keeps what it
/// has, but neither adopts nor releases.
pub(crate) fn claims<K: Resource>(
    owner: &ObjectMeta,
    selector: &LabelSelector,
    candidates: impl IntoIterator<Item = Arc<K>>,
) -> Claims<K> {
    let uid = owner.uid.as_deref().unwrap_or_default();
    let leaving = owner.deletion_timestamp.is_some();
    let mut claims = Claims {
        owned: Vec::new(),
        adopt: Vec::new(),
        release: Vec::new(),
    };
    for object in candidates {
        let meta = object.meta();
        let matches = selector.matches_optional(meta.labels.as_ref());
        match owners::controller_of(meta) {
            Some(controller) if controller.uid != uid => {}
            Some(_) if matches => claims.owned.push(object),
            Some(_) if !leaving => claims.release.push(object),
            None if matches && !leaving && meta.deletion_timestamp.is_none() => {
                claims.adopt.push(object)
            }
            _ => {}
        }
    }
    claims
}

/// The controller of an object, if it is of the kind `O`.
pub(crate) fn controller_key<O: k8s_openapi::Resource>(meta: &ObjectMeta) -> Option<ObjectKey> {
    let owner = owners::controller_of(meta).filter(|owner| owner.kind == O::KIND)?;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    Some(ObjectKey::new(namespace, &owner.name))
}

/// The objects of the kind `O` that a changed object concerns: its controllers before and after,
/// or, if it has none and is not ending, all of `candidates` (of a namespace) that would take it.
pub(crate) fn concerned<K: Resource, O: Resource + k8s_openapi::Resource>(
    delta: &Delta<'_, K>,
    candidates: impl Fn(&str) -> Vec<Arc<O>>,
    selector: impl Fn(&O) -> &meta::v1::LabelSelector,
) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = delta
        .old
        .into_iter()
        .chain(delta.new)
        .filter_map(|object| controller_key::<O>(object.meta()))
        .collect();
    keys.dedup();
    if let Some(new) = delta.new.map(|new| new.meta())
        && owners::controller_of(new).is_none()
        && new.deletion_timestamp.is_none()
    {
        let matching = candidates(new.namespace.as_deref().unwrap_or_default())
            .into_iter()
            .filter(|owner| {
                LabelSelector::from_api(Some(selector(owner))).is_ok_and(|selector| {
                    !selector.is_everything() && selector.matches_optional(new.labels.as_ref())
                })
            });
        keys.extend(matching.map(|owner| ObjectKey::of(owner.meta())));
    }
    keys
}

/// A reference that makes `owner` the controller of what carries it.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Carries out adoption and release, and returns everything that `owner` owns afterwards.
///
/// Before anything is adopted the owner is read afresh: one that was deleted (and maybe recreated
/// under another uid) must not collect objects. Each patch is bound to the object's resourceVersion.
pub(crate) async fn settle<O, K>(
    client: &Client,
    owner: &O,
    claims: Claims<K>,
) -> Result<Vec<Arc<K>>, Error>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let Claims {
        mut owned,
        adopt,
        release,
    } = claims;
    if adopt.is_empty() && release.is_empty() {
        return Ok(owned);
    }
    let meta = owner.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let uid = meta.uid.as_deref().unwrap_or_default();
    let kind = K::kind(&());
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    for object in release {
        let name = object.meta().name.as_deref().unwrap_or_default();
        let mut rest = object.meta().owner_references.clone().unwrap_or_default();
        rest.retain(|reference| reference.uid != uid);
        let patch = json!({"metadata": {"resourceVersion": object.meta().resource_version, "ownerReferences": rest}});
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => {}
            Err(error) if euston_client::errors::is_not_found(&error) => {}
            Err(error) => {
                return Err(error).attempting(|| format!("release {kind} {namespace}/{name}"));
            }
        }
    }
    if adopt.is_empty() {
        return Ok(owned);
    }
    let owners: Api<O> = Api::namespaced(client.clone(), namespace);
    let owner_name = meta.name.as_deref().unwrap_or_default();
    let live = owners.get_metadata_opt(owner_name).await.attempting(|| {
        format!(
            "read {} {namespace}/{owner_name} before adopting",
            O::kind(&())
        )
    })?;
    let may_adopt = live.is_some_and(|live| {
        live.metadata.uid.as_deref() == Some(uid) && live.metadata.deletion_timestamp.is_none()
    });
    if !may_adopt {
        return Ok(owned);
    }
    for object in adopt {
        let name = object.meta().name.as_deref().unwrap_or_default();
        let mut references = object.meta().owner_references.clone().unwrap_or_default();
        references.push(controller_reference(owner));
        let patch = json!({"metadata": {"resourceVersion": object.meta().resource_version, "ownerReferences": references}});
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(adopted) => owned.push(Arc::new(adopted)),
            Err(error) if euston_client::errors::is_not_found(&error) => {}
            Err(error) => {
                return Err(error).attempting(|| format!("adopt {kind} {namespace}/{name}"));
            }
        }
    }
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{at, pod};
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn objects_are_claimed_by_uid_and_selector() {
        let owner = |leaving: bool| ObjectMeta {
            uid: Some("me".into()),
            deletion_timestamp: leaving.then(|| Time(at(0))),
            ..ObjectMeta::default()
        };
        let selector = LabelSelector::parse("app=web").unwrap();
        // (owner leaving, controller, matching label, pod leaving) -> where it goes
        for (leaving, controller, matches, pod_leaving, expect) in [
            (false, Some("me"), true, false, "owned"),
            (false, Some("me"), true, true, "owned"),
            (false, Some("me"), false, false, "release"),
            (false, Some("other"), true, false, "-"),
            (false, None, true, false, "adopt"),
            (false, None, true, true, "-"),
            (false, None, false, false, "-"),
            (true, Some("me"), true, false, "owned"),
            (true, Some("me"), false, false, "-"),
            (true, None, true, false, "-"),
        ] {
            let mut object: Pod = pod("a", true);
            if !matches {
                object.metadata.labels = None;
            }
            object.metadata.deletion_timestamp = pod_leaving.then(|| Time(at(0)));
            object.metadata.owner_references = controller.map(|uid| {
                vec![OwnerReference {
                    uid: uid.into(),
                    controller: Some(true),
                    ..OwnerReference::default()
                }]
            });
            let claims = claims(&owner(leaving), &selector, [Arc::new(object)]);
            let got = match (claims.owned.len(), claims.adopt.len(), claims.release.len()) {
                (1, 0, 0) => "owned",
                (0, 1, 0) => "adopt",
                (0, 0, 1) => "release",
                _ => "-",
            };
            assert_eq!(
                got, expect,
                "{leaving} {controller:?} {matches} {pod_leaving}"
            );
        }
    }
}
