//! WATCH: a stream of events, from a resourceVersion on.
//! Follows <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
//! and, for `sendInitialEvents`, KEP-3157.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use euston_protobuf::envelope;
use futures::StreamExt;
use http::StatusCode;
use rand::Rng;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::negotiate::{Accepted, Encoding, Form};
use super::request::Query;
use super::selection::Selection;
use super::table::IncludeObject;
use super::{partial, protobuf, respond, table};
use crate::error::{ApiError, Result};
use crate::registry::kind::Kind;
use crate::registry::options::parse_resource_version;
use crate::registry::{Registry, Resource};
use crate::storage::{Change, Entry, EventType, ResourceCache, WatchCursor, frame};

/// A watch that names no timeout ends after this and up to twice this
/// (kube-apiserver's `min-request-timeout`), so that clients spread out.
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);

/// How often an idle watcher that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// Changes taken from the ring at a time: bounds what one watcher holds in memory.
const CHANGES_AT_ONCE: usize = 256;

/// How long a watch waits for a revision that the client says it has seen.
const WAIT_FOR_VERSION: Duration = Duration::from_secs(3);

/// What of a watch is asked for.
pub struct WatchOptions {
    from: Option<u64>,
    timeout: Duration,
    bookmarks: bool,
    initial_events: bool,
}

impl WatchOptions {
    /// Reads and checks the query, as `internalversion/validation` does.
    ///
    /// # Errors
    /// 400 for contradictions and unknown words.
    pub fn parse(query: &Query) -> Result<Self> {
        let initial = query.get("sendInitialEvents").is_some();
        let initial_events = query.flag("sendInitialEvents")?;
        let matching = query.get("resourceVersionMatch");
        match (initial, matching) {
            (true, Some("NotOlderThan")) | (false, None) => {}
            (true, _) => {
                return Err(ApiError::bad_request(
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
            (false, Some(_)) => {
                return Err(ApiError::bad_request(
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
        }
        let timeout = match query.number("timeoutSeconds")?.filter(|&s| s > 0) {
            Some(seconds) => Duration::from_secs(seconds.min(24 * 3600)),
            None => TIMEOUT_MIN.mul_f64(1.0 + rand::rng().random_range(0.0..1.0)),
        };
        Ok(WatchOptions {
            from: query
                .get("resourceVersion")
                .map(parse_resource_version)
                .transpose()?,
            timeout,
            bookmarks: query.flag("allowWatchBookmarks")?,
            initial_events,
        })
    }
}

/// Starts the stream.
///
/// # Errors
/// 504 for a revision that is not reached soon. One that is too old is an ERROR
/// event in the stream, as clients expect.
pub async fn respond(
    registry: &Registry,
    resource: Resource<'_>,
    selection: Selection,
    options: WatchOptions,
    accepted: Accepted,
    include: IncludeObject,
    shutdown: CancellationToken,
) -> Result<Response> {
    match options.from {
        Some(0) => {}
        Some(from) => {
            registry.storage().wait_for(from, WAIT_FOR_VERSION).await?;
        }
        None => {
            registry.storage().fresh().await?;
        }
    }
    let from_state = options.initial_events || options.from.is_none_or(|f| f == 0);
    let changed = resource.cache.subscribe();
    let mut queue = VecDeque::new();
    let mut initial = VecDeque::new();
    let (cursor, seen) = if from_state {
        let (snapshot, revision, cursor) = resource.cache.snapshot_and_cursor();
        let within = selection.key_prefix();
        initial = snapshot
            .range(crate::storage::ObjectKey::parse(&within)..)
            .take_while(|(key, _)| key.as_str().starts_with(&within))
            .filter(|(_, entry)| selection.matches(resource.kind, entry))
            .map(|(_, entry)| entry.clone())
            .collect();
        (Some(cursor), revision)
    } else {
        let from = options.from.unwrap_or_default();
        match resource.cache.cursor_after(from) {
            Ok(cursor) => (Some(cursor), from),
            Err(gap) => {
                let message = format!("too old resource version: {from} ({})", gap.forgotten);
                queue.push_back(error_event(&ApiError::expired(message), accepted.encoding));
                (None, from)
            }
        }
    };
    let stream = Stream {
        kind: resource.kind.clone(),
        cache: resource.cache.clone(),
        selection,
        accepted,
        include,
        columns_due: true,
        cursor,
        changed,
        initial,
        initial_mark: options.initial_events,
        seen,
        queue,
        bookmarks: options.bookmarks,
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
        end: Instant::now() + options.timeout,
        shutdown,
    };
    let frames = futures::stream::unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), stream))
    });
    // Boxed, since the state is large and moves along.
    let content_type = match accepted.encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => envelope::STREAM_MEDIA_TYPE,
    };
    let mut response = respond::typed(StatusCode::OK, content_type, Bytes::new());
    *response.body_mut() = Body::from_stream(frames.boxed());
    Ok(response)
}

