//! Everything wrong with a definition (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use std::collections::HashSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion, CustomResourceSubresourceScale, JSONSchemaProps,
    SelectableField,
};

use super::{ESTABLISHED, is_true, structural};
use crate::JsonPath;

/// Selectable fields of a version; Kubernetes' bound.
const SELECTABLE_FIELDS_MAX: usize = 8;

/// The longest deprecation warning, in bytes.
const WARNING_BYTES_MAX: usize = 256;

/// Everything wrong with the definition by itself.
pub fn validate(definition: &CustomResourceDefinition) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = &definition.spec;
    let path = Path::new("spec");
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    if name != format!("{}.{}", spec.names.plural, spec.group) {
        errors.invalid(
            Path::new("metadata").child("name"),
            name,
            "must be spec.names.plural+\".\"+spec.group",
        );
    }
    let group = path.child("group");
    if spec.group.is_empty() {
        errors.required(group, "");
    } else {
        let problems = names::dns1123_subdomain(&spec.group);
        if problems.is_empty() && !spec.group.contains('.') {
            errors.invalid(
                group,
                &spec.group,
                "should be a domain with at least one dot",
            );
        } else {
            errors.invalid_each(&group, &spec.group, problems);
        }
    }
    validate_approval(definition, &mut errors);
    match spec.scope.as_str() {
        "Cluster" | "Namespaced" => {}
        "" => errors.required(path.child("scope"), ""),
        other => errors.not_supported(path.child("scope"), other, &["Cluster", "Namespaced"]),
    }
    if spec.preserve_unknown_fields == Some(true) {
        errors.invalid(
            path.child("preserveUnknownFields"),
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
    validate_names(spec, &path.child("names"), &mut errors);
    validate_versions(spec, &path.child("versions"), &mut errors);
    validate_conversion(spec, &path.child("conversion"), &mut errors);
    let stored = definition
        .status
        .as_ref()
        .and_then(|s| s.stored_versions.as_ref());
    let stored_path = Path::new("status").child("storedVersions");
    for (i, version) in stored.into_iter().flatten().enumerate() {
        if !spec.versions.iter().any(|v| v.name == *version) {
            errors.invalid(
                stored_path.index(i),
                version,
                "missing from spec.versions; must remain in spec.versions until a storage migration ensures no data remains persisted in this version and removes it from status.storedVersions",
            );
        }
    }
    errors
}

/// Everything wrong with the step from `old` to `new`: what is served keeps its identity.
pub fn validate_update(
    new: &CustomResourceDefinition,
    old: &CustomResourceDefinition,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    errors.immutable(path.child("group"), &new.spec.group, &old.spec.group);
    let names = path.child("names");
    errors.immutable(
        names.child("plural"),
        &new.spec.names.plural,
        &old.spec.names.plural,
    );
    if is_true(old, ESTABLISHED) {
        errors.immutable(path.child("scope"), &new.spec.scope, &old.spec.scope);
        errors.immutable(
            names.child("kind"),
            &new.spec.names.kind,
            &old.spec.names.kind,
        );
    }
    errors
}

/// Everything wrong with a new status.
pub fn validate_status_update(new: &CustomResourceDefinition) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("storedVersions");
    let stored = new
        .status
        .as_ref()
        .and_then(|s| s.stored_versions.clone())
        .unwrap_or_default();
    if stored.is_empty() {
        errors.invalid(
            path.clone(),
            &stored,
            "must have at least one stored version",
        );
    }
    for (i, version) in stored.iter().enumerate() {
        if !new.spec.versions.iter().any(|v| v.name == *version) {
            errors.invalid(path.index(i), version, "must appear in spec.versions");
        }
    }
    if let Some(current) = super::storage_version(&new.spec)
        && !stored.iter().any(|v| v == current)
    {
        errors.invalid(
            path,
            &stored,
            format!("must have the storage version {current}"),
        );
    }
    errors
}

/// Groups of Kubernetes' own are for those whose API was reviewed
/// (<https://github.com/kubernetes/enhancements/pull/1111>).
fn validate_approval(definition: &CustomResourceDefinition, errors: &mut ErrorList) {
    const APPROVED: &str = "api-approved.kubernetes.io";
    let group = &definition.spec.group;
    if !group.ends_with(".k8s.io") && !group.ends_with(".kubernetes.io") {
        return;
    }
    let annotations = definition.metadata.annotations.as_ref();
    let given = annotations
        .and_then(|a| a.get(APPROVED))
        .map_or("", String::as_str);
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    let is_url = given.starts_with("https://") || given.starts_with("http://");
    if given.is_empty() {
        errors.required(
            path,
            format!("protected groups must have approval annotation {APPROVED:?}, see https://github.com/kubernetes/enhancements/pull/1111"),
        );
    } else if !is_url && !given.starts_with("unapproved") {
        errors.invalid(
            path,
            given,
            "protected groups must have approval annotation with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111",
        );
    }
}

