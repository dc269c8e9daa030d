//! A structural schema, read once from a definition and asked for every object.
//!
//! Follows <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.
//! What makes a schema structural is checked by [`crate::definition`]; what is here takes any.

mod defaults;
mod formats;
mod lists;
mod prune;
mod validate;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::cel::Rules;
pub(crate) use formats::is_of;
pub use prune::Pruned;

/// What a pattern may compile to, in bytes: keeps one from taking the memory of many.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A JSON type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A map.
    Object,
    /// A list.
    Array,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
}

impl Type {
    /// The type of that name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }
}

/// How the items of a list are told apart (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value.
    #[default]
    Atomic,
    /// Each item at most once.
    Set,
    /// Objects, told apart by these fields.
    Map(Vec<String>),
}

/// What `additionalProperties` says.
#[derive(Debug)]
pub enum Additional {
    /// Any field, or none.
    Any(bool),
    /// Any field of that schema.
    Of(Box<Schema>),
}

/// One node of a schema.
#[derive(Debug, Default)]
pub struct Schema {
    /// The type; without one any value will do.
    pub of: Option<Type>,
    /// Null is a value of it.
    pub nullable: bool,
    /// An integer or a string.
    pub int_or_string: bool,
    /// Fields that are not specified stay.
    pub preserve_unknown: bool,
    /// A whole object, with `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    /// The fields.
    pub properties: BTreeMap<String, Schema>,
    /// The other fields.
    pub additional: Option<Additional>,
    /// The items of a list.
    pub items: Option<Box<Schema>>,
    /// What stands there if nothing does.
    pub default: Option<Value>,
    /// How a list's items are told apart.
    pub list: ListType,
    /// The object is one value to server-side apply.
    pub atomic: bool,
    /// What values it takes.
    pub values: Values,
    /// Rules in CEL.
    pub rules: Rules,
}

/// Bounds on values (OpenAPI's value validations).
#[derive(Debug, Default)]
pub struct Values {
    pub(crate) format: Option<String>,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<usize>,
    pub(crate) max_length: Option<usize>,
    pub(crate) pattern: Option<(String, Option<Regex>)>,
    pub(crate) min_items: Option<usize>,
    pub(crate) max_items: Option<usize>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<usize>,
    pub(crate) max_properties: Option<usize>,
    pub(crate) required: Vec<String>,
    pub(crate) allowed: Option<Vec<Value>>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

/// Compiles a pattern; the syntax is that of Go's and Rust's regular expressions alike.
///
/// # Errors
/// What is wrong with it.
pub fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|e| e.to_string())
}

impl Schema {
    /// Reads a schema.
    pub fn new(props: &JSONSchemaProps) -> Self {
        let all = |schemas: &Option<Vec<JSONSchemaProps>>| {
            schemas.iter().flatten().map(Schema::new).collect()
        };
        let size = |bound: Option<i64>| bound.map(|b| usize::try_from(b).unwrap_or(0));
        let list = match props.x_kubernetes_list_type.as_deref() {
            Some("set") => ListType::Set,
            Some("map") => {
                ListType::Map(props.x_kubernetes_list_map_keys.clone().unwrap_or_default())
            }
            _ => ListType::Atomic,
        };
        let mut schema = Schema {
            of: props.type_.as_deref().and_then(Type::named),
            nullable: props.nullable == Some(true),
            int_or_string: props.x_kubernetes_int_or_string == Some(true),
            preserve_unknown: props.x_kubernetes_preserve_unknown_fields == Some(true),
            embedded: props.x_kubernetes_embedded_resource == Some(true),
            properties: (props.properties.iter().flatten())
                .map(|(name, of)| (name.clone(), Schema::new(of)))
                .collect(),
            additional: match &props.additional_properties {
                None => None,
                Some(JSONSchemaPropsOrBool::Bool(any)) => Some(Additional::Any(*any)),
                Some(JSONSchemaPropsOrBool::Schema(of)) => {
                    Some(Additional::Of(Box::new(Schema::new(of))))
                }
            },
            items: match &props.items {
                Some(JSONSchemaPropsOrArray::Schema(of)) => Some(Box::new(Schema::new(of))),
                _ => None,
            },
            default: props.default.as_ref().map(|d| d.0.clone()),
            list,
            atomic: props.x_kubernetes_map_type.as_deref() == Some("atomic"),
            values: Values {
                format: props.format.clone().filter(|f| !f.is_empty()),
                minimum: props.minimum,
                exclusive_minimum: props.exclusive_minimum == Some(true),
                maximum: props.maximum,
                exclusive_maximum: props.exclusive_maximum == Some(true),
                multiple_of: props.multiple_of,
                min_length: size(props.min_length),
                max_length: size(props.max_length),
                pattern: (props.pattern.clone().filter(|p| !p.is_empty()))
                    .map(|text| (text.clone(), pattern(&text).ok())),
                min_items: size(props.min_items),
                max_items: size(props.max_items),
                unique_items: props.unique_items == Some(true),
                min_properties: size(props.min_properties),
                max_properties: size(props.max_properties),
                required: props.required.clone().unwrap_or_default(),
                allowed: (props.enum_.as_ref())
                    .filter(|e| !e.is_empty())
                    .map(|e| e.iter().map(|v| v.0.clone()).collect()),
                all_of: all(&props.all_of),
                any_of: all(&props.any_of),
                one_of: all(&props.one_of),
                not: props.not.as_ref().map(|of| Box::new(Schema::new(of))),
            },
            rules: Rules::default(),
        };
        schema.rules = Rules::new(props, &schema);
        schema
    }

    /// The schema of a field, specified or additional.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Of(of)) => Some(of),
            _ => None,
        })
    }
}

/// Null, where the schema has no place for it.
fn is_unwanted_null(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

/// A place in an object, written as Kubernetes writes it: `spec.list[0].name`.
#[derive(Default)]
pub(crate) struct Place(String);

impl Place {
    /// Calls `work` at a field of this place.
    pub(crate) fn at_field<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.0.len();
        if length > 0 {
            self.0.push('.');
        }
        self.0.push_str(name);
        let done = work(self);
        self.0.truncate(length);
        done
    }

    /// Calls `work` at an item of this place.
    pub(crate) fn at_index<T>(&mut self, index: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.0.len();
        self.0.push_str(&format!("[{index}]"));
        let done = work(self);
        self.0.truncate(length);
        done
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn path(&self) -> euston_api::field::Path {
        euston_api::field::Path::new(&self.0)
    }
}

#[cfg(test)]
pub(crate) fn schema_of(json: Value) -> Schema {
    Schema::new(&serde_json::from_value(json).unwrap())
}
