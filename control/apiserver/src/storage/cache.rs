//! What is true of one kind now, and what changed lately.
//!
//! One writer (the feed), any number of readers. Objects are in a persistent map,
//! so a list takes a snapshot in constant time and holds nobody up. Changes are in
//! a bounded ring; a watcher keeps a cursor into it, costs nothing while it
//! sleeps, and is told when the ring has moved past it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::entry::Entry;
use super::{ObjectKey, prefix};
use crate::registry::kind::Kind;

/// Changes kept for watchers. A watcher that falls further behind is answered 410
/// and lists again; at 10,000 changes a second this is more than a second of lag.
const CHANGES_MAX: usize = 16_384;

/// Bytes of objects kept by the ring, so that many large objects do not pile up.
const CHANGE_BYTES_MAX: usize = 24 << 20;

/// All objects of a kind at one moment.
pub type Snapshot = OrdMap<ObjectKey, Arc<Entry>>;

/// One write, as watchers see it.
#[derive(Debug)]
pub struct Change {
    /// When.
    pub revision: u64,
    /// The object after; `None` if it was deleted.
    pub new: Option<Arc<Entry>>,
    /// The object before; `None` if it was created.
    pub old: Option<Arc<Entry>>,
    frames: Frames,
    /// Made when the first watcher asks for protobuf; most changes never meet one.
    protobuf: OnceLock<Box<Frames>>,
}

/// The event as it is sent, for each [`EventType`].
type Frames = [OnceLock<Bytes>; 3];

/// What a watch event says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// The object is new to the watcher.
    Added = 0,
    /// The watcher knew the object, and it changed.
    Modified = 1,
    /// The object is gone, or no longer matches.
    Deleted = 2,
}

impl EventType {
    /// As it stands in the event.
    pub fn name(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
        }
    }
}

impl Change {
    fn new(revision: u64, new: Option<Arc<Entry>>, old: Option<Arc<Entry>>) -> Self {
        Change {
            revision,
            new,
            old,
            frames: Frames::default(),
            protobuf: OnceLock::new(),
        }
    }

    fn size(&self) -> usize {
        self.new
            .as_ref()
            .or(self.old.as_ref())
            .map_or(0, |e| e.value.len())
    }

    /// The object that an event of this type carries. Where the object is gone, or
    /// no longer matches the watcher's selector, that is the object as the watcher
    /// knew it, at this change's revision.
    pub fn object(&self, event: EventType) -> Option<Arc<Entry>> {
        match event {
            EventType::Deleted => self.old.as_ref().map(|old| Arc::new(old.at(self.revision))),
            EventType::Added | EventType::Modified => self.new.clone(),
        }
    }

    /// The event as one line of JSON: made once, shared by every watcher.
    pub fn frame(&self, event: EventType) -> Option<Bytes> {
        if let Some(made) = self.frames[event as usize].get() {
            return Some(made.clone());
        }
        let object = self.object(event)?;
        Some(
            self.frames[event as usize]
                .get_or_init(|| frame(event.name(), &object))
                .clone(),
        )
    }

    /// The event in protobuf, which the caller knows how to `make`: once, for every watcher.
    /// `None` if there is no object to send.
    ///
    /// # Errors
    /// Those of `make`, which are not kept.
    pub fn protobuf_frame<E>(
        &self,
        event: EventType,
        make: impl FnOnce(&Entry) -> Result<Bytes, E>,
    ) -> Option<Result<Bytes, E>> {
        let frames = self.protobuf.get_or_init(Box::default);
        let place = &frames[event as usize];
        if let Some(made) = place.get() {
            return Some(Ok(made.clone()));
        }
        let object = self.object(event)?;
        // Of two that make it at the same time, one is kept; they are equal.
        Some(make(&object).map(|made| place.get_or_init(|| made).clone()))
    }
}

/// A watch event as one line of JSON.
pub(crate) fn frame(event: &str, object: &Entry) -> Bytes {
    let mut out = Vec::with_capacity(object.value.len() + 96);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    object.write_json(&mut out);
    out.extend_from_slice(b"}\n");
    out.into()
}

#[derive(Default)]
struct State {
    objects: Snapshot,
    /// The revision that `objects` and `changes` stand for.
    revision: u64,
    changes: VecDeque<Arc<Change>>,
    change_bytes: usize,
    /// How many changes have left the ring: the sequence number of its first one.
    first: u64,
    /// Changes up to this revision may have left the ring.
    forgotten: u64,
    /// Nothing will change any more: the kind is no longer served from here.
    closed: bool,
}

/// The ring has moved past the watcher: it must list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchGap {
    /// Changes up to this revision are gone.
    pub forgotten: u64,
}

/// A place in the ring.
#[derive(Debug)]
pub struct WatchCursor {
    next: u64,
}

/// The cache of one kind.
pub struct ResourceCache {
    kind: Arc<Kind>,
    prefix: String,
    state: RwLock<State>,
    /// The sequence number behind the newest change.
    head: watch::Sender<u64>,
}

impl ResourceCache {
    pub(crate) fn new(kind: Arc<Kind>) -> Self {
        let prefix = prefix(&kind);
        ResourceCache {
            kind,
            prefix,
            state: RwLock::default(),
            head: watch::Sender::new(0),
        }
    }

