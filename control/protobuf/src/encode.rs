//! From JSON to protobuf, as the JSON is read: each value goes to the output under the number
//! of its field.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::forms;
use crate::table::{Field, Form, Message, Shape};
use crate::wire::{put_bytes, put_delimited, put_double, put_number};

/// Why JSON is no object of a type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EncodeError(#[from] serde_json::Error);

/// Appends the message that a JSON object stands for. What the table does not know
/// (apiVersion and kind of the object itself, which the envelope carries) is left out, and so
/// is what is null.
///
/// # Errors
/// If the JSON is broken, or a value is of a type that its field does not take.
pub fn encode(of: Message, json: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut de = serde_json::Deserializer::from_slice(json);
    Object { of, out }.deserialize(&mut de)?;
    de.end()?;
    Ok(())
}

/// The fields of a message.
struct Object<'o> {
    of: Message,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<(), D::Error> {
        de.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.of.name())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut inlined = Inlined::default();
        while let Some(name) = map.next_key::<Key<'de>>()? {
            let Some((field, via)) = self.of.json_field(&name.0) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let out = match via {
                [] => &mut *self.out,
                via => inlined.within(via),
            };
            map.next_value_seed(OfField { field, out })?;
        }
        inlined.flush(self.out);
        Ok(())
    }
}

/// A key, borrowed where it stands without escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        de.deserialize_str(Borrowed).map(Key)
    }
}

/// Messages whose fields stand among those of the message around them: gathered until that
/// one ends, so that each is written once.
#[derive(Default)]
struct Inlined {
    out: Vec<u8>,
    inner: Vec<(u32, Inlined)>,
}

impl Inlined {
    fn within(&mut self, via: &[u32]) -> &mut Vec<u8> {
        let [number, rest @ ..] = via else {
            return &mut self.out;
        };
        let at = self.inner.iter().position(|(known, _)| known == number);
        let at = at.unwrap_or_else(|| {
            self.inner.push((*number, Inlined::default()));
            self.inner.len() - 1
        });
        self.inner[at].1.within(rest)
    }

    fn flush(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.out);
        for (number, inlined) in self.inner {
            let mut bytes = Vec::new();
            inlined.flush(&mut bytes);
            put_bytes(out, number, &bytes);
        }
    }
}

/// The value of a field, however often it occurs on the wire.
struct OfField<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for OfField<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<(), D::Error> {
        match self.field.shape {
            Shape::One(form) => One {
                form,
                number: self.field.number,
                out: self.out,
                required: false,
            }
            .deserialize(de),
            Shape::List(_) | Shape::Map(_) => de.deserialize_any(self),
            Shape::Inline(_) => Err(D::Error::custom("an inlined message has no name")),
        }
    }
}

impl<'de> Visitor<'de> for OfField<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field.shape {
            Shape::List(_) => "a list",
            _ => "an object",
        };
        write!(f, "{what} in {}", self.field.json)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Shape::List(form) = self.field.shape else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        };
        while seq
            .next_element_seed(One {
                form,
                number: self.field.number,
                out: self.out,
                required: true,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Shape::Map(form) = self.field.shape else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        while let Some(key) = map.next_key::<Key<'de>>()? {
            put_delimited(self.out, self.field.number, |out| {
                put_bytes(out, 1, key.0.as_bytes());
                map.next_value_seed(One {
                    form,
                    number: 2,
                    out,
                    required: true,
                })
            })?;
        }
        Ok(())
    }
}

/// One value.
struct One<'o> {
    form: Form,
    number: u32,
    out: &'o mut Vec<u8>,
    /// True in lists and maps, where null stands for the zero of its type.
    required: bool,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<(), D::Error> {
        if self.form != Form::Raw {
            return de.deserialize_any(self);
        }
        let raw = <&RawValue as serde::Deserialize>::deserialize(de)?.get();
        if raw == "null" && !self.required {
            return Ok(());
        }
        put_delimited(self.out, self.number, |out| {
            if raw != "null" {
                put_bytes(out, 1, raw.as_bytes());
            }
            Ok(())
        })
    }
}

