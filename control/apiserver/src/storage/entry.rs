//! One stored object: its bytes, shared with the store, and where its version goes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::ObjectKey;
use super::owners::{self, Parts};
use crate::registry::kind::{FieldValues, Kind};

/// What selectors look at.
#[derive(Debug, Default)]
pub struct Attrs {
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// The kind's own selectable fields.
    pub fields: FieldValues,
}

/// An object at a revision. The stored bytes carry no `resourceVersion`, since it
/// is known only after the write; it is put in where they are sent.
#[derive(Debug)]
pub struct Entry {
    /// Where it lives.
    pub key: ObjectKey,
    /// Its `resourceVersion`; 0 for an object that was never written (dry run).
    pub revision: u64,
    /// JSON without `resourceVersion`, as the served version has it.
    pub value: Bytes,
    /// What is in the store, where that differs.
    stored: Option<Bytes>,
    /// Where in `value` the metadata's first field begins.
    splice_at: usize,
    attrs: OnceLock<Arc<Attrs>>,
}

impl Entry {
    /// An entry for the stored bytes of an object of `kind`.
    pub fn of(kind: &Kind, key: ObjectKey, revision: u64, stored: Bytes) -> Self {
        match kind.rules.present(&stored) {
            Some(value) => Entry {
                stored: Some(stored),
                ..Entry::new(key, revision, value)
            },
            None => Entry::new(key, revision, stored),
        }
    }

    /// An entry for bytes that are served as they are stored.
    pub fn new(key: ObjectKey, revision: u64, value: Bytes) -> Self {
        let splice_at = metadata_start(&value).unwrap_or(0);
        Entry {
            key,
            revision,
            value,
            stored: None,
            splice_at,
            attrs: OnceLock::new(),
        }
    }

    /// The same object as of another revision: what a DELETED event carries.
    #[must_use]
    pub fn at(&self, revision: u64) -> Self {
        Entry {
            key: self.key.clone(),
            revision,
            value: self.value.clone(),
            stored: self.stored.clone(),
            splice_at: self.splice_at,
            attrs: self.attrs.clone(),
        }
    }

    /// The bytes in the store.
    pub fn stored(&self) -> &Bytes {
        self.stored.as_ref().unwrap_or(&self.value)
    }

    /// Its namespace; empty for cluster-wide kinds.
    pub fn namespace(&self) -> &str {
        self.key
            .as_str()
            .split_once('/')
            .map_or("", |(namespace, _)| namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.key.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// Labels and fields, decoded on first use and then kept.
    pub fn attrs(&self, kind: &Kind) -> &Attrs {
        self.attrs.get_or_init(|| match kind.rules.decode_stored(&self.value) {
            Ok(object) => Arc::new(Attrs {
                labels: object.meta().labels.clone().unwrap_or_default(),
                fields: kind.rules.fields(object.as_ref()),
            }),
            Err(error) => {
                // Only a write by another version could do this; the object is
                // served, and matches no selector.
                tracing::error!(key = self.key.as_str(), %error, "a stored object cannot be decoded");
                Arc::default()
            }
        })
    }

    /// Appends the object as clients see it, `resourceVersion` included.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        if self.revision == 0 || self.splice_at == 0 {
            out.extend_from_slice(&self.value);
            return;
        }
        let (head, tail) = self.value.split_at(self.splice_at);
        out.reserve(self.value.len() + 48);
        out.extend_from_slice(head);
        out.extend_from_slice(b"\"resourceVersion\":\"");
        out.extend_from_slice(self.revision.to_string().as_bytes());
        out.extend_from_slice(if tail.first() == Some(&b'}') {
            b"\""
        } else {
            b"\","
        });
        out.extend_from_slice(tail);
    }

    /// The stored object and its owners apart.
    pub fn parts(&self) -> Parts<'_> {
        match &self.stored {
            None if self.splice_at > 0 => owners::split_at(&self.value, self.splice_at),
            _ => owners::split(self.stored()),
        }
    }

    /// True if what is served is what is stored, but for the version of the write.
    pub fn is_as_stored(&self) -> bool {
        self.stored.is_none()
    }

    /// The object as clients see it, but without `metadata.managedFields`.
    pub fn json_without_owners(&self) -> Bytes {
        let lean = owners::split(&self.value).lean.into_owned();
        Entry::new(self.key.clone(), self.revision, lean.into()).json()
    }

    /// The object as clients see it.
    pub fn json(&self) -> Bytes {
        let mut out = Vec::new();
        self.write_json(&mut out);
        out.into()
    }
}

/// The offset just behind the `{` of the top-level `metadata`. The input is JSON
/// that this server wrote: without white space, `metadata` an object.
pub(super) fn metadata_start(json: &[u8]) -> Option<usize> {
    const NEEDLE: &[u8] = b"\"metadata\":{";
    let mut depth = 0usize;
    let mut at = 0usize;
    while at < json.len() {
        match json[at] {
            b'"' => {
                if depth == 1 && json[at..].starts_with(NEEDLE) {
                    return Some(at + NEEDLE.len());
                }
                at += 1;
                while at < json.len() && json[at] != b'"' {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stored: &str, expect: &str) {
        let entry = Entry::new(
            ObjectKey::new(Some("ns"), "a"),
            7,
            Bytes::copy_from_slice(stored.as_bytes()),
        );
        assert_eq!(String::from_utf8_lossy(&entry.json()), expect);
    }

    #[test]
    fn the_version_is_put_into_the_top_level_metadata() {
        check(
            r#"{"kind":"A","metadata":{"name":"a"}}"#,
            r#"{"kind":"A","metadata":{"resourceVersion":"7","name":"a"}}"#,
        );
        check(
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"resourceVersion":"7"}}"#,
        );
        check(
            r#"{"data":{"metadata":{},"x":"\"metadata\":{","y":"\\"},"metadata":{"name":"a"}}"#,
            r#"{"data":{"metadata":{},"x":"\"metadata\":{","y":"\\"},"metadata":{"resourceVersion":"7","name":"a"}}"#,
        );
        check(r#"{"x":"\"metadata\":{"}"#, r#"{"x":"\"metadata\":{"}"#);
    }

    #[test]
    fn namespace_and_name_come_from_the_key() {
        let entry = Entry::new(ObjectKey::new(None, "n"), 1, Bytes::new());
        assert_eq!((entry.namespace(), entry.name()), ("", "n"));
        let entry = Entry::new(ObjectKey::new(Some("x"), "n"), 1, Bytes::new());
        assert_eq!((entry.namespace(), entry.name()), ("x", "n"));
    }
}
