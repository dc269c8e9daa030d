//! What a body says that its typed form cannot: keys that stand twice or that its type
//! does not have, and lists and maps that are empty where Kubernetes takes empty for absent.
//!
//! Go's encoder leaves out an empty list or map of a field marked `omitempty`, which in
//! Kubernetes' types are the fields that are not required. So a client that sends
//! `nodeSelector: {}` reads an object without it, and sending it again is no change.
//! Empty objects with fields of their own (`emptyDir: {}`, `podSelector: {}`) mean
//! something, and stay.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::schema::{FieldRef, Shape, TypeId, types};

/// Findings past this are not listed.
pub(super) const FINDINGS_MAX: usize = 32;

/// What a look at a body found.
pub(super) struct Scanned {
    /// The keys that stand twice in one JSON object, by path.
    pub(super) duplicates: Vec<String>,
    /// The keys that the body's type does not have, by path.
    pub(super) unknown: Vec<String>,
    /// There is something for [`without_empties`] to do.
    pub(super) empties: bool,
}

/// Looks at every value of a body once. `of` is the body's type, if the schema knows it.
///
/// # Errors
/// If it is no JSON.
pub(super) fn scan(json: &[u8], of: Option<TypeId>) -> Result<Scanned, String> {
    let mut found = Scanned {
        duplicates: Vec::new(),
        unknown: Vec::new(),
        empties: false,
    };
    let mut de = serde_json::Deserializer::from_slice(json);
    let look = Look {
        path: &mut String::new(),
        found: &mut found,
        shape: of.map(Shape::Struct),
        optional: false,
    };
    look.deserialize(&mut de).map_err(|e| e.to_string())?;
    de.end().map_err(|e| e.to_string())?;
    Ok(found)
}

/// The same body without empty lists and maps that may as well be absent.
///
/// # Errors
/// If it is no JSON.
pub(super) fn without_empties(json: &[u8], of: TypeId) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::from_slice(json)?;
    prune(&mut value, Shape::Struct(of));
    serde_json::to_vec(&value)
}

fn prune(value: &mut Value, shape: Shape) {
    match (value, shape) {
        (Value::Object(object), Shape::Struct(of)) => object.retain(|name, value| {
            let Some(field) = types().get(of).field(name) else {
                return true;
            };
            prune(value, field.shape());
            !(omits_empty(field) && is_empty(value, field.shape()))
        }),
        (Value::Object(map), Shape::Map(inner)) => {
            for value in map.values_mut() {
                prune(value, inner.shape());
            }
        }
        (Value::Array(items), Shape::List(inner)) => {
            for item in items {
                prune(item, inner.shape());
            }
        }
        _ => {}
    }
}

/// True if an empty value of this field is the same as none.
fn omits_empty(field: FieldRef) -> bool {
    !field.required()
        && matches!(field.shape(), Shape::List(_) | Shape::Map(_))
        // An empty list of owners says that there are to be none.
        && field.name() != "managedFields"
}

fn is_empty(value: &Value, shape: Shape) -> bool {
    match (value, shape) {
        (Value::Array(items), Shape::List(_)) => items.is_empty(),
        (Value::Object(map), Shape::Map(_)) => map.is_empty(),
        _ => false,
    }
}

