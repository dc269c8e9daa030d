//! Objects with every field of their message set, made from the table.

#![allow(dead_code)] // each test file uses a part

use euston_protobuf::{Form, Message, Shape};
use serde_json::{Map, Value, json};

/// Past this depth lists and maps have one item, as objects would grow without bound.
const WIDE_DEPTH: usize = 4;

/// An object of a message with every field set, to values that differ.
pub fn object(of: Message) -> Value {
    let mut maker = Maker::default();
    let object = maker.object(of);
    assert!(maker.open.is_empty());
    object
}

#[derive(Default)]
struct Maker {
    made: i32,
    open: Vec<Message>,
}

impl Maker {
    fn object(&mut self, of: Message) -> Value {
        let mut object = Map::new();
        self.open.push(of);
        self.fields(of, &mut object);
        self.open.pop();
        Value::Object(object)
    }

    fn fields(&mut self, of: Message, object: &mut Map<String, Value>) {
        for field in of.fields() {
            let items = if self.open.len() < WIDE_DEPTH { 2 } else { 1 };
            let value = match field.shape {
                Shape::Inline(inner) => {
                    self.fields(inner, object);
                    continue;
                }
                Shape::One(Form::Message(of)) if self.open.contains(&of) => continue,
                Shape::One(form) => self.value(form),
                Shape::List(form) => (0..items).map(|_| self.value(form)).collect(),
                Shape::Map(form) => {
                    let pairs =
                        (0..items).map(|_| (format!("k/{}", self.next()), self.value(form)));
                    Value::Object(pairs.collect())
                }
            };
            let before = object.insert(field.json.to_owned(), value);
            assert!(before.is_none(), "{} has two {}", of.name(), field.json);
        }
    }

    fn next(&mut self) -> i32 {
        self.made += 1;
        self.made
    }

    fn value(&mut self, form: Form) -> Value {
        let n = self.next();
        let nested = |maker: &mut Self, of: Message| {
            if maker.open.contains(&of) {
                json!({})
            } else {
                maker.object(of)
            }
        };
        match form {
            Form::String => json!(format!("text \"{n}\" \u{1f980}\n")),
            Form::Bytes => json!(["AAH/", "aGk="][n as usize % 2]),
            Form::Bool => json!(true),
            Form::Int32 => json!(if n % 2 == 0 { n } else { -n }),
            Form::Int64 => json!(i64::from(n) << 33),
            Form::Double => json!(f64::from(n) + 0.5),
            Form::Quantity => json!(format!("{n}Mi")),
            Form::IntOrString if n % 2 == 0 => json!(n),
            Form::IntOrString => json!(format!("{n}%")),
            Form::Time => json!(format!("2026-11-25T10:{:02}:12Z", n % 60)),
            Form::MicroTime => json!(format!("2026-11-25T10:{:02}:12.000345Z", n % 60)),
            Form::Duration => json!(format!("{}m1.5s", 1 + n % 50)),
            Form::Raw => json!({ "f:metadata": { "n": [n, "x", null, {}] } }),
            Form::Strings => json!([format!("a{n}"), ""]),
            Form::PropsOrArray(of) if n % 2 == 0 => json!([nested(self, of), {}]),
            Form::PropsOrBool(_) if n % 3 == 0 => json!(n % 2 == 0),
            Form::PropsOrStrings(_) if n % 2 == 0 => json!(["a", "b"]),
            Form::Message(of)
            | Form::PropsOrArray(of)
            | Form::PropsOrBool(of)
            | Form::PropsOrStrings(of) => nested(self, of),
        }
    }
}

/// Bodies that kubectl sent, and the objects in them: see the head of the file.
pub fn recorded() -> Vec<(&'static str, Vec<u8>, Value)> {
    let text = include_str!("../kubectl-1.37.1.txt");
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    lines
        .chunks_exact(3)
        .map(|entry| {
            let hex = entry[1].as_bytes().chunks_exact(2);
            let bytes =
                hex.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
            (
                entry[0],
                bytes.collect(),
                serde_json::from_str(entry[2]).unwrap(),
            )
        })
        .collect()
}
