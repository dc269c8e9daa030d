//! Objects in Kubernetes' protobuf: from the JSON that everything here is made of, and to it.

use bytes::Bytes;
use euston_protobuf::{Message, decode, encode, envelope};

use super::body::BODY_BYTES_MAX;
use crate::error::{ApiError, Result};
use crate::schema::types;

/// The JSON of a body is at most this much longer than its protobuf: field names and quotes
/// about double an object, base64 adds a third. More is an attempt to fill our memory.
const JSON_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

const META: &str = "meta.k8s.io/v1";

/// The message of a kind; `None` for what is no built-in kind.
pub fn message(group: &str, version: &str, kind: &str) -> Option<Message> {
    let types = types();
    Message::named(types.get(types.lookup_gvk(group, version, kind)?).name())
}

/// The message of an object or list as its `apiVersion` and `kind` name it.
fn message_of(api_version: &str, kind: &str) -> Option<Message> {
    // The published schema leaves these two out.
    if api_version == META && kind.starts_with("PartialObjectMetadata") {
        return Message::named(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
    }
    let (group, version) = split(api_version);
    message(group, version, kind)
}

fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Turns a request's body into JSON. `expected` is what it holds if it does not say so.
///
/// # Errors
/// 400 with the field that is broken; 413 if the JSON would be far too long.
pub fn to_json(body: &[u8], expected: (&str, &str, &str)) -> Result<Bytes> {
    // A DELETE without options may come with the client's usual type, and no body.
    if body.is_empty() {
        return Ok(Bytes::new());
    }
    let cannot = |why: &dyn std::fmt::Display| {
        ApiError::bad_request(format!(
            "the body of the request ({}) cannot be read: {why}",
            envelope::MEDIA_TYPE
        ))
    };
    let opened = envelope::open(body).map_err(|e| cannot(&e))?;
    let (group, version) = match opened.api_version {
        "" => (expected.0, expected.1),
        given => split(given),
    };
    let kind = match opened.kind {
        "" => expected.2,
        given => given,
    };
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let of = message(group, version, kind).ok_or_else(|| {
        cannot(&format!(
            "no built-in kind {kind:?} is known for version {api_version:?}"
        ))
    })?;
    match decode(of, Some((&api_version, kind)), opened.raw, JSON_BYTES_MAX) {
        Ok(json) => Ok(json.into()),
        Err(error) if error.is_too_large() => Err(ApiError::too_large(JSON_BYTES_MAX)),
        Err(error) => Err(ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {error}"
        ))),
    }
}

/// A body that holds a JSON object or list of a built-in kind.
///
/// # Errors
/// 500 if the JSON is no such thing.
pub fn body(api_version: &str, kind: &str, json: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    write(api_version, kind, json, &mut out)?;
    Ok(out)
}

/// An event of a watch.
///
/// # Errors
/// As [`body`].
pub fn frame(event: &str, api_version: &str, kind: &str, json: &[u8]) -> Result<Bytes> {
    envelope::frame(event, |out| write(api_version, kind, json, out)).map(Bytes::from)
}

fn write(api_version: &str, kind: &str, json: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let of = message_of(api_version, kind).ok_or_else(|| {
        ApiError::internal(format!("{api_version} {kind} has no form in protobuf"))
    })?;
    envelope::seal(api_version, kind, out, |out| encode(of, json, out))
        .map_err(|e| ApiError::internal(format!("{api_version} {kind} as protobuf: {e}")))
}

#[cfg(test)]
mod tests {
    use euston_protobuf::{Form, Shape};
    use serde_json::{Value, json};

    use super::*;
    use crate::schema;

    /// True if what the schema says of a value is what the table of messages says of it.
    fn same(schema: schema::Shape, shape: Shape) -> bool {
        match (schema, shape) {
            (schema::Shape::Scalar(_) | schema::Shape::Struct(_), Shape::One(form)) => {
                same_form(schema, form)
            }
            // A list that protobuf wraps into a message.
            (schema::Shape::List(inner), Shape::One(Form::Strings)) => {
                inner.shape() == schema::Shape::Scalar(schema::Scalar::String)
            }
            (schema::Shape::List(inner), Shape::List(form))
            | (schema::Shape::Map(inner), Shape::Map(form)) => same_form(inner.shape(), form),
            _ => false,
        }
    }