/// A look at one value.
struct Look<'a> {
    path: &'a mut String,
    found: &'a mut Scanned,
    /// `None` below what the schema knows.
    shape: Option<Shape>,
    /// Empty is the same as absent here.
    optional: bool,
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (shape, optional) = match self.shape {
            Some(Shape::List(inner)) => (Some(inner.shape()), self.optional),
            _ => (None, false),
        };
        let length = self.path.len();
        let mut index = 0usize;
        loop {
            use fmt::Write;
            // Writing to a String cannot fail.
            let _ = write!(self.path, "[{index}]");
            let more = seq.next_element_seed(Look {
                path: &mut *self.path,
                found: &mut *self.found,
                shape,
                optional: false,
            })?;
            self.path.truncate(length);
            if more.is_none() {
                self.found.empties |= optional && index == 0;
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let length = self.path.len();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let mut known = true;
            let (shape, optional) = match self.shape {
                Some(Shape::Struct(of)) => match types().get(of).field(&key) {
                    Some(field) => (Some(field.shape()), omits_empty(field)),
                    None => {
                        known = false;
                        (None, false)
                    }
                },
                Some(Shape::Map(inner)) => (Some(inner.shape()), false),
                _ => (None, false),
            };
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if !known && self.found.unknown.len() < FINDINGS_MAX {
                let unknown = format!("unknown field {:?}", self.path);
                self.found.unknown.push(unknown);
            }
            if !seen.insert(key) && self.found.duplicates.len() < FINDINGS_MAX {
                let duplicate = format!("duplicate field {:?}", self.path);
                self.found.duplicates.push(duplicate);
            }
            map.next_value_seed(Look {
                path: &mut *self.path,
                found: &mut *self.found,
                shape,
                optional,
            })?;
            self.path.truncate(length);
        }
        let map = matches!(self.shape, Some(Shape::Map(_)));
        self.found.empties |= self.optional && map && seen.is_empty();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: (&str, &str), body: &str, expect: &str) {
        let of = types().lookup_gvk(kind.0, "v1", kind.1).unwrap();
        let scanned = scan(body.as_bytes(), Some(of)).unwrap();
        let lean = without_empties(body.as_bytes(), of).unwrap();
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let lean = parse(std::str::from_utf8(&lean).unwrap());
        assert_eq!(lean, parse(expect), "{body}");
        assert_eq!(scanned.empties, lean != parse(body), "{body}");
    }

    #[test]
    fn empty_lists_and_maps_are_absent_and_empty_objects_stay() {
        let pod = ("", "Pod");
        check(pod, r#"{"spec":{"nodeSelector":{}}}"#, r#"{"spec":{}}"#);
        check(pod, r#"{"spec":{"tolerations":[ ]}}"#, r#"{"spec":{}}"#);
        check(
            pod,
            r#"{"metadata":{"labels":{},"finalizers":[]}}"#,
            r#"{"metadata":{}}"#,
        );
        check(
            pod,
            r#"{"spec":{"containers":[{"name":"a","args":[],"resources":{"limits":{}}}]}}"#,
            r#"{"spec":{"containers":[{"name":"a","resources":{}}]}}"#,
        );
        // The list is not empty, though what is in it is.
        let item = r#"{"spec":{"imagePullSecrets":[{}]}}"#;
        check(pod, item, item);
        let structs = r#"{"spec":{"volumes":[{"name":"a","emptyDir":{}}],"securityContext":{}}}"#;
        check(pod, structs, structs);
        // Required: its emptiness is an error to report.
        let required = r#"{"spec":{"containers":[]}}"#;
        check(pod, required, required);
        // Values of a map are what a user wrote.
        let values = r#"{"data":{"a":"","b":"[]"}}"#;
        check(("", "ConfigMap"), values, values);
        check(("", "ConfigMap"), r#"{"data":{}}"#, "{}");
        // Unknown fields and wrong types are for others to report.
        let unknown =
            r#"{"spec":{"nodeSelectr":{},"hostname":[],"nodeSelector":[],"tolerations":{}}}"#;
        check(pod, unknown, unknown);
        check(
            ("networking.k8s.io", "NetworkPolicy"),
            r#"{"spec":{"podSelector":{"matchLabels":{}},"ingress":[{"from":[{"podSelector":{}}]}],"egress":[]}}"#,
            r#"{"spec":{"podSelector":{},"ingress":[{"from":[{"podSelector":{}}]}]}}"#,
        );
        check(
            ("", "PersistentVolumeClaim"),
            r#"{"spec":{"accessModes":null,"selector":{}}}"#,
            r#"{"spec":{"accessModes":null,"selector":{}}}"#,
        );
    }

    #[test]
    fn what_the_schema_does_not_know_stays_as_it_is() {
        let json = br#"{"spec":{"a":[],"b":{}}}"#;
        assert!(!scan(json, None).unwrap().empties);
    }
}
