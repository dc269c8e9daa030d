//! Which watches of a stream have something, so that a stream of thousands looks at those alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// The ids of watches that were woken, each once, in that order.
#[derive(Default)]
pub(super) struct ReadyList {
    ids: Mutex<VecDeque<i64>>,
    /// What polls the stream.
    task: AtomicWaker,
}

impl ReadyList {
    /// Has `task` woken when an id comes to the list.
    pub(super) fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    pub(super) fn pop(&self) -> Option<i64> {
        self.ids.lock().pop_front()
    }
}

/// Puts a watch on the list when it is woken.
pub(super) struct Flag {
    id: i64,
    /// Whether it is on the list.
    raised: AtomicBool,
    list: Arc<ReadyList>,
}

impl Flag {
    pub(super) fn new(id: i64, list: Arc<ReadyList>) -> Arc<Self> {
        Arc::new(Self {
            id,
            raised: AtomicBool::new(false),
            list,
        })
    }

    /// To be called before the watch is polled: what happens from here on puts it on the list again.
    pub(super) fn lower(&self) {
        self.raised.store(false, Ordering::Release);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.list.ids.lock().push_back(self.id);
            self.list.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_on_the_list_once_until_it_is_looked_at() {
        let list = Arc::new(ReadyList::default());
        let flags: Vec<_> = [7, 8].map(|id| Flag::new(id, Arc::clone(&list))).into();
        for flag in [&flags[1], &flags[0], &flags[1]] {
            flag.wake_by_ref();
        }
        assert_eq!(
            [list.pop(), list.pop(), list.pop()],
            [Some(8), Some(7), None]
        );
        flags[0].wake_by_ref();
        assert_eq!(list.pop(), None, "not looked at yet");
        flags[0].lower();
        flags[0].wake_by_ref();
        assert_eq!(list.pop(), Some(7));
    }
}
