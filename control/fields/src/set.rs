//! A set of paths, and its form in JSON (`fieldsV1`).
//!
//! ```text
//! {"f:metadata":{"f:labels":{".":{},"f:app":{}}}}   .metadata.labels, .metadata.labels.app
//! ```

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::element::Element;
use crate::tree::Text;

/// Paths, each at most once, as a tree: common beginnings are shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set<'a>(Vec<(Element<'a>, Node<'a>)>);

/// What is at one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    /// The path that ends here is in the set.
    pub(crate) member: bool,
    /// Paths that go on from here.
    pub(crate) below: Set<'a>,
}

impl<'a> Node<'a> {
    pub(crate) const LEAF: Node<'static> = Node {
        member: true,
        below: Set(Vec::new()),
    };

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl<'a> Set<'a> {
    /// Reads `fieldsV1` from any client.
    ///
    /// # Errors
    /// If it is no JSON, or a key names no field.
    pub fn parse(json: &'a str) -> serde_json::Result<Self> {
        Self::read(json, Element::parse)
    }

    /// Reads `fieldsV1` that [`Serialize`] wrote; in a hurry.
    pub(crate) fn parse_own(json: &'a str) -> serde_json::Result<Self> {
        Self::read(json, Element::parse_own)
    }

    fn read(json: &'a str, step: Step<'a>) -> serde_json::Result<Self> {
        let mut de = serde_json::Deserializer::from_str(json);
        let node = NodeSeed { step }.deserialize(&mut de)?;
        de.end()?;
        Ok(node.below)
    }

    /// True if no path is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out whatever is in `other`: path by path, not what is below.
    pub fn subtract(&mut self, other: &Set<'_>) {
        if other.is_empty() {
            return;
        }
        let mut others = other.0.iter().peekable();
        self.0.retain_mut(|(element, node)| {
            while others.next_if(|(o, _)| cmp(o, element).is_lt()).is_some() {}
            if let Some((_, gone)) = others.next_if(|(o, _)| cmp(o, element).is_eq()) {
                node.member &= !gone.member;
                node.below.subtract(&gone.below);
            }
            !node.is_empty()
        });
    }

    /// Puts in whatever is in `other`.
    pub fn unite(&mut self, other: Set<'a>) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = other;
            return;
        }
        let mut mine = std::mem::take(&mut self.0).into_iter().peekable();
        let mut theirs = other.0.into_iter().peekable();
        let mut all = Vec::with_capacity(mine.len().max(theirs.len()));
        loop {
            let order = match (mine.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((m, _)), Some((t, _))) => cmp(m, t),
            };
            match order {
                Ordering::Less => all.extend(mine.next()),
                Ordering::Greater => all.extend(theirs.next()),
                Ordering::Equal => {
                    if let (Some((element, mut node)), Some((_, more))) =
                        (mine.next(), theirs.next())
                    {
                        node.member |= more.member;
                        node.below.unite(more.below);
                        all.push((element, node));
                    }
                }
            }
        }
        self.0 = all;
    }

    /// The paths that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Set<'_>) -> Set<'a> {
        let mut both = Vec::new();
        let mut others = other.0.iter().peekable();
        for (element, node) in &self.0 {
            while others.next_if(|(o, _)| cmp(o, element).is_lt()).is_some() {}
            if let Some((_, theirs)) = others.next_if(|(o, _)| cmp(o, element).is_eq()) {
                let node = Node {
                    member: node.member && theirs.member,
                    below: node.below.intersection(&theirs.below),
                };
                if !node.is_empty() {
                    both.push((element.clone(), node));
                }
            }
        }
        Set(both)
    }

    /// Takes out a field at the top, and all below it.
    pub fn remove_field(&mut self, name: &str) {
        self.0
            .retain(|(e, _)| !matches!(e, Element::Field(n) if n == name));
    }

    /// Calls `each` with every path.
    pub fn for_each(&self, each: &mut dyn FnMut(&[&Element<'a>])) {
        self.visit(&mut Vec::new(), each);
    }

    fn visit<'s>(&'s self, path: &mut Vec<&'s Element<'a>>, each: &mut dyn FnMut(&[&Element<'a>])) {
        for (element, node) in &self.0 {
            path.push(element);
            if node.member {
                each(path);
            }
            node.below.visit(path, each);
            path.pop();
        }
    }

    /// Every path for people, in order: `.spec.replicas`.
    pub fn paths(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.for_each(&mut |path| all.push(path.iter().map(ToString::to_string).collect()));
        all
    }

    /// A copy that outlives the text it was read from.
    pub(crate) fn into_owned(self) -> Set<'static> {
        let nodes = self.0.into_iter().map(|(element, node)| {
            let below = node.below.into_owned();
            (
                element.into_owned(),
                Node {
                    member: node.member,
                    below,
                },
            )
        });
        Set(nodes.collect())
    }

    /// What is at a step.
    pub(crate) fn node(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        let at = self.find(element).ok()?;
        Some(&self.0[at].1)
    }

    pub(crate) fn nodes_mut(&mut self) -> &mut Vec<(Element<'a>, Node<'a>)> {
        &mut self.0
    }

    /// Appends a step that comes after all others, unless nothing is there.
    pub(crate) fn push(&mut self, element: Element<'a>, node: Node<'a>) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < element));
        if !node.is_empty() {
            self.0.push((element, node));
        }
    }

    /// From steps in any order, each once.
    pub(crate) fn from_nodes(mut nodes: Vec<(Element<'a>, Node<'a>)>) -> Self {
        nodes.retain(|(_, node)| !node.is_empty());
        nodes.sort_by(|a, b| a.0.cmp(&b.0));
        Set(nodes)
    }

    fn find(&self, element: &Element<'_>) -> Result<usize, usize> {
        self.0.binary_search_by(|(e, _)| cmp(e, element))
    }
}

