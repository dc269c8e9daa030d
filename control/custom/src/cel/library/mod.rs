//! What expressions may call: CEL's standard functions, cel-go's extensions, and Kubernetes' own
//! (<https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries>).

mod collections;
mod kubernetes;
mod numbers;
mod texts;
mod times;

use std::cmp::Ordering;
use std::sync::Arc;

use super::eval::{Error, Evaluation, Result};
use super::value::{Key, Value};

pub(super) use kubernetes::Url;
pub(super) use texts::{decode_base64, show};
pub(super) use times::parse_duration;

/// Names in front of functions.
pub(super) const MODULES: &[&str] = &[
    "optional", "math", "strings", "lists", "sets", "base64", "format", "cel", "ip", "cidr",
];

/// Every function and method, for the check of a rule before it is used.
pub(super) const FUNCTIONS: &[&str] = &[
    "!",
    "!=",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "abs",
    "add",
    "all",
    "asApproximateFloat",
    "asInteger",
    "bool",
    "bytes",
    "ceil",
    "charAt",
    "cidr",
    "compareTo",
    "contains",
    "containsCIDR",
    "containsIP",
    "decode",
    "distinct",
    "double",
    "duration",
    "dyn",
    "encode",
    "endsWith",
    "equivalent",
    "family",
    "find",
    "findAll",
    "first",
    "flatten",
    "floor",
    "format",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getEscapedPath",
    "getFullYear",
    "getHost",
    "getHostname",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getPort",
    "getQuery",
    "getScheme",
    "getSeconds",
    "greatest",
    "hasValue",
    "in",
    "indexOf",
    "int",
    "intersects",
    "ip",
    "isCIDR",
    "isCanonical",
    "isFinite",
    "isGlobalUnicast",
    "isGreaterThan",
    "isIP",
    "isInf",
    "isInteger",
    "isLessThan",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isNaN",
    "isQuantity",
    "isSemver",
    "isSorted",
    "isURL",
    "isUnspecified",
    "join",
    "last",
    "lastIndexOf",
    "least",
    "lowerAscii",
    "major",
    "masked",
    "matches",
    "max",
    "min",
    "minor",
    "named",
    "neg",
    "none",
    "of",
    "ofNonZeroValue",
    "or",
    "orValue",
    "patch",
    "prefixLength",
    "quantity",
    "quote",
    "range",
    "replace",
    "reverse",
    "round",
    "semver",
    "sign",
    "size",
    "slice",
    "sort",
    "split",
    "sqrt",
    "startsWith",
    "string",
    "sub",
    "substring",
    "sum",
    "timestamp",
    "trim",
    "trunc",
    "type",
    "uint",
    "upperAscii",
    "url",
    "validate",
    "value",
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

/// A type by its name.
pub(super) fn type_named(name: &str) -> Option<Value> {
    const TYPES: &[&str] = &[
        "bool",
        "bytes",
        "double",
        "int",
        "list",
        "map",
        "null_type",
        "string",
        "type",
        "uint",
    ];
    TYPES.contains(&name).then(|| Value::Type(name.into()))
}

/// A function without a target, operators included.
pub(super) fn function(evaluation: &mut Evaluation, name: &str, args: &[Value]) -> Result<Value> {
    match (name, args) {
        ("==", [a, b]) => Ok(Value::Bool(a.equals(b))),
        ("!=", [a, b]) => Ok(Value::Bool(!a.equals(b))),
        ("<" | "<=" | ">" | ">=", [a, b]) => {
            let order = match a.order(b) {
                Some(order) => order,
                None if matches!((a, b), (Value::Double(_), _) | (_, Value::Double(_))) => {
                    // NaN is of no order.
                    return Ok(Value::Bool(false));
                }
                None => return Err(Error::overload()),
            };
            Ok(Value::Bool(match name {
                "<" => order == Ordering::Less,
                "<=" => order != Ordering::Greater,
                ">" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }))
        }
        ("!", [Value::Bool(is)]) => Ok(Value::Bool(!is)),
        ("in", [item, Value::List(items)]) => Ok(Value::Bool(items.iter().any(|i| i.equals(item)))),
        ("in", [key, Value::Map(map)]) => Ok(Value::Bool(
            Key::of(key).is_some_and(|key| map.contains_key(&key)),
        )),
        ("+", [Value::String(a), Value::String(b)]) => Ok(Value::text(format!("{a}{b}"))),
        ("+", [Value::Bytes(a), Value::Bytes(b)]) => Ok(Value::Bytes([&a[..], b].concat().into())),
        ("+", [Value::List(a), Value::List(b)]) => {
            Ok(Value::list(a.iter().chain(b.iter()).cloned().collect()))
        }
        ("type", [value]) => Ok(Value::Type(value.type_name().into())),
        ("dyn", [value]) => Ok(value.clone()),
        ("size", [value]) => size(value),
        ("matches", [target, pattern]) => {
            method(evaluation, name, target, std::slice::from_ref(pattern))
        }
        _ => numbers::function(name, args)
            .or_else(|| times::function(name, args))
            .or_else(|| texts::function(name, args))
            .or_else(|| kubernetes::function(name, args))
            .unwrap_or_else(|| Err(Error::overload())),
    }
}

/// A function of a target.
pub(super) fn method(
    evaluation: &mut Evaluation,
    name: &str,
    target: &Value,
    args: &[Value],
) -> Result<Value> {
    match (name, target, args) {
        ("size", target, []) => size(target),
        ("hasValue", Value::Optional(of), []) => Ok(Value::Bool(of.is_some())),
        ("value", Value::Optional(of), []) => match of {
            Some(of) => Ok(of.as_ref().clone()),
            None => Err(Error::failed("optional.none() dereference")),
        },
        _ => texts::method(evaluation, name, target, args)
            .or_else(|| collections::method(name, target, args))
            .or_else(|| times::method(name, target, args))
            .or_else(|| kubernetes::method(name, target, args))
            .unwrap_or_else(|| Err(Error::overload())),
    }
}

/// A function of a module: `math.greatest`.
pub(super) fn in_module(
    evaluation: &mut Evaluation,
    module: &str,
    name: &str,
    args: &[Value],
) -> Result<Value> {
    let cost = args.iter().map(Value::weight).sum();
    evaluation.spend(cost)?;
    match (module, name, args) {
        ("optional", "none", []) => Ok(Value::Optional(None)),
        ("optional", "of", [value]) => Ok(Value::Optional(Some(Arc::new(value.clone())))),
        ("optional", "ofNonZeroValue", [value]) => {
            let value = (!is_zero(value)).then(|| Arc::new(value.clone()));
            Ok(Value::Optional(value))
        }
        ("math", ..) => numbers::in_math(name, args),
        ("lists" | "sets", ..) => collections::in_module(evaluation, module, name, args),
        ("strings" | "base64", ..) => texts::in_module(name, args),
        ("format" | "ip" | "cidr", ..) => kubernetes::in_module(module, name, args),
        _ => Err(Error::overload()),
    }
}

fn size(value: &Value) -> Result<Value> {
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        _ => return Err(Error::overload()),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(is) => !is,
        Value::Int(n) => *n == 0,
        Value::Uint(n) => *n == 0,
        Value::Double(n) => *n == 0.0,
        Value::Duration(d) => d.is_zero(),
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => {
            matches!(size(value), Ok(Value::Int(0)))
        }
        _ => false,
    }
}

/// A count as an index, if it is one of those that there are.
fn index(value: i64, length: usize) -> Result<usize> {
    let at = usize::try_from(value).ok().filter(|at| *at <= length);
    at.ok_or_else(|| Error::failed(format!("index out of range: {value}")))
}
