//! What a write changed in an object, and what it took away.

use std::borrow::Cow;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::element::Element;
use crate::schema::{Place, Schema};
use crate::set::{Node, Set};
use crate::tree::{Map, Text, Tree, side_by_side};
use crate::walk::{self, DEPTH_MAX, Form};

/// The difference between two states of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff<'a> {
    /// What is new or has another value. Objects are named through their fields.
    pub changed: Set<'a>,
    /// What is no longer there, with everything that was below it.
    pub removed: Set<'a>,
}

impl Diff<'_> {
    /// True if the two are the same.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Compares two states of an object; `None` if it was not there.
pub fn compare<'a>(schema: &dyn Schema, old: Option<&Tree<'a>>, new: &Tree<'a>) -> Diff<'a> {
    let step = Walk { schema }.values(schema.root(), old, Some(new), 0);
    Diff {
        changed: step.changed.below,
        removed: step.removed.below,
    }
}

/// Compares two texts of an object, written by the same encoder; `None` if it was not there.
///
/// Fields at the top (metadata, spec, status) whose texts are equal are not read at all, which
/// is what makes a change of the status cheap.
///
/// # Errors
/// If one of them is no JSON object.
pub fn compare_objects<'a>(
    schema: &dyn Schema,
    old: Option<&'a [u8]>,
    new: &'a [u8],
) -> serde_json::Result<Diff<'a>> {
    let old = old.map(Fields::read).transpose()?.unwrap_or_default();
    let new = Fields::read(new)?;
    let mut top = Step::default();
    let walk = Walk { schema };
    for (key, old, new) in side_by_side(&old.0, &new.0) {
        if old.map(|raw| raw.get()) == new.map(|raw| raw.get()) {
            continue;
        }
        let read = |raw: &&'a RawValue| Tree::parse(raw.get().as_bytes());
        let (old, new) = (old.map(read).transpose()?, new.map(read).transpose()?);
        let field = walk::stored_field(schema, schema.root(), key);
        let step = walk.field(field.named, field.place, old.as_ref(), new.as_ref(), 1);
        top.push(&Element::Field(key.clone()), step);
    }
    Ok(Diff {
        changed: top.changed.below,
        removed: top.removed.below,
    })
}

/// What became of one value.
#[derive(Default)]
struct Step<'a> {
    changed: Node<'a>,
    removed: Node<'a>,
}

impl<'a> Step<'a> {
    /// Appends what became of a value below.
    fn push(&mut self, element: &Element<'a>, child: Step<'a>) {
        // Most of what is compared is equal: nothing is cloned for it.
        if !child.changed.is_empty() {
            self.changed.below.push(element.clone(), child.changed);
        }
        if !child.removed.is_empty() {
            self.removed.below.push(element.clone(), child.removed);
        }
    }
}

struct Walk<'s> {
    schema: &'s dyn Schema,
}