struct Stream {
    kind: Arc<Kind>,
    cache: Arc<ResourceCache>,
    selection: Selection,
    accepted: Accepted,
    include: IncludeObject,
    columns_due: bool,
    /// `None` once the stream has failed: what is queued is sent, then it ends.
    cursor: Option<WatchCursor>,
    changed: watch::Receiver<u64>,
    /// Objects that were there at the start, still to be sent.
    initial: VecDeque<Arc<Entry>>,
    /// The bookmark that ends the initial events is still to be sent.
    initial_mark: bool,
    /// The client has seen everything up to this revision.
    seen: u64,
    /// Made, not yet sent: at most [`CHANGES_AT_ONCE`].
    queue: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    shutdown: CancellationToken,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.queue.pop_front() {
                return Some(frame);
            }
            if let Some(entry) = self.initial.pop_front() {
                return Some(self.show(EventType::Added.name(), &entry));
            }
            if std::mem::take(&mut self.initial_mark) {
                return Some(self.bookmark(true));
            }
            self.changed.mark_unchanged();
            let cursor = self.cursor.as_mut()?;
            match self.cache.changes(cursor, CHANGES_AT_ONCE) {
                Err(gap) => {
                    let message = format!(
                        "too old resource version: {} ({})",
                        self.seen, gap.forgotten
                    );
                    self.cursor = None;
                    let error = ApiError::expired(message);
                    self.queue
                        .push_back(error_event(&error, self.accepted.encoding));
                    continue;
                }
                Ok((changes, seen)) => {
                    let none = changes.is_empty();
                    for change in changes {
                        self.take(&change);
                    }
                    self.seen = self.seen.max(seen);
                    if !none {
                        continue;
                    }
                    if self.cache.is_closed() {
                        // The definition of the kind is gone or another one: the client comes back to that.
                        return None;
                    }
                }
            }
            let bookmark_at = if self.bookmarks {
                self.next_bookmark
            } else {
                self.end
            };
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = self.shutdown.cancelled() => return None,
                () = tokio::time::sleep_until(self.end.min(bookmark_at)) => {
                    if Instant::now() >= self.end {
                        self.cursor = None;
                    }
                    if self.bookmarks {
                        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                        return Some(self.bookmark(false));
                    }
                }
            }
        }
    }

    /// Queues the event that a change is to this watcher, if it is one.
    fn take(&mut self, change: &Change) {
        if change.revision <= self.seen {
            return;
        }
        let wanted = |entry: &Option<Arc<Entry>>| {
            entry
                .as_ref()
                .is_some_and(|e| self.selection.matches(&self.kind, e))
        };
        let event = match (wanted(&change.old), wanted(&change.new)) {
            (false, true) => EventType::Added,
            (true, true) => EventType::Modified,
            (true, false) => EventType::Deleted,
            (false, false) => return,
        };
        let made = match (self.accepted.form, self.accepted.encoding) {
            (Form::Object, Encoding::Json) => change.frame(event).map(Ok),
            (Form::Object, Encoding::Protobuf) => {
                change.protobuf_frame(event, |entry| self.try_show(event.name(), entry))
            }
            _ => change
                .object(event)
                .map(|entry| self.try_show(event.name(), &entry)),
        };
        if let Some(made) = made {
            let frame = made.unwrap_or_else(|error| self.fail(&error));
            self.queue.push_back(frame);
        }
    }

    fn show(&mut self, event: &str, entry: &Entry) -> Bytes {
        self.try_show(event, entry)
            .unwrap_or_else(|error| self.fail(&error))
    }

    /// The stream's last event.
    fn fail(&mut self, error: &ApiError) -> Bytes {
        self.cursor = None;
        error_event(error, self.accepted.encoding)
    }

    fn try_show(&mut self, event: &str, entry: &Entry) -> Result<Bytes> {
        let resource = Resource {
            kind: &self.kind,
            cache: &self.cache,
        };
        let encoding = self.accepted.encoding;
        match (self.accepted.form, encoding) {
            (Form::Object, Encoding::Json) => Ok(frame(event, entry)),
            (Form::Object, Encoding::Protobuf) => {
                let names = &self.kind.names;
                protobuf::frame(event, &names.api_version(), &names.kind, &entry.json())
            }
            (Form::Metadata, _) => {
                let object = partial::object(entry)?;
                wrap(
                    encoding,
                    event,
                    (partial::API_VERSION, partial::KIND),
                    &object,
                )
            }
            (Form::Table, _) => {
                let columns = std::mem::take(&mut self.columns_due);
                let table = table::one(resource, entry, self.include, columns)?;
                Ok(wrap_json(event, &table))
            }
        }
    }

    fn bookmark(&mut self, initial_end: bool) -> Bytes {
        let mut meta =
            json!({ "resourceVersion": self.seen.to_string(), "creationTimestamp": null });
        if initial_end {
            meta["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let names = &self.kind.names;
        let (api_version, kind) = match self.accepted.form {
            Form::Object => (names.api_version(), names.kind.as_str()),
            Form::Metadata => (partial::API_VERSION.to_owned(), partial::KIND),
            Form::Table => (partial::API_VERSION.to_owned(), "Table"),
        };
        let object = match self.accepted.form {
            Form::Object | Form::Metadata => {
                json!({ "kind": kind, "apiVersion": api_version, "metadata": meta })
            }
            Form::Table => json!({
                "kind": kind,
                "apiVersion": api_version,
                "metadata": { "resourceVersion": self.seen.to_string() },
                "columnDefinitions": null,
                "rows": [{
                    "cells": self.kind.rules.columns().iter().map(|_| "").collect::<Vec<_>>(),
                    "object": {
                        "kind": partial::KIND,
                        "apiVersion": partial::API_VERSION,
                        "metadata": meta,
                    },
                }],
            }),
        };
        let object = object.to_string();
        let gvk = (api_version.as_str(), kind);
        wrap(self.accepted.encoding, "BOOKMARK", gvk, object.as_bytes())
            .unwrap_or_else(|error| self.fail(&error))
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

fn error_event(error: &ApiError, encoding: Encoding) -> Bytes {
    let status = serde_json::to_vec(&error.status()).unwrap_or_default();
    wrap(encoding, "ERROR", ("v1", "Status"), &status).unwrap_or_else(|error| {
        // Our own Status always has a message; without the event the stream just ends.
        tracing::error!(%error, "a Status cannot be written in protobuf");
        Bytes::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expect: std::result::Result<(), &str>) {
        match (WatchOptions::parse(&Query::parse(Some(query))), expect) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(wanted)) => {
                assert!(error.message.contains(wanted), "{query}: {error}")
            }
            (got, _) => panic!("{query}: {:?}", got.err()),
        }
    }

    #[test]
    fn watch_options_are_checked_as_kubernetes_does() {
        check(
            "resourceVersion=5&allowWatchBookmarks=true&timeoutSeconds=300",
            Ok(()),
        );
        check(
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            Ok(()),
        );
        check(
            "sendInitialEvents=true",
            Err("requires setting resourceVersionMatch"),
        );
        check(
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            Err("NotOlderThan"),
        );
        check(
            "resourceVersion=5&resourceVersionMatch=NotOlderThan",
            Err("forbidden for watch"),
        );
        check("resourceVersion=-5", Err("resourceVersion"));
        check("timeoutSeconds=soon", Err("timeoutSeconds"));
    }
}
