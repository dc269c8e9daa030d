//! JSON as a tree whose strings point into the text that it was read from.
//!
//! Every write of an object is compared with what it replaces. That is cheap only if reading
//! the two texts copies nothing; and if the keys of objects stand in order, so that two
//! objects are compared by walking them side by side.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Number, Value};

/// Any JSON.
#[derive(Debug, Clone)]
pub enum Tree<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(Cow<'a, str>),
    /// A list.
    List(Vec<Tree<'a>>),
    /// An object.
    Map(Map<'a>),
}

/// A JSON object: keys in order, each once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map<'a>(Vec<(Cow<'a, str>, Tree<'a>)>);

impl<'a> Tree<'a> {
    /// Reads JSON.
    ///
    /// # Errors
    /// If it is none, or nested deeper than serde_json reads (127).
    pub fn parse(json: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// As JSON without white space.
    pub fn to_json(&self) -> String {
        // Keys are strings and numbers are finite: there is always a text.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The object that it is, if it is one.
    pub fn as_map(&self) -> Option<&Map<'a>> {
        match self {
            Tree::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list that it is, if it is one.
    pub fn as_list(&self) -> Option<&[Tree<'a>]> {
        match self {
            Tree::List(items) => Some(items),
            _ => None,
        }
    }

    /// The string that it is, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Tree::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value under a key, if it is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Tree<'a>> {
        self.as_map()?.get(key)
    }

    /// True for null, `{}` and `[]`.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Tree::Null => true,
            Tree::List(items) => items.is_empty(),
            Tree::Map(map) => map.is_empty(),
            _ => false,
        }
    }
}

impl PartialEq for Tree<'_> {
    /// Equal as values: `1` and `1.0` are.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Tree::Null, Tree::Null) => true,
            (Tree::Bool(a), Tree::Bool(b)) => a == b,
            (Tree::Number(a), Tree::Number(b)) => {
                a == b || a.as_f64() == b.as_f64() && !both_whole(a, b)
            }
            (Tree::String(a), Tree::String(b)) => a == b,
            (Tree::List(a), Tree::List(b)) => a == b,
            (Tree::Map(a), Tree::Map(b)) => a == b,
            _ => false,
        }
    }
}

/// Whole numbers compare exactly; as floating point, large neighbours are the same.
fn both_whole(a: &Number, b: &Number) -> bool {
    !a.is_f64() && !b.is_f64()
}

impl<'a> Map<'a> {
    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&Tree<'a>> {
        let at = self.find(key).ok()?;
        Some(&self.0[at].1)
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Cow<'a, str>, &Tree<'a>)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    /// True if there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a value under a key, in the place of what was there.
    pub fn insert(&mut self, key: Cow<'a, str>, value: Tree<'a>) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Keeps the keys that `keep` approves; it may change the values.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &mut Tree<'a>) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }

    pub(crate) fn entries(&self) -> &[(Cow<'a, str>, Tree<'a>)] {
        &self.0
    }

    pub(crate) fn into_entries(self) -> Vec<(Cow<'a, str>, Tree<'a>)> {
        self.0
    }

    /// From entries in any order; of those with the same key the last one counts.
    pub(crate) fn from_entries(mut entries: Vec<(Cow<'a, str>, Tree<'a>)>) -> Self {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(&mut later.1, &mut earlier.1);
                }
                same
            });
        }
        Map(entries)
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.as_ref().cmp(key))
    }
}

/// Walks two ordered lists of entries side by side: each key of either once, in order.
pub(crate) fn side_by_side<'t, K: Ord, V>(
    left: &'t [(K, V)],
    right: &'t [(K, V)],
) -> impl Iterator<Item = (&'t K, Option<&'t V>, Option<&'t V>)> {
    let mut left = left.iter().peekable();
    let mut right = right.iter().peekable();
    std::iter::from_fn(move || {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(l), Some(r)) => l.0.cmp(&r.0),
        };
        let l = if order.is_le() { left.next() } else { None };
        let r = if order.is_ge() { right.next() } else { None };
        let (key, _) = l.or(r)?;
        Some((key, l.map(|(_, v)| v), r.map(|(_, v)| v)))
    })
}

