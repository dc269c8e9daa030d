//! Deleting an object: at once, or by marking it until grace and finalizers are over.
//! Follows <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>.

use std::sync::Arc;

use euston_api::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::options::{Deletion, Propagation};
use super::update::{Part, Precondition, finished};
use super::{ATTEMPTS_MAX, Registry, Resource, metadata, name_of};
use crate::admission::Request;
use crate::error::Result;
use crate::storage::{Claims, Entry, ObjectKey};

/// What became of a deletion.
pub struct Deleted {
    /// The object as it last was.
    pub entry: Arc<Entry>,
    /// True if it is gone; false if it is terminating.
    pub gone: bool,
    /// Its uid.
    pub uid: Option<String>,
}

impl Registry {
    /// Deletes the object at `key`, or begins to.
    ///
    /// # Errors
    /// 404; 409 if a precondition fails; the store's.
    pub async fn delete(
        &self,
        resource: Resource<'_>,
        key: &ObjectKey,
        deletion: &Deletion,
    ) -> Result<Deleted> {
        let precondition = Precondition {
            uid: deletion.uid.clone(),
            resource_version: deletion.resource_version.clone(),
        };
        for _ in 0..ATTEMPTS_MAX {
            self.storage.fresh().await?;
            let entry = resource
                .cache
                .get(key)
                .ok_or_else(|| resource.not_found(name_of(key)))?;
            let parts = entry.parts();
            let old = resource.decode_stored(&entry, &parts)?;
            precondition.check(resource, old.as_ref(), &entry)?;
            self.admission.delete(resource, old.as_ref())?;
            let uid = old.meta().uid.clone();

            let mut new = old.clone_box();
            let grace = resource
                .kind
                .rules
                .grace_period_seconds(old.as_ref(), deletion.grace_seconds)
                .unwrap_or(0)
                .max(0);
            let first = old.meta().deletion_timestamp.is_none();
            let propagation = deletion.propagation.or_else(|| {
                let rules = &resource.kind.rules;
                rules
                    .default_propagation()
                    .filter(|_| first && !says_what_becomes_of_dependents(old.meta()))
            });
            mark(new.meta_mut(), grace, propagation, metadata::now());
            if first {
                resource.kind.rules.mark_terminating(new.as_mut());
                if let Some(generation) = new.meta().generation {
                    new.meta_mut().generation = Some(generation + 1);
                }
            }
            let gone = finished(resource, new.as_ref());
            let value = resource.seal(resource.encode(&new)?, parts.owners)?;
            if deletion.dry_run || (!gone && value == entry.stored()) {
                return Ok(Deleted {
                    entry,
                    gone: gone && deletion.dry_run,
                    uid,
                });
            }
            let request = Request::update(resource, Part::Computed, old.as_ref());
            let left = (!gone).then_some(new.as_ref());
            let charged = self.admission.charge(&request, left).await?;
            let claims = if gone {
                self.admission.given_up(old.as_ref())
            } else {
                Claims::default()
            };
            let claims = claims.with(charged.beside.clone());
            let written = self.write(resource, &entry, &value, gone, &claims).await?;
            if let Some(revision) = written {
                let entry = resource.entry(key, revision, value);
                return Ok(Deleted { entry, gone, uid });
            }
            if precondition.resource_version.is_some() {
                return Err(resource.stale(name_of(key)));
            }
        }
        Err(resource.stale(name_of(key)))
    }
}

/// True if a finalizer says what becomes of the object's dependents.
fn says_what_becomes_of_dependents(meta: &ObjectMeta) -> bool {
    let mut finalizers = meta.finalizers.iter().flatten();
    finalizers.any(|f| f == FINALIZER_ORPHAN || f == FINALIZER_FOREGROUND)
}

/// Marks an object as terminating with `grace` seconds. Grace already given is only
/// ever shortened.
fn mark(meta: &mut ObjectMeta, grace: i64, propagation: Option<Propagation>, now: Time) {
    let shorter = meta
        .deletion_grace_period_seconds
        .is_none_or(|given| grace < given);
    if meta.deletion_timestamp.is_none() || shorter {
        let end = now
            .0
            .saturating_add(SignedDuration::from_secs(grace))
            .unwrap_or(now.0);
        // An earlier deletion may already have asked for less time.
        let end = meta
            .deletion_timestamp
            .as_ref()
            .map_or(end, |given| given.0.min(end));
        meta.deletion_timestamp = Some(Time(end));
        meta.deletion_grace_period_seconds = Some(grace);
    }
    let Some(propagation) = propagation else {
        return;
    };
    let finalizers = meta.finalizers.get_or_insert_default();
    finalizers.retain(|f| f != FINALIZER_ORPHAN && f != FINALIZER_FOREGROUND);
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FINALIZER_FOREGROUND.to_owned()),
        Propagation::Orphan => finalizers.push(FINALIZER_ORPHAN.to_owned()),
    }
    if finalizers.is_empty() {
        meta.finalizers = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time(jiff::Timestamp::from_second(seconds).unwrap())
    }

    #[test]
    fn grace_is_only_shortened() {
        let mut meta = ObjectMeta::default();
        mark(&mut meta, 30, None, at(100));
        assert_eq!(
            (
                meta.deletion_timestamp.clone(),
                meta.deletion_grace_period_seconds
            ),
            (Some(at(130)), Some(30))
        );
        mark(&mut meta, 60, None, at(110));
        assert_eq!(
            (
                meta.deletion_timestamp.clone(),
                meta.deletion_grace_period_seconds
            ),
            (Some(at(130)), Some(30))
        );
        mark(&mut meta, 5, None, at(110));
        assert_eq!(
            (
                meta.deletion_timestamp.clone(),
                meta.deletion_grace_period_seconds
            ),
            (Some(at(115)), Some(5))
        );
        mark(&mut meta, 0, None, at(200));
        assert_eq!(
            (meta.deletion_timestamp, meta.deletion_grace_period_seconds),
            (Some(at(115)), Some(0))
        );
    }

    #[test]
    fn propagation_is_a_finalizer() {
        let check = |had: &[&str], policy, expect: &[&str]| {
            let mut meta = ObjectMeta {
                finalizers: Some(had.iter().map(|&f| f.to_owned()).collect()),
                ..ObjectMeta::default()
            };
            mark(&mut meta, 0, policy, at(0));
            assert_eq!(meta.finalizers.unwrap_or_default(), expect);
        };
        check(&["a/b"], None, &["a/b"]);
        check(&["a/b", "orphan"], Some(Propagation::Background), &["a/b"]);
        check(
            &["orphan"],
            Some(Propagation::Foreground),
            &["foregroundDeletion"],
        );
        check(
            &["foregroundDeletion"],
            Some(Propagation::Orphan),
            &["orphan"],
        );
        check(&["foregroundDeletion"], None, &["foregroundDeletion"]);
        check(&["orphan"], Some(Propagation::Background), &[]);
    }
}