impl Walk<'_> {
    fn values<'a>(
        &self,
        at: Place,
        old: Option<&Tree<'a>>,
        new: Option<&Tree<'a>>,
        depth: usize,
    ) -> Step<'a> {
        let form = |value: Option<&Tree<'_>>| {
            let form = walk::form(self.schema, at, value?)?;
            Some(if depth >= DEPTH_MAX { Form::Leaf } else { form })
        };
        match (form(old), form(new)) {
            // Another kind of value: all of the one is gone, all of the other is new.
            (Some(was), Some(is)) if was != is => Step {
                changed: self.form(is, at, None, new, depth).changed,
                removed: self.form(was, at, old, None, depth).removed,
            },
            (Some(one), _) | (None, Some(one)) => self.form(one, at, old, new, depth),
            (None, None) => self.form(Form::Leaf, at, old, new, depth),
        }
    }

    fn form<'a>(
        &self,
        form: Form,
        at: Place,
        old: Option<&Tree<'a>>,
        new: Option<&Tree<'a>>,
        depth: usize,
    ) -> Step<'a> {
        let empty = |value: Option<&Tree<'_>>| value.is_none_or(Tree::is_empty);
        if form == Form::Leaf || (empty(old) && empty(new)) {
            return leaf(old, new);
        }
        if form == Form::Map {
            return self.maps(at, old, new, depth);
        }
        self.lists(form, at, old, new, depth)
            .unwrap_or_else(|| leaf(old, new))
    }

    fn maps<'a>(
        &self,
        at: Place,
        old: Option<&Tree<'a>>,
        new: Option<&Tree<'a>>,
        depth: usize,
    ) -> Step<'a> {
        let mut step = Step::default();
        let mut by_name = true;
        for (key, old, new) in side_by_side(entries(old), entries(new)) {
            let field = walk::stored_field(self.schema, at, key);
            by_name &= field.named;
            let child = self.field(field.named, field.place, old, new, depth + 1);
            step.push(&Element::Field(key.clone()), child);
        }
        // Who made an object owns its fields; who made a map owns also that it is there.
        step.changed.member = old.is_none() && (!by_name || step.changed.below.is_empty());
        step.removed.member = new.is_none();
        step
    }

    /// A value under a key.
    fn field<'a>(
        &self,
        named: bool,
        at: Place,
        old: Option<&Tree<'a>>,
        new: Option<&Tree<'a>>,
        depth: usize,
    ) -> Step<'a> {
        let mut step = self.values(at, old, new, depth);
        step.changed.member |= old.is_none() && !named;
        step
    }

    /// The items of a list, ordered by what tells them apart.
    fn items<'t, 'a>(
        &self,
        form: Form,
        at: Place,
        value: Option<&'t Tree<'a>>,
    ) -> Option<Vec<Item<'t, 'a>>> {
        let list = value.and_then(Tree::as_list).unwrap_or_default();
        let mut items = walk::items(self.schema, at, form, list).ok()?;
        // Stable: items that are there twice keep their order.
        items.sort_by(|a, b| a.0.cmp(&b.0));
        Some(items)
    }

    /// `None` if the items cannot be told apart; then the list counts as one value.
    fn lists<'a>(
        &self,
        form: Form,
        at: Place,
        old: Option<&Tree<'a>>,
        new: Option<&Tree<'a>>,
        depth: usize,
    ) -> Option<Step<'a>> {
        let left = self.items(form, at, old)?;
        let right = self.items(form, at, new)?;
        let place = self.schema.item(at);
        let mut step = Step::default();
        let (mut l, mut r) = (&left[..], &right[..]);
        while let Some(element) = first(l, r) {
            let (was, is);
            (was, l) = run(l, element);
            (is, r) = run(r, element);
            let mut child = match (was, is) {
                ([], [(_, new)]) => self.values(place, None, Some(new), depth + 1),
                ([(_, old)], []) => self.values(place, Some(old), None, depth + 1),
                ([(_, old)], [(_, new)]) => self.values(place, Some(old), Some(new), depth + 1),
                // Twice there: all of them together are one value.
                (was, is) => {
                    let same = was.iter().map(|i| i.1).eq(is.iter().map(|i| i.1));
                    let mut child = Step::default();
                    child.changed.member = !same && !is.is_empty();
                    child
                }
            };
            child.changed.member |= was.is_empty();
            child.removed.member |= is.is_empty();
            step.push(element, child);
        }
        step.changed.member = old.is_none();
        step.removed.member = new.is_none();
        Some(step)
    }
}

/// An item of a list with what tells it apart.
type Item<'t, 'a> = (Element<'a>, &'t Tree<'a>);

fn entries<'t, 'a>(value: Option<&'t Tree<'a>>) -> &'t [(Cow<'a, str>, Tree<'a>)] {
    value.and_then(Tree::as_map).map_or(&[], Map::entries)
}

/// Which item comes next in either list.
fn first<'i, 'a>(left: &'i [Item<'_, 'a>], right: &'i [Item<'_, 'a>]) -> Option<&'i Element<'a>> {
    match (left.first(), right.first()) {
        (Some((l, _)), Some((r, _))) => Some(l.min(r)),
        (one, other) => one.or(other).map(|(element, _)| element),
    }
}

/// The items at the beginning that are this one, and the rest.
fn run<'i, 't, 'a>(
    items: &'i [Item<'t, 'a>],
    element: &Element<'a>,
) -> (&'i [Item<'t, 'a>], &'i [Item<'t, 'a>]) {
    let length = items.iter().take_while(|(e, _)| e == element).count();
    items.split_at(length)
}

fn leaf<'a>(old: Option<&Tree<'a>>, new: Option<&Tree<'a>>) -> Step<'a> {
    let mut step = Step::default();
    match (old, new) {
        (Some(_), None) => step.removed.member = true,
        (None, Some(_)) => step.changed.member = true,
        (old, new) => step.changed.member = old != new,
    }
    step
}

/// The fields of an object, in order, unread.
#[derive(Default)]
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn read(json: &'a [u8]) -> serde_json::Result<Self> {
        let mut de = serde_json::Deserializer::from_slice(json);
        let mut fields = de.deserialize_map(FieldsVisitor)?;
        de.end()?;
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields.dedup_by(|a, b| a.0 == b.0);
        Ok(Fields(fields))
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some(Text(key)) = map.next_key()? {
            fields.push((key, map.next_value()?));
        }
        Ok(fields)
    }
}
