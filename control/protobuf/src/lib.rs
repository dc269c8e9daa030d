//! Kubernetes' protobuf wire form, to and from JSON.
//!
//! Stock kubectl and Helm send built-in kinds in protobuf, and do not fall back to JSON. Our
//! objects are JSON, in the store as in the decoders; so the one thing to do is to turn one
//! text into the other, for every kind alike. What differs between kinds is data: a table of
//! messages and fields (`messages.txt`, made by `generate.py`, see there).
//!
//! ```text
//! request:  envelope::open -> decode(message, raw) -> JSON -> the decoder of JSON bodies
//! response: JSON -> encode(message) -> envelope::seal
//! ```
//!
//! - `table.rs`: the facts; [`Message`] is a row;
//! - `wire.rs`: varints, keys, lengths;
//! - `decode.rs`, `encode.rs`: the two directions. Neither builds a tree: a message is read
//!   into text in one go, and the other way round;
//! - `forms.rs`: values that JSON writes in another way than protobuf, such as times;
//! - `envelope.rs`: what stands around a message in a body, and in an event of a watch.
//!
//! Follows `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`, and the protobuf methods in
//! `pkg/apis/meta/v1`, `pkg/api/resource` and `pkg/util/intstr`.

mod decode;
mod encode;
pub mod envelope;
mod forms;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod table;
mod wire;

pub use decode::{DecodeError, decode};
pub use encode::{EncodeError, encode};
pub use table::{Field, Form, Message, Shape, messages};
