//! One watch: what of the store's changes it shows, and how much at a time.

use std::task::{Context as Task, Poll};

use prost::Message as _;
use raft_store::{Event, EventKind, Revision, WatchError, Watcher};

use crate::etcdserverpb::WatchCreateRequest;
use crate::etcdserverpb::watch_create_request::FilterType;
use crate::mvccpb;
use crate::translate;

/// Bytes of keys and values after which no more changes are put into a message: more would gain nothing, and the
/// message is memory that a slow client costs.
const MESSAGE_BYTES: usize = 64 << 10;
/// Revisions looked at for one message, for the same reason where their events are small, or not wanted.
const MESSAGE_REVISIONS: usize = 256;

/// What a watch shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wants {
    puts: bool,
    deletes: bool,
    prev_kv: bool,
    /// Large messages may come in pieces.
    pub(super) fragments: bool,
    /// It wants to hear from time to time up to which revision there was nothing.
    pub(super) progress: bool,
}

impl Wants {
    pub(super) fn of(request: &WatchCreateRequest) -> Self {
        let without = |filter: FilterType| request.filters.contains(&filter.into());
        Self {
            puts: !without(FilterType::Noput),
            deletes: !without(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            fragments: request.fragment,
            progress: request.progress_notify,
        }
    }

    fn event(self, event: &Event) -> Option<mvccpb::Event> {
        let wanted = match event.kind {
            EventKind::Put => self.puts,
            EventKind::Delete => self.deletes,
        };
        wanted.then(|| translate::event(event, self.prev_kv))
    }
}

/// What a message is made of.
pub(super) struct Found {
    pub(super) events: Vec<mvccpb::Event>,
    /// The last of the events' revisions.
    pub(super) revision: Revision,
    /// Nobody will be woken for what may be there beyond.
    pub(super) more: bool,
}

pub(super) struct Watch {
    watcher: Watcher,
    pub(super) wants: Wants,
    /// Something was sent since progress was last reported.
    pub(super) told: bool,
}

impl Watch {
    pub(super) fn new(watcher: Watcher, wants: Wants) -> Self {
        Self {
            watcher,
            wants,
            told: false,
        }
    }

    /// Everything up to this revision was found before.
    pub(super) fn progress(&self) -> Revision {
        self.watcher.progress()
    }

    /// Gathers the changes that are there, as far as they fit into a message: all those of a revision, whatever it takes.
    pub(super) fn poll(&mut self, task: &mut Task<'_>) -> Poll<Result<Found, WatchError>> {
        let mut found = Found {
            events: Vec::new(),
            revision: 0,
            more: true,
        };
        let mut bytes = 0;
        for _ in 0..MESSAGE_REVISIONS {
            match self.watcher.poll_next(task) {
                Poll::Ready(Ok(batch)) => {
                    for event in batch.events.iter() {
                        let wanted = self.wants.event(event);
                        bytes += wanted.as_ref().map_or(0, event_bytes);
                        found.events.extend(wanted);
                    }
                    found.revision = batch.revision;
                    if bytes >= MESSAGE_BYTES {
                        break;
                    }
                }
                Poll::Ready(Err(error)) if found.events.is_empty() => {
                    return Poll::Ready(Err(error));
                }
                // It says so again when it is asked again.
                Poll::Ready(Err(_)) => break,
                Poll::Pending if found.events.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    found.more = false;
                    break;
                }
            }
        }
        if found.events.is_empty() {
            // None of it was wanted: others get their turn.
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.told = true;
        Poll::Ready(Ok(found))
    }
}

/// About what an event costs.
fn event_bytes(event: &mvccpb::Event) -> usize {
    let kv = event.kv.iter().chain(&event.prev_kv);
    kv.map(|kv| kv.key.len() + kv.value.len()).sum()
}

/// Splits events into pieces of less than `bytes_max`, as far as single events are: what etcd does where a client takes
/// messages in fragments.
pub(crate) fn pieces(events: Vec<mvccpb::Event>, bytes_max: usize) -> Vec<Vec<mvccpb::Event>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        let size = event.encoded_len();
        if bytes > 0 && bytes + size >= bytes_max {
            pieces.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(piece) = pieces.last_mut() {
            piece.push(event);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_split_by_size_and_kept_in_order() {
        let event = |key: usize, value: usize| mvccpb::Event {
            kv: Some(mvccpb::KeyValue {
                key: vec![b'k'; key].into(),
                value: vec![b'v'; value].into(),
                ..mvccpb::KeyValue::default()
            }),
            ..mvccpb::Event::default()
        };
        let check = |values: &[usize], expect: &[&[usize]]| {
            let events = values.iter().enumerate();
            let events = events.map(|(at, value)| event(at + 1, *value)).collect();
            let split: Vec<Vec<usize>> = pieces(events, 1000)
                .iter()
                .map(|piece| {
                    let values = piece.iter().flat_map(|event| &event.kv);
                    values.map(|kv| kv.value.len()).collect()
                })
                .collect();
            assert_eq!(split, expect, "{values:?}");
        };
        check(&[], &[&[]]);
        check(&[10, 20, 30], &[&[10, 20, 30]]);
        check(&[600, 600, 10], &[&[600], &[600, 10]]);
        check(&[5000, 5000], &[&[5000], &[5000]]);
        check(&[10, 5000, 10], &[&[10], &[5000], &[10]]);
    }

    #[test]
    fn filters_say_what_is_left_out() {
        let check = |filters: &[FilterType], puts, deletes| {
            let request = WatchCreateRequest {
                filters: filters.iter().map(|filter| (*filter).into()).collect(),
                ..WatchCreateRequest::default()
            };
            let wants = Wants::of(&request);
            assert_eq!((wants.puts, wants.deletes), (puts, deletes), "{filters:?}");
        };
        check(&[], true, true);
        check(&[FilterType::Noput], false, true);
        check(&[FilterType::Nodelete], true, false);
        check(&[FilterType::Nodelete, FilterType::Noput], false, false);
    }
}
