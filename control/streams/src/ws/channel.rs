//! Messages of the `channel.k8s.io` protocols: the channel's number, then its bytes.
//!
//! Follows `k8s.io/apimachinery/pkg/util/remotecommand` and `k8s.io/apiserver/pkg/util/wsstream`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

/// The number of v5's message that closes a channel.
const CLOSE: u8 = 255;

/// How the bytes of a message are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A byte for the channel, then the bytes as they are.
    Binary,
    /// The channel as a digit, then base64, as text.
    Base64,
    /// There is one channel, which is not named: bytes as they are.
    Plain,
    /// The same as base64, as text.
    PlainBase64,
}

impl Form {
    /// Whether messages are text.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Form::Base64 | Form::PlainBase64)
    }
}

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Bytes for a channel.
    Data(u8, Bytes),
    /// Nothing more comes on a channel (v5).
    Close(u8),
    /// Nothing: an empty message, which clients send to keep connections open.
    Nothing,
}

/// A message that is none of the protocol's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadMessage {
    /// A base64 message begins with the channel's digit.
    #[error("a message begins with {0:?}, not with the digit of its channel")]
    Channel(char),
    /// It is not base64.
    #[error("a message is not base64: {0}")]
    Base64(String),
    /// v5's close names one channel.
    #[error("a close message of {0} bytes, not 2")]
    Close(usize),
}

/// Reads a message. `closes` where the protocol knows messages that close a channel.
///
/// # Errors
/// See [`BadMessage`].
pub(crate) fn decode(form: Form, closes: bool, mut message: Bytes) -> Result<Said, BadMessage> {
    let Some(&first) = message.first() else {
        return Ok(Said::Nothing);
    };
    match form {
        Form::Binary if closes && first == CLOSE => match message[..] {
            [_, channel] => Ok(Said::Close(channel)),
            _ => Err(BadMessage::Close(message.len())),
        },
        Form::Binary => Ok(Said::Data(first, message.split_off(1))),
        Form::Base64 => {
            if !first.is_ascii_digit() {
                return Err(BadMessage::Channel(char::from(first)));
            }
            let bytes = STANDARD
                .decode(&message[1..])
                .map_err(|error| BadMessage::Base64(error.to_string()))?;
            Ok(Said::Data(first - b'0', bytes.into()))
        }
        // Only the server has something to say.
        Form::Plain | Form::PlainBase64 => Ok(Said::Nothing),
    }
}

/// Writes a message.
pub(crate) fn encode(form: Form, channel: u8, bytes: &[u8]) -> Bytes {
    match form {
        Form::Binary => {
            let mut message = BytesMut::with_capacity(1 + bytes.len());
            message.put_u8(channel);
            message.extend_from_slice(bytes);
            message.freeze()
        }
        Form::Base64 => {
            let mut text = String::with_capacity(1 + bytes.len().div_ceil(3) * 4);
            text.push(char::from(b'0' + channel % 10));
            STANDARD.encode_string(bytes, &mut text);
            text.into()
        }
        Form::Plain => Bytes::copy_from_slice(bytes),
        Form::PlainBase64 => STANDARD.encode(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(channel: u8, bytes: &'static [u8]) -> Result<Said, BadMessage> {
        Ok(Said::Data(channel, Bytes::from_static(bytes)))
    }

    #[test]
    fn messages_are_read_in_every_form() {
        use Form::{Base64, Binary};
        for (form, closes, message, expect) in [
            (Binary, true, &b""[..], Ok(Said::Nothing)),
            (Binary, true, b"\0abc", data(0, b"abc")),
            (Binary, true, b"\x04", data(4, b"")),
            (Binary, true, b"\xff\0", Ok(Said::Close(0))),
            (Binary, true, b"\xff", Err(BadMessage::Close(1))),
            (Binary, true, b"\xff\0\0", Err(BadMessage::Close(3))),
            (Binary, false, b"\xff\0", data(255, b"\0")),
            (Base64, false, b"", Ok(Said::Nothing)),
            (Base64, false, b"0YWJj", data(0, b"abc")),
            (Base64, false, b"4", data(4, b"")),
            (Base64, false, b"\0YWJj", Err(BadMessage::Channel('\0'))),
            (
                Base64,
                false,
                b"0***",
                Err(BadMessage::Base64("Invalid symbol 42, offset 0.".into())),
            ),
        ] {
            let got = decode(form, closes, Bytes::from_static(message));
            assert_eq!(got, expect, "{form:?} {message:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for form in [Form::Binary, Form::Base64] {
            for bytes in [&b""[..], b"a", b"ab", b"abc", &[0xff; 300]] {
                let message = encode(form, 3, bytes);
                let said = decode(form, true, message).unwrap();
                assert_eq!(said, Said::Data(3, Bytes::copy_from_slice(bytes)));
            }
        }
        assert_eq!(&encode(Form::Plain, 0, b"abc")[..], b"abc");
        assert_eq!(&encode(Form::PlainBase64, 0, b"abc")[..], b"YWJj");
        assert_eq!(&encode(Form::Base64, 1, b"abc")[..], b"1YWJj");
        assert_eq!(&encode(Form::Binary, 1, b"abc")[..], b"\x01abc");
    }
}
