//! Keys, values, revisions and ranges.

use std::ops::Bound;

use bytes::Bytes;

/// A point in the store's history: the number of the write transaction that made it, counted over the whole store.
///
/// An empty store is at revision 1 (as etcd's is), the first write gets 2, and each transaction that changes
/// something adds exactly one. 0 is never the revision of a write; requests use it for "none" or "the newest".
pub type Revision = u64;

/// One key as it was at some revision.
///
/// Clones share the bytes of key and value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in the event of a deletion.
    pub value: Bytes,
    /// The revision that created the key; survives updates, ends with deletion.
    pub create_revision: Revision,
    /// The revision of this very version of the key.
    pub mod_revision: Revision,
    /// 1 for a created key, one more with every update, 0 in the event of a deletion.
    pub version: u64,
    /// The lease the key is attached to; 0 for none. The key is deleted when the lease ends.
    pub lease: i64,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key was created or updated.
    Put,
    /// The key was deleted.
    Delete,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key afterwards. For a deletion only `key` and `mod_revision` (the deletion's) are set.
    pub kv: KeyValue,
    /// The key before; `None` where the event created it.
    pub prev_kv: Option<KeyValue>,
}

impl Event {
    /// Whether this event brought a key into being that did not exist before.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.prev_kv.is_none()
    }

    /// Whether the transaction of this revision had changed the key before.
    pub(crate) fn is_second(&self, revision: Revision) -> bool {
        self.prev_kv
            .as_ref()
            .is_some_and(|prev| prev.mod_revision == revision)
    }
}

/// A set of neighbouring keys, ordered by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyRange {
    /// One key.
    Key(Bytes),
    /// From `start` up to, but without, `end`. Empty if `end <= start`.
    Between {
        /// The first key.
        start: Bytes,
        /// The first key behind the range.
        end: Bytes,
    },
    /// This key and all behind it. The empty key gives the whole store.
    From(Bytes),
}

impl KeyRange {
    /// The range of one key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self::Key(key.into())
    }

    /// From `start` up to, but without, `end`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self::Between {
            start: start.into(),
            end: end.into(),
        }
    }

    /// `start` and all keys behind it.
    pub fn from_key(start: impl Into<Bytes>) -> Self {
        Self::From(start.into())
    }

    /// Every key.
    pub fn all() -> Self {
        Self::From(Bytes::new())
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        // The first key behind a prefix is the prefix with its last byte counted up; bytes that cannot be counted
        // up are dropped first, and if none is left, the range has no end.
        let Some(last) = start.iter().rposition(|byte| *byte != u8::MAX) else {
            return Self::From(start);
        };
        let mut end = start[..=last].to_vec();
        end[last] += 1;
        Self::Between {
            start,
            end: end.into(),
        }
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(only) => only == key,
            Self::Between { start, end } => start <= key && key < &end[..],
            Self::From(start) => start <= key,
        }
    }

    /// The smallest key that could be in the range.
    pub(crate) fn start(&self) -> &Bytes {
        match self {
            Self::Key(start) | Self::Between { start, .. } | Self::From(start) => start,
        }
    }

    /// The range as bounds that are never the wrong way round.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let start = &self.start()[..];
        let end = match self {
            Self::Key(only) => Bound::Included(&only[..]),
            Self::Between { end, .. } => Bound::Excluded(start.max(end)),
            Self::From(_) => Bound::Unbounded,
        };
        (Bound::Included(start), end)
    }

    /// Whether `key` lies behind the range, so that no later key can be in it either.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(only) => only < key,
            Self::Between { end, .. } => end <= key,
            Self::From(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_becomes_a_half_open_range() {
        let check = |prefix: &[u8], expect: KeyRange| {
            assert_eq!(KeyRange::prefix(prefix.to_vec()), expect, "{prefix:?}");
        };
        check(b"a", KeyRange::between("a", "b"));
        check(b"/pods/", KeyRange::between("/pods/", "/pods0"));
        check(&[7, 255], KeyRange::between(vec![7, 255], vec![8]));
        check(&[255, 255], KeyRange::from_key(vec![255, 255]));
        check(b"", KeyRange::all());
    }

    #[test]
    fn a_range_knows_its_keys() {
        let check = |range: KeyRange, inside: &[&str], outside: &[&str]| {
            for key in inside {
                assert!(range.contains(key.as_bytes()), "{range:?} holds {key}");
                assert!(!range.ends_before(key.as_bytes()), "{range:?} {key}");
            }
            for key in outside {
                assert!(!range.contains(key.as_bytes()), "{range:?} excludes {key}");
            }
        };
        check(KeyRange::key("b"), &["b"], &["", "a", "ba", "c"]);
        check(KeyRange::between("b", "d"), &["b", "bzz", "c"], &["a", "d"]);
        check(KeyRange::between("d", "b"), &[], &["a", "b", "c", "d"]);
        check(KeyRange::from_key("b"), &["b", "zz"], &["", "a"]);
        check(KeyRange::all(), &["", "a", "zz"], &[]);
        check(KeyRange::prefix("ab"), &["ab", "abc"], &["aa", "ac", "a"]);
    }
}