fn validate_names(spec: &CustomResourceDefinitionSpec, path: &Path, errors: &mut ErrorList) {
    let given = &spec.names;
    let label = |errors: &mut ErrorList, path: Path, text: &str, shown: &str| {
        let problems = names::dns1035_label(text);
        errors.invalid_each(&path, shown, problems);
    };
    if given.plural.is_empty() {
        errors.required(path.child("plural"), "");
    } else {
        label(errors, path.child("plural"), &given.plural, &given.plural);
    }
    if given.kind.is_empty() {
        errors.required(path.child("kind"), "");
    } else {
        label(
            errors,
            path.child("kind"),
            &given.kind.to_lowercase(),
            &given.kind,
        );
    }
    if let Some(singular) = given.singular.as_deref().filter(|s| !s.is_empty()) {
        label(errors, path.child("singular"), singular, singular);
    }
    if let Some(list) = given.list_kind.as_deref().filter(|s| !s.is_empty()) {
        label(errors, path.child("listKind"), &list.to_lowercase(), list);
        if list == given.kind {
            errors.invalid(
                path.child("listKind"),
                list,
                "kind and listKind may not be the same",
            );
        }
    }
    for (field, list) in [
        ("shortNames", &given.short_names),
        ("categories", &given.categories),
    ] {
        for (i, name) in list.iter().flatten().enumerate() {
            label(errors, path.child(field).index(i), name, name);
        }
    }
}

fn validate_versions(spec: &CustomResourceDefinitionSpec, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    let mut unique = true;
    for (i, version) in spec.versions.iter().enumerate() {
        let at = path.index(i);
        let problems = names::dns1035_label(&version.name);
        errors.invalid_each(&at.child("name"), &version.name, problems);
        unique &= seen.insert(&version.name);
        validate_version(version, &at, errors);
    }
    let shown: Vec<&str> = spec.versions.iter().map(|v| v.name.as_str()).collect();
    if !unique {
        errors.invalid(path.clone(), &shown, "must contain unique version names");
    }
    if spec.versions.iter().filter(|v| v.storage).count() != 1 {
        errors.invalid(
            path.clone(),
            &shown,
            "must have exactly one version marked as storage version",
        );
    }
}

fn validate_version(
    version: &CustomResourceDefinitionVersion,
    path: &Path,
    errors: &mut ErrorList,
) {
    if let Some(warning) = &version.deprecation_warning {
        let at = path.child("deprecationWarning");
        if version.deprecated != Some(true) {
            errors.invalid(
                at.clone(),
                warning,
                "can only be set for deprecated versions",
            );
        }
        if warning.is_empty() {
            errors.invalid(at.clone(), warning, "must not be empty");
        }
        if warning.len() > WARNING_BYTES_MAX {
            errors.too_long(at.clone(), WARNING_BYTES_MAX);
        }
        if warning.chars().any(char::is_control) {
            errors.invalid(at, warning, "must only contain printable UTF-8 characters");
        }
    }
    let schema_path = path.child("schema").child("openAPIV3Schema");
    let schema = version
        .schema
        .as_ref()
        .and_then(|s| s.open_api_v3_schema.as_ref());
    match schema {
        None => errors.required(schema_path, "schemas are required"),
        Some(schema) => errors.extend(structural::validate(schema, &schema_path)),
    }
    let sub_path = path.child("subresources");
    if let Some(scale) = version.subresources.as_ref().and_then(|s| s.scale.as_ref()) {
        validate_scale(scale, &sub_path.child("scale"), errors);
    }
    for (i, column) in version
        .additional_printer_columns
        .iter()
        .flatten()
        .enumerate()
    {
        validate_column(
            column,
            &path.child("additionalPrinterColumns").index(i),
            errors,
        );
    }
    if let Some(fields) = &version.selectable_fields {
        validate_selectable(fields, schema, &path.child("selectableFields"), errors);
    }
}

fn validate_scale(scale: &CustomResourceSubresourceScale, path: &Path, errors: &mut ErrorList) {
    let mut check = |field: &str, text: &str, under: &[&str], needed: bool| {
        let at = path.child(field);
        if text.is_empty() {
            if needed {
                errors.required(at, "");
            }
            return;
        }
        let fields = match JsonPath::parse(text) {
            Err(why) => {
                errors.invalid(at, text, format!("is an invalid json path: {why}"));
                return;
            }
            Ok(parsed) => parsed.fields().map(|f| f.first().map(|f| (*f).to_owned())),
        };
        match fields {
            None => errors.invalid(at, text, "should be a json path without array notation"),
            Some(first) if !first.as_deref().is_some_and(|f| under.contains(&f)) => {
                let places: Vec<String> = under.iter().map(|p| format!(".{p}")).collect();
                errors.invalid(
                    at,
                    text,
                    format!("should be a json path under {}", places.join(" or ")),
                );
            }
            Some(_) => {}
        }
    };
    check(
        "specReplicasPath",
        &scale.spec_replicas_path,
        &["spec"],
        true,
    );
    check(
        "statusReplicasPath",
        &scale.status_replicas_path,
        &["status"],
        true,
    );
    let selector = scale.label_selector_path.as_deref().unwrap_or_default();
    check("labelSelectorPath", selector, &["spec", "status"], false);
}

