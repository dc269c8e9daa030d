//! NamespaceLifecycle: nothing new in a namespace that is missing or going away.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, StatusCause};

use crate::error::{ApiError, Result};
use crate::registry::Resource;
use crate::storage::{ObjectKey, ResourceCache, prefix};

pub(super) fn check(
    namespaces: &ResourceCache,
    resource: Resource<'_>,
    meta: &ObjectMeta,
) -> Result<Vec<String>> {
    if !resource.kind.names.namespaced {
        return Ok(Vec::new());
    }
    let name = meta.namespace.as_deref().unwrap_or_default();
    let key = ObjectKey::new(None, name);
    let Some(entry) = namespaces.get(&key) else {
        return Err(ApiError::not_found("", "namespaces", name));
    };
    let fields = &entry.attrs(namespaces.kind()).fields;
    if fields
        .iter()
        .any(|(label, value)| *label == "status.phase" && value == "Terminating")
    {
        let names = &resource.kind.names;
        let why = format!(
            "unable to create new content in namespace {name} because it is being terminated"
        );
        let object = meta.name.as_deref().unwrap_or_default();
        let mut error = ApiError::forbidden(&names.group, &names.plural, object, &why);
        error.details.get_or_insert_default().causes = Some(vec![StatusCause {
            field: Some("metadata.namespace".to_owned()),
            message: Some(format!("namespace {name} is being terminated")),
            reason: Some("NamespaceTerminating".to_owned()),
        }]);
        return Err(error);
    }
    Ok(vec![format!(
        "{}{}",
        prefix(namespaces.kind()),
        key.as_str()
    )])
}
