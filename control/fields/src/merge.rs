//! What an object becomes when a configuration is laid over it.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::element::Element;
use crate::schema::{Place, Schema};
use crate::tree::{Map, Tree};
use crate::walk::{self, DEPTH_MAX, Form};

/// `live` with everything that `config` says. What `config` does not name stays.
///
/// The caller has checked `config` with [`owned`](crate::owned), so its items can be told apart.
pub(crate) fn merge<'a>(schema: &dyn Schema, live: Tree<'a>, config: &Tree<'a>) -> Tree<'a> {
    value(schema, schema.root(), Some(live), config, 0)
}

fn value<'a>(
    schema: &dyn Schema,
    at: Place,
    live: Option<Tree<'a>>,
    config: &Tree<'a>,
    depth: usize,
) -> Tree<'a> {
    let Some(live) = live else {
        return config.clone();
    };
    let wanted = walk::form(schema, at, config);
    let (form, null) = match (walk::form(schema, at, &live), wanted) {
        // Null says nothing about what is in a map or list: its owner gives up what it had there.
        (Some(form), None) if form != Form::Leaf && !live.is_empty() => (form, true),
        (Some(form), wanted) if wanted == Some(form) && depth < DEPTH_MAX => (form, false),
        _ => return config.clone(),
    };
    match (form, live, config) {
        (_, live, _) if null => live,
        (Form::Map, Tree::Map(live), Tree::Map(config)) => {
            Tree::Map(map(schema, at, live, config, depth))
        }
        (Form::Set | Form::Keyed, Tree::List(live), Tree::List(config)) => {
            Tree::List(list(schema, at, form, live, config, depth))
        }
        _ => config.clone(),
    }
}

fn map<'a>(
    schema: &dyn Schema,
    at: Place,
    live: Map<'a>,
    config: &Map<'a>,
    depth: usize,
) -> Map<'a> {
    let mut live = live.into_entries().into_iter().peekable();
    let mut merged = Vec::with_capacity(live.len().max(config.entries().len()));
    for (key, wanted) in config.iter() {
        while let Some(before) = live.next_if(|(k, _)| k < key) {
            merged.push(before);
        }
        let was = live.next_if(|(k, _)| k == key).map(|(_, value)| value);
        let place = walk::stored_field(schema, at, key).place;
        merged.push((key.clone(), value(schema, place, was, wanted, depth + 1)));
    }
    merged.extend(live);
    Map::from_entries(merged)
}

/// The items of `config` in its order; between them, where they stood, those that only `live` has.
fn list<'a>(
    schema: &dyn Schema,
    at: Place,
    form: Form,
    live: Vec<Tree<'a>>,
    config: &[Tree<'a>],
    depth: usize,
) -> Vec<Tree<'a>> {
    // What has no name of its own (also: what `config` never names) is kept as it stands.
    let name = |item: &Tree<'a>| walk::item(schema, at, form, item).ok();
    let names: Vec<Option<Element<'a>>> = live.iter().map(&name).collect();
    let wanted: Vec<Option<Element<'a>>> = config.iter().map(name).collect();
    let mut places: HashMap<&Element<'a>, Vec<usize>> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(name) = name {
            places.entry(name).or_default().push(index);
        }
    }
    let mut only_live = vec![true; live.len()];
    for name in wanted.iter().flatten() {
        for &index in places.get(name).into_iter().flatten() {
            only_live[index] = false;
        }
    }
    let place = schema.item(at);
    let mut live: Vec<Option<Tree<'a>>> = live.into_iter().map(Some).collect();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let mut cursor = 0;
    // For each item of `config`: where in `live` the next one stands that both have.
    let mut shared = vec![None; config.len()];
    let mut next = None;
    for (index, name) in wanted.iter().enumerate().rev() {
        let here = name.as_ref().and_then(|name| places.get(name)?.first());
        next = here.copied().or(next);
        shared[index] = next;
    }
    for (index, item) in config.iter().enumerate() {
        let until = match shared[index] {
            Some(next) if next >= cursor => next,
            _ => live.len(),
        };
        for at in cursor..until {
            if only_live[at] {
                merged.extend(live[at].take());
            }
        }
        cursor = until;
        let was = wanted[index]
            .as_ref()
            .and_then(|name| match places.get(name)?[..] {
                [one] => live[one].take(),
                // Twice in `live`: there is no telling which one is meant.
                _ => None,
            });
        merged.push(value(schema, place, was, item, depth + 1));
    }
    for at in cursor..live.len() {
        if only_live[at] {
            merged.extend(live[at].take());
        }
    }
    merged
}

/// Puts the nulls of `config` where the merged object has nothing left but an empty map or list.
pub(crate) fn settle_nulls<'a>(merged: &mut Tree<'a>, config: &Tree<'a>) {
    let (Tree::Map(merged), Tree::Map(config)) = (merged, config) else {
        return;
    };
    merged.retain(|key, value| {
        match config.get(key) {
            Some(Tree::Null) if value.is_empty() => *value = Tree::Null,
            Some(inner) => settle_nulls(value, inner),
            None => {}
        }
        true
    });
}

/// The value of an annotation.
pub(crate) fn annotation<'t>(object: &'t Tree<'_>, name: &str) -> Option<&'t str> {
    object
        .get("metadata")?
        .get("annotations")?
        .get(name)?
        .as_str()
}

/// Sets an annotation of an object that has annotations.
pub(crate) fn set_annotation<'a>(object: &mut Tree<'a>, name: &'static str, text: String) {
    let Tree::Map(top) = object else { return };
    top.retain(|key, value| {
        if let ("metadata", Tree::Map(meta)) = (key, value) {
            meta.retain(|key, value| {
                if let ("annotations", Tree::Map(annotations)) = (key, value) {
                    annotations.insert(Cow::Borrowed(name), Tree::String(Cow::Owned(text.clone())));
                }
                true
            });
        }
        true
    });
}
