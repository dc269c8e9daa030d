//! OpenAPI 2.0 in protobuf, as defined by google/gnostic (`openapiv2/OpenAPIv2.proto`).
//!
//! The schema has hundreds of messages; these are the ones that [`super::v2`] writes. Field
//! numbers are those of the file named above.

use serde_json::{Map, Value};

/// Encodes a document that [`super::v2::document`] made.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    out.message(8, |paths| {
        for (path, item) in entries(&document["paths"]) {
            paths.named(2, path, |out| path_item(out, item));
        }
    });
    out.message(9, |definitions| {
        for (name, of) in entries(&document["definitions"]) {
            definitions.named(1, name, |out| schema(out, of));
        }
    });
    out.0
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A string, unless it is absent.
    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, values: &Value) {
        items(values).for_each(|value| self.text(field, value));
    }

    fn truth(&mut self, field: u64, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// An entry of what stands for a map: its key is field 1, its value field 2.
    fn named(&mut self, field: u64, name: &str, write: impl FnOnce(&mut Message)) {
        self.message(field, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.message(2, write);
        });
    }

    /// Any: YAML in field 2, of which JSON is a part.
    fn any(&mut self, value: &Value) {
        self.bytes(2, format!("{value}\n").as_bytes());
    }

    /// Every `x-...`.
    fn extensions(&mut self, field: u64, of: &Value) {
        for (name, value) in entries(of).filter(|(name, _)| name.starts_with("x-")) {
            self.named(field, name, |out| out.any(value));
        }
    }
}

fn path_item(out: &mut Message, item: &Value) {
    for (field, method) in [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (8, "patch"),
    ] {
        if let Some(of) = item.get(method) {
            out.message(field, |out| operation(out, of));
        }
    }
    items(&item["parameters"]).for_each(|of| out.message(9, |out| parameter(out, of)));
}

fn operation(out: &mut Message, of: &Value) {
    out.texts(1, &of["tags"]);
    out.text(3, &of["description"]);
    out.text(5, &of["operationId"]);
    out.texts(6, &of["produces"]);
    out.texts(7, &of["consumes"]);
    items(&of["parameters"]).for_each(|of| out.message(8, |out| parameter(out, of)));
    out.message(9, |responses| {
        for (code, of) in entries(&of["responses"]) {
            responses.named(1, code, |value| {
                value.message(1, |response| {
                    response.text(1, &of["description"]);
                    response.message(2, |item| item.message(1, |out| schema(out, &of["schema"])));
                });
            });
        }
    });
    out.texts(10, &of["schemes"]);
    out.extensions(13, of);
}

/// A ParametersItem.
fn parameter(out: &mut Message, of: &Value) {
    let place = of["in"].as_str();
    out.message(1, |parameter| {
        if place == Some("body") {
            parameter.message(1, |body| {
                body.text(2, &of["name"]);
                body.text(3, &of["in"]);
                body.truth(4, &of["required"]);
                body.message(5, |out| schema(out, &of["schema"]));
            });
            return;
        }
        // Query and path parameters differ by one number from the sixth field on.
        let (message, shift) = if place == Some("query") {
            (3, 1)
        } else {
            (4, 0)
        };
        parameter.message(2, |not_body| {
            not_body.message(message, |out| {
                out.truth(1, &of["required"]);
                out.text(2, &of["in"]);
                out.text(3, &of["description"]);
                out.text(4, &of["name"]);
                out.text(5 + shift, &of["type"]);
                out.truth(19 + shift, &of["uniqueItems"]);
            });
        });
    });
}

fn schema(out: &mut Message, of: &Value) {
    out.text(1, &of["$ref"]);
    out.text(2, &of["format"]);
    out.text(4, &of["description"]);
    if let Some(default) = of.get("default") {
        out.message(5, |out| out.any(default));
    }
    out.texts(19, &of["required"]);
    if let Some(of) = of.get("additionalProperties") {
        out.message(21, |item| item.message(1, |out| schema(out, of)));
    }
    if of.get("type").is_some() {
        out.message(22, |out| out.text(1, &of["type"]));
    }
    if let Some(of) = of.get("items") {
        out.message(23, |item| item.message(1, |out| schema(out, of)));
    }
    if let Some(of) = of.get("properties") {
        out.message(25, |properties| {
            for (name, of) in entries(of) {
                properties.named(1, name, |out| schema(out, of));
            }
        });
    }
    out.extensions(31, of);
}
