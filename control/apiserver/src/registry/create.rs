//! Creating an object.

use euston_api::field::ErrorList;

use super::object::BoxObject;
use super::options::WriteOptions;
use super::ownership::{self, Owners};
use super::{ATTEMPTS_MAX, Part, Registry, Resource, Saved, metadata};
use crate::admission::Request;
use crate::error::{ApiError, Result};
use crate::storage::ObjectKey;

/// Names tried for one object that leaves its name to the server (KEP-4420).
const GENERATED_NAMES_MAX: usize = 8;

impl Registry {
    /// Creates `object` in `namespace` (`None` for cluster-wide kinds).
    ///
    /// # Errors
    /// 409 if there is one; 422 with everything wrong with it; 403 and 404 for its
    /// namespace; the store's.
    pub async fn create(
        &self,
        resource: Resource<'_>,
        namespace: Option<&str>,
        object: BoxObject,
        options: &WriteOptions,
    ) -> Result<Saved> {
        self.create_owned(resource, namespace, object, options, None)
            .await
    }

    /// The same; `owners` are those of an apply.
    pub(super) async fn create_owned(
        &self,
        resource: Resource<'_>,
        namespace: Option<&str>,
        mut object: BoxObject,
        options: &WriteOptions,
        owners: Option<Owners>,
    ) -> Result<Saved> {
        let rules = &resource.kind.rules;
        let meta = object.meta_mut();
        let asked = ownership::asked(meta)?;
        metadata::settle_namespace(resource, meta, namespace)?;
        if meta
            .resource_version
            .as_deref()
            .is_some_and(|v| !v.is_empty())
        {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        metadata::begin(resource, meta);
        let base = meta
            .generate_name
            .clone()
            .filter(|base| !base.is_empty() && meta.name.as_deref().unwrap_or_default().is_empty());
        if let Some(base) = &base {
            meta.name = Some(metadata::generated_name(base));
        }
        self.storage.fresh().await?;
        let mut guards = self.admission.namespace(resource, object.meta())?;
        guards.extend(resource.kind.guard.clone());
        let request = Request::create(resource);
        rules.default(object.as_mut());
        self.admission.mutate(&request, object.as_mut()).await?;
        rules.prepare_for_create(object.as_mut());
        self.admission.permit(&request, object.as_ref())?;
        // As it was before admission gave it addresses, should another server have given out the same.
        let bare = self
            .admission
            .reserves(object.as_ref())
            .then(|| object.clone_box());
        let mut errors = ErrorList::new();
        let mut reserved = self.admission.reserve(object.as_mut(), None, &mut errors);
        errors.extend(metadata::validate(resource, object.meta()));
        errors.extend(rules.validate(object.as_ref()));
        errors.extend(rules.validate_create(object.as_ref()));
        metadata::refuse(
            resource,
            object.meta().name.as_deref().unwrap_or_default(),
            &errors,
        )?;
        self.admission
            .validate(&request, object.as_mut(), 0)
            .await?;
        let warnings = rules.warnings(object.as_ref());
        let owners = match owners {
            Some(owners) => owners,
            None => {
                // What the server gave out is nobody's.
                let own = bare.as_ref().unwrap_or(&object);
                let json = resource.encode(own)?;
                ownership::written(resource.kind, Part::Main, options, None, &json, &asked)?
            }
        };

        let attempts = if base.is_some() {
            GENERATED_NAMES_MAX
        } else {
            ATTEMPTS_MAX
        };
        for _ in 0..attempts {
            let name = object.meta().name.clone().unwrap_or_default();
            let key = ObjectKey::new(namespace, &name);
            let lean = resource.encode(&object)?;
            let value = resource.seal(lean, owners.or(None))?;
            let charged = self
                .admission
                .charge(&request, Some(object.as_ref()))
                .await?;
            if options.dry_run {
                if resource.cache.get(&key).is_some() {
                    return Err(self.exists(resource, &name));
                }
                let entry = resource.entry(&key, 0, value);
                return Ok(Saved {
                    entry,
                    created: true,
                    warnings,
                });
            }
            let claims = reserved.claims().clone().with(charged.beside.clone());
            let stored = value.clone();
            let written = self
                .storage
                .create(resource.kind, &key, stored, &guards, &claims);
            let written = written.await?;
            drop(charged);
            if let Ok(revision) = written {
                self.settled(resource, revision).await;
                let entry = resource.entry(&key, revision, value);
                return Ok(Saved {
                    entry,
                    created: true,
                    warnings,
                });
            }
            // The name is taken, the namespace has gone meanwhile, or an address went to another.
            self.storage.fresh().await?;
            self.admission.namespace(resource, object.meta())?;
            if resource.cache.is_closed() {
                return Err(ApiError::no_such_path());
            }
            match &base {
                Some(base) => {
                    object.meta_mut().name = Some(metadata::generated_name(base));
                    rules.renamed(object.as_mut(), &name);
                }
                None if resource.cache.get(&key).is_some() => {
                    return Err(self.exists(resource, &name));
                }
                // It was deleted between the two looks: the name is free again.
                None => {}
            }
            if let Some(bare) = &bare {
                let name = object.meta().name.clone();
                object = bare.clone_box();
                object.meta_mut().name = name;
                let mut errors = ErrorList::new();
                reserved = self.admission.reserve(object.as_mut(), None, &mut errors);
                let name = object.meta().name.as_deref().unwrap_or_default();
                metadata::refuse(resource, name, &errors)?;
            }
        }
        if base.is_some() {
            let name = object.meta().name.as_deref().unwrap_or_default();
            let names = &resource.kind.names;
            return Err(ApiError::no_free_name(&names.group, &names.plural, name));
        }
        Err(ApiError::timeout(format!(
            "creating {} {:?} was overtaken {ATTEMPTS_MAX} times by other writes; try again",
            resource.kind.names.kind,
            object.meta().name.as_deref().unwrap_or_default()
        )))
    }

    fn exists(&self, resource: Resource<'_>, name: &str) -> ApiError {
        ApiError::already_exists(
            &resource.kind.names.group,
            &resource.kind.names.plural,
            name,
        )
    }
}
