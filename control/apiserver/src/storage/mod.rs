//! Objects as bytes in the replicated store, and the caches that reads are served from.
//!
//! Writes go to the store with the precondition that the object is what the
//! writer saw. Reads wait until the caches have reached the store's revision (a
//! linearizable barrier), then are served from memory. Bytes are kept once: the
//! caches share the store's own buffers.

mod cache;
mod derived;
mod entry;
mod feed;
mod images;
mod once;
mod owners;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_store::{Compare, CompareOp, KeyRange, Leadership, Op, RangeRequest, Store, Txn};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use cache::frame;
pub use cache::{Change, EventType, ResourceCache, Snapshot, WatchCursor};
pub use derived::{Derive, Derived};
pub use entry::Entry;
pub use images::ImageCatalog;
pub use owners::{Parts, join, split};

use crate::error::{ApiError, Result};
use crate::registry::kind::Kind;

/// Every key of the API begins with this.
pub(crate) const ROOT: &str = "/registry/";

/// How long a read waits for the caches to reach the store. They trail it by
/// less than a millisecond; past this something is wrong and the client is told.
const FRESH_TIMEOUT: Duration = Duration::from_secs(10);

/// Where an object of a kind lives: `namespace/name`, or `name` for cluster-wide kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The key of `name` in `namespace`; `None` for cluster-wide kinds.
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        ObjectKey(match namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        })
    }

    pub(crate) fn parse(text: &str) -> Self {
        ObjectKey(text.to_owned())
    }

    /// As it stands in the store, below the kind's prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The prefix of all objects of a kind, with a slash at its end.
pub(crate) fn prefix(kind: &Kind) -> String {
    let (group, plural) = kind.stored_as();
    let group = if group.is_empty() { "core" } else { group };
    format!("{ROOT}{group}/{plural}/")
}

/// A write whose precondition no longer held.
#[derive(Debug)]
pub struct Moved;

/// An object that changes in the same write as another, and must still be as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Its key in the store.
    pub key: String,
    /// As of which revision it was read.
    pub revision: u64,
    /// What it becomes.
    pub value: Bytes,
}

/// Keys that stand for something of which there is one: an address, a port. Whoever holds it has created its key,
/// in the write that stores the object, and removes it in the write that gives it up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Keys that must not exist and come to be.
    pub taken: Vec<String>,
    /// Keys that go.
    pub given_up: Vec<String>,
    /// What else the write changes.
    pub beside: Vec<Beside>,
}

impl Claims {
    /// The same, and `beside` in the same write.
    #[must_use]
    pub fn with(mut self, beside: Vec<Beside>) -> Self {
        self.beside = beside;
        self
    }
}

/// A page of a kind's objects as they once were.
pub struct PageAt {
    /// The objects, in order of their keys.
    pub entries: Vec<Arc<Entry>>,
    /// True if others follow.
    pub more: bool,
    /// How many there are from the page's first one to the end of the range.
    pub count: usize,
}

/// The store and the caches over it.
pub struct Storage {
    store: Store,
    feed: feed::Handle,
    reached: watch::Receiver<u64>,
    leadership: watch::Receiver<Leadership>,
}

