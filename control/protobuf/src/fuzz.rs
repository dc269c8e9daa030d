//! Fuzz targets: bodies in protobuf, and the mapping between the two forms. `control/fuzz` has a binary for each; see
//! docs/fuzzing.md. Not part of the public interface.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is what is looked for")]

use fuzz_support::{Choices, Target};
use serde_json::Value;

use crate::envelope;
use crate::{Message, decode, encode, messages};

/// All targets of this crate.
pub const TARGETS: &[Target] = &[
    ("protobuf_envelope", protobuf_envelope),
    ("protobuf_from_json", protobuf_from_json),
    ("protobuf_to_json", protobuf_to_json),
];

/// As the API server bounds it, about.
const JSON_MAX: usize = 1 << 20;

/// A message, by two bytes.
fn message(choices: &mut Choices<'_>) -> Message {
    let number = usize::from(choices.byte()) | usize::from(choices.byte()) << 8;
    let all = messages().count();
    messages().nth(number % all).unwrap()
}

/// A body: what is opened is sealed and opened as the same.
///
/// # Panics
/// Where it is not.
pub fn protobuf_envelope(data: &[u8]) {
    for body in [data.to_vec(), [&envelope::MAGIC, data].concat()] {
        let Ok(opened) = envelope::open(&body) else {
            continue;
        };
        let mut again = Vec::new();
        let sealed = envelope::seal(opened.api_version, opened.kind, &mut again, |out| {
            out.extend_from_slice(opened.raw);
            Ok::<_, std::convert::Infallible>(())
        });
        sealed.unwrap();
        assert_eq!(envelope::open(&again), Ok(opened));
    }
}

/// A message from the wire: it becomes JSON, and that the same JSON again by way of protobuf.
///
/// # Panics
/// Where it is not so.
pub fn protobuf_to_json(data: &[u8]) {
    let mut choices = Choices::new(data);
    let of = message(&mut choices);
    let Ok(json) = decode(of, None, choices.rest(), JSON_MAX) else {
        return;
    };
    assert!(json.len() <= JSON_MAX);
    let read: Value = serde_json::from_slice(&json)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&json)));
    let mut bytes = Vec::new();
    encode(of, &json, &mut bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&json)));
    let again = decode(of, None, &bytes, JSON_MAX).unwrap();
    let again: Value = serde_json::from_slice(&again).unwrap();
    assert_eq!(again, read, "{}", of.name());
}

/// JSON that becomes a message: it is one that can be read, and stays what it is.
///
/// # Panics
/// Where it is not so.
pub fn protobuf_from_json(data: &[u8]) {
    let mut choices = Choices::new(data);
    let of = message(&mut choices);
    let mut bytes = Vec::new();
    if encode(of, choices.rest(), &mut bytes).is_err() {
        return;
    }
    let Ok(json) = decode(of, None, &bytes, JSON_MAX) else {
        // Deeper than what is read, or text that is none of the forms.
        return;
    };
    let mut again = Vec::new();
    encode(of, &json, &mut again).unwrap();
    let again = decode(of, None, &again, JSON_MAX).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&again),
        String::from_utf8_lossy(&json)
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fuzz_support::{Seed, replay};

    use super::*;

    fn seeds() -> Vec<Seed> {
        let number = |name: &str| {
            let of = Message::named(name).unwrap();
            let at = messages().position(|message| message == of).unwrap();
            (of, (at as u16).to_le_bytes())
        };
        let mut seeds = Vec::new();
        for (name, json) in [
            (
                "io.k8s.api.core.v1.Pod",
                r#"{"metadata":{"name":"a","labels":{"b":"c"},"creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"containers":[{"name":"x","resources":{"limits":{"cpu":"1"}},"ports":[{"containerPort":80}]}]}}"#,
            ),
            (
                "io.k8s.api.core.v1.Service",
                r#"{"spec":{"ports":[{"port":1,"targetPort":"http"},{"port":2,"targetPort":8}]}}"#,
            ),
            (
                "io.k8s.api.core.v1.Secret",
                r#"{"data":{"a":"aGk="},"type":"Opaque"}"#,
            ),
            (
                "io.k8s.api.apps.v1.ControllerRevision",
                r#"{"data":{"x":[1,null]},"revision":3}"#,
            ),
        ] {
            let (of, at) = number(name);
            let mut bytes = Vec::new();
            encode(of, json.as_bytes(), &mut bytes).unwrap();
            seeds.push(("protobuf_from_json", [&at, json.as_bytes()].concat()));
            seeds.push(("protobuf_to_json", [&at, &bytes[..]].concat()));
            let mut body = Vec::new();
            let sealed = envelope::seal("v1", "Pod", &mut body, |out| {
                encode(of, json.as_bytes(), out)
            });
            sealed.unwrap();
            seeds.push(("protobuf_envelope", body));
        }
        seeds
    }

    #[test]
    fn the_corpus_finds_nothing() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        replay(&corpus, TARGETS, &seeds());
    }
}
