//! WATCH: a stream of events, from a resourceVersion on.
//! Follows <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
//! and, for `sendInitialEvents`, KEP-3157.

mod events;
mod options;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use euston_protobuf::envelope;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivery::{self, Late};
use super::list::WAIT_FOR_VERSION;
use super::negotiate::{Accepted, Encoding};
use super::respond;
use super::selection::Selection;
use super::table::IncludeObject;
use crate::error::{ApiError, Result};
use crate::registry::kind::Kind;
use crate::registry::{Registry, Resource};
use crate::storage::{Change, Entry, EventType, ResourceCache, Snapshot, WatchCursor};
use events::Show;

pub use options::WatchOptions;

/// How often an idle watcher that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// The last bookmark comes this long before the time-out, so that the client has it.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// Changes taken from the ring at a time. With [`BYTES_AT_ONCE`] it bounds what a watcher that
/// stops reading keeps alive after the ring has moved on.
const CHANGES_AT_ONCE: usize = 32;
const BYTES_AT_ONCE: usize = 64 << 10;

/// Objects of the beginning taken from the snapshot at a time, with the same purpose.
const INITIAL_AT_ONCE: usize = 32;

/// How long after its end a watch is kept for a client that does not read.
const SLACK: Duration = Duration::from_secs(30);

/// Starts the stream. `held` is given back when it ends.
///
/// # Errors
/// 504 for a revision that is not reached soon. One that is too old is an ERROR
/// event in the stream, as clients expect.
#[allow(clippy::too_many_arguments)] // what a watch is about, how it is shown, when it ends
pub async fn respond(
    registry: &Registry,
    resource: Resource<'_>,
    selection: Selection,
    options: WatchOptions,
    accepted: Accepted,
    include: IncludeObject,
    shutdown: CancellationToken,
    held: impl Send + 'static,
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
    let changed = resource.cache.subscribe();
    let show = Show::new(accepted, include);
    let mut initial = None;
    let mut queue = VecDeque::new();
    let (cursor, seen) = match options.from {
        Some(from) if from > 0 && !options.state_first => match resource.cache.cursor_after(from) {
            Ok(cursor) => (Some(cursor), from),
            Err(gap) => {
                let message = format!("too old resource version: {from} ({})", gap.forgotten);
                queue.push_back(Event::Made(show.error(&ApiError::expired(message))));
                (None, from)
            }
        },
        _ => {
            let (snapshot, revision, cursor) = resource.cache.snapshot_and_cursor();
            if options.state_first {
                let start = selection.key_prefix();
                initial = Some(Initial { snapshot, start });
            }
            (Some(cursor), revision)
        }
    };
    let begun = Instant::now();
    let end = begun + options.timeout;
    let stream = Stream {
        kind: resource.kind.clone(),
        cache: resource.cache.clone(),
        selection,
        show,
        cursor,
        changed,
        initial,
        mark_due: options.mark,
        seen,
        queue,
        // One that is too short for that gets its bookmark at its end.
        next_bookmark: options
            .bookmarks
            .then(|| next_bookmark(begun, end).unwrap_or(end)),
        end,
        shutdown,
    };
    let frames = futures::stream::unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok(frame), stream))
    });
    let content_type = match accepted.encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => envelope::STREAM_MEDIA_TYPE,
    };
    let body: Body = delivery::body(frames, held, end + SLACK, Late::Ends);
    Ok(respond::streamed(content_type, body))
}

/// When a watch that ends at `end` gets its next bookmark after `now`; `None` if it has had
/// its last one.
fn next_bookmark(now: Instant, end: Instant) -> Option<Instant> {
    let last = end.checked_sub(BOOKMARK_BEFORE_END)?;
    (now < last).then(|| last.min(now + BOOKMARK_EVERY))
}

/// What was there at the start and is still to be sent, from the key `start` on.
struct Initial {
    snapshot: Snapshot,
    start: String,
}

/// An event that is due. Its bytes are made when it is sent.
enum Event {
    Object(Arc<Entry>),
    Change(EventType, Arc<Change>),
    Made(Bytes),
}