impl Storage {
    /// Follows the store until `shutdown`; no kind is cached yet.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn start(store: Store, shutdown: CancellationToken) -> Result<Self> {
        let (feed, reached) = feed::start(store.clone(), shutdown).await?;
        Ok(Storage {
            leadership: store.leadership(),
            store,
            feed,
            reached,
        })
    }

    /// Caches of `kinds`, loaded and from now on fed. A kind that is stored where another's
    /// cache is already (another version of it, or its successor) takes over what that holds,
    /// recent changes included.
    ///
    /// # Errors
    /// If the store cannot be read; then nothing is attached.
    pub async fn attach(&self, kinds: Vec<Arc<Kind>>) -> Result<Vec<Arc<ResourceCache>>> {
        self.feed.attach(kinds).await
    }

    /// Stops feeding these caches; watches on them end.
    pub async fn detach(&self, caches: Vec<Arc<ResourceCache>>) {
        self.feed.detach(caches).await;
    }

    /// The revision that all caches have reached.
    pub fn revision(&self) -> u64 {
        *self.reached.borrow()
    }

    /// Waits until the caches hold every write acknowledged before this call, and
    /// returns their revision.
    ///
    /// # Errors
    /// 504 if that takes longer than 10 s; 503 if the store has no leader.
    pub async fn fresh(&self) -> Result<u64> {
        let revision = self.store.read_index().await?;
        self.wait_for(revision, FRESH_TIMEOUT).await
    }

    /// Waits until the caches have reached `revision`, and returns where they are.
    ///
    /// # Errors
    /// 504 if that takes longer than `limit`.
    pub async fn wait_for(&self, revision: u64, limit: Duration) -> Result<u64> {
        let mut reached = self.reached.clone();
        let now = *reached.borrow();
        if now >= revision {
            return Ok(now);
        }
        match tokio::time::timeout(limit, reached.wait_for(|&r| r >= revision)).await {
            Ok(Ok(reached)) => Ok(*reached),
            Ok(Err(_)) => Err(ApiError::unavailable("the API server is shutting down")),
            Err(_) => Err(ApiError::version_too_large(revision, self.revision())),
        }
    }

    /// Writes an object that must not exist. `guards` are further keys that must exist.
    ///
    /// # Errors
    /// The store's. `Err(Moved)` inside if the object, a missing guard or another's claim stood in the way.
    pub async fn create(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        value: Bytes,
        guards: &[String],
        claims: &Claims,
    ) -> Result<std::result::Result<u64, Moved>> {
        let path = format!("{}{}", prefix(kind), key.as_str());
        let mut compare = vec![unchanged(&path, 0)];
        compare.extend(
            guards
                .iter()
                .map(|guard| Compare::mod_revision(guard.clone(), CompareOp::Greater, 0)),
        );
        self.commit(compare, Op::put(path, value), claims).await
    }

    /// Replaces an object that must still be at `revision`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn update(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        revision: u64,
        value: Bytes,
        claims: &Claims,
    ) -> Result<std::result::Result<u64, Moved>> {
        let path = format!("{}{}", prefix(kind), key.as_str());
        let compare = unchanged(&path, revision);
        self.commit(vec![compare], Op::put(path, value), claims)
            .await
    }

    /// Removes an object that must still be at `revision`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn delete(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        revision: u64,
        claims: &Claims,
    ) -> Result<std::result::Result<u64, Moved>> {
        let path = format!("{}{}", prefix(kind), key.as_str());
        let compare = unchanged(&path, revision);
        self.commit(vec![compare], removal(path), claims).await
    }

    async fn commit(
        &self,
        mut compare: Vec<Compare>,
        op: Op,
        claims: &Claims,
    ) -> Result<std::result::Result<u64, Moved>> {
        let mut success = vec![op];
        for claim in &claims.taken {
            compare.push(unchanged(claim, 0));
            success.push(Op::put(claim.clone(), Bytes::new()));
        }
        success.extend(claims.given_up.iter().cloned().map(removal));
        for beside in &claims.beside {
            compare.push(unchanged(&beside.key, beside.revision));
            success.push(Op::put(beside.key.clone(), beside.value.clone()));
        }
        let txn = Txn {
            compare,
            success,
            failure: Vec::new(),
        };
        let response = self.store.txn(txn).await?;
        Ok(if response.succeeded {
            Ok(response.revision)
        } else {
            Err(Moved)
        })
    }

    /// Removes everything that is stored of a kind, whatever it is.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self, kind: &Kind) -> Result<()> {
        let txn = Txn {
            success: vec![Op::Delete {
                range: KeyRange::prefix(prefix(kind)),
                prev_kv: false,
            }],
            ..Txn::default()
        };
        self.store.txn(txn).await?;
        Ok(())
    }

    /// Reads a page of a kind as it was at `revision`, from `start` (inclusive, below
    /// the kind's prefix) to the end of `within` (a namespace with its slash, or all).
    ///
    /// # Errors
    /// 410 if that revision is compacted.
    pub async fn page_at(
        &self,
        kind: &Kind,
        within: &str,
        start: &str,
        revision: u64,
        limit: usize,
    ) -> Result<PageAt> {
        let prefix = prefix(kind);
        let range = from(
            KeyRange::prefix(format!("{prefix}{within}")),
            format!("{prefix}{start}"),
        );
        let request = RangeRequest {
            at_revision: Some(revision),
            limit,
            ..RangeRequest::new(range)
        };
        let response = self.store.range(request).await?;
        let entries = response
            .kvs
            .into_iter()
            .filter_map(|kv| {
                let key = std::str::from_utf8(&kv.key)
                    .ok()?
                    .strip_prefix(&prefix)?
                    .to_owned();
                Some(Arc::new(Entry::of(
                    kind,
                    ObjectKey(key),
                    kv.mod_revision,
                    kv.value.clone(),
                )))
            })
            .collect();
        Ok(PageAt {
            entries,
            more: response.more,
            count: response.count,
        })
    }

    /// True if this is the server to do what one has to do for all. During a change of leader there may be two such
    /// for a moment.
    pub fn leads(&self) -> bool {
        self.leadership.borrow().here
    }

    /// Forgets history older than `revision`.
    ///
    /// # Errors
    /// The store's.
    pub async fn compact(&self, revision: u64) -> Result<()> {
        Ok(self.store.compact(revision).await?)
    }
}

/// The part of `range` from `start` on.
pub(super) fn from(range: KeyRange, start: impl Into<Bytes>) -> KeyRange {
    match range {
        KeyRange::Between { end, .. } => KeyRange::between(start, end),
        KeyRange::Key(_) | KeyRange::From(_) => KeyRange::from_key(start),
    }
}

fn removal(path: String) -> Op {
    Op::Delete {
        range: KeyRange::key(path),
        prev_kv: false,
    }
}

fn unchanged(path: &str, revision: u64) -> Compare {
    Compare::mod_revision(path.to_owned(), CompareOp::Equal, revision)
}

/// What a client is told of a store's error.
pub(crate) fn api_error(error: raft_store::Error) -> ApiError {
    use raft_store::Error;
    match error {
        Error::Compacted { .. } => ApiError::expired(
            "The provided resource version is too old: the store has compacted it away.",
        ),
        Error::FutureRevision { requested, current } => {
            ApiError::version_too_large(requested, current)
        }
        Error::TooLarge { max, .. } | Error::TooManySteps { max, .. } => ApiError::too_large(max),
        Error::Overloaded { .. } => {
            ApiError::too_many_requests(format!("the store has too many writes waiting: {error}"))
        }
        other => ApiError::unavailable(format!("the store cannot serve this request: {other}")),
    }
}
