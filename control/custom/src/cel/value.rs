//! Values of expressions, and what JSON is as one.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use euston_api::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::escape;
use crate::schema::{Additional, Schema, Type};

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<Vec<Value>>),
    Map(Arc<BTreeMap<Key, Value>>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
    Type(Arc<str>),
    Optional(Option<Arc<Value>>),
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Url(Arc<super::library::Url>),
    Semver([u64; 3], Arc<str>),
    /// A named format (`format.dns1123Label()`).
    Format(&'static str),
}

/// What a map's entries are found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Bool(bool),
    /// Of either sign; one number is one key, whatever its type.
    Number(i128),
    String(Arc<str>),
}

impl Key {
    pub(super) fn of(value: &Value) -> Option<Key> {
        Some(match value {
            Value::Bool(is) => Key::Bool(*is),
            Value::Int(n) => Key::Number((*n).into()),
            Value::Uint(n) => Key::Number((*n).into()),
            Value::Double(n) if n.fract() == 0.0 && n.abs() < 1e18 => Key::Number(*n as i128),
            Value::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Key::Bool(is) => Value::Bool(*is),
            Key::Number(n) => match i64::try_from(*n) {
                Ok(n) => Value::Int(n),
                Err(_) => Value::Uint(u64::try_from(*n).unwrap_or_default()),
            },
            Key::String(text) => Value::String(text.clone()),
        }
    }
}

impl Value {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Value {
        Value::String(text.into())
    }

    pub(super) fn list(items: Vec<Value>) -> Value {
        Value::List(Arc::new(items))
    }

    /// Its type's name.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Ip(_) => "net.IP",
            Value::Cidr(..) => "net.CIDR",
            Value::Url(_) => "kubernetes.URL",
            Value::Semver(..) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
        }
    }

    /// The order of two values of a kind; numbers of every type are of one.
    pub(super) fn order(&self, other: &Value) -> Option<Ordering> {
        use Value::{
            Bool, Bytes, Double, Duration, Int, Quantity, Semver, String, Timestamp, Uint,
        };
        match (self, other) {
            (Bool(a), Bool(b)) => Some(a.cmp(b)),
            (Int(a), Int(b)) => Some(a.cmp(b)),
            (Uint(a), Uint(b)) => Some(a.cmp(b)),
            (Int(a), Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Uint(a), Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Double(a), Double(b)) => a.partial_cmp(b),
            (Double(a), Int(b)) => a.partial_cmp(&(*b as f64)),
            (Int(a), Double(b)) => (*a as f64).partial_cmp(b),
            (Double(a), Uint(b)) => a.partial_cmp(&(*b as f64)),
            (Uint(a), Double(b)) => (*a as f64).partial_cmp(b),
            (String(a), String(b)) => Some(a.cmp(b)),
            (Bytes(a), Bytes(b)) => Some(a.cmp(b)),
            (Timestamp(a), Timestamp(b)) => Some(a.cmp(b)),
            (Duration(a), Duration(b)) => Some(a.cmp(b)),
            (Quantity(a), Quantity(b)) => Some(a.cmp(b)),
            (Semver(a, pre), Semver(b, other)) => {
                Some(a.cmp(b).then_with(|| prerelease(pre, other)))
            }
            _ => None,
        }
    }

    /// Equality; of values of different kinds, false.
    pub(super) fn equals(&self, other: &Value) -> bool {
        use Value::{Cidr, Format, Ip, List, Map, Null, Optional, Type, Url};
        match (self, other) {
            (Null, Null) => true,
            (List(a), List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b))
            }
            (Map(a), Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(key, value)| b.get(key).is_some_and(|other| value.equals(other)))
            }
            (Type(a), Type(b)) => a == b,
            (Optional(a), Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (None, None) => true,
                _ => false,
            },
            (Ip(a), Ip(b)) => a == b,
            (Cidr(a, n), Cidr(b, m)) => a == b && n == m,
            (Url(a), Url(b)) => a.text == b.text,
            (Format(a), Format(b)) => a == b,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// How much work it is to go through it: its items, or a tenth of its bytes.
    pub(super) fn weight(&self) -> u64 {
        let size = match self {
            Value::String(text) => text.len() / 10,
            Value::Bytes(bytes) => bytes.len() / 10,
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
            _ => 0,
        };
        size as u64 + 1
    }
}