    fn same_form(schema: schema::Shape, form: Form) -> bool {
        use schema::Scalar;
        match (schema, form) {
            (schema::Shape::Struct(of), Form::Message(message)) => {
                types().get(of).name() == message.name()
            }
            (schema::Shape::List(_), Form::Strings) => true,
            (schema::Shape::Scalar(scalar), form) => matches!(
                (scalar, form),
                (Scalar::String, Form::String | Form::Duration)
                    | (Scalar::Bytes, Form::Bytes)
                    | (Scalar::Bool, Form::Bool)
                    | (Scalar::Int32, Form::Int32)
                    | (Scalar::Int64, Form::Int64)
                    | (Scalar::Double, Form::Double)
                    | (Scalar::Time, Form::Time)
                    | (Scalar::MicroTime, Form::MicroTime)
                    | (Scalar::Quantity, Form::Quantity)
                    | (Scalar::IntOrString, Form::IntOrString)
                    | (Scalar::Raw | Scalar::Fields | Scalar::Any, Form::Raw)
                    | (
                        Scalar::Any,
                        Form::PropsOrArray(_) | Form::PropsOrBool(_) | Form::PropsOrStrings(_)
                    )
            ),
            _ => false,
        }
    }

    #[test]
    fn every_field_of_every_published_type_has_its_place_on_the_wire() {
        let mut lacking = Vec::new();
        let mut found = 0;
        for of in types().iter() {
            let Some(message) = Message::named(of.name()) else {
                lacking.push(of.name().to_owned());
                continue;
            };
            for field in of.fields() {
                // The envelope carries these two.
                let is_kind = of.field("kind").is_some() && of.field("apiVersion").is_some();
                match message.json_field(field.name()) {
                    Some((row, _)) if same(field.shape(), row.shape) => found += 1,
                    None if is_kind && matches!(field.name(), "kind" | "apiVersion") => {}
                    _ => lacking.push(format!("{} {}", of.name(), field.name())),
                }
            }
        }
        // What /version answers is JSON alone, in Kubernetes too.
        assert_eq!(lacking, ["io.k8s.apimachinery.pkg.version.Info"]);
        assert!(found > 2_500, "{found}");
    }

    #[test]
    fn every_kind_has_a_message() {
        for (group, version, kind, _) in types().kinds() {
            assert!(
                message(group, version, kind).is_some(),
                "{group}/{version} {kind}"
            );
        }
        assert!(message_of(META, "PartialObjectMetadataList").is_some());
        assert!(message_of("example.org/v1", "Widget").is_none());
    }

    #[test]
    fn a_body_becomes_json_with_its_kind() {
        let check = |api_version: &str, kind: &str, expect: Value| {
            let mut sealed = Vec::new();
            envelope::seal(api_version, kind, &mut sealed, |out| {
                out.extend_from_slice(b"\x0a\x03\x0a\x01a");
                Ok::<_, ()>(())
            })
            .unwrap();
            let json = to_json(&sealed, ("", "v1", "ConfigMap")).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), expect);
        };
        let object = |api_version: &str, kind: &str| json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "a" } });
        check("v1", "Secret", object("v1", "Secret"));
        check("apps/v1", "Deployment", object("apps/v1", "Deployment"));
        check("", "", object("v1", "ConfigMap"));
        assert!(to_json(b"", ("", "v1", "ConfigMap")).unwrap().is_empty());
    }

    #[test]
    fn other_bodies_are_refused_with_what_is_wrong() {
        let check = |body: &[u8], expect: &str| {
            let error = to_json(body, ("", "v1", "Pod")).unwrap_err();
            assert_eq!(error.code, 400, "{error}");
            assert!(error.message.contains(expect), "{error}");
        };
        check(b"{}", "does not begin with");
        check(
            b"k8s\0\x0a\x0a\x0a\x01w\x12\x05Shoes",
            "no built-in kind \"Shoes\"",
        );
        check(
            b"k8s\0\x12\x02\x0a\x05",
            "Pod in version \"v1\" cannot be handled as a Pod: the bytes end",
        );
        check(
            b"k8s\0\x12\x06\x12\x04\x12\x02\x08\x01",
            "spec.containers[0].name: it is a varint",
        );
    }
}
