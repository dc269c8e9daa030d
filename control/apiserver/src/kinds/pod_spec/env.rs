//! Environment variables, and what else refers to a pod's own fields.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use euston_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector,
};

use super::required_name;

/// Fields of a pod that a variable may take.
pub(super) const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of a pod that a file may hold.
pub(super) const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn validate_env(env: &[EnvVar], path: &Path, errors: &mut ErrorList) {
    for (index, variable) in env.iter().enumerate() {
        let path = path.index(index);
        required_name(
            &variable.name,
            names::env_var_name,
            path.child("name"),
            errors,
        );
        if let Some(from) = &variable.value_from {
            let has_value = variable.value.as_deref().is_some_and(|v| !v.is_empty());
            validate_value_from(from, has_value, &path.child("valueFrom"), errors);
        }
    }
}

fn validate_value_from(from: &EnvVarSource, has_value: bool, path: &Path, errors: &mut ErrorList) {
    let mut sources = 0;
    if let Some(field) = &from.field_ref {
        sources += 1;
        validate_field(field, &ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &from.resource_field_ref {
        sources += 1;
        validate_resource(resource, false, &path.child("resourceFieldRef"), errors);
    }
    if let Some(key) = &from.config_map_key_ref {
        sources += 1;
        validate_key(&key.name, &key.key, &path.child("configMapKeyRef"), errors);
    }
    if let Some(key) = &from.secret_key_ref {
        sources += 1;
        validate_key(&key.name, &key.key, &path.child("secretKeyRef"), errors);
    }
    if let Some(file) = &from.file_key_ref {
        sources += 1;
        let path = path.child("fileKeyRef");
        required_name(&file.key, names::env_var_name, path.child("key"), errors);
        required_name(
            &file.volume_name,
            names::dns1123_label,
            path.child("volumeName"),
            errors,
        );
        if file.path.is_empty() {
            errors.required(path.child("path"), "");
        } else {
            super::volumes::validate_inner_path(&file.path, &path.child("path"), errors);
        }
    }
    let problem = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or \
             `secretKeyRef`"
        }
        _ if has_value => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.invalid(path.clone(), "", problem);
}

fn validate_key(name: &str, key: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path.child("name"), "");
    }
    required_name(key, names::config_map_key, path.child("key"), errors);
}

/// A reference to a field of the pod: one of `known`, or one label or annotation.
pub(super) fn validate_field(
    field: &ObjectFieldSelector,
    known: &[&str],
    path: &Path,
    errors: &mut ErrorList,
) {
    if field.api_version.as_deref().is_none_or(str::is_empty) {
        return errors.required(path.child("apiVersion"), "");
    }
    let wanted = field.field_path.as_str();
    let path = path.child("fieldPath");
    if wanted.is_empty() {
        return errors.required(path, "");
    }
    if let Some((of, key)) = subscript(wanted) {
        return match of {
            "metadata.annotations" => {
                errors.invalid_each(&path, key, names::qualified_name(&key.to_lowercase()));
            }
            "metadata.labels" => errors.invalid_each(&path, key, names::qualified_name(key)),
            _ => errors.invalid(path, wanted, format!("{of} does not support subscript")),
        };
    }
    if ENV_FIELDS.contains(&wanted) || FILE_FIELDS.contains(&wanted) {
        if !known.contains(&wanted) {
            errors.not_supported(path, wanted, known);
        }
        return;
    }
    let rule = format!("error converting fieldPath: field label not supported: {wanted}");
    errors.invalid(path, wanted, rule);
}

/// Takes `metadata.labels['app']` apart.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (of, rest) = path.split_once('[')?;
    Some((of, rest.strip_prefix('\'')?.strip_suffix("']")?))
}

/// A reference to how much a container may have. In a volume the container must be named.
pub(super) fn validate_resource(
    reference: &ResourceFieldSelector,
    in_volume: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    if in_volume
        && reference
            .container_name
            .as_deref()
            .is_none_or(str::is_empty)
    {
        return errors.required(path.child("containerName"), "");
    }
    let resource = reference.resource.as_str();
    if resource.is_empty() {
        return errors.required(path.child("resource"), "");
    }
    let huge = resource
        .strip_prefix("limits.")
        .or_else(|| resource.strip_prefix("requests."))
        .is_some_and(|name| name.starts_with("hugepages-"));
    if !RESOURCES.contains(&resource) && !huge {
        return errors.not_supported(path.child("resource"), resource, &RESOURCES);
    }
    let Some(divisor) = &reference.divisor else {
        return;
    };
    let path = path.child("divisor");
    let parsed = match Quantity::from_api(divisor) {
        Ok(parsed) => parsed,
        Err(error) => return errors.invalid(path, divisor, error.to_string()),
    };
    let units: &[&str] = if resource.ends_with(".cpu") {
        &["1m", "1"]
    } else {
        &[
            "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
        ]
    };
    if !parsed.is_zero() && !units.contains(&parsed.to_string().as_str()) {
        let name = resource.split_once('.').map_or(resource, |(_, name)| name);
        let units = units.join(if units.len() == 2 { " and " } else { ", " });
        let rule = format!("only divisor's values {units} are supported with the {name} resource");
        errors.invalid(path, divisor, rule);
    }
}

pub(super) fn validate_env_from(sources: &[EnvFromSource], path: &Path, errors: &mut ErrorList) {
    for (index, source) in sources.iter().enumerate() {
        let path = path.index(index);
        if let Some(prefix) = source.prefix.as_deref().filter(|p| !p.is_empty()) {
            errors.invalid_each(&path.child("prefix"), prefix, names::env_var_name(prefix));
        }
        let references = [
            (
                "configMapRef",
                source.config_map_ref.as_ref().map(|r| &r.name),
            ),
            ("secretRef", source.secret_ref.as_ref().map(|r| &r.name)),
        ];
        let mut found = 0;
        for (field, name) in references {
            let Some(name) = name else { continue };
            found += 1;
            required_name(
                name,
                names::dns1123_subdomain,
                path.child(field).child("name"),
                errors,
            );
        }
        let problem = match found {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.invalid(path, "", problem);
    }
}