fn validate_column(column: &CustomResourceColumnDefinition, path: &Path, errors: &mut ErrorList) {
    const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    const FORMATS: &[&str] = &[
        "byte",
        "date",
        "date-time",
        "double",
        "float",
        "int32",
        "int64",
        "password",
    ];
    if column.name.is_empty() {
        errors.required(path.child("name"), "");
    }
    match column.type_.as_str() {
        "" => errors.required(
            path.child("type"),
            format!("must be one of {}", TYPES.join(",")),
        ),
        of if !TYPES.contains(&of) => errors.not_supported(path.child("type"), of, TYPES),
        _ => {}
    }
    if let Some(format) = column.format.as_deref().filter(|f| !f.is_empty())
        && !FORMATS.contains(&format)
    {
        errors.not_supported(path.child("format"), format, FORMATS);
    }
    let at = path.child("jsonPath");
    if column.json_path.is_empty() {
        errors.required(at, "");
    } else if let Err(why) = JsonPath::parse(&column.json_path) {
        errors.invalid(
            at,
            &column.json_path,
            format!("is an invalid json path: {why}"),
        );
    }
}

fn validate_selectable(
    fields: &[SelectableField],
    schema: Option<&JSONSchemaProps>,
    path: &Path,
    errors: &mut ErrorList,
) {
    if fields.len() > SELECTABLE_FIELDS_MAX {
        errors.too_many(path.clone(), fields.len(), SELECTABLE_FIELDS_MAX);
    }
    let mut seen = HashSet::new();
    for (i, field) in fields.iter().enumerate() {
        let at = path.index(i).child("jsonPath");
        let text = field.json_path.as_str();
        if text.is_empty() {
            errors.required(at, "");
            continue;
        }
        if !seen.insert(text) {
            errors.duplicate(at.clone(), text);
        }
        let parsed = JsonPath::parse(text);
        let Some(steps) = parsed.as_ref().ok().and_then(JsonPath::fields) else {
            errors.invalid(
                at,
                text,
                "is an invalid path: only fields can be selected, without array notation",
            );
            continue;
        };
        if steps.first() == Some(&"metadata") {
            errors.invalid(at, text, "must not point to fields in metadata");
            continue;
        }
        let mut found = schema;
        for step in &steps {
            found = found.and_then(|of| of.properties.as_ref()?.get(*step));
        }
        let of = found.and_then(|of| of.type_.as_deref());
        if !matches!(of, Some("string" | "integer" | "boolean")) {
            errors.invalid(
                at,
                text,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            );
        }
    }
}

fn validate_conversion(spec: &CustomResourceDefinitionSpec, path: &Path, errors: &mut ErrorList) {
    let Some(conversion) = &spec.conversion else {
        return;
    };
    let webhook = path.child("webhook");
    match (conversion.strategy.as_str(), &conversion.webhook) {
        ("None", None) | ("", _) => {}
        ("None", Some(_)) => errors.forbidden(
            webhook,
            "should not be set when strategy is not set to Webhook",
        ),
        ("Webhook", None) => errors.required(
            webhook.child("clientConfig"),
            "required when strategy is set to Webhook",
        ),
        ("Webhook", Some(given)) => {
            let client = webhook.child("clientConfig");
            match &given.client_config {
                None => errors.required(client, "required when strategy is set to Webhook"),
                Some(config) if config.url.is_some() == config.service.is_some() => {
                    errors.required(client, "exactly one of url or service is required");
                }
                Some(_) => {}
            }
            let reviews = webhook.child("conversionReviewVersions");
            if given.conversion_review_versions.is_empty() {
                errors.required(reviews.clone(), "");
            } else if !given
                .conversion_review_versions
                .iter()
                .any(|v| v == "v1" || v == "v1beta1")
            {
                errors.invalid(
                    reviews,
                    &given.conversion_review_versions,
                    "must include at least one of v1, v1beta1",
                );
            }
        }
        (other, _) => errors.not_supported(path.child("strategy"), other, &["None", "Webhook"]),
    }
}

#[cfg(test)]
#[path = "validation_tests.rs"]
mod tests;