    /// The kind it holds.
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The object at `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Entry>> {
        self.state.read().objects.get(key).cloned()
    }

    /// The objects of a namespace, by name.
    pub fn within(&self, namespace: &str) -> Vec<Arc<Entry>> {
        let first = ObjectKey::new(Some(namespace), "");
        let objects = self.snapshot();
        let from_there = objects.range(first..);
        from_there
            .map(|(_, entry)| entry)
            .take_while(|entry| entry.namespace() == namespace)
            .cloned()
            .collect()
    }

    /// All objects; constant time.
    pub fn snapshot(&self) -> Snapshot {
        self.state.read().objects.clone()
    }

    /// A snapshot, its revision, and a cursor at the changes that follow it.
    pub fn snapshot_and_cursor(&self) -> (Snapshot, u64, WatchCursor) {
        let state = self.state.read();
        let next = state.first + state.changes.len() as u64;
        (state.objects.clone(), state.revision, WatchCursor { next })
    }

    /// A cursor at the first change after `revision`.
    ///
    /// # Errors
    /// If changes after it may have left the ring.
    pub fn cursor_after(&self, revision: u64) -> Result<WatchCursor, WatchGap> {
        let state = self.state.read();
        if revision < state.forgotten {
            return Err(WatchGap {
                forgotten: state.forgotten,
            });
        }
        let skipped = state.changes.partition_point(|c| c.revision <= revision);
        Ok(WatchCursor {
            next: state.first + skipped as u64,
        })
    }

    /// Up to `limit` changes of about `bytes_max` bytes from the cursor on, which moves; and
    /// the revision up to which the watcher has then seen everything. Empty if there are none yet.
    ///
    /// # Errors
    /// If the ring has moved past the cursor.
    pub fn changes(
        &self,
        cursor: &mut WatchCursor,
        limit: usize,
        bytes_max: usize,
    ) -> Result<(Vec<Arc<Change>>, u64), WatchGap> {
        let state = self.state.read();
        let Some(skip) = cursor.next.checked_sub(state.first) else {
            return Err(WatchGap {
                forgotten: state.forgotten,
            });
        };
        let mut bytes = 0;
        let changes: Vec<_> = state
            .changes
            .iter()
            .skip(skip as usize)
            .take(limit)
            // One at least, however large.
            .take_while(|change| {
                let fits = bytes < bytes_max;
                bytes += change.size();
                fits
            })
            .cloned()
            .collect();
        cursor.next += changes.len() as u64;
        let all = cursor.next == state.first + state.changes.len() as u64;
        let seen = match changes.last() {
            Some(last) if !all => last.revision,
            _ => state.revision,
        };
        Ok((changes, seen))
    }

    /// A number that moves with every change; equal numbers mean that nothing changed between.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Wakes whenever there are changes; compare with [`ResourceCache::changes`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// True once the kind is no longer served from here: nothing will change any more.
    pub fn is_closed(&self) -> bool {
        self.state.read().closed
    }

    /// Ends the watches, which read what is there and then stop.
    pub(super) fn close(&self) {
        let mut state = self.state.write();
        state.closed = true;
        // A place that no change has: it only wakes.
        let head = state.first + state.changes.len() as u64;
        drop(state);
        self.head.send_replace(head);
    }

    /// Takes over what another cache of the same stored objects holds, as this kind shows it.
    pub(super) fn adopt(&self, other: &ResourceCache) {
        let theirs = other.state.read();
        let own = |entry: &Arc<Entry>| {
            let (key, stored) = (entry.key.clone(), entry.stored().clone());
            Arc::new(Entry::of(&self.kind, key, entry.revision, stored))
        };
        let objects = theirs.objects.iter();
        let mut state = State {
            objects: objects.map(|(k, e)| (k.clone(), own(e))).collect(),
            revision: theirs.revision,
            forgotten: theirs.forgotten,
            ..State::default()
        };
        for change in &theirs.changes {
            let [new, old] = [&change.new, &change.old].map(|e| e.as_ref().map(own));
            let change = Change::new(change.revision, new, old);
            state.change_bytes += change.size();
            state.changes.push_back(Arc::new(change));
        }
        drop(theirs);
        *self.state.write() = state;
    }

    /// Replaces everything: at start, and after the feed lost its place. Watchers
    /// of before are told to list again.
    pub(super) fn reset(&self, objects: Snapshot, revision: u64) {
        let mut state = self.state.write();
        state.first += state.changes.len() as u64 + 1;
        state.objects = objects;
        state.revision = revision;
        state.changes.clear();
        state.change_bytes = 0;
        state.forgotten = revision;
        let head = state.first;
        drop(state);
        self.head.send_replace(head);
    }

    /// Takes in the changes of one batch of the store's watch; `revision` is the
    /// batch's, also where none of it concerns this kind.
    pub(crate) fn apply(&self, writes: Vec<(ObjectKey, Option<Arc<Entry>>, u64)>, revision: u64) {
        let mut state = self.state.write();
        let any = !writes.is_empty();
        for (key, new, at) in writes {
            let old = match &new {
                Some(entry) => state.objects.insert(key, entry.clone()),
                None => state.objects.remove(&key),
            };
            if new.is_none() && old.is_none() {
                continue;
            }
            let change = Arc::new(Change::new(at, new, old));
            state.change_bytes += change.size();
            state.changes.push_back(change);
        }
        state.revision = revision;
        while state.changes.len() > CHANGES_MAX
            || (state.change_bytes > CHANGE_BYTES_MAX && state.changes.len() > 1)
        {
            let Some(gone) = state.changes.pop_front() else {
                break;
            };
            state.change_bytes -= gone.size();
            state.forgotten = gone.revision;
            state.first += 1;
        }
        let head = state.first + state.changes.len() as u64;
        drop(state);
        if any {
            self.head.send_replace(head);
        }
    }
}