/// Compares steps of different lifetimes.
fn cmp(a: &Element<'_>, b: &Element<'_>) -> Ordering {
    a.cmp(b)
}

impl fmt::Display for Set<'_> {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Set<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written {
            member: false,
            below: self,
        }
        .serialize(serializer)
    }
}

struct Written<'s, 'a> {
    /// And there is something below: a member without is just empty.
    member: bool,
    below: &'s Set<'a>,
}

impl Serialize for Written<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.below.0.len()))?;
        if self.member {
            map.serialize_entry(".", &Empty {})?;
        }
        for (element, node) in &self.below.0 {
            let node = Written {
                member: node.member && !node.below.is_empty(),
                below: &node.below,
            };
            map.serialize_entry(&Shown(element), &node)?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct Empty {}

struct Shown<'e>(&'e Element<'e>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.wire())
    }
}

type Step<'a> = fn(Cow<'a, str>) -> Result<Element<'a>, crate::element::MalformedElement>;

struct NodeSeed<'de> {
    step: Step<'de>,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'de> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'de> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        let mut node = Node::default();
        let mut empty = true;
        let mut nodes: Vec<(Element<'de>, Node<'de>)> = Vec::new();
        while let Some(Text(key)) = map.next_key()? {
            empty = false;
            if key == "." {
                map.next_value::<IgnoredAny>()?;
                node.member = true;
                continue;
            }
            let element = (self.step)(key).map_err(de::Error::custom)?;
            let below = map.next_value_seed(NodeSeed { step: self.step })?;
            nodes.push((element, below));
        }
        // An empty object is the field itself.
        node.member |= empty;
        if !nodes.is_sorted_by(|a, b| a.0 < b.0) {
            nodes.sort_by(|a, b| a.0.cmp(&b.0));
            nodes.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    earlier.1.member |= later.1.member;
                    earlier.1.below.unite(std::mem::take(&mut later.1.below));
                }
                same
            });
        }
        node.below = Set(nodes);
        Ok(node)
    }
}
