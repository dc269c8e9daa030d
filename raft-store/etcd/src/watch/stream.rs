//! The watches of one stream.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Waker};

use futures::Stream;
use raft_store::{Error, Revision, WatchError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::{Status, Streaming};

use super::one::{Found, Wants, Watch, pieces};
use super::ready::{Flag, ReadyList};
use crate::config::OVERHEAD_BYTES;
use crate::context::Context;
use crate::etcdserverpb::watch_request::Request;
use crate::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use crate::translate::{self, Refused, wire};

/// The id in an answer that is about no certain watch.
const NO_WATCH: i64 = -1;

struct Entry {
    watch: Watch,
    flag: Arc<Flag>,
    /// Of the flag.
    waker: Waker,
}

/// What a client watches on one stream, as the stream of what it is told.
pub(super) struct Watches {
    context: Arc<Context>,
    requests: Streaming<WatchRequest>,
    entries: HashMap<i64, Entry>,
    ready: Arc<ReadyList>,
    /// The next id that may be given to a watch.
    next_id: i64,
    /// To be sent before anything else happens, so it holds what one request, one message of a watch, or one report of
    /// progress (a message for each watch) came to.
    out: VecDeque<WatchResponse>,
    progress: Interval,
    /// Watches that want to be told their progress.
    wanting_progress: usize,
}

impl Watches {
    pub(super) fn new(context: Arc<Context>, requests: Streaming<WatchRequest>) -> Self {
        let period = context.config.progress_interval;
        let mut progress = interval_at(Instant::now() + period, period);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            context,
            requests,
            entries: HashMap::new(),
            ready: Arc::default(),
            next_id: 0,
            out: VecDeque::new(),
            progress,
            wanting_progress: 0,
        }
    }

    /// Ends a watch. Returns whether there was one.
    fn remove(&mut self, id: i64) -> bool {
        let Some(entry) = self.entries.remove(&id) else {
            return false;
        };
        self.wanting_progress -= usize::from(entry.watch.wants.progress);
        true
    }

    fn response(&self, watch_id: i64, revision: Revision) -> WatchResponse {
        WatchResponse {
            header: Some(self.context.header(revision)),
            watch_id,
            ..WatchResponse::default()
        }
    }

    fn answer(&mut self, request: WatchRequest) {
        match request.request {
            Some(Request::Create(create)) => self.create(create),
            Some(Request::Cancel(cancel)) => self.cancel(cancel.watch_id),
            Some(Request::Progress(_)) => {
                // What every watch of the stream has seen: what they found before is sent before.
                let seen = self.entries.values().map(|entry| entry.watch.progress());
                let revision = seen.min().unwrap_or_else(|| self.context.store.revision());
                self.out.push_back(self.response(NO_WATCH, revision));
            }
            // A request of a kind that came after this version of the protocol; etcd ignores it too.
            None => {}
        }
    }

    /// Ends a watch that its client wants no more. It is not told of one that there is not, as in etcd.
    fn cancel(&mut self, id: i64) {
        if self.remove(id) {
            let revision = self.context.store.revision();
            self.out.push_back(WatchResponse {
                canceled: true,
                ..self.response(id, revision)
            });
        }
    }

    fn create(&mut self, request: WatchCreateRequest) {
        let revision = self.context.store.revision();
        let wants = Wants::of(&request);
        let start = u64::try_from(request.start_revision).unwrap_or(1);
        let opened = self.id_for(request.watch_id).and_then(|id| {
            let range = translate::watch_range(request.key, request.range_end);
            let range = range.map_err(str::to_owned)?;
            Ok((id, self.context.store.watch(range, start)))
        });
        match opened {
            Err(why) => self.out.push_back(WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: why,
                ..self.response(NO_WATCH, revision)
            }),
            Ok((id, Ok(watcher))) => {
                // A watch from now on starts behind the revision that its client is told.
                let told = if start == 0 {
                    watcher.progress()
                } else {
                    revision
                };
                self.created(id, told);
                let flag = Flag::new(id, Arc::clone(&self.ready));
                let waker = Waker::from(Arc::clone(&flag));
                waker.wake_by_ref();
                self.wanting_progress += usize::from(wants.progress);
                let watch = Watch::new(watcher, wants);
                self.entries.insert(id, Entry { watch, flag, waker });
            }
            Ok((id, Err(Error::Compacted { compacted, .. }))) => {
                self.created(id, revision);
                self.compacted(id, compacted);
            }
            Ok((id, Err(error))) => {
                self.created(id, revision);
                self.out.push_back(WatchResponse {
                    canceled: true,
                    cancel_reason: translate::status_of(&error).message().to_owned(),
                    ..self.response(id, revision)
                });
            }
        }
    }

    fn created(&mut self, id: i64, revision: Revision) {
        self.out.push_back(WatchResponse {
            created: true,
            ..self.response(id, revision)
        });
    }

    /// Ends a watch that wants what was compacted. It is told the first revision that a watch can start from, as the
    /// documentation of etcd's API has it.
    fn compacted(&mut self, id: i64, compacted: Revision) {
        let revision = self.context.store.revision();
        self.out.push_back(WatchResponse {
            canceled: true,
            compact_revision: wire(compacted + 1),
            ..self.response(id, revision)
        });
    }

    /// The id of a new watch: the one that is asked for, or for 0 the next free one. Or why there can be none.
    fn id_for(&mut self, asked: i64) -> Result<i64, String> {
        let max = self.context.config.watches_per_stream_max;
        if self.entries.len() >= max {
            return Err(format!(
                "{}: a stream takes {max} watches",
                Refused::TooManyRequests.text()
            ));
        }
        if asked != 0 {
            return if self.entries.contains_key(&asked) {
                Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned())
            } else {
                Ok(asked)
            };
        }
        while self.entries.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        Ok(id)
    }

    /// Looks at a watch that was woken. An error ends the stream.
    fn look(&mut self, id: i64) -> Result<(), Status> {
        let Some(entry) = self.entries.get_mut(&id) else {
            return Ok(());
        };
        entry.flag.lower();
        match entry.watch.poll(&mut Task::from_waker(&entry.waker)) {
            Poll::Pending => {}
            Poll::Ready(Ok(found)) => {
                if found.more {
                    entry.waker.wake_by_ref();
                }
                let fragments = entry.watch.wants.fragments;
                self.found(id, found, fragments);
            }
            Poll::Ready(Err(WatchError::Compacted { compacted, .. })) => {
                self.remove(id);
                self.compacted(id, compacted);
            }
            Poll::Ready(Err(error)) => return Err(translate::watch_status(&error)),
        }
        Ok(())
    }

    fn found(&mut self, id: i64, found: Found, fragments: bool) {
        let bytes_max = self.context.config.request_bytes_max + OVERHEAD_BYTES;
        let whole = WatchResponse {
            events: Vec::new(),
            ..self.response(id, found.revision)
        };
        if !fragments {
            self.out.push_back(WatchResponse {
                events: found.events,
                ..whole
            });
            return;
        }
        let mut pieces = pieces(found.events, bytes_max).into_iter().peekable();
        while let Some(events) = pieces.next() {
            self.out.push_back(WatchResponse {
                events,
                fragment: pieces.peek().is_some(),
                ..whole.clone()
            });
        }
    }

    /// Tells those watches that want it, and have heard nothing, how far they are.
    fn report_progress(&mut self) {
        let mut quiet = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.watch.wants.progress && !std::mem::take(&mut entry.watch.told) {
                quiet.push((*id, entry.watch.progress()));
            }
        }
        for (id, revision) in quiet {
            self.out.push_back(self.response(id, revision));
        }
    }
}

impl Stream for Watches {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(response) = this.out.pop_front() {
                return Poll::Ready(Some(Ok(response)));
            }
            match Pin::new(&mut this.requests).poll_next(task) {
                Poll::Ready(Some(Ok(request))) => {
                    this.answer(request);
                    continue;
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                // As in etcd: a client that has no more to ask wants no more answers.
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            this.ready.register(task.waker());
            while this.out.is_empty()
                && let Some(id) = this.ready.pop()
            {
                if let Err(status) = this.look(id) {
                    return Poll::Ready(Some(Err(status)));
                }
            }
            if !this.out.is_empty() {
                continue;
            }
            // Nearly all streams have none who wants it, and need no timer.
            let wanted = this.wanting_progress > 0;
            if !wanted || this.progress.poll_tick(task).is_pending() {
                return Poll::Pending;
            }
            this.report_progress();
        }
    }
}
