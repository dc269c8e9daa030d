//! Strategic merge patch, as kube-apiserver applies it.
//!
//! Semantics follow `k8s.io/apimachinery/pkg/util/strategicpatch` and the page
//! "Update API Objects in Place Using kubectl patch". In short: objects merge, null
//! deletes, and lists are replaced unless the field's type declares a merge strategy; then
//! items with the same merge key merge, and scalars are added. Directives in the patch:
//!
//! | directive | meaning |
//! | --- | --- |
//! | `$patch: replace` in an object | the object becomes this patch |
//! | `$patch: delete` in an object | the object becomes empty |
//! | `$patch: merge` | what happens anyway |
//! | `$patch: delete` in an item | the item with this merge key goes |
//! | `$patch: replace` in an item | the list becomes the other items |
//! | `$deleteFromPrimitiveList/x` | these scalars leave list `x` |
//! | `$setElementOrder/x` | the order of list `x` |
//! | `$retainKeys` | keys not listed go |
//!
//! No directive is ever left in the outcome, not even below a field that the original
//! lacks, since decoding would then complain about a field that nobody wrote.

mod list;
mod order;
mod schema;

use serde_json::{Map, Value};

use self::schema::Known;
use super::PatchError;
use super::go_format::{go_format, kind};
use crate::schema::{TypeId, types};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch to an object of the type `of`.
///
/// # Errors
/// [`PatchError::Malformed`] if the body is not a JSON object, or a directive or list is not
/// what it must be; [`PatchError::Unprocessable`] for lists of lists.
pub fn strategic_merge(original: Value, patch: &[u8], of: TypeId) -> Result<Value, PatchError> {
    let Value::Object(patch) = super::object(patch)? else {
        return Err(PatchError::Malformed(
            "a strategic merge patch is an object".into(),
        ));
    };
    let original = match original {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let known = Known::Fields(types().get(of));
    let merged = merge_object(original, patch, known).map_err(Fault::into_error)?;
    Ok(Value::Object(merged))
}

/// A [`PatchError`] on its way up, collecting where it happened.
#[derive(Debug)]
struct Fault {
    unprocessable: bool,
    message: String,
    /// Innermost first.
    path: Vec<String>,
}

impl Fault {
    fn malformed(message: impl Into<String>) -> Self {
        Fault {
            unprocessable: false,
            message: message.into(),
            path: Vec::new(),
        }
    }

    fn list_of_lists() -> Self {
        let message = "lists of lists are not supported".to_owned();
        Fault {
            unprocessable: true,
            message,
            path: Vec::new(),
        }
    }

    fn wrong_type(expected: &str, got: &Value) -> Self {
        Self::malformed(format!(
            "expected a {expected}, but received a {}",
            kind(got)
        ))
    }

    fn no_merge_key(item: &Value, key: &str) -> Self {
        Self::malformed(format!(
            "map: {} does not contain declared merge key: {key}",
            go_format(item)
        ))
    }

    fn unknown_directive(directive: &Value, patch: &Value) -> Self {
        Self::malformed(format!(
            "unknown patch type: {} in map: {}",
            go_format(directive),
            go_format(patch)
        ))
    }

    fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }

    fn into_error(mut self) -> PatchError {
        self.path.reverse();
        let message = match self.path.is_empty() {
            true => self.message,
            false => format!("{} (in {})", self.message, self.path.join(".")),
        };
        match self.unprocessable {
            true => PatchError::Unprocessable(message),
            false => PatchError::Malformed(message),
        }
    }
}