impl One<'_> {
    fn integer<E: Error>(self, value: i64) -> Result<(), E> {
        match self.form {
            Form::Int32 if i32::try_from(value).is_err() => {
                Err(E::custom(format!("{value} does not fit into 32 bits")))
            }
            // Negative numbers take ten bytes, also those of 32 bits.
            Form::Int32 | Form::Int64 => {
                put_number(self.out, self.number, value.cast_unsigned());
                Ok(())
            }
            Form::Double => {
                put_double(self.out, self.number, value as f64);
                Ok(())
            }
            Form::IntOrString if i32::try_from(value).is_ok() => {
                put_delimited(self.out, self.number, |out| {
                    put_number(out, 1, 0);
                    put_number(out, 2, value.cast_unsigned());
                    put_bytes(out, 3, b"");
                    Ok(())
                })
            }
            Form::Quantity => self.visit_str(&value.to_string()),
            _ => Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self)),
        }
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.form {
            Form::String => "a string",
            Form::Bytes => "base64 in a string",
            Form::Bool => "true or false",
            Form::Int32 | Form::Int64 | Form::Double => "a number",
            Form::Quantity | Form::IntOrString => "a number or a string",
            Form::Time | Form::MicroTime => "a time in RFC 3339",
            Form::Duration => "a duration",
            Form::Raw => "any JSON",
            Form::Strings => "a list of strings",
            Form::PropsOrArray(_) => "a schema or a list of schemas",
            Form::PropsOrBool(_) => "true, false or a schema",
            Form::PropsOrStrings(_) => "a schema or a list of strings",
            Form::Message(of) => return write!(f, "an object ({})", of.name()),
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if !self.required {
            return Ok(());
        }
        match self.form {
            Form::Bool | Form::Int32 | Form::Int64 => put_number(self.out, self.number, 0),
            Form::Double => put_double(self.out, self.number, 0.0),
            _ => put_bytes(self.out, self.number, &[]),
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.form {
            Form::Bool => put_number(self.out, self.number, u64::from(value)),
            Form::PropsOrBool(_) => put_delimited(self.out, self.number, |out| {
                put_number(out, 1, u64::from(value));
                Ok(())
            })?,
            _ => return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.integer(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.form {
            Form::Double => {
                put_double(self.out, self.number, value);
                Ok(())
            }
            Form::Quantity => self.visit_str(&value.to_string()),
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let number = self.number;
        let time = |out: &mut Vec<u8>, micro| {
            let (seconds, nanos) = forms::parse_time(text, micro).map_err(E::custom)?;
            put_delimited(out, number, |out| {
                put_number(out, 1, seconds.cast_unsigned());
                put_number(out, 2, nanos.cast_unsigned());
                Ok(())
            })
        };
        match self.form {
            Form::String => put_bytes(self.out, number, text.as_bytes()),
            Form::Bytes => {
                let bytes = STANDARD.decode(text);
                let bytes = bytes.map_err(|e| E::custom(format!("this is no base64: {e}")))?;
                put_bytes(self.out, number, &bytes);
            }
            Form::Quantity => put_delimited(self.out, number, |out| {
                put_bytes(out, 1, text.as_bytes());
                Ok(())
            })?,
            Form::IntOrString => put_delimited(self.out, number, |out| {
                put_number(out, 1, 1);
                put_number(out, 2, 0);
                put_bytes(out, 3, text.as_bytes());
                Ok(())
            })?,
            Form::Time => time(self.out, false)?,
            Form::MicroTime => time(self.out, true)?,
            Form::Duration => {
                let nanos = forms::parse_duration(text).map_err(E::custom)?;
                put_delimited(self.out, number, |out| {
                    put_number(out, 1, nanos.cast_unsigned());
                    Ok(())
                })?;
            }
            _ => return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (form, item) = match self.form {
            Form::Strings => (Form::String, 1),
            Form::PropsOrArray(of) => (Form::Message(of), 2),
            Form::PropsOrStrings(_) => (Form::String, 2),
            _ => return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)),
        };
        put_delimited(self.out, self.number, |out| {
            while seq
                .next_element_seed(One {
                    form,
                    number: item,
                    out,
                    required: true,
                })?
                .is_some()
            {}
            Ok(())
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let schema = |of: Message, number, out: &mut Vec<u8>| {
            put_delimited(out, number, |out| Object { of, out }.visit_map(map))
        };
        match self.form {
            Form::Message(of) => schema(of, self.number, self.out),
            Form::PropsOrArray(of) | Form::PropsOrStrings(of) => {
                put_delimited(self.out, self.number, |out| schema(of, 1, out))
            }
            Form::PropsOrBool(of) => put_delimited(self.out, self.number, |out| {
                put_number(out, 1, 1);
                schema(of, 2, out)
            }),
            _ => Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
        }
    }
}
