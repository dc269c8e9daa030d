//! Deleting an object: at once, or by marking it until grace and finalizers are over.
//! Follows `rest.BeforeDelete` and the generic store's `Delete` of k8s.io/apiserver, and
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>.

use std::sync::Arc;

use euston_api::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::kind::Dependents;
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
    /// What the client should know.
    pub warnings: Vec<String>,
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
        let warnings = warnings(resource, deletion);
        for _ in 0..ATTEMPTS_MAX {
            self.storage.fresh().await?;
            let entry = resource
                .cache
                .get(key)
                .ok_or_else(|| resource.not_found(name_of(key)))?;
            let parts = entry.parts();
            let old = resource.decode_stored(&entry, &parts)?;
            precondition.check_deletion(resource, old.as_ref(), &entry)?;
            self.admission.delete(resource, old.as_ref())?;
            let deleted = |entry, gone| Deleted {
                entry,
                gone,
                uid: old.meta().uid.clone(),
                warnings: warnings.clone(),
            };
            let rules = &resource.kind.rules;
            let mut new = old.clone_box();
            let graceful = rules.grace_period_seconds(old.as_ref(), deletion.grace_seconds);
            let grace = Grace {
                graceful,
                asked: deletion.grace_seconds,
            };
            let dependents = resource.kind.dependents;
            if !mark(
                new.meta_mut(),
                grace,
                deletion.propagation,
                dependents,
                metadata::now(),
            ) {
                return Ok(deleted(entry, false));
            }
            if old.meta().deletion_timestamp.is_none() {
                rules.mark_terminating(new.as_mut());
            }
            let gone = finished(resource, new.as_ref());
            let value = resource.seal(resource.encode(&new)?, parts.owners)?;
            if !gone && value == entry.stored() {
                return Ok(deleted(entry, false));
            }
            if deletion.dry_run {
                let marked = resource.entry(key, entry.revision, value);
                return Ok(deleted(if gone { entry } else { marked }, gone));
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
                self.settled(resource, revision).await;
                let entry = resource.entry(key, revision, value);
                return Ok(deleted(entry, gone));
            }
            if precondition.resource_version.is_some() {
                return Err(resource.stale(name_of(key)));
            }
        }
        Err(resource.stale(name_of(key)))
    }
}

/// What the client should know of a deletion that Kubernetes itself is sorry about.
fn warnings(resource: Resource<'_>, deletion: &Deletion) -> Vec<String> {
    if resource.kind.dependents != Dependents::Orphaned || deletion.propagation.is_some() {
        return Vec::new();
    }
    vec![format!(
        "child pods are preserved by default when {} are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
        resource.kind.names.plural
    )]
}

/// The time that an object is given to end.
#[derive(Clone, Copy)]
struct Grace {
    /// Seconds, for a kind that ends gracefully.
    graceful: Option<i64>,
    /// Seconds that the client asked for.
    asked: Option<i64>,
}

/// Marks an object as terminating. False if nothing is to be done, since a graceful deletion
/// is under way already: that one may only be made shorter.
fn mark(
    meta: &mut ObjectMeta,
    grace: Grace,
    propagation: Option<Propagation>,
    dependents: Dependents,
    now: Time,
) -> bool {
    let running = meta
        .deletion_timestamp
        .as_ref()
        .zip(meta.deletion_grace_period_seconds)
        .map(|(end, given)| (end.0, given.max(0)));
    let mut next = None;
    match (grace.graceful, running) {
        (Some(_), Some((end, given))) if given > 0 => {
            let Some(shorter) = grace.asked.filter(|&asked| asked < given) else {
                return false;
            };
            // Counted from when the first deletion came.
            next = Some((end, shorter - given, shorter));
        }
        (Some(seconds), None) if meta.deletion_timestamp.is_none() => {
            next = Some((now.0, seconds.max(0), seconds.max(0)));
        }
        _ => {}
    }
    if meta.deletion_timestamp.is_none()
        && let Some(generation) = meta.generation
    {
        meta.generation = Some(generation + 1);
    }
    set_finalizer(meta, propagation, dependents);
    // Who does not end gracefully, or has been given no time, has no time left.
    let (from, shift, seconds) = next.unwrap_or_else(|| {
        let end = meta.deletion_timestamp.as_ref().map(|end| end.0);
        (end.map_or(now.0, |end| end.min(now.0)), 0, 0)
    });
    let end = from.saturating_add(SignedDuration::from_secs(shift));
    meta.deletion_timestamp = Some(Time(end.unwrap_or(from)));
    meta.deletion_grace_period_seconds = Some(seconds);
    true
}

