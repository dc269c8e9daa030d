//! What every object's metadata goes through, whatever its kind.

use euston_api::field::{ErrorList, Path};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use rand::Rng;

use super::Resource;
use crate::error::{ApiError, Result};

/// Letters and digits of generated names, without those that spell words or look alike
/// (`k8s.io/apimachinery/pkg/util/rand`).
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// Generated names are cut so that the suffix still fits a DNS label.
const GENERATED_BASE_MAX: usize = 63 - SUFFIX_LENGTH;

/// Now, in whole seconds, as Kubernetes writes times.
pub(super) fn now() -> Time {
    euston_api::time::whole_seconds(jiff::Timestamp::now())
}

/// `base` and five random characters.
pub(crate) fn generated_name(base: &str) -> String {
    let mut end = base.len().min(GENERATED_BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let mut rng = rand::rng();
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    }
    name
}

/// Puts the request's namespace into the object, or says that they differ.
pub(super) fn settle_namespace(
    resource: Resource<'_>,
    meta: &mut ObjectMeta,
    namespace: Option<&str>,
) -> Result<()> {
    let given = meta.namespace.as_deref().unwrap_or_default();
    match namespace {
        Some(namespace) if given.is_empty() => meta.namespace = Some(namespace.to_owned()),
        Some(namespace) if given != namespace => {
            return Err(ApiError::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({given:?}, {namespace:?})"
            )));
        }
        None if given.is_empty() => meta.namespace = None,
        None if !resource.kind.names.namespaced => {
            return Err(ApiError::bad_request(format!(
                "namespace {given:?} is set on a {}, which has none",
                resource.kind.names.kind
            )));
        }
        _ => {}
    }
    Ok(())
}

/// Gives a new object what only the server may give.
pub(super) fn begin(resource: Resource<'_>, meta: &mut ObjectMeta) {
    meta.generate_name.take_if(|base| base.is_empty());
    meta.uid = Some(uuid::Uuid::new_v4().to_string());
    meta.creation_timestamp = Some(now());
    meta.generation = resource.kind.rules.has_generation().then_some(1);
    meta.resource_version = None;
    meta.self_link = None;
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
}

/// Carries over what an update may not change.
pub(super) fn carry_over(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.uid = old.uid.clone();
    new.creation_timestamp = old.creation_timestamp.clone();
    new.generation = old.generation;
    new.generate_name = old.generate_name.clone();
    new.deletion_timestamp = old.deletion_timestamp.clone();
    new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    new.resource_version = None;
    new.self_link = None;
}

/// Everything wrong with the metadata by itself.
pub(super) fn validate(resource: Resource<'_>, meta: &ObjectMeta) -> ErrorList {
    let names = &resource.kind.names;
    let rule = resource.kind.rules.name_rule();
    euston_api::metadata::validate(meta, names.namespaced, rule, &Path::new("metadata"))
}

/// Everything wrong with the step from `old` to `new`.
pub(super) fn validate_update(new: &ObjectMeta, old: &ObjectMeta) -> ErrorList {
    euston_api::metadata::validate_update(new, old, &Path::new("metadata"))
}

/// Turns found errors into the answer, if there are any.
pub(super) fn refuse(resource: Resource<'_>, name: &str, errors: &ErrorList) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let names = &resource.kind.names;
    Err(ApiError::invalid(&names.group, &names.kind, name, errors))
}