/// Merges objects. Recursion is bounded: `patch` was parsed, so it is not deep.
fn merge_object(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    known: Known,
) -> Result<Map<String, Value>, Fault> {
    match patch.get(PATCH).map(Value::as_str) {
        None => {}
        Some(Some("merge")) => {
            patch.remove(PATCH);
        }
        Some(Some("delete")) => return Ok(Map::new()),
        Some(Some("replace")) => return Ok(cleaned_map(patch)),
        Some(_) => {
            let directive = patch[PATCH].clone();
            return Err(Fault::unknown_directive(&directive, &Value::Object(patch)));
        }
    }
    retain_keys(&mut original, &mut patch)?;
    order_lists(&mut original, &mut patch, known)?;
    delete_from_lists(&mut original, &mut patch)?;
    for (key, value) in patch {
        let merged = merge_value(original.remove(&key), value, known.field(&key))
            .map_err(|fault| fault.within(&key))?;
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

/// What becomes of one key; `None` if it goes.
fn merge_value(
    original: Option<Value>,
    patch: Value,
    field: schema::Field,
) -> Result<Option<Value>, Fault> {
    Ok(match (original, patch) {
        (_, Value::Null) => None,
        (Some(Value::Object(original)), Value::Object(patch)) if !field.replaced() => {
            Some(Value::Object(merge_object(original, patch, field.known)?))
        }
        (Some(Value::Array(original)), Value::Array(patch)) if field.merged_list() => {
            Some(Value::Array(list::merge(original, patch, field)?))
        }
        (_, patch) => cleaned(patch),
    })
}

/// `$retainKeys`: what the patch's author knows; every other key of the original goes.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), Fault> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let bad = || Fault::malformed("invalid patch format of retainKeys");
    let Value::Array(keys) = directive else {
        return Err(bad());
    };
    let keys: std::collections::HashSet<&str> = keys
        .iter()
        .map(|k| k.as_str().ok_or_else(bad))
        .collect::<Result<_, _>>()?;
    let known = |key: &String, value: &Value| {
        value.is_null()
            || key.starts_with(DELETE_FROM_LIST)
            || key.starts_with(ORDER)
            || keys.contains(key.as_str())
    };
    if !patch.iter().all(|(key, value)| known(key, value)) {
        return Err(bad());
    }
    original.retain(|key, _| keys.contains(key.as_str()));
    Ok(())
}

/// `$setElementOrder/x`: merges list `x` here and now, and puts it into that order.
fn order_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    known: Known,
) -> Result<(), Fault> {
    for (name, directive) in take_prefixed(patch, ORDER) {
        let field = known.field(&name);
        let Value::Array(order) = directive else {
            let fault = Fault::malformed("invalid patch format of setElementOrder list");
            return Err(fault.within(&name));
        };
        // null deletes, whatever the order; a list that is replaced as a whole has its own.
        if patch.get(&name).is_some_and(Value::is_null) || !field.merged_list() {
            continue;
        }
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(Fault::wrong_type("list", &other).within(&name)),
        };
        let (before, added) = (list(original.remove(&name))?, list(patch.remove(&name))?);
        if before.is_none() && added.is_none() {
            continue;
        }
        let merged = list::merge_ordered(
            before.unwrap_or_default(),
            added.unwrap_or_default(),
            &order,
            field,
        )
        .map_err(|fault| fault.within(&name))?;
        original.insert(name, Value::Array(merged));
    }
    Ok(())
}

/// `$deleteFromPrimitiveList/x`.
fn delete_from_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), Fault> {
    for (name, directive) in take_prefixed(patch, DELETE_FROM_LIST) {
        let bad = || Fault::malformed("invalid patch format of primitive list").within(&name);
        let Value::Array(gone) = directive else {
            return Err(bad());
        };
        let Some(Value::Array(items)) = original.get_mut(&name) else {
            continue;
        };
        let gone = gone
            .iter()
            .map(|value| order::scalar_key(value).ok_or_else(bad))
            .collect::<Result<std::collections::HashSet<_>, _>>()?;
        items.retain(|item| order::scalar_key(item).is_none_or(|key| !gone.contains(&key)));
    }
    Ok(())
}

/// Removes the entries with that prefix, and gives them without it.
fn take_prefixed(patch: &mut Map<String, Value>, prefix: &str) -> Vec<(String, Value)> {
    let keys: Vec<String> = patch
        .keys()
        .filter(|k| k.starts_with(prefix))
        .cloned()
        .collect();
    keys.into_iter()
        .filter_map(|key| Some((key[prefix.len()..].to_owned(), patch.remove(&key)?)))
        .collect()
}

/// A value of the patch that meets nothing to merge with: without directives and nulls.
/// `None` if it asks for its own deletion.
fn cleaned(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(map) => {
            if map.get(PATCH).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            Value::Object(cleaned_map(map))
        }
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .filter(|item| list::directive(item).is_none_or(|d| d == "merge"))
                .filter_map(cleaned)
                .collect(),
        ),
        scalar => scalar,
    })
}

fn cleaned_map(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .filter(|(key, value)| {
            !(value.is_null()
                || key == PATCH
                || key == RETAIN_KEYS
                || key.starts_with(DELETE_FROM_LIST)
                || key.starts_with(ORDER))
        })
        .filter_map(|(key, value)| Some((key, cleaned(value)?)))
        .collect()
}
