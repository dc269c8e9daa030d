//! The one body type of requests and responses, on both sides of a sandbox.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

/// What may go wrong while a body streams.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streaming HTTP body with its type erased; not `Sync`, since only one task reads it.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body without bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of these bytes, in one frame.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}
