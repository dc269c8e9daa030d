//! Changing an object: replace, patch, status, scale, binding. All are one loop
//! around a function from the old object to the new.

use bytes::Bytes;
use euston_api::field::ErrorList;

use super::object::{AnyObject, BoxObject};
use super::options::WriteOptions;
use super::{ATTEMPTS_MAX, Registry, Resource, Saved, metadata, name_of};
use crate::error::{ApiError, Result};
use crate::storage::{Claims, Entry, ObjectKey};

/// Which half of the object a client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status alone.
    Status,
    /// What a server-side subresource (binding, finalize) computed: the kind's rules
    /// for ordinary updates do not apply to it.
    Computed,
}

/// What the client believes the object to be.
#[derive(Debug, Clone, Default)]
pub struct Precondition {
    /// This incarnation.
    pub uid: Option<String>,
    /// This version.
    pub resource_version: Option<String>,
}

impl Precondition {
    /// The precondition that an object sent by a client carries.
    pub fn of(object: &dyn AnyObject) -> Self {
        let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        Precondition {
            uid: given(&object.meta().uid),
            resource_version: given(&object.meta().resource_version),
        }
    }

    /// Says how `object` at `revision` differs from what the client believes.
    pub(super) fn check(
        &self,
        resource: Resource<'_>,
        object: &dyn AnyObject,
        entry: &Entry,
    ) -> Result<()> {
        if let Some(uid) = &self.uid
            && object.meta().uid.as_ref() != Some(uid)
        {
            let have = object.meta().uid.as_deref().unwrap_or_default();
            return Err(resource.conflict(
                entry.name(),
                &format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {have}"
                ),
            ));
        }
        match &self.resource_version {
            Some(version) if super::options::parse_resource_version(version)? != entry.revision => {
                Err(resource.stale(entry.name()))
            }
            _ => Ok(()),
        }
    }
}

/// What a change makes of an object: the new one, what the client believed, and
/// what it should know.
pub type Changed = (BoxObject, Precondition, Vec<String>);

impl Registry {
    /// Replaces the object at `key` by what `change` makes of it. If others write
    /// meanwhile and the client named no version, `change` is asked again.
    ///
    /// # Errors
    /// 404; 409 if the client's precondition fails; 422 with everything wrong; the
    /// errors of `change`; the store's.
    pub async fn update(
        &self,
        resource: Resource<'_>,
        key: &ObjectKey,
        part: Part,
        options: &WriteOptions,
        mut change: impl FnMut(&BoxObject, &Entry) -> Result<Changed> + Send,
    ) -> Result<Saved> {
        for _ in 0..ATTEMPTS_MAX {
            self.storage.fresh().await?;
            let entry = resource
                .cache
                .get(key)
                .ok_or_else(|| resource.not_found(name_of(key)))?;
            let old = resource.decode_stored(&entry)?;
            let (new, precondition, mut warnings) = change(&old, &entry)?;
            precondition.check(resource, old.as_ref(), &entry)?;
            let (new, reserved) = self.settle(resource, part, new, &old, name_of(key))?;
            warnings.extend(resource.kind.rules.warnings(new.as_ref()));
            let value = resource.encode(&new)?;
            if value == entry.stored() {
                return Ok(Saved {
                    entry,
                    created: false,
                    warnings,
                });
            }
            let gone = finished(resource, new.as_ref());
            if options.dry_run {
                let entry = resource.entry(key, entry.revision, value);
                return Ok(Saved {
                    entry,
                    created: false,
                    warnings,
                });
            }
            let ending = gone.then(|| self.admission.given_up(old.as_ref()));
            let claims = ending.as_ref().unwrap_or(reserved.claims());
            let written = self.write(resource, &entry, &value, gone, claims).await?;
            if let Some(revision) = written {
                let entry = resource.entry(key, revision, value);
                return Ok(Saved {
                    entry,
                    created: false,
                    warnings,
                });
            }
            if precondition.resource_version.is_some() {
                return Err(resource.stale(name_of(key)));
            }
        }
        Err(resource.stale(name_of(key)))
    }

    /// Puts `value` in the place of `entry`, or removes it if it is `gone`. `None` if
    /// another write came first.
    pub(super) async fn write(
        &self,
        resource: Resource<'_>,
        entry: &Entry,
        value: &Bytes,
        gone: bool,
        claims: &Claims,
    ) -> Result<Option<u64>> {
        let (kind, key, at) = (resource.kind, &entry.key, entry.revision);
        let written = if gone {
            self.storage.delete(kind, key, at, claims).await?
        } else {
            let value = value.clone();
            self.storage.update(kind, key, at, value, claims).await?
        };
        Ok(written.ok())
    }

    fn settle(
        &self,
        resource: Resource<'_>,
        part: Part,
        mut new: BoxObject,
        old: &BoxObject,
        name: &str,
    ) -> Result<(BoxObject, crate::admission::Reservation)> {
        let rules = &resource.kind.rules;
        let mut errors = ErrorList::new();
        let given = new.meta().name.as_deref().unwrap_or_default();
        if given != name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        metadata::settle_namespace(resource, new.meta_mut(), old.meta().namespace.as_deref())?;
        match part {
            Part::Status => {
                *new.meta_mut() = old.meta().clone();
                rules.prepare_for_status_update(new.as_mut(), old.as_ref());
                errors.extend(rules.validate_status_update(new.as_ref(), old.as_ref()));
                metadata::refuse(resource, name, &errors)?;
                return Ok((new, crate::admission::Reservation::none()));
            }
            Part::Computed => {
                metadata::carry_over(new.meta_mut(), old.meta());
                return Ok((new, crate::admission::Reservation::none()));
            }
            Part::Main => {}
        }
        metadata::carry_over(new.meta_mut(), old.meta());
        rules.prepare_for_update(new.as_mut(), old.as_ref());
        rules.default(new.as_mut());
        let reserved = self
            .admission
            .reserve(new.as_mut(), Some(old.as_ref()), &mut errors);
        if rules.bumps_generation(new.as_ref(), old.as_ref()) {
            let generation = old.meta().generation.unwrap_or(0) + 1;
            new.meta_mut().generation = Some(generation);
        }
        errors.extend(metadata::validate(resource, new.meta()));
        errors.extend(metadata::validate_update(new.meta(), old.meta()));
        errors.extend(rules.validate(new.as_ref()));
        errors.extend(rules.validate_update(new.as_ref(), old.as_ref()));
        metadata::refuse(resource, name, &errors)?;
        Ok((new, reserved))
    }
}

/// True if the object was terminating and nothing holds it any more.
pub(super) fn finished(resource: Resource<'_>, object: &dyn AnyObject) -> bool {
    let meta = object.meta();
    meta.deletion_timestamp.is_some()
        && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
        && meta.finalizers.as_ref().is_none_or(Vec::is_empty)
        && !resource.kind.rules.holds_deletion(object)
}
