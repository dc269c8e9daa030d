//! The handle that the rest of a program holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::command::Command;
use crate::config::Config;
use crate::error::{Error, OpenError, StopCause};
use crate::kv::{KeyRange, Revision};
use crate::mvcc;
use crate::node::{self, Request, Shared};
use crate::txn::{Consistency, RangeRequest, RangeResponse, Txn, TxnResponse};
use crate::watch::{Hub, Watcher};

/// The unit in which the request queue is accounted.
const QUEUE_UNIT_BYTES: usize = 1024;
/// What a request takes beside its keys and values.
const REQUEST_OVERHEAD_BYTES: usize = 256;

/// A member of the store, running in this process. Clones are handles to the same member, which stops in good order
/// when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// Unbounded by itself: `room` bounds what is in it.
    requests: std::sync::mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    config: Config,
    /// Closes when the node's thread has ended and let go of the data directory.
    ended: tokio::sync::watch::Receiver<()>,
}

impl Store {
    /// Opens the store in `config.data_dir`: recovers what was acknowledged before, and for a group of one, is ready to
    /// write at once. An empty directory becomes a new group of one member.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is changed in a directory that is damaged or of an unknown format.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        config.check()?;
        let (requests, inbox) = std::sync::mpsc::channel();
        let node::Opened { shared, ended, .. } = node::open(config.clone(), inbox).await?;
        let applied = shared.applied.subscribe();
        tokio::spawn(Hub::run(shared.clone(), applied));
        let units = config.queue_bytes / QUEUE_UNIT_BYTES;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                requests,
                room: Arc::new(Semaphore::new(units)),
                config,
                ended,
            }),
        })
    }

    /// Stops the member: requests under way are answered, new ones get [`Error::Stopped`]. When it returns, the data
    /// directory is free to be opened again.
    pub async fn shutdown(&self) {
        // Fails where the thread has ended already.
        let _ = self.inner.requests.send(Request::Shutdown);
        let mut ended = self.inner.ended.clone();
        // Never changes; it fails when the thread has let go of it.
        let _ = ended.changed().await;
    }

    /// Runs a transaction. It is acknowledged once it is synced to disk by as many members as must have it.
    ///
    /// # Errors
    /// See [`Error`], and [`Error::outcome_unknown`] for those after which the transaction may have happened.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let config = &self.inner.config;
        // Before the rest, which takes the longer the larger it is.
        let bytes = txn.check_bounds(config.txn_ops_max, config.request_bytes_max)?;
        mvcc::check_txn(&txn)?;
        if txn.is_read_only() {
            // Nothing to replicate. A linearizable point to read from is all that it needs.
            self.read_index().await?;
            let mut state = self.inner.shared.state.read().clone();
            return state.apply(&txn);
        }
        let (reply, answer) = oneshot::channel();
        self.send(bytes, |room| Request::Propose {
            entry: Command::Txn(txn).encode(),
            reply: node::Reply::Txn(reply),
            _room: room,
        })
        .await?;
        self.answer("a transaction", answer).await
    }

    /// Reads a range.
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`] for a revision that cannot be read; [`Error::Stopped`].
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        match request.consistency {
            Consistency::Linearizable => {
                self.read_index().await?;
            }
            Consistency::Local => self.check_running()?,
        }
        // A copy of the state costs a few reference counts, and the walk then holds up nobody.
        let state = self.inner.shared.state.read().clone();
        state.range(&request)
    }

    /// A barrier for linearizable reads: when it returns, this member has applied every write that was acknowledged
    /// anywhere before the call, up to the revision returned.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Timeout`] or [`Error::NotLeader`] where the group could not confirm it.
    pub async fn read_index(&self) -> Result<Revision, Error> {
        self.check_running()?;
        if self.inner.shared.is_sole_voter() {
            // No other member can have acknowledged anything, and this one acknowledges after it has applied.
            return Ok(self.revision());
        }
        self.read_index_by_quorum().await
    }

    /// Asks the group by Raft's ReadIndex.
    pub(crate) async fn read_index_by_quorum(&self) -> Result<Revision, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(0, |room| Request::ReadIndex { reply, _room: room })
            .await?;
        self.answer("a linearizable read", answer).await
    }

    /// The newest revision that this member has applied.
    pub fn revision(&self) -> Revision {
        *self.inner.shared.applied.borrow()
    }

    /// Watches a range of keys from revision `start` on, the first that is wanted; 0 means from now on, and a revision
    /// to come is waited for.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `start` is not in history any more: it must be greater than [`Store::compacted`].
    /// [`Error::Stopped`].
    pub fn watch(&self, range: KeyRange, start: Revision) -> Result<Watcher, Error> {
        self.check_running()?;
        Watcher::new(self.inner.shared.clone(), range, start)
    }

    /// Forgets history up to revision `at`: reads before it and watches from it or before are refused from then on.
    ///
    /// # Errors
    /// [`Error::Compacted`] if that point was reached before, [`Error::FutureRevision`] if it is to come.
    pub async fn compact(&self, at: Revision) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(0, |room| Request::Propose {
            entry: Command::Compact(at).encode(),
            reply: node::Reply::Compact(reply),
            _room: room,
        })
        .await?;
        self.answer("a compaction", answer).await
    }

    /// The compaction point: the oldest revision that can be read; 0 if nothing was ever compacted.
    pub fn compacted(&self) -> Revision {
        self.inner.shared.state.read().compacted()
    }

    fn check_running(&self) -> Result<(), Error> {
        match self.inner.shared.stop_cause() {
            Some(cause) => Err(Error::Stopped { cause }),
            None => Ok(()),
        }
    }

    /// Puts a request into the queue, waiting for room.
    async fn send(
        &self,
        bytes: usize,
        request: impl FnOnce(node::Room) -> Request,
    ) -> Result<(), Error> {
        self.check_running()?;
        let inner = &self.inner;
        // Fits: the queue holds at least two of the largest requests (Config::check).
        let units = (bytes + REQUEST_OVERHEAD_BYTES).div_ceil(QUEUE_UNIT_BYTES) as u32;
        let waited = inner.config.request_timeout;
        let room = match timeout(waited, inner.room.clone().acquire_many_owned(units)).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => {
                return Err(Error::Overloaded {
                    queue_bytes: inner.config.queue_bytes,
                    waited,
                });
            }
        };
        inner
            .requests
            .send(request(room))
            .map_err(|_| Error::Stopped {
                cause: inner.shared.stop_cause().unwrap_or(StopCause::Shutdown),
            })
    }

    async fn answer<T>(
        &self,
        what: &'static str,
        answer: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        let after: Duration = self.inner.config.request_timeout;
        match timeout(after, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Stopped {
                cause: self
                    .inner
                    .shared
                    .stop_cause()
                    .unwrap_or(StopCause::Shutdown),
            }),
            Err(_) => Err(Error::Timeout { what, after }),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.inner.config.name)
            .field("data_dir", &self.inner.config.data_dir)
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
