//! A snapshot on its way to another member, on a connection of its own, so that frames do not wait behind it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use raft_store::SnapshotOut;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::address::{Address, URLS_MAX};
use crate::config::PeerConfig;
use crate::link::Link;
use crate::network::Network;
use crate::peer::Peer;
use crate::proto::snapshot_request::What;
use crate::proto::{SnapshotBegin, SnapshotEnd, SnapshotRequest};
use crate::queue::BATCH_BYTES;
use crate::trouble::Trouble;

/// Chunks between the thread that reads them and the connection: one is sent while the next is read.
const CHUNKS_WAITING: usize = 2;
/// The largest header.
pub(crate) const HEADER_BYTES_MAX: usize = 1 << 20;

/// Starts sending; `done` is told what came of it.
pub(crate) fn start(
    network: &Arc<Network>,
    peer: Option<Arc<Peer>>,
    snapshot: SnapshotOut,
    done: Box<dyn FnOnce(bool) + Send>,
) {
    let done = Done(Some(done));
    // Taken here and not in the task: of two calls it is the second that finds it taken.
    let way = peer.and_then(Way::take);
    let shared = Arc::clone(network);
    network.spawn(async move {
        // A snapshot under way, or none to send it to: `done` is told by being dropped.
        let Some(way) = way else {
            return;
        };
        let taken = run(&shared, &way.0, snapshot).await;
        drop(way);
        done.tell(taken);
    });
}

/// Sends, and says what came of it; returns whether it was taken.
async fn run(network: &Arc<Network>, peer: &Arc<Peer>, snapshot: SnapshotOut) -> bool {
    let member = format!("{:016x}", peer.id);
    let begun = Instant::now();
    let bytes_about = snapshot.bytes_about;
    tracing::info!(member, bytes_about, "sending a snapshot");
    let sending = send(network, peer, snapshot);
    match peer.stop.run_until_cancelled(sending).await {
        Some(Ok(())) => {
            peer.sent.snapshots.add(1);
            tracing::info!(member, took = ?begun.elapsed(), "a snapshot was sent and taken");
            return true;
        }
        Some(Err(trouble)) => tracing::warn!(member, "a snapshot did not arrive: {trouble}"),
        None => tracing::debug!(member, "a snapshot was given up"),
    }
    peer.sent.snapshots_failed.add(1);
    false
}

/// Says `false` when it is dropped without having said anything: whatever happens, it is said, and once.
struct Done(Option<Box<dyn FnOnce(bool) + Send>>);

impl Done {
    fn tell(mut self, whether: bool) {
        if let Some(done) = self.0.take() {
            done(whether);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(false);
        }
    }
}

/// The way to a member, which one snapshot at a time may take.
struct Way(Arc<Peer>);

impl Way {
    fn take(peer: Arc<Peer>) -> Option<Self> {
        let was_taken = peer.snapshot.swap(true, Relaxed);
        (!was_taken).then(|| Self(peer))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.0.snapshot.store(false, Relaxed);
    }
}

async fn send(
    network: &Arc<Network>,
    peer: &Arc<Peer>,
    snapshot: SnapshotOut,
) -> Result<(), Trouble> {
    let header_bytes = snapshot.header.len();
    if header_bytes > HEADER_BYTES_MAX {
        return Err(Trouble::Broken(format!(
            "its header has {header_bytes} bytes, at most {HEADER_BYTES_MAX} are sent"
        )));
    }
    let Some(inbox) = network.inbox().await else {
        return Err(Trouble::Away("the network has ended".to_owned()));
    };
    let urls = peer.urls.borrow().clone();
    let link = connect_to_any(&urls, &network.config).await?;
    let begin = SnapshotBegin {
        handshake: Some(network.handshake(&inbox, peer.id)),
        header: snapshot.header,
        bytes_about: snapshot.bytes_about,
    };
    let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING);
    let progress = Arc::new(Progress::new());
    tokio::task::spawn_blocking(move || read(snapshot.body, &chunks));
    let outgoing = Outgoing {
        begin: Some(begin),
        chunks: receiver,
        progress: Arc::clone(&progress),
    };
    let mut client = link.client();
    let result = tokio::select! {
        answer = client.snapshot(outgoing) => match answer {
            Ok(_) => Ok(()),
            Err(status) => Err(Trouble::of_status(&status)),
        },
        stalled = progress.stalled(&network.config) => Err(Trouble::Silent(stalled)),
    };
    // What failed here explains what the other side says.
    let failed = progress.failed.lock().take();
    match failed {
        Some(error) => Err(Trouble::Broken(format!("reading it failed: {error}"))),
        None => result,
    }
}

async fn connect_to_any(urls: &[String], config: &PeerConfig) -> Result<Link, Trouble> {
    let mut last = Trouble::Url("none is known".to_owned());
    for url in urls.iter().take(URLS_MAX) {
        let connected = match Address::parse(url, config.tls.is_some()) {
            Ok(address) => Link::connect(&address, config).await,
            Err(why) => Err(Trouble::Url(why)),
        };
        match connected {
            Ok(link) => return Ok(link),
            Err(trouble) => last = trouble,
        }
    }
    Err(last)
}

/// Reads chunks as fast as they are taken. Runs on a thread that may block.
fn read(
    body: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
    chunks: &mpsc::Sender<io::Result<What>>,
) {
    let mut bytes = 0;
    for chunk in body {
        let mut chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                // Fails where nobody wants it any more.
                let _ = chunks.blocking_send(Err(error));
                return;
            }
        };
        bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(BATCH_BYTES));
            if chunks.blocking_send(Ok(What::Chunk(piece))).is_err() {
                return;
            }
        }
    }
    let _ = chunks.blocking_send(Ok(What::End(SnapshotEnd { bytes })));
}

/// How a stream of chunks gets on.
struct Progress {
    moved_at: Mutex<Instant>,
    /// The end went out: the receiver is checking and syncing.
    ended: AtomicBool,
    failed: Mutex<Option<io::Error>>,
}

impl Progress {
    fn new() -> Self {
        Self {
            moved_at: Mutex::new(Instant::now()),
            ended: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// Returns when nothing has moved for longer than it may.
    async fn stalled(&self, config: &PeerConfig) -> Duration {
        loop {
            let limit = if self.ended.load(Relaxed) {
                config.snapshot_finish_max
            } else {
                config.snapshot_stall_max
            };
            let still = self.moved_at.lock().elapsed();
            if still >= limit {
                return limit;
            }
            sleep(limit - still).await;
        }
    }
}

/// The messages of a snapshot. HTTP/2's flow control asks for the next when there is room.
struct Outgoing {
    begin: Option<SnapshotBegin>,
    chunks: mpsc::Receiver<io::Result<What>>,
    progress: Arc<Progress>,
}

impl Stream for Outgoing {
    type Item = SnapshotRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let what = if let Some(begin) = self.begin.take() {
            What::Begin(begin)
        } else {
            match ready!(self.chunks.poll_recv(context)) {
                Some(Ok(what)) => what,
                Some(Err(error)) => {
                    // The stream ends without its end: the receiver discards what it has.
                    *self.progress.failed.lock() = Some(error);
                    return Poll::Ready(None);
                }
                None => return Poll::Ready(None),
            }
        };
        *self.progress.moved_at.lock() = Instant::now();
        if matches!(what, What::End(_)) {
            self.progress.ended.store(true, Relaxed);
        }
        Poll::Ready(Some(SnapshotRequest { what: Some(what) }))
    }
}
