//! Schemas of types: prose from k8s-openapi, rules from the table of facts.

use k8s_openapi::api::{authentication, autoscaling, core, policy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::ResourceDoc;
use crate::schema::{FieldRef, ListType, PatchStrategy, TypeRef, types};

/// Where references point before a renderer rewrites them.
const PREFIX: &str = "#/$defs/";

pub(super) const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
pub(super) const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// The schemas that some kinds need, and what each kind's is called.
pub(super) struct Definitions {
    /// By name, with references in the neutral form that [`target`] understands.
    pub(super) schemas: Map<String, Value>,
    /// For each resource: the names of its own schema and its list's.
    pub(super) names: Vec<(String, String)>,
}

/// The definition that a `$ref` points to.
pub(super) fn target(reference: &str) -> &str {
    reference.strip_prefix(PREFIX).unwrap_or(reference)
}

/// What the body of a foreign subresource is called, if we have its schema.
pub(super) fn foreign_name(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    foreign_schema(group, kind)?;
    let id = types().lookup_gvk(group, version, kind)?;
    Some(types().get(id).name())
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn foreign_schema(group: &str, kind: &str) -> Option<SchemaOf> {
    Some(match (group, kind) {
        ("autoscaling", "Scale") => |g| g.subschema_for::<autoscaling::v1::Scale>(),
        ("", "Binding") => |g| g.subschema_for::<core::v1::Binding>(),
        ("policy", "Eviction") => |g| g.subschema_for::<policy::v1::Eviction>(),
        ("authentication.k8s.io", "TokenRequest") => {
            |g| g.subschema_for::<authentication::v1::TokenRequest>()
        }
        _ => return None,
    })
}

/// Everything that `resources` and their operations refer to.
pub(super) fn collect(resources: &[&ResourceDoc]) -> Definitions {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    generator.subschema_for::<meta::DeleteOptions>();
    generator.subschema_for::<meta::Patch>();
    generator.subschema_for::<meta::Status>();
    generator.subschema_for::<meta::ListMeta>();
    let mut lists = Vec::new();
    let mut names = Vec::new();
    for resource in resources {
        let schema = (resource.schema)(&mut generator);
        let name = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => target(reference).to_owned(),
            None => {
                // Not a type of ours: it brings its schema, we give it a name.
                let name = invented_name(resource);
                generator
                    .definitions_mut()
                    .insert(name.clone(), schema.to_value());
                name
            }
        };
        let list = list_name(resource, &name);
        lists.push((
            list.clone(),
            list_schema(resource, &name, generator.definitions()),
        ));
        names.push((name, list));
        for (group, _, kind) in resource.subresources.iter().flat_map(|s| &s.foreign_kind) {
            if let Some(schema) = foreign_schema(group, kind) {
                schema(&mut generator);
            }
        }
    }
    let mut schemas = generator.take_definitions(false);
    schemas.extend(lists);
    for (name, schema) in &mut schemas {
        if let (Some(id), Some(schema)) = (types().lookup_name(name), schema.as_object_mut()) {
            add_rules(types().get(id), schema);
        }
    }
    for (resource, (name, list)) in resources.iter().zip(&names) {
        for (name, kind) in [
            (name, resource.kind.clone()),
            (list, resource.list_kind.clone()),
        ] {
            let kinds = json!([kind_json(&resource.group, &resource.version, &kind)]);
            if let Some(Value::Object(schema)) = schemas.get_mut(name) {
                schema.entry(KINDS).or_insert(kinds);
            }
        }
    }
    Definitions { schemas, names }
}

/// The extension by which clients find the schema, or the operations, of a kind.
pub(super) const KINDS: &str = "x-kubernetes-group-version-kind";

pub(super) fn kind_json(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "kind": kind, "version": version })
}

/// `com.example.stable.v1.CronTab`, as Kubernetes names custom resources.
fn invented_name(resource: &ResourceDoc) -> String {
    let mut parts: Vec<&str> = resource.group.split('.').rev().collect();
    parts.push(&resource.version);
    parts.push(&resource.kind);
    parts.join(".")
}

fn list_name(resource: &ResourceDoc, name: &str) -> String {
    match types().lookup_gvk(&resource.group, &resource.version, &resource.list_kind) {
        Some(id) => types().get(id).name().to_owned(),
        None => format!("{name}List"),
    }
}

fn list_schema(resource: &ResourceDoc, item: &str, known: &Map<String, Value>) -> Value {
    // Every object describes these two alike.
    let own = |field: &str| {
        let described = known
            .get(item)
            .map(|s| &s["properties"][field]["description"]);
        json!({ "description": described.cloned().unwrap_or_default(), "type": "string" })
    };
    json!({
        "description": format!("{} is a list of {}.", resource.list_kind, resource.kind),
        "type": "object",
        "properties": {
            "apiVersion": own("apiVersion"),
            "kind": own("kind"),
            "metadata": {
                "$ref": format!("{PREFIX}io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"),
                "description": "Resource version and position of the list.",
            },
            "items": {
                "description": "The objects.",
                "type": "array",
                "items": { "$ref": format!("{PREFIX}{item}") },
            },
        },
        "required": ["items"],
    })
}

/// Adds what the table knows of `of` to its schema.
fn add_rules(of: TypeRef, schema: &mut Map<String, Value>) {
    let kinds: Vec<Value> = of.kinds().map(|(g, v, k)| kind_json(g, v, k)).collect();
    if !kinds.is_empty() {
        schema.insert(KINDS.into(), Value::Array(kinds));
    }
    if of.atomic() {
        schema.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    // k8s-openapi requires what its structs always have; Kubernetes requires less.
    let required: Vec<&str> = of
        .fields()
        .filter(|f| f.required())
        .map(|f| f.name())
        .collect();
    match required.is_empty() {
        true => schema.remove("required"),
        false => schema.insert("required".into(), json!(required)),
    };
    let Some(Value::Object(properties)) = schema.get_mut("properties") else {
        return;
    };
    for (name, property) in properties {
        if let (Some(field), Some(property)) = (of.field(name), property.as_object_mut()) {
            add_field_rules(field, property);
        }
    }
}

fn add_field_rules(field: FieldRef, property: &mut Map<String, Value>) {
    let mut strategies = Vec::new();
    match field.patch_strategy() {
        PatchStrategy::Unset => {}
        PatchStrategy::Merge => strategies.push("merge"),
        PatchStrategy::Replace => strategies.push("replace"),
    }
    if field.retain_keys() {
        strategies.push("retainKeys");
    }
    if !strategies.is_empty() {
        property.insert(
            "x-kubernetes-patch-strategy".into(),
            strategies.join(",").into(),
        );
    }
    if let Some(key) = field.merge_key() {
        property.insert("x-kubernetes-patch-merge-key".into(), key.into());
    }
    if let Some(list) = field.list_type() {
        let list = match list {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        property.insert("x-kubernetes-list-type".into(), list.into());
    }
    let keys: Vec<&str> = field.list_map_keys().collect();
    if !keys.is_empty() {
        property.insert("x-kubernetes-list-map-keys".into(), json!(keys));
    }
    if field.atomic() {
        property.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if let Some(default) = field
        .default_json()
        .and_then(|text| serde_json::from_str(text).ok())
    {
        property.insert("default".into(), default);
    }
}
