//! Values as Kubernetes prints them in error messages (Go's `%v`), cut at a bound.

use std::fmt::Write as _;

use serde_json::Value;

/// Longest value in a message. An error is read by a person, and sent back over the wire.
const CHARS_MAX: usize = 512;

/// `map[image:nginx name:web]`, `[a b]`, `<nil>`.
pub(super) fn go_format(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    if let Some((cut, _)) = out.char_indices().nth(CHARS_MAX) {
        out.truncate(cut);
        out.push_str("...");
    }
    out
}

fn write(value: &Value, out: &mut String) {
    // Each char takes at least a byte: past this nothing more is shown.
    if out.len() > CHARS_MAX * 4 {
        return;
    }
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value}"); // writing to a String cannot fail
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push_str("map[");
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write(item, out);
            }
            out.push(']');
        }
    }
}

/// The word for a value's JSON type.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_read_as_go_prints_them() {
        for (value, expect) in [
            (
                json!({"name": "web", "image": "nginx"}),
                "map[image:nginx name:web]",
            ),
            (json!(["a", 1, true, null]), "[a 1 true <nil>]"),
            (json!({"a": {"b": [1.5]}}), "map[a:map[b:[1.5]]]"),
            (json!(null), "<nil>"),
        ] {
            assert_eq!(go_format(&value), expect);
        }
    }

    #[test]
    fn long_values_are_cut() {
        let text = go_format(&json!({"name": "é".repeat(100_000)}));
        assert_eq!(text.chars().count(), CHARS_MAX + 3);
        assert!(text.ends_with("..."));
        assert!(go_format(&json!(vec!["a"; 100_000])).ends_with("..."));
    }
}
