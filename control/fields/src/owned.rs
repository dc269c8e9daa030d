//! What a configuration says something about: the fields that its sender is to own.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::element::Element;
use crate::schema::{Place, Schema};
use crate::set::{Node, Set};
use crate::tree::Tree;
use crate::walk::{self, DEPTH_MAX, Form};

/// Misfits past this are not listed.
const MISFITS_MAX: usize = 32;

/// What in a configuration does not fit the type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Misfit {
    /// Where, for people: `.spec.ports`.
    pub path: String,
    /// Why, in the words of structured-merge-diff.
    pub why: Cow<'static, str>,
}

/// The fields that `object` names. An object is owned through its fields, a list through its
/// items; what is null or empty, and whatever is a key of a map or an item of a list, is also
/// owned itself.
///
/// # Errors
/// Everything that does not fit: fields that the type does not have, items of a list that
/// cannot be told apart, or that are there twice.
pub fn owned<'a>(schema: &dyn Schema, object: &Tree<'a>) -> Result<Set<'a>, Vec<Misfit>> {
    let mut walk = Walk {
        schema,
        path: Vec::new(),
        misfits: Vec::new(),
    };
    let node = walk.value(schema.root(), object);
    if walk.misfits.is_empty() {
        Ok(node.below)
    } else {
        Err(walk.misfits)
    }
}

struct Walk<'s, 'a> {
    schema: &'s dyn Schema,
    path: Vec<Element<'a>>,
    misfits: Vec<Misfit>,
}

impl<'a> Walk<'_, 'a> {
    fn value(&mut self, at: Place, value: &Tree<'a>) -> Node<'a> {
        let form = match walk::form(self.schema, at, value) {
            _ if self.path.len() >= DEPTH_MAX => Form::Leaf,
            Some(form) => form,
            None => Form::Leaf,
        };
        match (form, value) {
            (Form::Map, Tree::Map(map)) => {
                let mut below = Set::default();
                for (key, value) in map.iter() {
                    let element = Element::Field(key.clone());
                    let Some(field) = walk::field(self.schema, at, key) else {
                        self.misfit(Some(&element), "field not declared in schema".into());
                        continue;
                    };
                    self.path.push(element.clone());
                    let mut node = self.value(field.place, value);
                    self.path.pop();
                    node.member |= !field.named || value.is_empty();
                    below.push(element, node);
                }
                Node {
                    member: map.is_empty(),
                    below,
                }
            }
            (Form::Set | Form::Keyed, Tree::List(list)) => Node {
                member: list.is_empty(),
                below: self.list(at, form, list),
            },
            _ => Node::LEAF,
        }
    }

    fn list(&mut self, at: Place, form: Form, list: &[Tree<'a>]) -> Set<'a> {
        let items = match walk::items(self.schema, at, form, list) {
            Ok(items) => items,
            Err((index, why)) => {
                self.misfit(Some(&Element::Index(index as i64)), why);
                return Set::default();
            }
        };
        let mut seen = HashSet::with_capacity(items.len());
        for (element, _) in &items {
            if !seen.insert(element) {
                let twice = match element {
                    Element::Value(_) => format!("duplicate entries for value {element}"),
                    _ => format!("duplicate entries for key {element}"),
                };
                self.misfit(None, twice.into());
                return Set::default();
            }
        }
        let place = self.schema.item(at);
        let mut nodes = Vec::with_capacity(items.len());
        for (element, value) in items {
            self.path.push(element.clone());
            let mut node = self.value(place, value);
            self.path.pop();
            node.member = true;
            nodes.push((element, node));
        }
        Set::from_nodes(nodes)
    }

    fn misfit(&mut self, last: Option<&Element<'_>>, why: Cow<'static, str>) {
        if self.misfits.len() >= MISFITS_MAX {
            return;
        }
        let mut path: String = self.path.iter().map(ToString::to_string).collect();
        path.extend(last.map(ToString::to_string));
        self.misfits.push(Misfit { path, why });
    }
}
