//! Lists, and lists as sets.

use super::{Error, Evaluation, Ordering, Result, Value, index, numbers};

/// How deep lists in lists are flattened.
const FLATTEN_MAX: i64 = 64;

/// `None` if it is no method of these.
pub(super) fn method(name: &str, target: &Value, args: &[Value]) -> Option<Result<Value>> {
    let Value::List(items) = target else {
        return None;
    };
    let own = |items: &[Value]| Value::list(items.to_vec());
    Some(match (name, args) {
        ("isSorted", []) => {
            let mut sorted = true;
            for pair in items.windows(2) {
                match pair[0].order(&pair[1]) {
                    Some(order) => sorted &= order != Ordering::Greater,
                    None => return Some(Err(Error::overload())),
                }
            }
            Ok(Value::Bool(sorted))
        }
        ("sum", []) => {
            let mut sum = match items.first() {
                None => return Some(Ok(Value::Int(0))),
                Some(first) => first.clone(),
            };
            for item in &items[1..] {
                let pair = [sum, item.clone()];
                let added = numbers::function("+", &pair)
                    .or_else(|| super::times::function("+", &pair))
                    .unwrap_or_else(|| Err(Error::overload()));
                match added {
                    Ok(value) => sum = value,
                    Err(error) => return Some(Err(error)),
                }
            }
            Ok(sum)
        }
        ("min" | "max", []) if items.is_empty() => {
            Err(Error::failed(format!("{name} called on empty list")))
        }
        ("min", []) => numbers::extreme(items, Ordering::Less),
        ("max", []) => numbers::extreme(items, Ordering::Greater),
        ("indexOf", [item]) => Ok(at(items.iter().position(|i| i.equals(item)))),
        ("lastIndexOf", [item]) => Ok(at(items.iter().rposition(|i| i.equals(item)))),
        ("first", []) => Ok(Value::Optional(items.first().cloned().map(Into::into))),
        ("last", []) => Ok(Value::Optional(items.last().cloned().map(Into::into))),
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let bounds = index(*from, items.len()).and_then(|f| Ok((f, index(*to, items.len())?)));
            bounds.and_then(|(from, to)| match items.get(from..to) {
                Some(part) => Ok(own(part)),
                None => Err(Error::failed(format!("cannot slice({from}, {to}), start index must be less than or equal to end index"))),
            })
        }
        ("reverse", []) => Ok(Value::list(items.iter().rev().cloned().collect())),
        ("distinct", []) => {
            let mut seen: Vec<Value> = Vec::new();
            for item in items.iter() {
                if !seen.iter().any(|s| s.equals(item)) {
                    seen.push(item.clone());
                }
            }
            Ok(Value::list(seen))
        }
        ("sort", []) => {
            let mut sorted = items.as_ref().clone();
            let mut comparable = true;
            sorted.sort_by(|a, b| {
                a.order(b).unwrap_or_else(|| {
                    comparable = false;
                    Ordering::Equal
                })
            });
            comparable
                .then(|| Value::list(sorted))
                .ok_or_else(Error::overload)
        }
        ("flatten", []) => Ok(Value::list(flat(items, 1))),
        ("flatten", [Value::Int(depth)]) if *depth >= 0 => {
            Ok(Value::list(flat(items, (*depth).min(FLATTEN_MAX))))
        }
        _ => return None,
    })
}

fn at(place: Option<usize>) -> Value {
    Value::Int(place.and_then(|p| i64::try_from(p).ok()).unwrap_or(-1))
}

fn flat(items: &[Value], depth: i64) -> Vec<Value> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Value::List(inner) if depth > 0 => out.extend(flat(inner, depth - 1)),
            other => out.push(other.clone()),
        }
    }
    out
}

/// Functions of `lists` and `sets`.
pub(super) fn in_module(
    evaluation: &mut Evaluation,
    module: &str,
    name: &str,
    args: &[Value],
) -> Result<Value> {
    match (module, name, args) {
        ("lists", "range", [Value::Int(count)]) => {
            evaluation.spend(u64::try_from(*count).unwrap_or(0))?;
            Ok(Value::list((0..*count).map(Value::Int).collect()))
        }
        ("sets", _, [Value::List(a), Value::List(b)]) => {
            evaluation.spend((a.len() as u64).saturating_mul(b.len() as u64))?;
            let has = |set: &[Value], item: &Value| set.iter().any(|i| i.equals(item));
            let contains = |a: &[Value], b: &[Value]| b.iter().all(|item| has(a, item));
            match name {
                "contains" => Ok(Value::Bool(contains(a, b))),
                "equivalent" => Ok(Value::Bool(contains(a, b) && contains(b, a))),
                "intersects" => Ok(Value::Bool(b.iter().any(|item| has(a, item)))),
                _ => Err(Error::overload()),
            }
        }
        _ => Err(Error::overload()),
    }
}
