//! The order of a merged list.

use std::collections::HashMap;

use serde_json::Value;

use super::Fault;

/// What tells an item apart: a scalar as JSON text, so that `80` and `"80"` differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

impl Key {
    /// For messages.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// The key of a scalar; `None` for null, objects and lists.
pub(super) fn scalar_key(value: &Value) -> Option<Key> {
    match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(Key(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The key of an item of a list of objects.
pub(super) fn key_of(item: &Value, merge_key: &str) -> Result<Key, Fault> {
    match item {
        Value::Object(map) => map
            .get(merge_key)
            .and_then(scalar_key)
            .ok_or_else(|| Fault::no_merge_key(item, merge_key)),
        Value::Array(_) => Err(Fault::list_of_lists()),
        other => Err(Fault::wrong_type("map", other)),
    }
}

/// The keys of all items.
pub(super) fn keys(items: &[Value], merge_key: &str) -> Result<Vec<Key>, Fault> {
    items.iter().map(|item| key_of(item, merge_key)).collect()
}

/// Puts `merged` into an order that respects `asked` for the items named there and
/// `before` for all others; where an item of the one kind may stand before one of the
/// other, `before` decides, else the asked one comes first.
pub(super) fn arrange(
    merged: Vec<Value>,
    asked: &[Key],
    before: &[Key],
    key: impl Fn(&Value) -> Result<Key, Fault>,
) -> Result<Vec<Value>, Fault> {
    let asked = places(asked);
    let before = places(before);
    let mut first = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        let key = key(&item)?;
        let old = before.get(&key).copied();
        match asked.get(&key) {
            Some(&place) => first.push((place, old, item)),
            None => others.push((old.unwrap_or(usize::MAX), old, item)),
        }
    }
    // Stable, so that items that share a key stay as they were.
    first.sort_by_key(|(place, ..)| *place);
    others.sort_by_key(|(place, ..)| *place);

    let mut arranged = Vec::with_capacity(first.len() + others.len());
    let (mut first, mut others) = (first.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_goes_first = match (first.peek(), others.peek()) {
            (Some((_, Some(asked), _)), Some((_, Some(other), _))) => other < asked,
            (Some(_), _) => false,
            (None, _) => true,
        };
        let next = if other_goes_first {
            others.next()
        } else {
            first.next()
        };
        match next {
            Some((_, _, item)) => arranged.push(item),
            None => return Ok(arranged),
        }
    }
}

/// Where each key stands first.
fn places(keys: &[Key]) -> HashMap<&Key, usize> {
    let mut places = HashMap::with_capacity(keys.len());
    for (place, key) in keys.iter().enumerate() {
        places.entry(key).or_insert(place);
    }
    places
}
