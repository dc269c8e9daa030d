//! What is worked out from the objects of some caches and kept beside them: an index, a graph.
//!
//! It follows when it is looked at, not in a task of its own: so it is never behind the caches, and costs nothing
//! while nobody asks. While nothing changed, a look is a comparison of numbers and a shared lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};

use super::cache::{ResourceCache, WatchCursor};
use super::{Entry, ObjectKey};

/// Changes taken in at a time, so that the cache's lock is not held for long.
const STEP: usize = 1_024;

/// Something that is worked out from objects, one by one.
pub trait Derive: Default + Send + Sync {
    /// Takes in an object of the cache in place `source`; `None`: it is gone.
    fn take(&mut self, source: usize, key: &ObjectKey, object: Option<&Entry>);
}

/// A [`Derive`] and the caches that it is derived from.
pub struct Derived<T> {
    sources: Vec<Arc<ResourceCache>>,
    /// How far each cache was followed.
    seen: Vec<AtomicU64>,
    state: RwLock<State<T>>,
}

struct State<T> {
    value: T,
    cursors: Vec<WatchCursor>,
}

impl<T: Derive> Derived<T> {
    /// Works it out from all that `sources` hold now.
    pub fn new(sources: Vec<Arc<ResourceCache>>) -> Self {
        let seen = sources.iter().map(|_| AtomicU64::new(0)).collect();
        let derived = Derived {
            seen,
            state: RwLock::new(State {
                value: T::default(),
                cursors: Vec::new(),
            }),
            sources,
        };
        derived.rebuild(&mut derived.state.write());
        derived
    }

    /// As of now: every change that the caches hold is in it.
    pub fn now(&self) -> MappedRwLockReadGuard<'_, T> {
        if !self.is_current() {
            self.catch_up();
        }
        RwLockReadGuard::map(self.state.read(), |state| &state.value)
    }

    fn is_current(&self) -> bool {
        let mut both = self.sources.iter().zip(&self.seen);
        both.all(|(cache, seen)| cache.head() == seen.load(Ordering::Acquire))
    }

    fn catch_up(&self) {
        let mut state = self.state.write();
        for source in 0..self.sources.len() {
            let head = self.sources[source].head();
            if head == self.seen[source].load(Ordering::Acquire) {
                continue;
            }
            if !self.follow(source, &mut state) {
                self.rebuild(&mut state);
                return;
            }
            self.seen[source].store(head, Ordering::Release);
        }
    }

    /// Takes in what changed; false if the cache has forgotten some of it.
    fn follow(&self, source: usize, state: &mut State<T>) -> bool {
        loop {
            let cursor = &mut state.cursors[source];
            let Ok((changes, _)) = self.sources[source].changes(cursor, STEP, usize::MAX) else {
                return false;
            };
            if changes.is_empty() {
                return true;
            }
            for change in changes {
                if let Some(entry) = change.new.as_ref().or(change.old.as_ref()) {
                    state.value.take(source, &entry.key, change.new.as_deref());
                }
            }
        }
    }

    fn rebuild(&self, state: &mut State<T>) {
        state.value = T::default();
        state.cursors.clear();
        for (source, cache) in self.sources.iter().enumerate() {
            // Read first: what comes in between is looked at again, which is no harm.
            let head = cache.head();
            let (objects, _, cursor) = cache.snapshot_and_cursor();
            for (key, entry) in &objects {
                state.value.take(source, key, Some(entry));
            }
            state.cursors.push(cursor);
            self.seen[source].store(head, Ordering::Release);
        }
    }
}
