//! Which protobuf field each JSON field is. `messages.txt` is parsed once, on first use, into
//! flat arrays whose strings point into the program itself.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

/// How one value looks on the wire and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// UTF-8; a string.
    String,
    /// Bytes; base64 in a string.
    Bytes,
    /// A varint; true or false.
    Bool,
    /// A varint; a number of 32 bits.
    Int32,
    /// A varint; a number of 64 bits.
    Int64,
    /// Eight bytes; a number.
    Double,
    /// `{string=1}`; a string, or a number from lenient clients.
    Quantity,
    /// `{type=1, intVal=2, strVal=3}`; a number or a string.
    IntOrString,
    /// `{seconds=1, nanos=2}`; RFC 3339 with seconds.
    Time,
    /// The same; RFC 3339 with microseconds.
    MicroTime,
    /// `{duration=1}` in nanoseconds; as Go prints it (`1m30s`).
    Duration,
    /// `{raw=1}`: JSON within protobuf; the same JSON.
    Raw,
    /// `{items=1}`; a list of strings.
    Strings,
    /// `{schema=1, jSONSchemas=2}`; a schema (of the message named here) or a list of them.
    PropsOrArray(Message),
    /// `{allows=1, schema=2}`; true, false or a schema.
    PropsOrBool(Message),
    /// `{schema=1, property=2}`; a schema or a list of strings.
    PropsOrStrings(Message),
    /// A message; an object.
    Message(Message),
}

/// How often a value occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// At most once.
    One(Form),
    /// A list.
    List(Form),
    /// A map from string: on the wire a list of `{key=1, value=2}`.
    Map(Form),
    /// A message whose fields stand, in JSON, among those of the message around it.
    Inline(Message),
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in JSON; empty for [`Shape::Inline`].
    pub json: &'static str,
    /// What is in it.
    pub shape: Shape,
    /// Zero on the wire means absent in JSON. Go's encoders write every field that is no
    /// pointer, whether it was set or not.
    pub lean: bool,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    fields: Range<u32>,
    names: Range<u32>,
}

/// A field by the name that it has in an object, also where it belongs to an inlined message.
#[derive(Debug)]
struct Name {
    json: &'static str,
    field: u32,
    /// The inlined messages on the way to it.
    via: Range<u32>,
}

struct Table {
    /// Sorted by name.
    rows: Vec<Row>,
    /// Sorted by number within a message.
    fields: Vec<Field>,
    /// Sorted by name within a message.
    names: Vec<Name>,
    /// Field numbers.
    via: Vec<u32>,
}

/// A message of the table; an index, valid for the table alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message(u16);

/// Every message, by name.
pub fn messages() -> impl Iterator<Item = Message> {
    // The parser has checked that an index fits.
    (0..table().rows.len()).map(|at| Message(at as u16))
}

impl Message {
    /// The message of that name, as OpenAPI calls its type: `io.k8s.api.core.v1.Pod`.
    pub fn named(name: &str) -> Option<Self> {
        let at = table().rows.binary_search_by(|r| r.name.cmp(name)).ok()?;
        Some(Message(at as u16))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Its fields, by number.
    pub fn fields(self) -> &'static [Field] {
        let Range { start, end } = self.row().fields;
        &table().fields[start as usize..end as usize]
    }

