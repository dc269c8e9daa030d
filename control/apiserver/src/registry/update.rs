//! Changing an object: replace, patch, status, scale, binding. All are one loop
//! around a function from the old object to the new.

use bytes::Bytes;
use euston_api::field::ErrorList;

use super::kind::Subresource;
use super::object::{AnyObject, BoxObject};
use super::options::WriteOptions;
use super::ownership::{self, Owners};
use super::{ATTEMPTS_MAX, Registry, Resource, Saved, metadata, name_of};
use crate::admission::{Request, Reservation};
use crate::error::{ApiError, Result};
use crate::storage::{Claims, Entry, ObjectKey};

/// Which half of the object a client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status alone.
    Status,
    /// Another part, that a subresource is for.
    Of(Subresource),
    /// What a server-side subresource (binding, finalize) computed: the kind's rules
    /// for ordinary updates do not apply to it.
    Computed,
}

impl Part {
    /// What a client writes at an object's own path or at a subresource that
    /// [is a part of it](Subresource::is_part).
    pub fn at(sub: Option<Subresource>) -> Self {
        match sub {
            None => Part::Main,
            Some(Subresource::Status) => Part::Status,
            Some(other) => Part::Of(other),
        }
    }
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
    ///
    /// # Errors
    /// 409 if it does; 400 for a version that is none.
    pub fn check(
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

impl Precondition {
    /// The same for a deletion, whose precondition stands in its options; in Kubernetes'
    /// words for it.
    pub(super) fn check_deletion(
        &self,
        resource: Resource<'_>,
        object: &dyn AnyObject,
        entry: &Entry,
    ) -> Result<()> {
        let have = object.meta().uid.as_deref().unwrap_or_default();
        if let Some(uid) = self.uid.as_deref().filter(|&uid| uid != have) {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({have}). The object might have been deleted and then recreated"
            );
            return Err(resource.conflict(entry.name(), &why));
        }
        let have = entry.revision.to_string();
        if let Some(version) = self.resource_version.as_ref().filter(|&v| *v != have) {
            let why = format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({have}). The object might have been modified"
            );
            return Err(resource.conflict(entry.name(), &why));
        }
        Ok(())
    }
}

/// What a change makes of an object: the new one, what the client believed, and
/// what it should know.
pub type Changed = (BoxObject, Precondition, Vec<String>);

