//! Arithmetic, conversions, and `math`.

use super::{Error, Ordering, Result, Value};

/// `None` if it is no function of these.
pub(super) fn function(name: &str, args: &[Value]) -> Option<Result<Value>> {
    use Value::{Double, Int, Uint};
    let overflow = |value: Option<Value>, of: &str| {
        value.ok_or_else(|| Error::failed(format!("{of} overflow")))
    };
    Some(match (name, args) {
        ("neg", [Int(n)]) => overflow(n.checked_neg().map(Int), "integer"),
        ("neg", [Double(n)]) => Ok(Double(-n)),
        ("+", [Int(a), Int(b)]) => overflow(a.checked_add(*b).map(Int), "integer"),
        ("-", [Int(a), Int(b)]) => overflow(a.checked_sub(*b).map(Int), "integer"),
        ("*", [Int(a), Int(b)]) => overflow(a.checked_mul(*b).map(Int), "integer"),
        ("/", [Int(_), Int(0)]) | ("/", [Uint(_), Uint(0)]) => {
            Err(Error::failed("division by zero"))
        }
        ("%", [Int(_), Int(0)]) | ("%", [Uint(_), Uint(0)]) => {
            Err(Error::failed("modulus by zero"))
        }
        ("/", [Int(a), Int(b)]) => overflow(a.checked_div(*b).map(Int), "integer"),
        ("%", [Int(a), Int(b)]) => overflow(a.checked_rem(*b).map(Int), "integer"),
        ("+", [Uint(a), Uint(b)]) => overflow(a.checked_add(*b).map(Uint), "unsigned integer"),
        ("-", [Uint(a), Uint(b)]) => overflow(a.checked_sub(*b).map(Uint), "unsigned integer"),
        ("*", [Uint(a), Uint(b)]) => overflow(a.checked_mul(*b).map(Uint), "unsigned integer"),
        ("/", [Uint(a), Uint(b)]) => Ok(Uint(a / b)),
        ("%", [Uint(a), Uint(b)]) => Ok(Uint(a % b)),
        ("+", [Double(a), Double(b)]) => Ok(Double(a + b)),
        ("-", [Double(a), Double(b)]) => Ok(Double(a - b)),
        ("*", [Double(a), Double(b)]) => Ok(Double(a * b)),
        ("/", [Double(a), Double(b)]) => Ok(Double(a / b)),
        ("int", [value]) => int(value),
        ("uint", [value]) => match value {
            Uint(n) => Ok(Uint(*n)),
            Int(n) => overflow(u64::try_from(*n).ok().map(Uint), "unsigned integer"),
            Double(n) if *n >= 0.0 && *n < 18_446_744_073_709_551_616.0 => Ok(Uint(*n as u64)),
            Value::String(text) => text.parse().map(Uint).map_err(|_| unreadable(text, "uint")),
            _ => Err(Error::overload()),
        },
        ("double", [value]) => match value {
            Double(n) => Ok(Double(*n)),
            Int(n) => Ok(Double(*n as f64)),
            Uint(n) => Ok(Double(*n as f64)),
            Value::String(text) => text
                .parse()
                .map(Double)
                .map_err(|_| unreadable(text, "double")),
            _ => Err(Error::overload()),
        },
        ("bool", [value]) => match value {
            Value::Bool(is) => Ok(Value::Bool(*is)),
            Value::String(text) => match text.as_ref() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
                _ => Err(unreadable(text, "bool")),
            },
            _ => Err(Error::overload()),
        },
        _ => return None,
    })
}

fn unreadable(text: &str, of: &str) -> Error {
    Error::failed(format!(
        "type conversion error from 'string' to '{of}': {text:?}"
    ))
}

fn int(value: &Value) -> Result<Value> {
    let out_of_range = || Error::failed("integer overflow");
    match value {
        Value::Int(n) => Ok(Value::Int(*n)),
        Value::Uint(n) => i64::try_from(*n)
            .map(Value::Int)
            .map_err(|_| out_of_range()),
        Value::Double(n) if n.abs() < 9_223_372_036_854_775_808.0 => Ok(Value::Int(*n as i64)),
        Value::Double(_) => Err(out_of_range()),
        Value::String(text) => text
            .parse()
            .map(Value::Int)
            .map_err(|_| unreadable(text, "int")),
        Value::Timestamp(time) => Ok(Value::Int(time.as_second())),
        Value::Duration(duration) => i64::try_from(duration.as_nanos())
            .map(Value::Int)
            .map_err(|_| out_of_range()),
        _ => Err(Error::overload()),
    }
}

/// Functions of `math`.
pub(super) fn in_math(name: &str, args: &[Value]) -> Result<Value> {
    use Value::{Bool, Double, Int, Uint};
    match (name, args) {
        ("greatest", _) => extreme(args, Ordering::Greater),
        ("least", _) => extreme(args, Ordering::Less),
        ("abs", [Int(n)]) => n
            .checked_abs()
            .map(Int)
            .ok_or_else(|| Error::failed("integer overflow")),
        ("abs", [Uint(n)]) => Ok(Uint(*n)),
        ("abs", [Double(n)]) => Ok(Double(n.abs())),
        ("ceil", [Double(n)]) => Ok(Double(n.ceil())),
        ("floor", [Double(n)]) => Ok(Double(n.floor())),
        ("round", [Double(n)]) => Ok(Double(n.round())),
        ("trunc", [Double(n)]) => Ok(Double(n.trunc())),
        ("sqrt", [Double(n)]) => Ok(Double(n.sqrt())),
        ("sqrt", [Int(n)]) => Ok(Double((*n as f64).sqrt())),
        ("sign", [Int(n)]) => Ok(Int(n.signum())),
        ("sign", [Uint(n)]) => Ok(Uint((*n).min(1))),
        ("sign", [Double(n)]) if *n == 0.0 || n.is_nan() => Ok(Double(*n)),
        ("sign", [Double(n)]) => Ok(Double(n.signum())),
        ("isNaN", [Double(n)]) => Ok(Bool(n.is_nan())),
        ("isInf", [Double(n)]) => Ok(Bool(n.is_infinite())),
        ("isFinite", [Double(n)]) => Ok(Bool(n.is_finite())),
        _ => Err(Error::overload()),
    }
}

/// The greatest or least of the arguments, or of a list.
pub(super) fn extreme(args: &[Value], wanted: Ordering) -> Result<Value> {
    let items = match args {
        [Value::List(items)] => items.as_slice(),
        args => args,
    };
    let mut items = items.iter();
    let first = items.next().ok_or_else(Error::overload)?;
    let mut found = first;
    for item in items {
        if item.order(found).ok_or_else(Error::overload)? == wanted {
            found = item;
        }
    }
    Ok(found.clone())
}
