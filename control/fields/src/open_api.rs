//! The schema of a custom resource, as it stands in a CustomResourceDefinition.

use std::collections::HashMap;

use serde_json::Value;

use crate::schema::{Field, Place, Schema, Shape};
use crate::tree::Tree;

/// Levels of a schema that are read; below, values are judged by themselves.
const DEPTH_MAX: usize = 100;

/// A structural OpenAPI v3 schema (`spec.versions[].schema.openAPIV3Schema`), read once into a
/// flat table. `metadata`, `apiVersion` and `kind` have the meaning that they have everywhere,
/// also in embedded resources; a schema need not mention them.
#[derive(Debug, Clone)]
pub struct OpenApi {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Default)]
struct Row {
    shape: Option<Shape>,
    fields: HashMap<String, u32>,
    /// Where values of keys are that `fields` does not name; `None` if there are none.
    rest: Option<Place>,
    item: Option<Place>,
    keys: Vec<(String, Option<Value>)>,
}

impl OpenApi {
    /// Reads the schema of an object. `metadata` is the schema of its `metadata`, if that is
    /// to be typed.
    pub fn new(schema: &Value, metadata: Option<&Value>) -> Self {
        let mut this = OpenApi { rows: Vec::new() };
        let root = this.read(schema, 0);
        this.embed(root, metadata);
        this
    }

    /// Gives an object what every Kubernetes object has.
    fn embed(&mut self, at: Place, metadata: Option<&Value>) {
        let Some(index) = index(at) else { return };
        if self.rows[index].shape != Some(Shape::Map) {
            return;
        }
        for name in ["apiVersion", "kind"] {
            let leaf = self.push(Row {
                shape: Some(Shape::Leaf),
                ..Row::default()
            });
            self.rows[index].fields.insert(name.to_owned(), leaf.0);
        }
        let place = match metadata {
            Some(schema) => self.read(schema, 1),
            None => Place::UNTYPED,
        };
        self.rows[index]
            .fields
            .insert("metadata".to_owned(), place.0);
    }

    fn push(&mut self, row: Row) -> Place {
        self.rows.push(row);
        // A CRD has 1.5 MiB at most: fewer nodes than an index can count.
        Place(u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX))
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
            return self.leaf();
        }
        if object && !known && !embedded {
            return Place::UNTYPED;
        }
        let at = self.push(Row::default());
        let Some(index) = index(at) else { return at };
        let row = if object {
            let mut row = Row {
                shape: Some(Shape::Map),
                rest: (open || embedded).then_some(Place::UNTYPED),
                ..Row::default()
            };
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                row.fields
                    .insert(name.clone(), self.read(inner, depth + 1).0);
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
            self.embed(at, None);
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
            _ => return self.leaf_row(),
        };
        Row {
            shape: Some(shape),
            item: Some(self.read(items, depth + 1)),
            keys,
            ..Row::default()
        }
    }

    fn leaf(&mut self) -> Place {
        let row = self.leaf_row();
        self.push(row)
    }

    fn leaf_row(&self) -> Row {
        Row {
            shape: Some(Shape::Leaf),
            ..Row::default()
        }
    }

    fn row(&self, at: Place) -> Option<&Row> {
        self.rows.get(index(at)?)
    }
}

fn index(at: Place) -> Option<usize> {
    (at != Place::UNTYPED).then_some(at.0 as usize)
}

impl Schema for OpenApi {
    fn root(&self) -> Place {
        if self.rows.is_empty() {
            Place::UNTYPED
        } else {
            Place(0)
        }
    }

    fn shape(&self, at: Place) -> Shape {
        self.row(at)
            .and_then(|row| row.shape)
            .unwrap_or(Shape::Untyped)
    }

    fn field(&self, at: Place, name: &str) -> Option<Field> {
        let row = self.row(at)?;
        match row.fields.get(name) {
            Some(&place) => Some(Field {
                place: Place(place),
                named: true,
            }),
            None => row.rest.map(|place| Field {
                place,
                named: false,
            }),
        }
    }

    fn item(&self, at: Place) -> Place {
        self.row(at)
            .and_then(|row| row.item)
            .unwrap_or(Place::UNTYPED)
    }

    fn key(&self, at: Place, nth: usize) -> Option<&str> {
        let (key, _) = self.row(at)?.keys.get(nth)?;
        Some(key)
    }

    fn key_default(&self, at: Place, key: &str) -> Option<Tree<'_>> {
        let keys = &self.row(at)?.keys;
        let (_, default) = keys.iter().find(|(name, _)| name == key)?;
        default.as_ref().map(Tree::from)
    }
}
