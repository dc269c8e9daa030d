//! Pruning: what a schema does not specify is dropped, and told to whoever wants to know.

use serde_json::{Map, Value};

use super::{Additional, Place, Schema};
use crate::metadata;

/// Unknown fields past this are dropped without being listed.
const UNKNOWN_MAX: usize = 32;

/// What pruning dropped, by path.
#[derive(Default)]
pub struct Pruned {
    place: Place,
    /// The paths, at most 32.
    pub unknown: Vec<String>,
}

impl Pruned {
    fn note(&mut self, field: &str) {
        let Pruned { place, unknown } = self;
        if unknown.len() < UNKNOWN_MAX {
            place.at_field(field, |place| unknown.push(place.text().to_owned()));
        }
    }

    fn at_field(&mut self, name: &str, work: impl FnOnce(&mut Self)) {
        let mut place = std::mem::take(&mut self.place);
        place.at_field(name, |place| self.at(place, work));
        self.place = place;
    }

    fn at_index(&mut self, index: usize, work: impl FnOnce(&mut Self)) {
        let mut place = std::mem::take(&mut self.place);
        place.at_index(index, |place| self.at(place, work));
        self.place = place;
    }

    fn at(&mut self, place: &mut Place, work: impl FnOnce(&mut Self)) {
        std::mem::swap(&mut self.place, place);
        work(self);
        std::mem::swap(&mut self.place, place);
    }
}

impl Schema {
    /// Drops every field of an object that the schema does not specify. The object's own
    /// `metadata` is left alone: it is typed.
    pub fn prune(&self, object: &mut Map<String, Value>, pruned: &mut Pruned) {
        self.prune_fields(object, pruned, true);
    }

    fn prune_value(&self, value: &mut Value, pruned: &mut Pruned) {
        match value {
            Value::Object(fields) => {
                if self.embedded {
                    metadata::drop_unknown(fields, |field| {
                        pruned.at_field("metadata", |pruned| pruned.note(field));
                    });
                }
                self.prune_fields(fields, pruned, self.embedded);
            }
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    pruned.at_index(i, |pruned| match &self.items {
                        Some(of) => of.prune_value(item, pruned),
                        None if self.preserve_unknown => {}
                        None => Schema::default().prune_value(item, pruned),
                    });
                }
            }
            _ => {}
        }
    }

    fn prune_fields(&self, fields: &mut Map<String, Value>, pruned: &mut Pruned, whole: bool) {
        fields.retain(|name, value| {
            if whole && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                return true;
            }
            if let Some(of) = self.field(name) {
                pruned.at_field(name, |pruned| of.prune_value(value, pruned));
                return true;
            }
            let any = matches!(self.additional, Some(Additional::Any(true)));
            if !any && !self.preserve_unknown {
                pruned.note(name);
                return false;
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema_of;
    use super::*;

    fn check(schema: Value, object: Value, expect: Value, unknown: &[&str]) {
        let mut got = object.clone();
        let mut pruned = Pruned::default();
        schema_of(schema).prune(got.as_object_mut().unwrap(), &mut pruned);
        assert_eq!(got, expect, "{object}");
        assert_eq!(pruned.unknown, unknown, "{object}");
    }

    #[test]
    fn what_is_not_specified_goes_and_is_named() {
        let schema = json!({ "type": "object", "properties": {
            "spec": { "type": "object", "properties": {
                "a": { "type": "string" },
                "list": { "type": "array", "items": { "type": "object", "properties": { "x": { "type": "string" } } } },
                "map": { "type": "object", "additionalProperties": { "type": "object", "properties": { "x": { "type": "string" } } } },
                "free": { "type": "object", "additionalProperties": true },
            } },
        } });
        check(
            schema.clone(),
            json!({ "apiVersion": "a/v1", "kind": "A", "metadata": { "name": "n", "odd": 1 } }),
            json!({ "apiVersion": "a/v1", "kind": "A", "metadata": { "name": "n", "odd": 1 } }),
            &[],
        );
        check(
            schema.clone(),
            json!({ "spec": { "a": "b", "b": 1, "list": [{ "x": "1", "y": 2 }, 3], "map": { "k": { "x": "1", "z": 1 } }, "free": { "q": [{ "r": 1 }] } }, "status": {} }),
            json!({ "spec": { "a": "b", "list": [{ "x": "1" }, 3], "map": { "k": { "x": "1" } }, "free": { "q": [{ "r": 1 }] } } }),
            &["spec.b", "spec.list[0].y", "spec.map.k.z", "status"],
        );
        // Of a wrong type: for validation to say.
        check(
            schema,
            json!({ "spec": "text" }),
            json!({ "spec": "text" }),
            &[],
        );
    }

    #[test]
    fn fields_may_be_preserved_except_below_those_that_are_specified() {
        check(
            json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "spec": { "type": "object", "properties": { "a": { "type": "string" } } },
                "raw": { "x-kubernetes-preserve-unknown-fields": true },
            } }),
            json!({ "other": { "x": [{ "y": 1 }] }, "spec": { "a": "1", "b": 2 }, "raw": [{ "c": 1 }] }),
            json!({ "other": { "x": [{ "y": 1 }] }, "spec": { "a": "1" }, "raw": [{ "c": 1 }] }),
            &["spec.b"],
        );
    }

    #[test]
    fn an_embedded_object_keeps_its_kind_and_loses_what_metadata_never_has() {
        check(
            json!({ "type": "object", "properties": { "template": {
                "type": "object", "x-kubernetes-embedded-resource": true,
                "properties": { "spec": { "type": "object" } },
            } } }),
            json!({ "template": { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a", "nome": "b" }, "spec": { "x": 1 }, "data": 1 } }),
            json!({ "template": { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" }, "spec": {} } }),
            &["template.metadata.nome", "template.data", "template.spec.x"],
        );
    }
}