    pub(crate) fn field(self, number: u32) -> Option<&'static Field> {
        let fields = self.fields();
        // Numbers are mostly dense, so a field tends to be where its number says.
        let guess = fields.get((number as usize).wrapping_sub(1));
        if let Some(field) = guess.filter(|f| f.number == number) {
            return Some(field);
        }
        let at = fields.binary_search_by_key(&number, |f| f.number).ok()?;
        Some(&fields[at])
    }

    /// The field of a JSON name, and the numbers of the inlined messages that lead to it.
    pub fn json_field(self, name: &str) -> Option<(&'static Field, &'static [u32])> {
        let table = table();
        let Range { start, end } = self.row().names;
        let names = &table.names[start as usize..end as usize];
        let found = &names[names.binary_search_by(|n| n.json.cmp(name)).ok()?];
        Some((
            &table.fields[found.field as usize],
            &table.via[found.via.start as usize..found.via.end as usize],
        ))
    }

    fn row(self) -> &'static Row {
        &table().rows[usize::from(self.0)]
    }
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| match parse(include_str!("messages.txt")) {
        Ok(table) => table,
        // Part of the program: the tests parse this very text.
        Err(error) => unreachable!("the built-in table of messages is damaged: {error}"),
    })
}

#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
struct ParseError {
    line: usize,
    what: &'static str,
}

/// Inlined messages within inlined messages, at most.
const INLINED_MAX: usize = 4;

fn parse(text: &'static str) -> Result<Table, ParseError> {
    // Names first: a field may refer to a message further down.
    let mut known = HashMap::new();
    let mut table = Table {
        rows: Vec::new(),
        fields: Vec::new(),
        names: Vec::new(),
        via: Vec::new(),
    };
    for (line, words) in (1..).zip(text.lines()) {
        let Some(name) = words.strip_prefix("message ") else {
            continue;
        };
        let fail = |what| ParseError { line, what };
        if table.rows.last().is_some_and(|last| last.name >= name) {
            return Err(fail("messages out of order"));
        }
        let id = u16::try_from(table.rows.len())
            .map_err(|_| fail("more messages than an index can count"))?;
        known.insert(name, Message(id));
        table.rows.push(Row {
            name,
            fields: 0..0,
            names: 0..0,
        });
    }
    let mut row = None;
    for (line, words) in (1..).zip(text.lines()) {
        let fail = |what| ParseError { line, what };
        let end = table.fields.len() as u32;
        if words.starts_with('#') {
            continue;
        } else if words.starts_with("message ") {
            let at = row.map_or(0, |at| at + 1);
            table.rows[at].fields = end..end;
            row = Some(at);
        } else if let Some(words) = words.strip_prefix(' ') {
            let owner = &mut table.rows[row.ok_or_else(|| fail("a field before any message"))?];
            let field = field(words, &known).map_err(fail)?;
            let before = &table.fields[owner.fields.start as usize..];
            if before
                .last()
                .is_some_and(|last| last.number >= field.number)
            {
                return Err(fail("fields out of order"));
            }
            table.fields.push(field);
            owner.fields.end = end + 1;
        } else {
            return Err(fail("neither a message nor a field"));
        }
    }
    index_names(&mut table)?;
    Ok(table)
}

