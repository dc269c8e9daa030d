//! Where the owners of fields are in a stored object, so that they can be left alone.
//!
//! `metadata.managedFields` often outweighs the rest of an object, and hardly any reader looks
//! at it. So it stands first in the stored metadata, where it is found and skipped without
//! reading what it says; typed objects in this server never carry it.

use std::borrow::Cow;

use super::entry::metadata_start;

const NEEDLE: &[u8] = b"\"managedFields\":";

/// A stored object in two parts.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The object without owners.
    pub lean: Cow<'a, [u8]>,
    /// The JSON of `metadata.managedFields`, if it has any.
    pub owners: Option<&'a [u8]>,
}

/// Takes the owners out of an object that [`join`] made.
pub fn split(value: &[u8]) -> Parts<'_> {
    let at = metadata_start(value).unwrap_or(value.len());
    split_at(value, at)
}

/// The same, where it is known where the metadata's first field begins.
pub(super) fn split_at(value: &[u8], at: usize) -> Parts<'_> {
    let whole = Parts {
        lean: Cow::Borrowed(value),
        owners: None,
    };
    let Some(tail) = value[at..].strip_prefix(NEEDLE) else {
        return whole;
    };
    let Some(length) = list_length(tail) else {
        return whole;
    };
    let (owners, rest) = tail.split_at(length);
    let mut lean = Vec::with_capacity(value.len() - length);
    lean.extend_from_slice(&value[..at]);
    lean.extend_from_slice(rest.strip_prefix(b",").unwrap_or(rest));
    Parts {
        lean: Cow::Owned(lean),
        owners: Some(owners),
    }
}

/// Puts owners into an object that has none. Objects without metadata stay as they are.
pub fn join(lean: Vec<u8>, owners: Option<&[u8]>) -> Vec<u8> {
    let (Some(owners), Some(at)) = (owners, metadata_start(&lean)) else {
        return lean;
    };
    let mut value = Vec::with_capacity(lean.len() + NEEDLE.len() + owners.len() + 1);
    value.extend_from_slice(&lean[..at]);
    value.extend_from_slice(NEEDLE);
    value.extend_from_slice(owners);
    if lean.get(at) != Some(&b'}') {
        value.push(b',');
    }
    value.extend_from_slice(&lean[at..]);
    value
}

/// How long the JSON list is that `text` begins with.
fn list_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => {
                at += 1;
                while *text.get(at)? != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lean: &str, owners: &str, expect: &str) {
        let value = join(lean.as_bytes().to_vec(), Some(owners.as_bytes()));
        assert_eq!(String::from_utf8_lossy(&value), expect);
        let parts = split(&value);
        assert_eq!(String::from_utf8_lossy(&parts.lean), lean);
        assert_eq!(
            parts.owners.map(String::from_utf8_lossy),
            Some(owners.into())
        );
    }

    #[test]
    fn owners_are_put_in_and_taken_out() {
        check(
            r#"{"kind":"A","metadata":{"name":"a"},"spec":{}}"#,
            r#"[{"manager":"a]\"}","fieldsV1":{"k:{\"a\":\"]\"}":{}}}]"#,
            r#"{"kind":"A","metadata":{"managedFields":[{"manager":"a]\"}","fieldsV1":{"k:{\"a\":\"]\"}":{}}}],"name":"a"},"spec":{}}"#,
        );
        check(
            r#"{"metadata":{}}"#,
            "[{}]",
            r#"{"metadata":{"managedFields":[{}]}}"#,
        );
        check(
            r#"{"data":{"metadata":{"managedFields":[]}},"metadata":{"name":"a"}}"#,
            "[]",
            r#"{"data":{"metadata":{"managedFields":[]}},"metadata":{"managedFields":[],"name":"a"}}"#,
        );
    }

    #[test]
    fn an_object_without_owners_is_what_it_is() {
        for text in [
            r#"{"metadata":{"name":"a"}}"#,
            r#"{"metadata":{"name":"a","managedFields":[]}}"#,
            r#"{"spec":{"managedFields":[]}}"#,
            r#"{"metadata":{"managedFields":["#,
            r#"{"metadata":{"managedFields":7}}"#,
            "",
        ] {
            let parts = split(text.as_bytes());
            assert_eq!((&*parts.lean, parts.owners), (text.as_bytes(), None));
        }
    }
}
