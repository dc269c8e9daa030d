//! Lists that merge item by item.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::order::{self, Key};
use super::schema::Field;
use super::{Fault, PATCH, cleaned, merge_object};

/// The `$patch` of an item, if it has one.
pub(super) fn directive(item: &Value) -> Option<&Value> {
    item.get(PATCH)
}

/// Merges `patch` into `original`. Items of the patch keep the patch's order among
/// themselves, the others their own, and the two interleave as they did before.
pub(super) fn merge(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: Field,
) -> Result<Vec<Value>, Fault> {
    let Some(merge_key) = field.merge_key() else {
        return scalars(original, patch);
    };
    let Sorted {
        deleted,
        replace,
        items,
    } = sort_directives(patch, merge_key)?;
    let original = match replace {
        true => Vec::new(),
        false => without(original, merge_key, &deleted)?,
    };
    let before = order::keys(&original, merge_key)?;
    let asked = order::keys(&items, merge_key)?;
    let merged = by_key(original, items, &before, &asked, field)?;
    let key = |item: &Value| order::key_of(item, merge_key);
    order::arrange(merged, &asked, &before, key)
}

/// The same, in the order of a `$setElementOrder` list.
pub(super) fn merge_ordered(
    original: Vec<Value>,
    patch: Vec<Value>,
    asked: &[Value],
    field: Field,
) -> Result<Vec<Value>, Fault> {
    let key = |item: &Value| match field.merge_key() {
        Some(merge_key) => order::key_of(item, merge_key),
        None => order::scalar_key(item)
            .ok_or_else(|| Fault::malformed("invalid patch format of setElementOrder list")),
    };
    let order: Vec<Key> = asked.iter().map(key).collect::<Result<_, _>>()?;
    let before: Vec<Key> = original.iter().map(key).collect::<Result<_, _>>()?;
    let mut left = order.iter();
    for item in patch.iter().filter(|item| directive(item).is_none()) {
        let wanted = key(item)?;
        if !left.any(|at| *at == wanted) {
            return Err(Fault::malformed(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                super::go_format(&Value::Array(patch)),
                super::go_format(&Value::Array(asked.to_vec()))
            )));
        }
    }
    let merged = merge(original, patch, field)?;
    order::arrange(merged, &order, &before, key)
}

fn scalars(original: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, Fault> {
    let key = |item: &Value| match item {
        Value::Array(_) => Err(Fault::list_of_lists()),
        Value::Object(_) => Err(Fault::malformed(format!(
            "cannot merge lists without merge key: {} is no scalar",
            super::go_format(item)
        ))),
        _ => order::scalar_key(item)
            .ok_or_else(|| Fault::malformed("invalid patch format of primitive list")),
    };
    let before: Vec<Key> = original.iter().map(key).collect::<Result<_, _>>()?;
    let asked: Vec<Key> = patch.iter().map(key).collect::<Result<_, _>>()?;
    let mut seen = HashSet::new();
    let merged = original
        .into_iter()
        .zip(&before)
        .chain(patch.into_iter().zip(&asked))
        .filter(|(_, key)| seen.insert((*key).clone()))
        .map(|(item, _)| item)
        .collect();
    order::arrange(merged, &asked, &before, key)
}

/// A patch's items by what they ask for.
struct Sorted {
    deleted: HashSet<Key>,
    replace: bool,
    items: Vec<Value>,
}

fn sort_directives(patch: Vec<Value>, merge_key: &str) -> Result<Sorted, Fault> {
    let mut sorted = Sorted {
        deleted: HashSet::new(),
        replace: false,
        items: Vec::new(),
    };
    for mut item in patch {
        match directive(&item).map(Value::as_str) {
            None => sorted.items.push(item),
            Some(Some("delete")) => {
                sorted.deleted.insert(order::key_of(&item, merge_key)?);
            }
            Some(Some("replace")) => sorted.replace = true,
            Some(Some("merge")) => {
                if let Some(map) = item.as_object_mut() {
                    map.remove(PATCH);
                    // Alone it speaks of the list, which merges anyway.
                    if !map.is_empty() {
                        sorted.items.push(item);
                    }
                }
            }
            Some(_) => return Err(Fault::unknown_directive(&item[PATCH], &item)),
        }
    }
    Ok(sorted)
}

fn without(
    original: Vec<Value>,
    merge_key: &str,
    deleted: &HashSet<Key>,
) -> Result<Vec<Value>, Fault> {
    if deleted.is_empty() {
        return Ok(original);
    }
    let keys = order::keys(&original, merge_key)?;
    let pairs = original.into_iter().zip(keys);
    Ok(pairs
        .filter(|(_, key)| !deleted.contains(key))
        .map(|(item, _)| item)
        .collect())
}

/// Items with the same key merge, new ones go to the end.
fn by_key(
    mut original: Vec<Value>,
    items: Vec<Value>,
    before: &[Key],
    asked: &[Key],
    field: Field,
) -> Result<Vec<Value>, Fault> {
    let mut places: HashMap<&Key, usize> = HashMap::new();
    for (place, key) in before.iter().enumerate() {
        // Several may share a key (a port in TCP and UDP): the first is the one that merges.
        places.entry(key).or_insert(place);
    }
    for (item, key) in items.into_iter().zip(asked) {
        match (places.get(key), item) {
            (Some(&place), Value::Object(patch)) => {
                let Value::Object(old) = original[place].take() else {
                    continue;
                };
                let merged = merge_object(old, patch, field.known)
                    .map_err(|fault| fault.within(key.text()))?;
                original[place] = Value::Object(merged);
            }
            (_, item) => {
                if let Some(item) = cleaned(item) {
                    places.insert(key, original.len());
                    original.push(item);
                }
            }
        }
    }
    Ok(original)
}