/// Leaves the collector's finalizer that the deletion needs, and no other of its own.
fn set_finalizer(meta: &mut ObjectMeta, propagation: Option<Propagation>, dependents: Dependents) {
    let ours = |f: &str| f == FINALIZER_ORPHAN || f == FINALIZER_FOREGROUND;
    let finalizers = meta.finalizers.get_or_insert_default();
    let had = finalizers.iter().find(|f| ours(f)).cloned();
    let wanted = match (dependents, propagation) {
        (Dependents::None, _) | (_, Some(Propagation::Background)) => None,
        (_, Some(Propagation::Foreground)) => Some(FINALIZER_FOREGROUND.to_owned()),
        (_, Some(Propagation::Orphan)) => Some(FINALIZER_ORPHAN.to_owned()),
        (Dependents::Orphaned, None) => had.or(Some(FINALIZER_ORPHAN.to_owned())),
        (Dependents::Deleted, None) => had,
    };
    finalizers.retain(|f| !ours(f) || Some(f) == wanted.as_ref());
    if let Some(wanted) = wanted
        && !finalizers.contains(&wanted)
    {
        finalizers.push(wanted);
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

    /// (deleted until, grace), as it stands in the metadata.
    type State = Option<(i64, Option<i64>)>;

    fn check_grace(had: State, grace: (Option<i64>, Option<i64>), now: i64, expect: State) {
        let mut meta = ObjectMeta {
            generation: Some(1),
            deletion_timestamp: had.map(|(until, _)| at(until)),
            deletion_grace_period_seconds: had.and_then(|(_, grace)| grace),
            ..ObjectMeta::default()
        };
        let before = meta.clone();
        let grace = Grace {
            graceful: grace.0,
            asked: grace.1,
        };
        let changes = mark(&mut meta, grace, None, Dependents::Deleted, at(now));
        let given = meta.deletion_grace_period_seconds;
        let got = meta
            .deletion_timestamp
            .as_ref()
            .map(|t| (t.0.as_second(), given));
        let case = format!("{had:?} {:?} {now}", grace.asked);
        match expect {
            None => assert!(!changes && meta == before, "{case}: {got:?}"),
            Some(_) => assert_eq!((changes, got), (true, expect), "{case}"),
        }
        let generation = if had.is_none() { 2 } else { 1 };
        assert_eq!(meta.generation, Some(generation), "{case}");
    }

    #[test]
    fn a_running_grace_is_only_made_shorter_and_counts_from_its_beginning() {
        let running = Some((130, Some(30)));
        // (what the kind gives, what the client asks for)
        check_grace(None, (Some(30), None), 100, running);
        check_grace(None, (Some(5), Some(5)), 100, Some((105, Some(5))));
        check_grace(None, (Some(0), Some(0)), 100, Some((100, Some(0))));
        check_grace(running, (Some(30), None), 110, None);
        check_grace(running, (Some(60), Some(60)), 110, None);
        check_grace(running, (Some(30), Some(30)), 110, None);
        check_grace(running, (Some(5), Some(5)), 110, Some((105, Some(5))));
        check_grace(running, (Some(0), Some(0)), 110, Some((100, Some(0))));
        // The second one asks for nothing, and the kind now gives less: it changes nothing.
        check_grace(Some((160, Some(60))), (Some(30), None), 110, None);
        // It has no time left: whatever is asked for.
        check_grace(
            Some((100, Some(0))),
            (Some(9), Some(9)),
            110,
            Some((100, Some(0))),
        );
        check_grace(
            Some((100, None)),
            (Some(9), Some(9)),
            110,
            Some((100, Some(0))),
        );
    }

    #[test]
    fn kinds_without_grace_end_now() {
        check_grace(None, (None, None), 100, Some((100, Some(0))));
        check_grace(None, (None, Some(30)), 100, Some((100, Some(0))));
        check_grace(
            Some((100, Some(0))),
            (None, None),
            110,
            Some((100, Some(0))),
        );
        check_grace(
            Some((120, Some(0))),
            (None, None),
            110,
            Some((110, Some(0))),
        );
    }

    #[test]
    fn propagation_is_a_finalizer() {
        use Propagation::{Background, Foreground, Orphan};
        let check = |had: &[&str], dependents, policy, expect: &[&str]| {
            let mut meta = ObjectMeta {
                finalizers: Some(had.iter().map(|&f| f.to_owned()).collect()),
                ..ObjectMeta::default()
            };
            set_finalizer(&mut meta, policy, dependents);
            let got = meta.finalizers.unwrap_or_default();
            assert_eq!(got, expect, "{had:?} {dependents:?} {policy:?}");
        };
        let go = Dependents::Deleted;
        check(&["a/b"], go, None, &["a/b"]);
        check(&["a/b", "orphan"], go, Some(Background), &["a/b"]);
        check(&["orphan"], go, Some(Foreground), &["foregroundDeletion"]);
        check(&["foregroundDeletion"], go, Some(Orphan), &["orphan"]);
        check(&["foregroundDeletion"], go, None, &["foregroundDeletion"]);
        check(&["orphan"], go, None, &["orphan"]);
        check(&["orphan"], go, Some(Background), &[]);
        check(&["orphan", "a/b"], go, Some(Orphan), &["orphan", "a/b"]);
        check(
            &["a/b"],
            go,
            Some(Foreground),
            &["a/b", "foregroundDeletion"],
        );
        let stay = Dependents::Orphaned;
        check(&[], stay, None, &["orphan"]);
        check(&["foregroundDeletion"], stay, None, &["foregroundDeletion"]);
        check(&[], stay, Some(Background), &[]);
        check(&[], stay, Some(Foreground), &["foregroundDeletion"]);
        let none = Dependents::None;
        check(&[], none, Some(Foreground), &[]);
        check(&["a/b", "orphan"], none, Some(Orphan), &["a/b"]);
    }
}
