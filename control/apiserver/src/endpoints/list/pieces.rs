//! A list's answer. It is made piece by piece as the client reads: until then it is a
//! pointer to each object, shared with the cache.

use std::sync::Arc;
use std::vec::IntoIter;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::super::delivery::{self, Budget, Late};
use super::super::negotiate::{Accepted, Encoding, Form};
use super::super::table::IncludeObject;
use super::super::{REQUEST_TIMEOUT, partial, protobuf, respond, table};
use super::Page;
use crate::error::{ApiError, Result};
use crate::registry::Resource;
use crate::registry::kind::Kind;
use crate::storage::Entry;

/// A piece is sent once it has this many bytes. Small enough that ten thousand clients that
/// stop reading hold little, and large enough that encoding is not cut up for nothing.
const PIECE_BYTES: usize = 64 << 10;

/// The page as the client accepts it.
///
/// # Errors
/// 500 if a stored object is broken; 429 if too many large lists are under way.
pub fn respond(
    resource: Resource<'_>,
    page: Page,
    accepted: Accepted,
    include: IncludeObject,
    budget: &Budget,
) -> Result<Response> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    let names = &resource.kind.names;
    let (version, kind) = match accepted.form {
        Form::Metadata => (partial::API_VERSION.to_owned(), partial::LIST_KIND),
        _ => (names.api_version(), names.list_kind.as_str()),
    };
    let gvk = (version.as_str(), kind);
    let pointers = page.entries.len() * size_of::<Arc<Entry>>();
    let mut pieces = Pieces::new(resource.kind, page, accepted.form, include, gvk)?;
    if accepted.encoding == Encoding::Protobuf {
        let whole = pieces.by_ref().collect::<Result<Vec<Bytes>>>()?.concat();
        let mut whole: Bytes = protobuf::body(gvk.0, gvk.1, &whole)?.into();
        let media_type = euston_protobuf::envelope::MEDIA_TYPE;
        if whole.len() <= PIECE_BYTES {
            return Ok(respond::typed(StatusCode::OK, media_type, whole));
        }
        let held = budget.hold(whole.len())?;
        let slices = std::iter::from_fn(move || {
            let piece = whole.split_to(whole.len().min(PIECE_BYTES));
            (!piece.is_empty()).then_some(Ok(piece))
        });
        let body = delivery::body(futures::stream::iter(slices), held, deadline, Late::Breaks);
        return Ok(respond::streamed(media_type, body));
    }
    // An error in the first piece is still an error of the request.
    let first = pieces.next().transpose()?.unwrap_or_default();
    let media_type = "application/json";
    if pieces.done {
        return Ok(respond::typed(StatusCode::OK, media_type, first));
    }
    let held = budget.hold(pointers + 2 * PIECE_BYTES)?;
    let all = std::iter::once(Ok(first)).chain(pieces);
    let body = delivery::body(futures::stream::iter(all), held, deadline, Late::Breaks);
    Ok(respond::streamed(media_type, body))
}

/// The JSON of a list, in pieces of about [`PIECE_BYTES`].
struct Pieces {
    kind: Arc<Kind>,
    form: Form,
    include: IncludeObject,
    now: jiff::Timestamp,
    /// Written, not yet sent.
    out: Vec<u8>,
    entries: IntoIter<Arc<Entry>>,
    first: bool,
    done: bool,
}

impl Pieces {
    fn new(
        kind: &Arc<Kind>,
        page: Page,
        form: Form,
        include: IncludeObject,
        (version, list_kind): (&str, &str),
    ) -> Result<Self> {
        let mut meta = json!({ "resourceVersion": page.revision.to_string() });
        if let Some(token) = page.token {
            meta["continue"] = json!(token);
        }
        if let Some(remaining) = page.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        let out = if form == Form::Table {
            table::head(kind, &meta, true)?
        } else {
            let head = format!(
                r#"{{"kind":"{list_kind}","apiVersion":"{version}","metadata":{meta},"items":["#
            );
            head.into_bytes()
        };
        Ok(Pieces {
            kind: kind.clone(),
            form,
            include,
            now: jiff::Timestamp::now(),
            out,
            entries: page.entries.into_iter(),
            first: true,
            done: false,
        })
    }

    fn push(&mut self, entry: &Entry) -> Result<()> {
        let out = &mut self.out;
        if !std::mem::take(&mut self.first) {
            out.push(b',');
        }
        match self.form {
            Form::Object => {
                entry.write_json(out);
                Ok(())
            }
            Form::Metadata => partial::write(entry, out),
            Form::Table => table::row(&self.kind, entry, self.include, self.now, out),
        }
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Result<Bytes>> {
        if self.done {
            return None;
        }
        while self.out.len() < PIECE_BYTES {
            let Some(entry) = self.entries.next() else {
                self.done = true;
                // The same bytes close a list and a table.
                self.out.extend_from_slice(table::TAIL);
                break;
            };
            if let Err(error) = self.push(&entry) {
                self.done = true;
                tracing::error!(key = entry.key.as_str(), %error, "a list breaks off");
                return Some(Err(ApiError::internal(error)));
            }
        }
        let next = Vec::with_capacity(if self.done { 0 } else { PIECE_BYTES + 4096 });
        Some(Ok(std::mem::replace(&mut self.out, next).into()))
    }
}
