//! Server-side apply: a client says which fields it wants, and owns them.

use std::borrow::Cow;

use bytes::Bytes;
use euston_fields::{ApplyError, Config, Managed, Manager, Misfit, Operation, Tree};

use super::options::{FieldValidation, WriteOptions};
use super::update::Change;
use super::{
    ATTEMPTS_MAX, Part, Precondition, Registry, Resource, Saved, name_of, namespace_of, ownership,
};
use crate::error::{ApiError, Result};
use crate::storage::{Entry, ObjectKey, split};

/// What a client applies.
pub struct Application {
    /// The fields that it wants, as JSON: an incomplete object with `apiVersion` and `kind`.
    pub config: Bytes,
    /// What it believes the object to be.
    pub precondition: Precondition,
    /// Take over what others own.
    pub force: bool,
    /// It may create the object if there is none.
    pub may_create: bool,
    /// What it should know, whatever comes of it.
    pub warnings: Vec<String>,
}

impl Registry {
    /// Applies a configuration to the object at `key`, which is created if it is not there and
    /// a whole object is applied.
    ///
    /// # Errors
    /// 400 for what does not fit the type; 409 naming the managers and fields in conflict, or if
    /// the precondition fails; 403 if the client may not create; those of [`Registry::update`]
    /// and [`Registry::create`].
    pub async fn apply(
        &self,
        resource: Resource<'_>,
        key: &ObjectKey,
        part: Part,
        options: &WriteOptions,
        application: &Application,
    ) -> Result<Saved> {
        for _ in 0..ATTEMPTS_MAX {
            let change = |entry: &Entry| self.applied(resource, part, options, application, entry);
            let changed = self
                .change(resource, key, part, options, |_, entry| change(entry))
                .await;
            match changed {
                Err(error) if error.code == 404 && creates(part, options) => {}
                other => return other,
            }
            let name = name_of(key);
            if let Some(uid) = &application.precondition.uid {
                return Err(resource.conflict(
                    name,
                    &format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found"),
                ));
            }
            if !application.may_create {
                let names = &resource.kind.names;
                let why = "it does not exist, and you may not create it by applying it";
                return Err(ApiError::forbidden(&names.group, &names.plural, name, why));
            }
            let config = self.config(resource, part, options, application)?;
            let applied = euston_fields::apply(
                resource.kind.rules.shown_schema(),
                None,
                Managed::default(),
                &config,
                &ownership::now(),
            )
            .map_err(|error| refused(resource, key, error))?;
            let object = applied.object.to_json();
            let (object, _) = self.decode(resource, object.as_bytes(), FieldValidation::Ignore)?;
            let given = object.meta().name.as_deref().unwrap_or_default();
            if given != name {
                return Err(super::update::name_mismatch(given, name));
            }
            let owners = ownership::Owners::New(
                (!applied.managed.is_empty()).then(|| applied.managed.to_json()),
            );
            let created = self
                .create_owned(resource, namespace_of(key), object, options, Some(owners))
                .await;
            match created {
                // Somebody was faster: then there is something to apply to.
                Err(error) if error.reason == "AlreadyExists" && !options.dry_run => {}
                Err(error) => return Err(error),
                Ok(mut saved) => {
                    saved
                        .warnings
                        .splice(0..0, application.warnings.iter().cloned());
                    return Ok(saved);
                }
            }
        }
        Err(resource.stale(name_of(key)))
    }

    fn applied(
        &self,
        resource: Resource<'_>,
        part: Part,
        options: &WriteOptions,
        application: &Application,
        entry: &Entry,
    ) -> Result<Change> {
        let kind = resource.kind;
        let parts = entry.parts();
        // In the version that the client speaks.
        let live = split(&entry.value).lean;
        let live = Tree::parse(&live).map_err(ApiError::internal)?;
        let managed = ownership::read(kind, parts.owners);
        let config = self.config(resource, part, options, application)?;
        let applied = euston_fields::apply(
            kind.rules.shown_schema(),
            Some(&live),
            managed,
            &config,
            &ownership::now(),
        )
        .map_err(|error| refused(resource, &entry.key, error))?;
        let object = applied.object.to_json();
        let (object, _) = self.decode(resource, object.as_bytes(), FieldValidation::Ignore)?;
        Ok(Change {
            object,
            precondition: application.precondition.clone(),
            warnings: application.warnings.clone(),
            owners: Some(applied.managed.to_json()),
        })
    }

    fn config<'a>(
        &self,
        resource: Resource<'_>,
        part: Part,
        options: &'a WriteOptions,
        application: &'a Application,
    ) -> Result<Config<'a>> {
        let status = part == Part::Status;
        let object = Tree::parse(&application.config)
            .map_err(|e| ApiError::bad_request(format!("error decoding the configuration: {e}")))?;
        Ok(Config {
            object,
            manager: Manager {
                name: Cow::Borrowed(options.manager.as_deref().unwrap_or_default()),
                operation: Operation::Apply,
                api_version: Cow::Owned(resource.kind.names.api_version()),
                subresource: Cow::Borrowed(ownership::through(part, options)),
            },
            force: application.force,
            only: status.then_some("status"),
            except: ownership::has_status(resource.kind).then_some("status"),
        })
    }
}

/// True where applying to what is not there creates it.
fn creates(part: Part, options: &WriteOptions) -> bool {
    part == Part::Main && options.subresource.is_empty()
}

fn refused(resource: Resource<'_>, key: &ObjectKey, error: ApplyError) -> ApiError {
    match error {
        ApplyError::Conflicts(conflicts) => ApiError::apply_conflict(&conflicts),
        ApplyError::Misfits(misfits) => {
            let names = &resource.kind.names;
            ApiError::bad_request(format!(
                "failed to create typed patch object ({}; {}, Kind={}): {}",
                key.as_str(),
                names.api_version(),
                names.kind,
                listed(&misfits)
            ))
        }
    }
}

fn listed(misfits: &[Misfit]) -> String {
    if let [one] = misfits {
        return one.to_string();
    }
    let all = misfits.iter().map(|misfit| format!("\n  {misfit}"));
    format!("errors:{}", all.collect::<String>())
}
