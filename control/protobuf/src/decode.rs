//! From protobuf to JSON.
//!
//! A message is read twice: once to see which fields it has and where, once to write each of
//! them in one place. So fields may come in any order, as protobuf has it, and nothing is kept
//! but a few words for each field that occurs, however often it does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::forms;
use crate::table::{Field, Form, Message, Shape};
use crate::wire::{Reader, Value, WireError};

/// Messages within messages, at most: no built-in kind but a JSON schema comes near, and what
/// decodes our JSON takes 128 levels.
const DEPTH_MAX: usize = 100;

/// How often the size of a body may be copied together where it sends messages in several parts.
/// Protobuf allows that, and nobody does it; at every depth it would take memory without bound.
const JOINED_TIMES_MAX: usize = 4;

/// Why bytes are no message of a type, and in which field.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeError {
    path: String,
    /// What is wrong.
    pub(crate) why: Why,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Why {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("it is {got} on the wire, and should be {wanted}")]
    WireType {
        got: &'static str,
        wanted: &'static str,
    },
    #[error("the text is not UTF-8")]
    NotUtf8,
    #[error("the embedded object is not JSON: {0}")]
    NotJson(String),
    #[error("{0}")]
    Range(String),
    #[error("too many messages are sent in several parts")]
    TooManyParts,
    #[error("messages are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("the object is larger than {0} bytes as JSON")]
    TooLarge(usize),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}", self.why)
        } else {
            write!(f, "{}: {}", self.path, self.why)
        }
    }
}

impl std::error::Error for DecodeError {}

impl<W: Into<Why>> From<W> for DecodeError {
    fn from(why: W) -> Self {
        DecodeError {
            path: String::new(),
            why: why.into(),
        }
    }
}

impl DecodeError {
    /// True if the bytes may well be sound, and their JSON is past the limit.
    pub fn is_too_large(&self) -> bool {
        matches!(self.why, Why::TooLarge(_))
    }

    fn within(mut self, segment: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path.insert_str(0, dot);
        self.path.insert_str(0, segment);
        self
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Turns a message into a JSON object, which begins with `type_meta` (apiVersion and kind)
/// where it is given. Unknown fields are left out, as Go's decoders leave them.
///
/// # Errors
/// With the path of the field that is broken; or if the JSON gets longer than `json_max` bytes.
pub fn decode(
    of: Message,
    type_meta: Option<(&str, &str)>,
    bytes: &[u8],
    json_max: usize,
) -> Result<Vec<u8>> {
    let mut decoder = Decoder {
        out: Vec::with_capacity((bytes.len() * 2).min(json_max)),
        json_max,
        joins_left: bytes.len().saturating_mul(JOINED_TIMES_MAX),
    };
    decoder.out.push(b'{');
    let mut first = true;
    if let Some((api_version, kind)) = type_meta {
        decoder.out.extend_from_slice(b"\"apiVersion\":");
        decoder.string(api_version);
        decoder.out.extend_from_slice(b",\"kind\":");
        decoder.string(kind);
        first = false;
    }
    decoder.fields(of, bytes, &mut first, 0)?;
    decoder.out.push(b'}');
    Ok(decoder.out)
}

struct Decoder {
    out: Vec<u8>,
    json_max: usize,
    /// How many bytes of messages in several parts may still be copied together.
    joins_left: usize,
}

/// A field that a message has.
struct Found<'a> {
    field: &'static Field,
    /// How often.
    count: usize,
    /// The bytes from its first occurrence on.
    from: &'a [u8],
    /// Its value in its last occurrence.
    last: Value<'a>,
}

impl<'a> Found<'a> {
    fn occurrences(&self) -> impl Iterator<Item = Value<'a>> {
        let mut reader = Reader::new(self.from);
        let mut left = self.count;
        let number = self.field.number;
        std::iter::from_fn(move || {
            while left > 0 {
                // What is read here was read without error before.
                let (found, value) = reader.next().ok()??;
                if found == number {
                    left -= 1;
                    return Some(value);
                }
            }
            None
        })
    }
}

