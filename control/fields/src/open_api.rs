//! The schema of a custom resource, as it stands in a CustomResourceDefinition.

use std::collections::HashMap;

use serde_json::Value;

use crate::schema::{Field, Place, Schema, Shape};
use crate::tree::Tree;

/// Levels of a schema that are read; below, values are judged by themselves.
const DEPTH_MAX: usize = 100;

/// Places from here on are rows of this schema; those below are the metadata's.
const ROWS: u32 = 3 << 30;

/// A structural OpenAPI v3 schema (`spec.versions[].schema.openAPIV3Schema`), read once into a
/// flat table. `apiVersion`, `kind` and `metadata` are there whether or not it mentions them,
/// also in embedded resources.
#[derive(Clone)]
pub struct OpenApi {
    rows: Vec<Row>,
    metadata: Option<&'static dyn Schema>,
}

#[derive(Clone, Default)]
struct Row {
    shape: Option<Shape>,
    fields: HashMap<String, Place>,
    /// Where values of keys are that `fields` does not name; `None` if there are none.
    rest: Option<Place>,
    item: Option<Place>,
    keys: Vec<(String, Option<Value>)>,
}

impl OpenApi {
    /// Reads the schema of an object. `metadata` is the schema of `metadata`, which no
    /// definition says in full; its places are below `3 << 30`.
    pub fn new(schema: &Value, metadata: Option<&'static dyn Schema>) -> Self {
        let mut this = OpenApi {
            rows: Vec::new(),
            metadata,
        };
        let root = this.read(schema, 0);
        this.embed(root);
        this
    }

    /// Gives an object what every Kubernetes object has.
    fn embed(&mut self, at: Place) {
        let leaf = self.push(leaf());
        let metadata = self.metadata.map(Schema::root);
        let Some(row) = row_of(at).and_then(|index| self.rows.get_mut(index)) else {
            return;
        };
        if row.shape != Some(Shape::Map) {
            return;
        }
        for name in ["apiVersion", "kind"] {
            row.fields.insert(name.to_owned(), leaf);
        }
        let own = row.fields.get("metadata").copied();
        let metadata = metadata.or(own).unwrap_or(Place::UNTYPED);
        row.fields.insert("metadata".to_owned(), metadata);
    }

    fn push(&mut self, row: Row) -> Place {
        let index = u32::try_from(self.rows.len()).ok();
        let Some(index) = index.filter(|index| *index < u32::MAX - ROWS) else {
            // More than a definition has room for.
            return Place::UNTYPED;
        };
        self.rows.push(row);
        Place(ROWS | index)
    }

    fn read(&mut self, schema: &Value, depth: usize) -> Place {
        let is = |key: &str, text: &str| schema[key].as_str() == Some(text);
        let truth = |key: &str| schema[key].as_bool() == Some(true);
        if depth > DEPTH_MAX {
            return Place::UNTYPED;
        }
        let open = truth("x-kubernetes-preserve-unknown-fields");
        let embedded = truth("x-kubernetes-embedded-resource");
        let known = schema["properties"].is_object() || schema["additionalProperties"].is_object();
        let object = is("type", "object") || known;
        if object && is("x-kubernetes-map-type", "atomic") {
            return self.push(leaf());
        }
        if object && !known && !embedded {
            return Place::UNTYPED;
        }
        let at = self.push(Row::default());
        let Some(index) = row_of(at) else { return at };
        let row = if object {
            let mut row = Row {
                shape: Some(Shape::Map),
                rest: (open || embedded).then_some(Place::UNTYPED),
                ..Row::default()
            };
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                row.fields.insert(name.clone(), self.read(inner, depth + 1));
            }
            if schema["additionalProperties"].is_object() {
                row.rest = Some(self.read(&schema["additionalProperties"], depth + 1));
            }
            row
        } else if is("type", "array") || schema["items"].is_object() {
            self.list(schema, depth)
        } else {
            // A scalar, or anything at all.
            let anything =
                open || !schema["type"].is_string() && !truth("x-kubernetes-int-or-string");
            Row {
                shape: Some(if anything {
                    Shape::Untyped
                } else {
                    Shape::Leaf
                }),
                ..Row::default()
            }
        };
        self.rows[index] = row;
        if embedded {
            self.embed(at);
        }
        at
    }

    fn list(&mut self, schema: &Value, depth: usize) -> Row {
        let items = &schema["items"];
        let (shape, keys) = match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => (Shape::Set, Vec::new()),
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array();
                let keys = keys.into_iter().flatten().filter_map(Value::as_str);
                let default = |key: &str| items["properties"][key].get("default").cloned();
                (
                    Shape::Keyed,
                    keys.map(|key| (key.to_owned(), default(key))).collect(),
                )
            }
            _ => return leaf(),
        };
        Row {
            shape: Some(shape),
            item: Some(self.read(items, depth + 1)),
            keys,
            ..Row::default()
        }
    }

    fn row(&self, at: Place) -> Option<&Row> {
        self.rows.get(row_of(at)?)
    }

    /// The metadata's schema, if the place is in it.
    fn foreign(&self, at: Place) -> Option<&'static dyn Schema> {
        self.metadata.filter(|_| at.0 < ROWS)
    }
}

fn row_of(at: Place) -> Option<usize> {
    (at.0 >= ROWS && at != Place::UNTYPED).then_some((at.0 & !ROWS) as usize)
}

fn leaf() -> Row {
    Row {
        shape: Some(Shape::Leaf),
        ..Row::default()
    }
}

impl Schema for OpenApi {
    fn root(&self) -> Place {
        if self.rows.is_empty() {
            Place::UNTYPED
        } else {
            Place(ROWS)
        }
    }

    fn shape(&self, at: Place) -> Shape {
        if let Some(schema) = self.foreign(at) {
            return schema.shape(at);
        }
        let shape = self.row(at).and_then(|row| row.shape);
        shape.unwrap_or(Shape::Untyped)
    }

    fn field(&self, at: Place, name: &str) -> Option<Field> {
        if let Some(schema) = self.foreign(at) {
            return schema.field(at, name);
        }
        let row = self.row(at)?;
        let named = row
            .fields
            .get(name)
            .map(|&place| Field { place, named: true });
        let rest = row.rest.map(|place| Field {
            place,
            named: false,
        });
        named.or(rest)
    }

    fn item(&self, at: Place) -> Place {
        if let Some(schema) = self.foreign(at) {
            return schema.item(at);
        }
        let item = self.row(at).and_then(|row| row.item);
        item.unwrap_or(Place::UNTYPED)
    }

    fn key(&self, at: Place, nth: usize) -> Option<&str> {
        if let Some(schema) = self.foreign(at) {
            return schema.key(at, nth);
        }
        let (key, _) = self.row(at)?.keys.get(nth)?;
        Some(key)
    }

    fn key_default(&self, at: Place, key: &str) -> Option<Tree<'_>> {
        if let Some(schema) = self.foreign(at) {
            return schema.key_default(at, key);
        }
        let keys = &self.row(at)?.keys;
        let (_, default) = keys.iter().find(|(name, _)| name == key)?;
        default.as_ref().map(Tree::from)
    }
}
