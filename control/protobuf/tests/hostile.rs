//! Bytes from somebody who means harm: an error each time, never a panic, and bounded memory.

#![allow(clippy::unwrap_used)] // here a failed unwrap is a failed test

mod full;

use euston_protobuf::envelope::open;
use euston_protobuf::{Message, decode, encode, messages};
use proptest::prelude::*;

const JSON_MAX: usize = 1 << 20;

fn pod() -> (Message, Vec<u8>) {
    let of = Message::named("io.k8s.api.core.v1.Pod").unwrap();
    let mut bytes = Vec::new();
    encode(of, full::object(of).to_string().as_bytes(), &mut bytes).unwrap();
    (of, bytes)
}

/// What comes out is JSON, or an error.
fn try_decode(of: Message, bytes: &[u8]) -> Result<(), String> {
    match decode(of, None, bytes, JSON_MAX) {
        Ok(json) => {
            let read: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&json);
            assert!(read.is_ok(), "{}", String::from_utf8_lossy(&json));
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn truncated_anywhere_is_an_error_or_an_object() {
    let (of, bytes) = pod();
    assert_eq!(try_decode(of, &bytes), Ok(()));
    let mut refused = 0;
    for end in (0..bytes.len()).step_by(bytes.len() / 2_000 + 1) {
        refused += usize::from(try_decode(of, &bytes[..end]).is_err());
    }
    assert!(refused > 500, "{refused}");
    for (_, body, _) in full::recorded() {
        for end in 0..body.len() {
            if let Ok(envelope) = open(&body[..end]) {
                let _ = try_decode(of, envelope.raw);
            }
        }
    }
}

#[test]
fn errors_name_the_field() {
    let check = |of: &str, bytes: &[u8], expect: &str| {
        let error = try_decode(Message::named(of).unwrap(), bytes).unwrap_err();
        assert_eq!(error, expect);
    };
    let pod = "io.k8s.api.core.v1.Pod";
    check(pod, b"\x0a\x05\x0a", "the bytes end within a value");
    check(
        pod,
        b"\x12\x06\x12\x04\x0a\x02\xff\xff",
        "spec.containers[0].name: the text is not UTF-8",
    );
    check(
        pod,
        b"\x12\x04\x12\x02\x08\x01",
        "spec.containers[0].name: it is a varint on the wire, and should be a string",
    );
    check(
        pod,
        b"\x10\x01",
        "spec: it is a varint on the wire, and should be a message",
    );
    check(
        "io.k8s.api.apps.v1.ControllerRevision",
        b"\x12\x05\x0a\x03{x}",
        "data: the embedded object is not JSON: key must be a string at line 1 column 2",
    );
    check(
        "io.k8s.api.core.v1.ServicePort",
        b"\x22\x02\x08\x07",
        "targetPort: an IntOrString of type 7: must be 0 or 1",
    );
    check(
        "io.k8s.api.core.v1.Secret",
        b"\x12\x05\x0a\x01a\x10\x01",
        "data[a]: it is a varint on the wire, and should be bytes",
    );
}

/// A JSON schema that holds another one, and so on.
fn nested_schema(depth: usize, parts: usize) -> Vec<u8> {
    const NOT: &str = "not";
    let of =
        Message::named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
            .unwrap();
    let (field, _) = of.json_field(NOT).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..depth {
        let mut outer = Vec::new();
        for _ in 0..parts {
            varint(&mut outer, u64::from(field.number) << 3 | 2);
            varint(&mut outer, bytes.len() as u64);
            outer.extend_from_slice(&bytes);
        }
        bytes = outer;
    }
    bytes
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[test]
fn depth_size_and_parts_are_bounded() {
    let of =
        Message::named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
            .unwrap();
    assert_eq!(try_decode(of, &nested_schema(50, 1)), Ok(()));
    let deep = try_decode(of, &nested_schema(20_000, 1)).unwrap_err();
    assert!(deep.ends_with("nested more than 100 deep"), "{deep}");
    assert_eq!(try_decode(of, &nested_schema(3, 2)), Ok(()));
    let parts = try_decode(of, &nested_schema(18, 2)).unwrap_err();
    assert!(parts.ends_with("sent in several parts"), "{parts}");

    let (of, _) = pod();
    let many = b"\x12\x02\x12\0".repeat(1_000_000);
    let error = decode(of, None, &many, JSON_MAX).unwrap_err();
    assert!(
        error.is_too_large() || error.to_string().contains("parts"),
        "{error}"
    );
    let mut spec = Vec::new();
    varint(&mut spec, 0x12);
    varint(&mut spec, 2_000_000);
    spec.extend_from_slice(&b"\x12\0".repeat(1_000_000));
    assert!(
        decode(of, None, &spec, JSON_MAX)
            .unwrap_err()
            .is_too_large()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(&bytes);
        for of in messages() {
            let _ = try_decode(of, &bytes);
        }
    }

    #[test]
    fn mutated_bodies_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let recorded = full::recorded();
        let (_, mut body, _) = recorded[which.index(recorded.len())].clone();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(envelope) = open(&body) {
            for of in messages() {
                let _ = try_decode(of, envelope.raw);
            }
        }
    }
}