fn survey(of: Message, bytes: &[u8]) -> Result<Vec<Found<'_>>> {
    let mut all: Vec<Found<'_>> = Vec::new();
    let mut reader = Reader::new(bytes);
    loop {
        let from = reader.rest();
        let Some((number, value)) = reader.next()? else {
            return Ok(all);
        };
        // Mostly the same field again.
        if let Some(known) = all.iter_mut().rev().find(|f| f.field.number == number) {
            known.count += 1;
            known.last = value;
        } else if let Some(field) = of.field(number) {
            all.push(Found {
                field,
                count: 1,
                from,
                last: value,
            });
        }
    }
}

impl Decoder {
    /// What a field that should occur once stands for. Messages are merged, which is what
    /// putting their bytes one behind the other means; of other values the last one counts.
    fn merged<'b, 'a: 'b>(
        &mut self,
        found: &Found<'a>,
        joined: &'b mut Vec<u8>,
    ) -> Result<Value<'b>> {
        let scalar = matches!(found.field.shape, Shape::One(Form::String | Form::Bytes));
        if found.count == 1 || scalar || !matches!(found.last, Value::Bytes(_)) {
            return Ok(found.last);
        }
        for value in found.occurrences() {
            if let Value::Bytes(bytes) = value {
                let left = self.joins_left.checked_sub(bytes.len());
                self.joins_left = left.ok_or(Why::TooManyParts)?;
                joined.extend_from_slice(bytes);
            }
        }
        Ok(Value::Bytes(joined))
    }

    /// Writes the fields of a message, without the braces around them.
    fn fields(&mut self, of: Message, bytes: &[u8], first: &mut bool, depth: usize) -> Result<()> {
        if depth == DEPTH_MAX {
            return Err(Why::TooDeep.into());
        }
        for found in survey(of, bytes)? {
            let field = found.field;
            let mut joined = Vec::new();
            if let Shape::Inline(inner) = field.shape {
                let bytes = message_bytes(self.merged(&found, &mut joined)?)?;
                self.fields(inner, bytes, first, depth + 1)?;
                continue;
            }
            let mark = self.out.len();
            if mark > self.json_max {
                return Err(Why::TooLarge(self.json_max).into());
            }
            if !*first {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.out.extend_from_slice(field.json.as_bytes());
            self.out.extend_from_slice(b"\":");
            let present = match field.shape {
                Shape::One(form) => self
                    .merged(&found, &mut joined)
                    .and_then(|value| self.value(form, value, field.lean, depth)),
                Shape::List(form) => self.list(form, &found, depth).map(|()| true),
                Shape::Map(form) => self.map(form, &found, depth).map(|()| true),
                Shape::Inline(_) => Ok(false),
            };
            if present.map_err(|e| e.within(field.json))? {
                *first = false;
            } else {
                self.out.truncate(mark);
            }
        }
        Ok(())
    }

    fn message(&mut self, of: Message, bytes: &[u8], depth: usize) -> Result<()> {
        self.out.push(b'{');
        self.fields(of, bytes, &mut true, depth + 1)?;
        self.out.push(b'}');
        Ok(())
    }

    fn separate(&mut self, index: usize) -> Result<()> {
        if self.out.len() > self.json_max {
            return Err(Why::TooLarge(self.json_max).into());
        }
        if index > 0 {
            self.out.push(b',');
        }
        Ok(())
    }

    fn list(&mut self, form: Form, found: &Found<'_>, depth: usize) -> Result<()> {
        self.out.push(b'[');
        let mut index = 0;
        for value in found.occurrences() {
            match (form, value) {
                // Several numbers at once ("packed").
                (Form::Bool | Form::Int32 | Form::Int64, Value::Bytes(bytes)) => {
                    let mut reader = Reader::new(bytes);
                    while !reader.rest().is_empty() {
                        self.separate(index)?;
                        self.value(form, Value::Varint(reader.varint()?), false, depth)?;
                        index += 1;
                    }
                }
                _ => {
                    self.separate(index)?;
                    self.item(form, value, depth)
                        .map_err(|e| e.within(&format!("[{index}]")))?;
                    index += 1;
                }
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, form: Form, found: &Found<'_>, depth: usize) -> Result<()> {
        self.out.push(b'{');
        for (index, value) in found.occurrences().enumerate() {
            self.separate(index)?;
            let [key, value] = forms::pick(message_bytes(value)?)?;
            let key = key.map(text).transpose()?.unwrap_or_default();
            self.string(key);
            self.out.push(b':');
            let value = value.unwrap_or(match form {
                Form::Bool | Form::Int32 | Form::Int64 => Value::Varint(0),
                Form::Double => Value::Fixed64(0),
                _ => Value::Bytes(&[]),
            });
            self.item(form, value, depth)
                .map_err(|e| e.within(&format!("[{key}]")))?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// A value where there must be one.
    fn item(&mut self, form: Form, value: Value<'_>, depth: usize) -> Result<()> {
        if !self.value(form, value, false, depth)? {
            self.out.extend_from_slice(b"null");
        }
        Ok(())
    }

    /// Writes a value; false, and nothing written, if it stands for an absent one.
    fn value(&mut self, form: Form, value: Value<'_>, lean: bool, depth: usize) -> Result<bool> {
        match form {
            Form::String => {
                let text = text(value)?;
                if lean && text.is_empty() {
                    return Ok(false);
                }
                self.string(text);
            }
            Form::Bytes => {
                let bytes = bytes(value, "bytes")?;
                if lean && bytes.is_empty() {
                    return Ok(false);
                }
                self.out.push(b'"');
                self.out
                    .extend_from_slice(STANDARD.encode(bytes).as_bytes());
                self.out.push(b'"');
            }
            Form::Bool => {
                let truth = varint(value)? != 0;
                if lean && !truth {
                    return Ok(false);
                }
                let text = if truth { "true" } else { "false" };
                self.out.extend_from_slice(text.as_bytes());
            }
            Form::Int32 => return Ok(self.integer(i64::from(varint(value)? as i32), lean)),
            Form::Int64 => return Ok(self.integer(varint(value)?.cast_signed(), lean)),
            Form::Double => {
                let Value::Fixed64(bits) = value else {
                    return Err(wrong(value, "a double"));
                };
                let number = f64::from_bits(bits);
                if !number.is_finite() {
                    return Err(Why::Range(format!("{number} has no form in JSON")).into());
                }
                if lean && number == 0.0 {
                    return Ok(false);
                }
                self.json(&number);
            }
            Form::Quantity => {
                let [text_] = forms::pick(message_bytes(value)?)?;
                let quantity = text_.map(text).transpose()?.unwrap_or_default();
                self.string(if quantity.is_empty() { "0" } else { quantity });
            }
            Form::IntOrString => self.int_or_string(message_bytes(value)?)?,
            Form::Time | Form::MicroTime => {
                let bytes = message_bytes(value)?;
                if bytes.is_empty() {
                    return Ok(false);
                }
                let [seconds, nanos] = forms::pick(bytes)?;
                let seconds = number(seconds)?;
                let nanos = number(nanos)?;
                let time = forms::time_text(seconds, nanos, form == Form::MicroTime)
                    .map_err(Why::Range)?;
                self.string(&time);
            }
            Form::Duration => {
                let [nanos] = forms::pick(message_bytes(value)?)?;
                self.string(&forms::duration_text(number(nanos)?));
            }
            Form::Raw => {
                let [raw] = forms::pick(message_bytes(value)?)?;
                let raw = raw
                    .map(|raw| bytes(raw, "bytes"))
                    .transpose()?
                    .unwrap_or_default();
                if raw.is_empty() {
                    return Ok(false);
                }
                let json: &serde_json::value::RawValue =
                    serde_json::from_slice(raw).map_err(|e| Why::NotJson(e.to_string()))?;
                self.out.extend_from_slice(json.get().as_bytes());
            }
            Form::Strings => self.repeated(message_bytes(value)?, 1, Form::String, depth)?,
            Form::PropsOrArray(of) => {
                let bytes = message_bytes(value)?;
                match forms::pick(bytes)? {
                    [_, Some(_)] => self.repeated(bytes, 2, Form::Message(of), depth)?,
                    [Some(schema), None] => self.message(of, message_bytes(schema)?, depth)?,
                    [None, None] => return Ok(false),
                }
            }
            Form::PropsOrBool(of) => match forms::pick(message_bytes(value)?)? {
                [_, Some(schema)] => self.message(of, message_bytes(schema)?, depth)?,
                [allows, None] => {
                    let allows = Value::Varint(number(allows)?.cast_unsigned());
                    return self.value(Form::Bool, allows, false, depth);
                }
            },
            Form::PropsOrStrings(of) => {
                let bytes = message_bytes(value)?;
                match forms::pick(bytes)? {
                    [_, Some(_)] => self.repeated(bytes, 2, Form::String, depth)?,
                    [Some(schema), None] => self.message(of, message_bytes(schema)?, depth)?,
                    [None, None] => return Ok(false),
                }
            }
            Form::Message(of) => self.message(of, message_bytes(value)?, depth)?,
        }
        Ok(true)
    }

    /// The field `number` of a message that is no more than a list of them.
    fn repeated(&mut self, bytes: &[u8], number: u32, form: Form, depth: usize) -> Result<()> {
        self.out.push(b'[');
        let mut reader = Reader::new(bytes);
        let mut index = 0;
        while let Some((found, value)) = reader.next()? {
            if found == number {
                self.separate(index)?;
                self.item(form, value, depth)
                    .map_err(|e| e.within(&format!("[{index}]")))?;
                index += 1;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn int_or_string(&mut self, bytes: &[u8]) -> Result<()> {
        let [kind, int, string] = forms::pick(bytes)?;
        match number(kind)? {
            0 => {
                self.integer(i64::from(number(int)? as i32), false);
            }
            1 => self.string(string.map(text).transpose()?.unwrap_or_default()),
            other => {
                return Err(
                    Why::Range(format!("an IntOrString of type {other}: must be 0 or 1")).into(),
                );
            }
        }
        Ok(())
    }

    fn integer(&mut self, number: i64, lean: bool) -> bool {
        if lean && number == 0 {
            return false;
        }
        self.json(&number);
        true
    }

    fn string(&mut self, text: &str) {
        self.json(text);
    }

    fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Neither strings and numbers nor a Vec give it anything to fail at.
        let written = serde_json::to_writer(&mut self.out, value);
        debug_assert!(written.is_ok());
    }
}

fn wrong(value: Value<'_>, wanted: &'static str) -> DecodeError {
    let got = match value {
        Value::Varint(_) => "a varint",
        Value::Fixed64(_) => "8 bytes",
        Value::Fixed32 => "4 bytes",
        Value::Bytes(_) => "length-delimited",
        Value::Group => "a group",
    };
    Why::WireType { got, wanted }.into()
}

fn varint(value: Value<'_>) -> Result<u64> {
    match value {
        Value::Varint(value) => Ok(value),
        other => Err(wrong(other, "a varint")),
    }
}

/// A number that is 0 where it is absent.
fn number(value: Option<Value<'_>>) -> Result<i64> {
    Ok(value.map(varint).transpose()?.unwrap_or(0).cast_signed())
}

fn bytes<'a>(value: Value<'a>, wanted: &'static str) -> Result<&'a [u8]> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        other => Err(wrong(other, wanted)),
    }
}

fn message_bytes(value: Value<'_>) -> Result<&[u8]> {
    bytes(value, "a message")
}

fn text(value: Value<'_>) -> Result<&str> {
    std::str::from_utf8(bytes(value, "a string")?).map_err(|_| Why::NotUtf8.into())
}