/// The order of versions before a release: none at all is the release, and comes last.
fn prerelease(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                _ => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// JSON as the schema says that it is meant. Fields that the schema does not name are not there, and
/// null is an absent field.
pub(super) fn of_json(json: &Json, schema: &Schema) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(*is),
        Json::Number(n) => match (n.as_i64(), schema.of) {
            (Some(n), of) if of != Some(Type::Number) => Value::Int(n),
            _ if schema.of == Some(Type::Integer) => Value::Int(n.as_f64().unwrap_or(0.0) as i64),
            _ => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => of_text(text, schema),
        Json::Array(items) => {
            let any = Schema::default();
            let of = schema.items.as_deref().unwrap_or(&any);
            Value::list(items.iter().map(|item| of_json(item, of)).collect())
        }
        Json::Object(fields) => {
            let mut map = BTreeMap::new();
            for (name, json) in fields {
                let (key, of) = match (schema.properties.get(name), &schema.additional) {
                    _ if schema.embedded && is_common(name) => {
                        (escape(name), of_common(name, json))
                    }
                    (Some(of), _) if json.is_null() && !of.nullable => continue,
                    (Some(of), _) => (escape(name), of_json(json, of)),
                    (None, Some(Additional::Of(of))) => (name.clone(), of_json(json, of)),
                    (None, Some(Additional::Any(true))) => (name.clone(), of_any(json)),
                    // Of no type that the rules could know.
                    (None, _) if schema.of.is_none() => (name.clone(), of_any(json)),
                    _ => continue,
                };
                map.insert(Key::String(key.into()), of);
            }
            Value::Map(Arc::new(map))
        }
    }
}

/// A whole object: it has a kind and a name, whatever its schema says.
pub(super) fn of_object(json: &Json, schema: &Schema) -> Value {
    let Value::Map(mut map) = of_json(json, schema) else {
        return Value::Null;
    };
    for name in ["apiVersion", "kind", "metadata"] {
        if let Some(json) = json.get(name) {
            let map = Arc::make_mut(&mut map);
            map.insert(Key::String(name.into()), of_common(name, json));
        }
    }
    Value::Map(map)
}

fn is_common(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

fn of_common(name: &str, json: &Json) -> Value {
    let Json::Object(fields) = json else {
        return of_any(json);
    };
    // Of the metadata the names alone, as in Kubernetes.
    let known =
        |field: &&String| name != "metadata" || matches!(field.as_str(), "name" | "generateName");
    let entries = fields.iter().filter(|(field, _)| known(field));
    let map = entries.map(|(field, json)| (Key::String(field.as_str().into()), of_any(json)));
    Value::Map(Arc::new(map.collect()))
}

fn of_any(json: &Json) -> Value {
    match json {
        Json::Object(fields) => {
            let map = fields
                .iter()
                .map(|(name, json)| (Key::String(name.as_str().into()), of_any(json)));
            Value::Map(Arc::new(map.collect()))
        }
        Json::Array(items) => Value::list(items.iter().map(of_any).collect()),
        scalar => of_json(scalar, &Schema::default()),
    }
}

fn of_text(text: &str, schema: &Schema) -> Value {
    let typed = match schema.values.format.as_deref() {
        _ if schema.int_or_string => None,
        Some("date-time") => text.parse().ok().map(Value::Timestamp),
        Some("date") => {
            let midnight = format!("{text}T00:00:00Z");
            midnight.parse().ok().map(Value::Timestamp)
        }
        Some("duration") => super::library::parse_duration(text).map(Value::Duration),
        Some("byte") => super::library::decode_base64(text).map(|b| Value::Bytes(b.into())),
        _ => None,
    };
    typed.unwrap_or_else(|| Value::text(text))
}
