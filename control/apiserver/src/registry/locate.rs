//! Where in a body a decoder stumbled, as a field's path.

/// A list or object around the place, and how far into it.
enum Around {
    /// In an object, at the value of this key; at none while the key is being read.
    Key(Option<String>),
    /// In a list, at this item.
    Item(usize),
}

/// The path of the innermost value at which decoding `json` ended with `error`; empty for the
/// whole of it. What the path leads through is JSON, as it has been read before.
pub(super) fn path_of(json: &[u8], error: &serde_json::Error) -> String {
    // Lines count from 1 and columns are the bytes of the line that have been read.
    let Some(line) = error.line().checked_sub(1) else {
        return String::new();
    };
    let start = match line {
        0 => 0,
        line => {
            let ends = json.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            ends.map(|(at, _)| at + 1).nth(line - 1).unwrap_or(0)
        }
    };
    show(&around(json, start + error.column().saturating_sub(1)))
}

/// What is around the value that byte `place` belongs to.
fn around(json: &[u8], place: usize) -> Vec<Around> {
    let mut around = Vec::new();
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        if *byte == b'"' {
            let end = end_of_string(json, at);
            if let Some(Around::Key(key @ None)) = around.last_mut() {
                if place < end {
                    break;
                }
                let text = json.get(at..end).unwrap_or_default();
                *key = Some(serde_json::from_slice(text).unwrap_or_default());
            } else if place < end {
                break;
            }
            at = end;
            continue;
        }
        if place <= at {
            break;
        }
        match (byte, around.last_mut()) {
            (b'{', _) => around.push(Around::Key(None)),
            (b'[', _) => around.push(Around::Item(0)),
            (b'}' | b']', _) => drop(around.pop()),
            (b',', Some(Around::Key(key))) => *key = None,
            (b',', Some(Around::Item(index))) => *index += 1,
            _ => {}
        }
        at += 1;
    }
    around
}

/// The first byte behind a string that begins at `start`.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    json.len()
}

fn show(around: &[Around]) -> String {
    use std::fmt::Write as _;
    let mut path = String::new();
    for step in around {
        match step {
            Around::Key(Some(key)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Around::Key(None) => {}
            // Writing to a String cannot fail.
            Around::Item(index) => drop(write!(path, "[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path at every byte of a text, with a mark for each that is new.
    fn check(json: &str, place: char, expect: &str) {
        let at = json.find(place).unwrap();
        assert_eq!(show(&around(json.as_bytes(), at)), expect, "{json} {place}");
    }

    #[test]
    fn a_place_is_told_by_the_path_to_its_value() {
        let text = r#"{"a":{"b":[0,"x\\\"y",{"c":7, "d" : null}],"e":true},"f":[]}"#;
        check(text, '0', "a.b[0]");
        check(text, 'x', "a.b[1]");
        check(text, 'y', "a.b[1]");
        check(text, '7', "a.b[2].c");
        check(text, 'd', "a.b[2]");
        check(text, 'n', "a.b[2].d");
        check(text, 't', "a.e");
        check(text, 'f', "");
        check("[[[5]]]", '5', "[0][0][0]");
        check("7", '7', "");
        // Brackets belong to what they enclose, seen from outside.
        check(r#"{"a":{"b":1}}"#, '{', "");
        check(r#"{"a":[1]}"#, '[', "a");
        check(r#"{"a":[1]}"#, ']', "a[0]");
    }

    #[test]
    fn a_broken_text_has_paths_too() {
        for text in [
            "",
            "{",
            "[",
            "\"",
            "{\"a",
            "{\"a\":\"",
            "]}]",
            ",,",
            "\\\"\\",
        ] {
            for place in 0..text.len() + 2 {
                let _ = show(&around(text.as_bytes(), place));
            }
        }
    }

    #[test]
    fn an_error_is_found_on_its_line() {
        #[derive(Debug, serde::Deserialize)]
        struct Body {
            #[allow(dead_code, reason = "only decoded")]
            a: Vec<i32>,
        }
        let text = "{\n  \"a\": [\n    1,\n    \"two\"\n  ]\n}";
        let error = serde_json::from_str::<Body>(text).unwrap_err();
        assert_eq!(path_of(text.as_bytes(), &error), "a[1]");
        let error = serde_json::from_str::<Body>("{\"a\": {}}").unwrap_err();
        assert_eq!(path_of(b"{\"a\": {}}", &error), "a");
    }
}
