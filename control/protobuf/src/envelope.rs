//! What stands around a message: four bytes and `runtime.Unknown` in a body; a length and a
//! `WatchEvent` in a stream. Follows `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`,
//! `pkg/runtime/generated.proto` and `pkg/util/framer`.

use crate::forms::pick;
use crate::wire::{Value, WireError, put_bytes, put_delimited};

/// The media type of a body.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The media type of a watch.
pub const STREAM_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Every body begins with it.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// A body, opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    /// `apps/v1`; may be empty, where the receiver knows.
    pub api_version: &'a str,
    /// `Deployment`; may be empty, where the receiver knows.
    pub kind: &'a str,
    /// The message.
    pub raw: &'a [u8],
}

/// Why bytes are no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Something else altogether.
    #[error("it does not begin with \"k8s\\0\"")]
    NoMagic,
    /// Broken protobuf.
    #[error("the envelope is broken: {0}")]
    Wire(#[from] WireError),
    /// A field that is not what it should be.
    #[error("the envelope's {0} is not a string, or not UTF-8")]
    NotText(&'static str),
    /// The message is compressed, or in another format.
    #[error("the envelope's content is encoded as {0:?}; only plain protobuf is read")]
    Encoded(String),
}

/// Opens a body.
///
/// # Errors
/// If it is none, or what it holds is no plain protobuf.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let unknown = body.strip_prefix(&MAGIC).ok_or(EnvelopeError::NoMagic)?;
    let [type_meta, raw, encoding, content_type] = pick(unknown)?;
    let [api_version, kind] = pick(bytes(type_meta, "typeMeta")?)?;
    let encoding = text(encoding, "contentEncoding")?;
    let content_type = text(content_type, "contentType")?;
    for word in [encoding, content_type] {
        if !matches!(word, "" | MEDIA_TYPE) {
            return Err(EnvelopeError::Encoded(word.to_owned()));
        }
    }
    Ok(Envelope {
        api_version: text(api_version, "apiVersion")?,
        kind: text(kind, "kind")?,
        raw: bytes(raw, "raw")?,
    })
}

fn bytes<'a>(value: Option<Value<'a>>, name: &'static str) -> Result<&'a [u8], EnvelopeError> {
    match value {
        None => Ok(&[]),
        Some(Value::Bytes(bytes)) => Ok(bytes),
        Some(_) => Err(EnvelopeError::NotText(name)),
    }
}

fn text<'a>(value: Option<Value<'a>>, name: &'static str) -> Result<&'a str, EnvelopeError> {
    std::str::from_utf8(bytes(value, name)?).map_err(|_| EnvelopeError::NotText(name))
}

/// Appends a body whose message `write` appends.
///
/// # Errors
/// Those of `write`; what was appended until then is of no use.
pub fn seal<E>(
    api_version: &str,
    kind: &str,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    out.extend_from_slice(&MAGIC);
    put_delimited(out, 1, |out| {
        put_bytes(out, 1, api_version.as_bytes());
        put_bytes(out, 2, kind.as_bytes());
        Ok(())
    })?;
    put_delimited(out, 2, write)?;
    put_bytes(out, 3, b"");
    put_bytes(out, 4, b"");
    Ok(())
}

/// An event of a watch as it stands in the stream: its length (four bytes, the highest
/// first), then a `WatchEvent` whose object `write` appends, as a body.
///
/// # Errors
/// Those of `write`.
pub fn frame<E>(
    event: &str,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut out = vec![0; 4];
    put_bytes(&mut out, 1, event.as_bytes());
    // A RawExtension, whose one field is the body.
    put_delimited(&mut out, 2, |out| put_delimited(out, 1, write))?;
    // An object has 3 MiB at most, so its length always fits.
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal_pod() -> Vec<u8> {
        let mut out = Vec::new();
        seal("v1", "Pod", &mut out, |out| {
            out.extend_from_slice(&[10, 0]);
            Ok::<_, ()>(())
        })
        .unwrap();
        out
    }

    #[test]
    fn what_is_sealed_opens() {
        let body = seal_pod();
        let expect = Envelope {
            api_version: "v1",
            kind: "Pod",
            raw: &[10, 0],
        };
        assert_eq!(open(&body), Ok(expect));
        assert_eq!(open(b"k8s\0"), Ok(Envelope::default()));
    }

    #[test]
    fn other_bodies_are_refused() {
        let check = |body: &[u8], expect: &str| {
            let error = open(body).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(b"", "does not begin");
        check(b"{\"kind\":\"Pod\"}", "does not begin");
        check(b"k8s\0\x0a\x05", "the bytes end");
        check(b"k8s\0\x08\x05", "typeMeta");
        check(b"k8s\0\x0a\x03\x0a\x01\xff", "apiVersion");
        check(b"k8s\0\x1a\x04gzip", "gzip");
        check(b"k8s\0\x22\x10application/json", "application/json");
        let body = seal_pod();
        for end in 0..body.len() {
            let _ = open(&body[..end]);
        }
    }

    #[test]
    fn a_frame_begins_with_its_length() {
        let frame = frame("ADDED", |out| {
            out.extend_from_slice(&[b'x'; 300]);
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(frame.len(), 4 + 7 + 3 + 3 + 300);
        assert_eq!(frame[..4], (frame.len() as u32 - 4).to_be_bytes());
        assert_eq!(&frame[4..11], b"\x0a\x05ADDED");
    }
}
