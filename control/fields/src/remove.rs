//! What an applier takes away by no longer naming it.

use crate::element::Element;
use crate::schema::{Place, Schema};
use crate::set::{Node, Set};
use crate::tree::Tree;
use crate::walk;

/// Removes from `object` what was in `last` and is in `managed` no longer: what the applier
/// named last time, and what now nobody owns. A field of an object counts as named, or owned,
/// also through what is below it. Whatever else is below a removed value goes with it.
pub(crate) fn remove(
    schema: &dyn Schema,
    object: &mut Tree<'_>,
    last: &Set<'_>,
    managed: &Set<'_>,
) {
    value(schema, schema.root(), object, last, managed);
}

fn value(schema: &dyn Schema, at: Place, tree: &mut Tree<'_>, last: &Set<'_>, managed: &Set<'_>) {
    if last.is_empty() {
        return;
    }
    let Some(form) = walk::form(schema, at, tree) else {
        return;
    };
    match tree {
        Tree::Map(map) if form == walk::Form::Map => map.retain(|key, child| {
            let field = walk::stored_field(schema, at, key);
            let element = Element::Field(key.into());
            keep(
                schema,
                field.place,
                field.named,
                child,
                last.node(&element),
                managed.node(&element),
            )
        }),
        Tree::List(list) if form != walk::Form::Leaf => {
            let place = schema.item(at);
            list.retain_mut(|item| match walk::item(schema, at, form, item) {
                Ok(element) => keep(
                    schema,
                    place,
                    false,
                    item,
                    last.node(&element),
                    managed.node(&element),
                ),
                Err(_) => true,
            });
        }
        _ => {}
    }
}

fn keep(
    schema: &dyn Schema,
    at: Place,
    named: bool,
    tree: &mut Tree<'_>,
    last: Option<&Node<'_>>,
    managed: Option<&Node<'_>>,
) -> bool {
    let Some(last) = last else { return true };
    let counts = |node: &Node<'_>| node.member || (named && !node.below.is_empty());
    if counts(last) && !managed.is_some_and(counts) {
        return false;
    }
    let none = Set::default();
    let managed = managed.map_or(&none, |node| &node.below);
    value(schema, at, tree, &last.below, managed);
    true
}
