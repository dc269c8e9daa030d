//! Lists whose items are told apart: none may stand there twice
//! (`x-kubernetes-list-type`, `apiextensions-apiserver/pkg/apiserver/schema/listtype`).

use std::collections::HashSet;

use euston_api::field::ErrorList;
use serde_json::{Map, Value};

use super::{ListType, Place, Schema};

impl Schema {
    /// Every item that stands twice in a set, or whose keys stand twice in a map.
    pub fn duplicates(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        self.find_duplicates(object, &mut Place::default(), &mut errors);
        errors
    }

    fn find_duplicates(&self, value: &Value, place: &mut Place, errors: &mut ErrorList) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(of) = self.field(name) {
                        place.at_field(name, |place| of.find_duplicates(value, place, errors));
                    }
                }
            }
            Value::Array(items) => {
                let mut seen = HashSet::new();
                for (i, item) in items.iter().enumerate() {
                    let identity = match &self.list {
                        ListType::Atomic => None,
                        ListType::Set => Some(item.clone()),
                        ListType::Map(keys) => Some(self.keys_of(item, keys)),
                    };
                    place.at_index(i, |place| {
                        if let Some(identity) = identity
                            && !seen.insert(identity.to_string())
                        {
                            errors.duplicate(place.path(), identity);
                        }
                        if let Some(of) = &self.items {
                            of.find_duplicates(item, place, errors);
                        }
                    });
                }
            }
            _ => {}
        }
    }

    fn keys_of(&self, item: &Value, keys: &[String]) -> Value {
        let keys = keys.iter();
        let pairs = keys.filter_map(|key| Some((key.clone(), self.key_of(item, key)?.clone())));
        Value::Object(pairs.collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema_of;
    use super::*;

    fn check(list: Value, expect: &[&str]) {
        let schema = schema_of(
            json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": {
            "set": { "type": "array", "x-kubernetes-list-type": "set", "items": { "type": "string" } },
            "map": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"], "items": { "type": "object", "properties": {
                "port": { "type": "integer" }, "protocol": { "type": "string", "default": "TCP" },
            } } },
            "any": { "type": "array", "items": { "type": "string" } },
        } } } }),
        );
        let errors = schema.duplicates(&json!({ "spec": list }));
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn items_of_sets_and_keys_of_maps_stand_once() {
        check(
            json!({ "set": ["a", "b"], "any": ["a", "a"], "map": [{ "port": 1 }, { "port": 2 }] }),
            &[],
        );
        check(
            json!({ "set": ["a", "b", "a"] }),
            &["spec.set[2]: Duplicate value: \"a\""],
        );
        check(
            json!({ "map": [{ "port": 1, "protocol": "UDP" }, { "port": 1 }, { "port": 1, "protocol": "TCP" }] }),
            &["spec.map[2]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\"}"],
        );
    }
}