impl<'a> From<&'a Value> for Tree<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Tree::Null,
            Value::Bool(b) => Tree::Bool(*b),
            Value::Number(n) => Tree::Number(n.clone()),
            Value::String(s) => Tree::String(Cow::Borrowed(s)),
            Value::Array(items) => Tree::List(items.iter().map(Tree::from).collect()),
            Value::Object(map) => {
                let entries = map.iter();
                let entries = entries.map(|(k, v)| (Cow::Borrowed(k.as_str()), v.into()));
                Tree::Map(Map::from_entries(entries.collect()))
            }
        }
    }
}

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Tree::Null => serializer.serialize_unit(),
            Tree::Bool(b) => serializer.serialize_bool(*b),
            Tree::Number(n) => n.serialize(serializer),
            Tree::String(s) => serializer.serialize_str(s),
            Tree::List(items) => serializer.collect_seq(items),
            Tree::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.0.len()))?;
                for (key, value) in &map.0 {
                    out.serialize_entry(key.as_ref(), value)?;
                }
                out.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree<'de>, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree<'de>, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree<'de>, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree<'de>, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree<'de>, E> {
        Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Tree<'de>, E> {
        Ok(Tree::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree<'de>, E> {
        Ok(Tree::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(Text(key)) = map.next_key()? {
            entries.push((key, map.next_value()?));
        }
        Ok(Tree::Map(Map::from_entries(entries)))
    }
}

/// A string that borrows where it can.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_the_last_of_the_same_counts() {
        for (json, expect) in [
            (r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (r#"{"a":1,"a":2,"a":3}"#, r#"{"a":3}"#),
            (r#"{"b":1,"a":1,"b":2,"a":2}"#, r#"{"a":2,"b":2}"#),
            (
                r#"{"a":{"z":[1,{"y":null,"x":"\n"}]}}"#,
                r#"{"a":{"z":[1,{"x":"\n","y":null}]}}"#,
            ),
            ("[]", "[]"),
            (
                r#"[true,false,-1,1.5,"\u00e9"]"#,
                r#"[true,false,-1,1.5,"é"]"#,
            ),
        ] {
            assert_eq!(Tree::parse(json.as_bytes()).unwrap().to_json(), expect);
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(Tree::from(&value).to_json(), expect);
        }
    }

    #[test]
    fn numbers_are_equal_as_numbers() {
        let check = |a: &str, b: &str, equal: bool| {
            let (x, y) = (
                Tree::parse(a.as_bytes()).unwrap(),
                Tree::parse(b.as_bytes()).unwrap(),
            );
            assert_eq!(x == y, equal, "{a} {b}");
        };
        check("1", "1.0", true);
        check("1", "1", true);
        check("1", "2", false);
        check("-1", "1", false);
        check("9007199254740993", "9007199254740992", false);
        check("[1,2]", "[1,2.0]", true);
        check(r#"{"a":1}"#, r#"{"a":"1"}"#, false);
        check("0", "false", false);
        check("null", "{}", false);
    }

    #[test]
    fn two_maps_are_walked_side_by_side() {
        let (left, right) = (br#"{"a":1,"b":2,"d":4}"#, br#"{"b":2,"c":3}"#);
        let (left, right) = (Tree::parse(left).unwrap(), Tree::parse(right).unwrap());
        let walked: Vec<_> = side_by_side(
            left.as_map().unwrap().entries(),
            right.as_map().unwrap().entries(),
        )
        .map(|(key, l, r)| (key.as_ref(), l.is_some(), r.is_some()))
        .collect();
        let expect = [
            ("a", true, false),
            ("b", true, true),
            ("c", false, true),
            ("d", true, false),
        ];
        assert_eq!(walked, expect);
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_refused() {
        let deep = "[".repeat(1000);
        for bad in ["", "{", "{\"a\"}", "[1,]", "nul", "{} {}", deep.as_str()] {
            assert!(Tree::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
