//! A step of a path to a field, and how it is written in `fieldsV1`.

use std::borrow::Cow;
use std::fmt;

use serde_json::Number;

use crate::tree::{Map, Tree};

/// One step down. Steps are ordered as their texts are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element<'a> {
    /// A field of an object or a key of a map: `f:replicas`.
    Field(Cow<'a, str>),
    /// A place in a list: `i:0`. Atomic lists have no such steps; only old clients name them.
    Index(i64),
    /// An item of a list of objects, by its keys: `k:{"name":"web"}`. JSON in canonical form.
    Key(Cow<'a, str>),
    /// An item of a set: `v:"foregroundDeletion"`. JSON in canonical form.
    Value(Cow<'a, str>),
}

/// A text that names no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no field: it must be `f:NAME`, `k:KEYS`, `v:VALUE` or `i:INDEX`")]
pub struct MalformedElement(String);

impl<'a> Element<'a> {
    /// Reads a key of `fieldsV1`. Keys and values of items are brought into canonical form.
    ///
    /// # Errors
    /// If it names no step.
    pub fn parse(text: Cow<'a, str>) -> Result<Self, MalformedElement> {
        let malformed = || MalformedElement(text.chars().take(128).collect());
        let kind = text.get(..2).ok_or_else(malformed)?;
        Ok(match kind {
            "f:" => Element::Field(tail(text)),
            "k:" => {
                let tree = Tree::parse(&text.as_bytes()[2..]).map_err(|_| malformed())?;
                if tree.as_map().is_none_or(Map::is_empty) {
                    return Err(malformed());
                }
                let canonical = canonical(tree);
                Element::Key(same_or(text, canonical))
            }
            "v:" => {
                let tree = Tree::parse(&text.as_bytes()[2..]).map_err(|_| malformed())?;
                let canonical = canonical(tree);
                Element::Value(same_or(text, canonical))
            }
            "i:" => Element::Index(text[2..].parse().map_err(|_| malformed())?),
            _ => return Err(malformed()),
        })
    }

    /// Reads what [`Display`](fmt::Display) of [`Element::wire`] wrote: no canonical form is
    /// made, since it is there.
    ///
    /// # Errors
    /// If it names no step.
    pub(crate) fn parse_own(text: Cow<'a, str>) -> Result<Self, MalformedElement> {
        match text.get(..2) {
            Some("f:") => Ok(Element::Field(tail(text))),
            Some("k:") => Ok(Element::Key(tail(text))),
            Some("v:") => Ok(Element::Value(tail(text))),
            _ => Element::parse(text),
        }
    }

    /// The item of a list of objects with these keys.
    pub(crate) fn key(keys: Map<'_>) -> Self {
        Element::Key(Cow::Owned(canonical(Tree::Map(keys))))
    }

    /// The item of a set with this value.
    pub(crate) fn value(value: &Tree<'_>) -> Self {
        Element::Value(Cow::Owned(canonical(value.clone())))
    }

    /// A copy that outlives the text it was read from.
    pub(crate) fn into_owned(self) -> Element<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        match self {
            Element::Field(name) => Element::Field(own(name)),
            Element::Index(at) => Element::Index(at),
            Element::Key(keys) => Element::Key(own(keys)),
            Element::Value(value) => Element::Value(own(value)),
        }
    }

    /// As it is written in `fieldsV1`.
    pub fn wire(&self) -> impl fmt::Display + '_ {
        struct Wire<'e>(&'e Element<'e>);
        impl fmt::Display for Wire<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    Element::Field(name) => write!(f, "f:{name}"),
                    Element::Index(at) => write!(f, "i:{at}"),
                    Element::Key(keys) => write!(f, "k:{keys}"),
                    Element::Value(value) => write!(f, "v:{value}"),
                }
            }
        }
        Wire(self)
    }
}

impl fmt::Display for Element<'_> {
    /// As it stands in a path for people: `.replicas`, `[name="web"]`, `[="a"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Index(at) => write!(f, "[{at}]"),
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Key(keys) => {
                let Ok(Tree::Map(map)) = Tree::parse(keys.as_bytes()) else {
                    return write!(f, "[{keys}]");
                };
                for (at, (name, value)) in map.iter().enumerate() {
                    let before = if at == 0 { "[" } else { "," };
                    write!(f, "{before}{name}={}", value.to_json())?;
                }
                f.write_str("]")
            }
        }
    }
}

/// All but the first two bytes.
fn tail(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[2..]),
        Cow::Owned(mut text) => {
            text.drain(..2);
            Cow::Owned(text)
        }
    }
}

fn canonical(tree: Tree<'_>) -> String {
    whole(tree).to_json()
}

/// The tail of `text` if it says the same, and so need not be copied.
fn same_or(text: Cow<'_, str>, canonical: String) -> Cow<'_, str> {
    if canonical == text[2..] {
        tail(text)
    } else {
        Cow::Owned(canonical)
    }
}

/// A number that is whole is written without a fraction, so that `80` and `80.0` are one item.
fn whole(tree: Tree<'_>) -> Tree<'_> {
    /// Whole numbers up to here are exact as floating point.
    const EXACT: f64 = (1u64 << 53) as f64;
    match tree {
        Tree::Number(n) if n.is_f64() => match n.as_f64() {
            Some(x) if x.fract() == 0.0 && x.abs() <= EXACT => Tree::Number(Number::from(x as i64)),
            _ => Tree::Number(n),
        },
        Tree::Map(map) => {
            let entries = map.into_entries().into_iter();
            Tree::Map(Map::from_entries(
                entries.map(|(k, v)| (k, whole(v))).collect(),
            ))
        }
        other => other,
    }
}
