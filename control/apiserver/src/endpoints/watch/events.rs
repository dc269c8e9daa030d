//! The events of a watch, in the form that the client accepts.

use bytes::Bytes;
use serde_json::json;

use super::super::negotiate::{Accepted, Encoding, Form};
use super::super::table::IncludeObject;
use super::super::{partial, protobuf, table};
use crate::error::{ApiError, Result};
use crate::registry::kind::Kind;
use crate::storage::{Change, Entry, EventType, frame};

/// How one client is shown the objects of a kind.
pub struct Show {
    accepted: Accepted,
    include: IncludeObject,
    /// The first table carries the columns, the others leave them out.
    columns_due: bool,
}

impl Show {
    pub fn new(accepted: Accepted, include: IncludeObject) -> Self {
        Show {
            accepted,
            include,
            columns_due: true,
        }
    }

    /// The event that a change is to this client. Where the form allows it, it is made once
    /// for all watchers.
    pub fn change(&mut self, kind: &Kind, event: EventType, change: &Change) -> Result<Bytes> {
        let made = match (self.accepted.form, self.accepted.encoding) {
            (Form::Object, Encoding::Json) => change.frame(event).map(Ok),
            (Form::Object, Encoding::Protobuf) => {
                change.protobuf_frame(event, |entry| self.object(kind, event, entry))
            }
            _ => change
                .object(event)
                .map(|entry| self.object(kind, event, &entry)),
        };
        made.unwrap_or_else(|| Err(ApiError::internal("an event without its object")))
    }

    /// An event about an object.
    pub fn object(&mut self, kind: &Kind, event: EventType, entry: &Entry) -> Result<Bytes> {
        let event = event.name();
        let encoding = self.accepted.encoding;
        match (self.accepted.form, encoding) {
            (Form::Object, Encoding::Json) => Ok(frame(event, entry)),
            (Form::Object, Encoding::Protobuf) => {
                let names = &kind.names;
                protobuf::frame(event, &names.api_version(), &names.kind, &entry.json())
            }
            (Form::Metadata, _) => {
                let object = partial::object(entry)?;
                let gvk = (partial::API_VERSION, partial::KIND);
                wrap(encoding, event, gvk, &object)
            }
            (Form::Table, _) => {
                let columns = std::mem::take(&mut self.columns_due);
                let table = table::one(kind, entry, self.include, columns)?;
                Ok(wrap_json(event, &table))
            }
        }
    }

    /// The client has seen everything up to `revision`. `initial_end` if that is the end of
    /// what was there when the watch began.
    pub fn bookmark(&self, kind: &Kind, revision: u64, initial_end: bool) -> Result<Bytes> {
        let version = revision.to_string();
        let mut meta = json!({ "resourceVersion": version, "creationTimestamp": null });
        if initial_end {
            meta["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let names = &kind.names;
        let (api_version, name) = match self.accepted.form {
            Form::Object => (names.api_version(), names.kind.as_str()),
            Form::Metadata => (partial::API_VERSION.to_owned(), partial::KIND),
            Form::Table => (partial::API_VERSION.to_owned(), "Table"),
        };
        let object = match self.accepted.form {
            Form::Object | Form::Metadata => {
                json!({ "kind": name, "apiVersion": api_version, "metadata": meta })
            }
            Form::Table => {
                let cells: Vec<_> = kind.rules.columns().iter().map(|_| "").collect();
                let mut row = json!({ "cells": cells });
                if self.include != IncludeObject::None || initial_end {
                    row["object"] = json!({
                        "kind": partial::KIND,
                        "apiVersion": partial::API_VERSION,
                        "metadata": meta,
                    });
                }
                json!({
                    "kind": name,
                    "apiVersion": api_version,
                    "metadata": { "resourceVersion": version },
                    "columnDefinitions": null,
                    "rows": [row],
                })
            }
        };
        let object = object.to_string();
        let gvk = (api_version.as_str(), name);
        wrap(self.accepted.encoding, "BOOKMARK", gvk, object.as_bytes())
    }

    /// The last event of a stream that failed.
    pub fn error(&self, error: &ApiError) -> Bytes {
        let status = serde_json::to_vec(&error.status()).unwrap_or_default();
        let made = wrap(self.accepted.encoding, "ERROR", ("v1", "Status"), &status);
        made.unwrap_or_else(|error| {
            // Our own Status always has a message; without the event the stream just ends.
            tracing::error!(%error, "a Status cannot be written in protobuf");
            Bytes::new()
        })
    }
}

/// An event that carries the JSON of an object of a built-in kind.
fn wrap(
    encoding: Encoding,
    event: &str,
    (api_version, kind): (&str, &str),
    object: &[u8],
) -> Result<Bytes> {
    match encoding {
        Encoding::Json => Ok(wrap_json(event, object)),
        Encoding::Protobuf => protobuf::frame(event, api_version, kind, object),
    }
}

fn wrap_json(event: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 48);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}
