//! From a definition to the kinds that are served: one for each of its versions.

use std::sync::Arc;

use euston_custom::columns::PrinterColumn;
use euston_custom::definition::{self, TERMINATING};
use euston_custom::{JsonPath, Schema};
use euston_fields::OpenApi;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, CustomResourceSubresourceScale,
    JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use super::rules::{Custom, ScalePaths};
use crate::registry::kind::{Closed, Dependents, Documentation, Kind, Names, Subresource, VERBS};
use crate::schema::ownership::object_meta;

/// The kinds of a definition, the most preferred version first. `guard` is the definition's key in the store.
pub fn kinds(definition: &CustomResourceDefinition, guard: &str) -> Vec<Kind> {
    let spec = &definition.spec;
    let served = spec.versions.iter().filter(|v| v.served);
    let order = definition::sorted_versions(served.map(|v| v.name.as_str()));
    order
        .into_iter()
        .filter_map(|name| spec.versions.iter().find(|v| v.name == name))
        .filter_map(|version| kind(definition, version, guard))
        .collect()
}

fn kind(
    definition: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
    guard: &str,
) -> Option<Kind> {
    let spec = &definition.spec;
    let accepted = definition.status.as_ref()?.accepted_names.as_ref()?;
    let stored = definition::storage_version(spec)?;
    let props = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
    let names = Names {
        group: spec.group.clone(),
        version: version.name.clone(),
        kind: accepted.kind.clone(),
        list_kind: accepted.list_kind.clone().unwrap_or_default(),
        plural: accepted.plural.clone(),
        singular: accepted.singular.clone().unwrap_or_default(),
        short: accepted.short_names.clone().unwrap_or_default(),
        categories: accepted.categories.clone().unwrap_or_default(),
        namespaced: spec.scope == "Namespaced",
    };
    let subs = version.subresources.as_ref();
    let scale = subs.and_then(|s| s.scale.as_ref());
    let replicas_path = scale.map(|s| s.spec_replicas_path.trim_start_matches('.').to_owned());
    let scale = scale.and_then(scale_paths);
    let has_status = subs.is_some_and(|s| s.status.is_some());
    let mut subresources = Vec::new();
    if has_status {
        subresources.push(Subresource::Status);
    }
    if scale.is_some() {
        subresources.push(Subresource::Scale);
    }
    let selectable = version.selectable_fields.iter().flatten().filter_map(|f| {
        let label = f.json_path.trim_start_matches('.').to_owned();
        Some((label, JsonPath::parse(&f.json_path).ok()?))
    });
    let warning = (version.deprecated == Some(true)).then(|| {
        let own = version.deprecation_warning.clone();
        own.unwrap_or_else(|| format!("{} {} is deprecated", names.api_version(), names.kind))
    });
    let closed = closed(definition, version, stored);
    let rules = Custom {
        api_version: names.api_version(),
        kind: names.kind.clone(),
        stored_as: format!("{}/{stored}", spec.group),
        schema: Arc::new(Schema::new(props)),
        ownership: OpenApi::new(
            &serde_json::to_value(props).unwrap_or_default(),
            Some(object_meta()),
        ),
        has_status,
        scale,
        replicas_path: replicas_path.unwrap_or_default(),
        columns: PrinterColumn::all(version.additional_printer_columns.as_deref()),
        selectable: selectable.collect(),
        warning,
    };
    Some(Kind {
        subresources,
        verbs: VERBS,
        decides: false,
        create_on_update: false,
        update_needs_version: true,
        answers_deleted: false,
        dependents: Dependents::Deleted,
        schema: documentation(props),
        rules: Box::new(rules),
        closed,
        guard: Some(guard.to_owned()),
        stored_as: None,
        names,
    })
}

/// What cannot be done with the kind for now.
fn closed(
    definition: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
    stored: &str,
) -> Option<Closed> {
    let conversion = definition.spec.conversion.as_ref();
    let webhook = conversion.is_some_and(|c| c.strategy != definition::NO_CONVERSION);
    let ever_stored = definition
        .status
        .as_ref()
        .and_then(|s| s.stored_versions.as_ref());
    let alone = version.name == stored
        && ever_stored
            .into_iter()
            .flatten()
            .all(|v| *v == version.name);
    if webhook && !alone {
        let name = definition.metadata.name.as_deref().unwrap_or_default();
        return Some(Closed::ToAll(format!(
            "conversion webhook for {}/{}, Kind={} failed: CustomResourceDefinition {name:?} asks for conversion by a webhook, which this server does not call: set spec.conversion.strategy to None if the versions differ in apiVersion alone, or use version {stored}",
            definition.spec.group, version.name, definition.spec.names.kind
        )));
    }
    if definition::is_true(definition, TERMINATING) {
        return Some(Closed::ToCreation(
            "create not allowed while custom resource definition is terminating".to_owned(),
        ));
    }
    None
}

fn scale_paths(scale: &CustomResourceSubresourceScale) -> Option<ScalePaths> {
    let selector = scale
        .label_selector_path
        .as_deref()
        .filter(|p| !p.is_empty());
    Some(ScalePaths {
        spec: JsonPath::parse(&scale.spec_replicas_path).ok()?,
        status: JsonPath::parse(&scale.status_replicas_path).ok()?,
        selector: selector.and_then(|path| JsonPath::parse(path).ok()),
    })
}

/// The schema as it is published: with what every object has.
fn documentation(props: &JSONSchemaProps) -> Documentation {
    // As text, since it is seldom asked for and takes a multiple of that when read.
    let text = serde_json::to_string(props).unwrap_or_default();
    Arc::new(move |generator| {
        let mut schema: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
        let own = schema.remove("properties");
        let meta = generator.subschema_for::<ObjectMeta>().to_value();
        let word = |description: &str| json!({ "type": "string", "description": description });
        let mut properties = Map::new();
        properties.insert("apiVersion".into(), word(API_VERSION));
        properties.insert("kind".into(), word(KIND));
        if let Some(Value::Object(own)) = own {
            properties.extend(own);
        }
        properties.insert("metadata".into(), meta);
        schema.insert("properties".into(), properties.into());
        schema.into()
    })
}

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