fn field(words: &'static str, known: &HashMap<&str, Message>) -> Result<Field, &'static str> {
    let mut words = words.split(' ');
    let (Some(number), Some(json), Some(shape)) = (words.next(), words.next(), words.next()) else {
        return Err("a field is NUMBER NAME SHAPE");
    };
    let lean = match words.next() {
        None => false,
        Some("lean") => true,
        Some(_) => return Err("unknown word about a field"),
    };
    let form = |text| form(text, known).ok_or("unknown shape");
    let shape = match (json, shape.split_at_checked(2)) {
        ("-", _) => match form(shape)? {
            Form::Message(message) => Shape::Inline(message),
            _ => return Err("only messages are inlined"),
        },
        (_, Some(("[]", item))) => Shape::List(form(item)?),
        (_, Some(("{}", item))) => Shape::Map(form(item)?),
        _ => Shape::One(form(shape)?),
    };
    Ok(Field {
        number: number.parse().map_err(|_| "no field number")?,
        json: json.strip_prefix('-').unwrap_or(json),
        shape,
        lean,
    })
}

/// The message of a JSON schema.
const PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

fn form(text: &str, known: &HashMap<&str, Message>) -> Option<Form> {
    Some(match text {
        "str" => Form::String,
        "bytes" => Form::Bytes,
        "bool" => Form::Bool,
        "i32" => Form::Int32,
        "i64" => Form::Int64,
        "f64" => Form::Double,
        "quantity" => Form::Quantity,
        "intorstr" => Form::IntOrString,
        "time" => Form::Time,
        "microtime" => Form::MicroTime,
        "duration" => Form::Duration,
        "raw" => Form::Raw,
        "strings" => Form::Strings,
        "props-or-array" => Form::PropsOrArray(*known.get(PROPS)?),
        "props-or-bool" => Form::PropsOrBool(*known.get(PROPS)?),
        "props-or-strings" => Form::PropsOrStrings(*known.get(PROPS)?),
        name => Form::Message(*known.get(name)?),
    })
}

fn index_names(table: &mut Table) -> Result<(), ParseError> {
    let fail = |what| ParseError { line: 0, what };
    for at in 0..table.rows.len() {
        let first = table.names.len();
        let mut open = vec![(at, Vec::new())];
        while let Some((row, path)) = open.pop() {
            if path.len() > INLINED_MAX {
                return Err(fail("messages inlined without end"));
            }
            for field in table.rows[row].fields.clone() {
                let of = &table.fields[field as usize];
                if let Shape::Inline(message) = of.shape {
                    let mut path: Vec<u32> = path.clone();
                    path.push(of.number);
                    open.push((usize::from(message.0), path));
                    continue;
                }
                let start = table.via.len() as u32;
                table.via.extend(&path);
                table.names.push(Name {
                    json: of.json,
                    field,
                    via: start..table.via.len() as u32,
                });
            }
        }
        let names = &mut table.names[first..];
        names.sort_by_key(|n| n.json);
        if names.windows(2).any(|pair| pair[0].json == pair[1].json) {
            return Err(fail("two fields of one name in a message"));
        }
        table.rows[at].names = first as u32..table.names.len() as u32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_number_and_by_name() {
        let pod = Message::named("io.k8s.api.core.v1.Pod").unwrap();
        assert_eq!(pod.field(2).unwrap().json, "spec");
        assert!(pod.field(0).is_none() && pod.field(77).is_none());
        let volume = Message::named("io.k8s.api.core.v1.Volume").unwrap();
        let (field, via) = volume.json_field("emptyDir").unwrap();
        assert_eq!((field.number, via), (2, [2].as_slice()));
        let rule = "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations";
        let (field, via) = Message::named(rule)
            .unwrap()
            .json_field("apiGroups")
            .unwrap();
        assert_eq!((field.number, via), (1, [2, 2].as_slice()));
        assert!(Message::named("io.k8s.api.core.v1.Pot").is_none());
        assert_eq!(messages().count(), table().rows.len());
        for message in messages() {
            for field in message.fields() {
                assert_eq!(message.field(field.number).unwrap().json, field.json);
            }
        }
    }

    #[test]
    fn damaged_tables_name_the_line() {
        for (text, expect) in [
            (" 1 a str", "line 1: a field before any message"),
            ("message b\nmessage a", "line 2: messages out of order"),
            (
                "message a\n 2 y str\n 1 x str",
                "line 3: fields out of order",
            ),
            ("message a\n 1 x", "line 2: a field is NUMBER NAME SHAPE"),
            ("message a\n 1 x []widget", "line 2: unknown shape"),
            ("message a\n one x str", "line 2: no field number"),
            (
                "message a\n 1 x str fat",
                "line 2: unknown word about a field",
            ),
            ("message a\n 1 - str", "line 2: only messages are inlined"),
            ("message a\n 1 - a", "line 0: messages inlined without end"),
            (
                "message a\n 1 x str\n 2 x str",
                "line 0: two fields of one name in a message",
            ),
            ("nonsense", "line 1: neither a message nor a field"),
        ] {
            let error = parse(text).err().expect(text);
            assert_eq!(error.to_string(), expect);
        }
    }
}
