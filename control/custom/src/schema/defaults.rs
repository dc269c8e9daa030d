//! Defaulting: what a schema says stands where nothing does.

use serde_json::{Map, Value};

use super::{Schema, is_unwanted_null};

impl Schema {
    /// Fills in the defaults of an object, at every depth. Nulls where none may be give way to
    /// the default, or go if there is none. Idempotent.
    pub fn default_fields(&self, fields: &mut Map<String, Value>) {
        for (name, of) in &self.properties {
            let Some(default) = &of.default else {
                continue;
            };
            match fields.get_mut(name) {
                Some(value) if !is_unwanted_null(value, of) => {}
                Some(value) => *value = default.clone(),
                None => {
                    fields.insert(name.clone(), default.clone());
                }
            }
        }
        fields.retain(|name, value| {
            let Some(of) = self.field(name) else {
                return true;
            };
            if is_unwanted_null(value, of) {
                match &of.default {
                    Some(default) => *value = default.clone(),
                    None => return false,
                }
            }
            of.default_value(value);
            true
        });
    }

    /// As [`default_fields`](Self::default_fields), of any value.
    pub fn default_value(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => self.default_fields(fields),
            Value::Array(items) => {
                let Some(of) = &self.items else {
                    return;
                };
                for item in items {
                    if let Some(default) = &of.default
                        && is_unwanted_null(item, of)
                    {
                        *item = default.clone();
                    }
                    of.default_value(item);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema_of;
    use super::*;

    fn check(schema: Value, object: Value, expect: Value) {
        let schema = schema_of(schema);
        let mut got = object.clone();
        schema.default_value(&mut got);
        assert_eq!(got, expect, "{object}");
        schema.default_value(&mut got);
        assert_eq!(got, expect, "{object}, again");
    }

    #[test]
    fn defaults_are_filled_in_at_every_depth() {
        let schema = json!({ "type": "object", "properties": {
            "a": { "type": "integer", "default": 1 },
            "b": { "type": "object", "default": {}, "properties": {
                "c": { "type": "string", "default": "x" },
                "d": { "type": "string" },
            } },
            "list": { "type": "array", "items": { "type": "object", "properties": { "e": { "type": "boolean", "default": true } } } },
            "map": { "type": "object", "additionalProperties": { "type": "object", "properties": { "f": { "type": "integer", "default": 7 } } } },
        } });
        check(
            schema.clone(),
            json!({}),
            json!({ "a": 1, "b": { "c": "x" } }),
        );
        check(
            schema.clone(),
            json!({ "a": 0, "b": { "c": "" }, "list": [{}, { "e": false }], "map": { "k": {} } }),
            json!({ "a": 0, "b": { "c": "" }, "list": [{ "e": true }, { "e": false }], "map": { "k": { "f": 7 } } }),
        );
        check(
            schema,
            json!({ "b": "no object" }),
            json!({ "a": 1, "b": "no object" }),
        );
    }

    #[test]
    fn null_gives_way_unless_it_is_a_value() {
        let schema = json!({ "type": "object", "properties": {
            "a": { "type": "string", "nullable": true, "default": "x" },
            "b": { "type": "string", "default": "y" },
            "c": { "type": "string", "nullable": true },
            "d": { "type": "string" },
            "list": { "type": "array", "items": { "type": "string", "default": "z" } },
            "map": { "type": "object", "additionalProperties": { "type": "string", "default": "w" } },
        } });
        check(
            schema,
            json!({ "a": null, "b": null, "c": null, "d": null, "list": [null], "map": { "k": null }, "unknown": null }),
            json!({ "a": null, "b": "y", "c": null, "list": ["z"], "map": { "k": "w" }, "unknown": null }),
        );
    }
}