struct Stream {
    kind: Arc<Kind>,
    cache: Arc<ResourceCache>,
    selection: Selection,
    show: Show,
    /// `None` once the stream has failed: what is queued is sent, then it ends.
    cursor: Option<WatchCursor>,
    changed: watch::Receiver<u64>,
    initial: Option<Initial>,
    /// The bookmark that ends the initial events is still to be sent.
    mark_due: bool,
    /// The client has seen everything up to this revision.
    seen: u64,
    /// At most [`CHANGES_AT_ONCE`] or [`INITIAL_AT_ONCE`].
    queue: VecDeque<Event>,
    /// `None` if the client wants no more.
    next_bookmark: Option<Instant>,
    end: Instant,
    shutdown: CancellationToken,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(self.make(event));
            }
            if let Some(initial) = self.initial.take() {
                self.go_through(initial);
                continue;
            }
            if std::mem::take(&mut self.mark_due) {
                return Some(self.bookmark(true));
            }
            self.changed.mark_unchanged();
            if self.take_changes()? {
                continue;
            }
            if self.cache.is_closed() {
                // The definition of the kind is gone or another one: the client comes back to that.
                return None;
            }
            let wake = self.next_bookmark.unwrap_or(self.end).min(self.end);
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = self.shutdown.cancelled() => return None,
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    let due = self.next_bookmark.is_some_and(|at| at <= now);
                    if due {
                        self.next_bookmark = next_bookmark(now, self.end);
                        return Some(self.bookmark(false));
                    }
                    if now >= self.end {
                        return None;
                    }
                }
            }
        }
    }

    /// Queues some of what was there at the start.
    fn go_through(&mut self, mut initial: Initial) {
        let wanted = self
            .selection
            .within(&self.kind, &initial.snapshot, &initial.start);
        let some: Vec<Arc<Entry>> = wanted.take(INITIAL_AT_ONCE).cloned().collect();
        let more = some.len() == INITIAL_AT_ONCE;
        if let Some(last) = some.last().filter(|_| more) {
            // The key right behind it.
            initial.start = format!("{}\0", last.key.as_str());
            self.initial = Some(initial);
        }
        self.queue.extend(some.into_iter().map(Event::Object));
    }

    /// Queues what has changed since. False if nothing has; `None` if the stream is over.
    fn take_changes(&mut self) -> Option<bool> {
        let cursor = self.cursor.as_mut()?;
        match self.cache.changes(cursor, CHANGES_AT_ONCE, BYTES_AT_ONCE) {
            Err(gap) => {
                let (seen, gone) = (self.seen, gap.forgotten);
                let error = ApiError::expired(format!("too old resource version: {seen} ({gone})"));
                let event = self.fail(&error);
                self.queue.push_back(Event::Made(event));
                Some(true)
            }
            Ok((changes, seen)) => {
                let any = !changes.is_empty();
                for change in changes {
                    if let Some(event) = self.concerns(&change) {
                        self.queue.push_back(Event::Change(event, change));
                    }
                }
                self.seen = self.seen.max(seen);
                Some(any)
            }
        }
    }

    /// What a change is to this watcher, if anything.
    fn concerns(&self, change: &Change) -> Option<EventType> {
        if change.revision <= self.seen {
            return None;
        }
        let wanted = |entry: &Option<Arc<Entry>>| {
            entry
                .as_ref()
                .is_some_and(|e| self.selection.matches(&self.kind, e))
        };
        match (wanted(&change.old), wanted(&change.new)) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }

    fn make(&mut self, event: Event) -> Bytes {
        let made = match event {
            Event::Made(bytes) => Ok(bytes),
            Event::Object(entry) => self.show.object(&self.kind, EventType::Added, &entry),
            Event::Change(event, change) => self.show.change(&self.kind, event, &change),
        };
        made.unwrap_or_else(|error| self.fail(&error))
    }

    fn bookmark(&mut self, initial_end: bool) -> Bytes {
        let made = self.show.bookmark(&self.kind, self.seen, initial_end);
        made.unwrap_or_else(|error| self.fail(&error))
    }

    /// The stream's last event.
    fn fail(&mut self, error: &ApiError) -> Bytes {
        self.cursor = None;
        self.initial = None;
        self.queue.clear();
        self.show.error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bookmarks_come_every_minute_and_before_the_end() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        for (now, end, expect) in [
            (0.0, 300.0, Some(60.0)),
            (60.0, 300.0, Some(120.0)),
            (240.0, 300.0, Some(298.0)),
            // The last one is out: nothing until the end.
            (298.0, 300.0, None),
            (299.0, 300.0, None),
            (0.0, 62.0, Some(60.0)),
            (0.0, 30.0, Some(28.0)),
            (0.0, 2.0, None),
        ] {
            let got = next_bookmark(at(now), at(end));
            assert_eq!(got, expect.map(at), "{now} of {end}");
        }
    }
}