/// The same, with what an apply makes of the owners (JSON); otherwise they follow from the write.
pub(super) struct Change {
    pub(super) object: BoxObject,
    pub(super) precondition: Precondition,
    pub(super) warnings: Vec<String>,
    pub(super) owners: Option<Vec<u8>>,
}

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
        self.change(resource, key, part, options, |old, entry| {
            let (object, precondition, warnings) = change(old, entry)?;
            Ok(Change {
                object,
                precondition,
                warnings,
                owners: None,
            })
        })
        .await
    }

    pub(super) async fn change(
        &self,
        resource: Resource<'_>,
        key: &ObjectKey,
        part: Part,
        options: &WriteOptions,
        mut change: impl FnMut(&BoxObject, &Entry) -> Result<Change> + Send,
    ) -> Result<Saved> {
        for _ in 0..ATTEMPTS_MAX {
            self.storage.fresh().await?;
            let entry = resource
                .cache
                .get(key)
                .ok_or_else(|| resource.not_found(name_of(key)))?;
            let parts = entry.parts();
            let old = resource.decode_stored(&entry, &parts)?;
            let Change {
                object: mut new,
                precondition,
                mut warnings,
                owners,
            } = change(&old, &entry)?;
            let asked = ownership::asked(new.meta_mut())?;
            precondition.check(resource, old.as_ref(), &entry)?;
            let request = Request::update(resource, part, old.as_ref());
            let settled = self.settle(&request, new, name_of(key), entry.revision);
            let (new, reserved) = settled.await?;
            self.admission.permit(&request, new.as_ref())?;
            warnings.extend(resource.kind.rules.warnings(new.as_ref()));
            let lean = resource.encode(&new)?;
            let owners = match owners {
                Some(json) => ownership::applied(resource.kind, &parts, &lean, json),
                None => {
                    let old = Some(&parts);
                    ownership::written(resource.kind, part, options, old, &lean, &asked)?
                }
            };
            if owners == Owners::Unchanged && lean == *parts.lean {
                return Ok(Saved {
                    entry,
                    created: false,
                    warnings,
                });
            }
            let value = resource.seal(lean, owners.or(parts.owners))?;
            let gone = finished(resource, new.as_ref());
            let left = (!gone).then_some(new.as_ref());
            let charged = self.admission.charge(&request, left).await?;
            if options.dry_run {
                let entry = resource.entry(key, entry.revision, value);
                return Ok(Saved {
                    entry,
                    created: false,
                    warnings,
                });
            }
            let ending = gone.then(|| self.admission.given_up(old.as_ref()));
            let claims = ending.unwrap_or_else(|| reserved.claims().clone());
            let claims = claims.with(charged.beside.clone());
            let written = self.write(resource, &entry, &value, gone, &claims).await?;
            drop(charged);
            if let Some(revision) = written {
                self.settled(resource, revision).await;
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

    /// The object as it is to be stored; `at` is the revision of the old one.
    async fn settle(
        &self,
        request: &Request<'_>,
        mut new: BoxObject,
        name: &str,
        at: u64,
    ) -> Result<(BoxObject, Reservation)> {
        let (resource, part) = (request.resource, request.part);
        let Some(old) = request.old else {
            return Err(ApiError::internal("an update of what is not there"));
        };
        let rules = &resource.kind.rules;
        let mut errors = ErrorList::new();
        let given = new.meta().name.as_deref().unwrap_or_default();
        if given != name {
            return Err(name_mismatch(given, name));
        }
        metadata::settle_namespace(resource, new.meta_mut(), old.meta().namespace.as_deref())?;
        match part {
            Part::Status => {
                // Labels and annotations come along with a status; what else a kind keeps
                // is its strategy's matter.
                metadata::carry_over(new.meta_mut(), old.meta());
                rules.prepare_for_status_update(new.as_mut(), old);
                errors.extend(metadata::validate(resource, new.meta()));
                errors.extend(metadata::validate_update(new.meta(), old.meta()));
                errors.extend(rules.validate_status_update(new.as_ref(), old));
                metadata::refuse(resource, name, &errors)?;
                return Ok((new, Reservation::none()));
            }
            Part::Of(part) => {
                *new.meta_mut() = old.meta().clone();
                rules.prepare_for_part_update(part, new.as_mut(), old);
                rules.default(new.as_mut());
                if rules.bumps_generation(new.as_ref(), old) {
                    let generation = old.meta().generation.unwrap_or(0) + 1;
                    new.meta_mut().generation = Some(generation);
                }
                errors.extend(rules.validate(new.as_ref()));
                errors.extend(rules.validate_part_update(part, new.as_ref(), old));
                metadata::refuse(resource, name, &errors)?;
                return Ok((new, Reservation::none()));
            }
            Part::Computed => {
                metadata::carry_over(new.meta_mut(), old.meta());
                return Ok((new, Reservation::none()));
            }
            Part::Main => {}
        }
        metadata::carry_over(new.meta_mut(), old.meta());
        rules.default(new.as_mut());
        self.admission.mutate(request, new.as_mut()).await?;
        rules.prepare_for_update(new.as_mut(), old);
        let reserved = self.admission.reserve(new.as_mut(), Some(old), &mut errors);
        if rules.bumps_generation(new.as_ref(), old) {
            let generation = old.meta().generation.unwrap_or(0) + 1;
            new.meta_mut().generation = Some(generation);
        }
        errors.extend(metadata::validate(resource, new.meta()));
        errors.extend(metadata::validate_update(new.meta(), old.meta()));
        errors.extend(rules.validate_step(new.as_ref(), old));
        metadata::refuse(resource, name, &errors)?;
        self.admission.validate(request, new.as_mut(), at).await?;
        Ok((new, reserved))
    }
}

/// 400: the object is called otherwise than the path says.
pub fn name_mismatch(given: &str, name: &str) -> ApiError {
    ApiError::bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({name})"
    ))
}

/// True if the object was terminating and nothing holds it any more.
pub(super) fn finished(resource: Resource<'_>, object: &dyn AnyObject) -> bool {
    let meta = object.meta();
    meta.deletion_timestamp.is_some()
        && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
        && meta.finalizers.as_ref().is_none_or(Vec::is_empty)
        && !resource.kind.rules.holds_deletion(object)
}
