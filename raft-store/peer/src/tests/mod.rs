//! The network as a whole, on 127.0.0.1, with something in the place of the core.

mod frames;
mod group;
mod hostile;
mod refusals;
mod snapshots;
mod tls;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_store::{
    Delivery, Inbox, InboxError, InboxSink, Member, SnapshotIn, SnapshotSink, Transport,
};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::{MemberCounters, PeerConfig, PeerNetwork};

const CLUSTER: u64 = 0xc1;
/// No condition takes nearly as long, however busy the machine is.
const BOUND: Duration = Duration::from_secs(30);

/// What came to a member.
#[derive(Clone, Debug, Default)]
struct Log {
    frames: Vec<(u64, Bytes)>,
    snapshots: Vec<(u64, Bytes, Vec<u8>)>,
    discarded: usize,
    unreachable: usize,
    told_removed: usize,
}

/// Stands in for a core.
struct FakeCore {
    cluster_id: u64,
    id: u64,
    log: watch::Sender<Log>,
    /// While true, nothing is taken.
    stalled: watch::Sender<bool>,
    removed: Mutex<HashSet<u64>>,
    /// Why frames, or the end of a snapshot, are not taken.
    refuses: Mutex<Option<InboxError>>,
}

impl FakeCore {
    fn new(cluster_id: u64, id: u64) -> Arc<Self> {
        Arc::new(Self {
            cluster_id,
            id,
            log: watch::Sender::default(),
            stalled: watch::Sender::new(false),
            removed: Mutex::default(),
            refuses: Mutex::default(),
        })
    }

    /// Waits until the log is as wanted.
    async fn until(&self, what: &str, wanted: impl FnMut(&Log) -> bool) -> Log {
        let mut log = self.log.subscribe();
        match timeout(BOUND, log.wait_for(wanted)).await {
            Ok(log) => log.expect("the sender lives").clone(),
            Err(_) => panic!(
                "member {:x} waited in vain for {what}; it has {:?}",
                self.id,
                Summary(&self.log.borrow())
            ),
        }
    }
}

struct Summary<'a>(&'a Log);

impl std::fmt::Debug for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let log = self.0;
        f.debug_struct("Log")
            .field("frames", &log.frames.len())
            .field("snapshots", &log.snapshots.len())
            .field("discarded", &log.discarded)
            .field("unreachable", &log.unreachable)
            .field("told_removed", &log.told_removed)
            .finish()
    }
}

/// The sink of a fake core; it has the core in an Arc, which its snapshots need.
struct FakeSink(Arc<FakeCore>);

impl InboxSink for FakeSink {
    fn cluster_id(&self) -> u64 {
        self.0.cluster_id
    }

    fn member_id(&self) -> u64 {
        self.0.id
    }

    fn is_removed(&self, member: u64) -> bool {
        self.0.removed.lock().contains(&member)
    }

    fn deliver(&self, from: u64, frames: Vec<Bytes>) -> Delivery<'_> {
        Box::pin(async move {
            if let Some(error) = self.0.refuses.lock().clone() {
                return Err(error);
            }
            let mut stalled = self.0.stalled.subscribe();
            let _ = stalled.wait_for(|stalled| !stalled).await;
            self.0.log.send_modify(|log| {
                log.frames
                    .extend(frames.into_iter().map(|frame| (from, frame)));
            });
            Ok(())
        })
    }

    fn unreachable(&self, _member: u64) {
        self.0.log.send_modify(|log| log.unreachable += 1);
    }

    fn told_removed(&self, _by: u64) {
        self.0.log.send_modify(|log| log.told_removed += 1);
    }

    fn snapshot(&self, from: u64, header: Bytes) -> Result<Box<dyn SnapshotSink>, InboxError> {
        Ok(Box::new(FakeSnapshot {
            core: Arc::clone(&self.0),
            from,
            header,
            bytes: Vec::new(),
            finished: false,
        }))
    }
}

struct FakeSnapshot {
    core: Arc<FakeCore>,
    from: u64,
    header: Bytes,
    bytes: Vec<u8>,
    finished: bool,
}

impl SnapshotSink for FakeSnapshot {
    fn write(&mut self, chunk: &[u8]) -> Result<(), InboxError> {
        let mut stalled = self.core.stalled.subscribe();
        // Bounded, since the runtime of a test that failed waits for this thread.
        let wait = timeout(BOUND, stalled.wait_for(|stalled| !stalled));
        tokio::runtime::Handle::current().block_on(async { drop(wait.await) });
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), InboxError> {
        if let Some(error) = self.core.refuses.lock().clone() {
            return Err(error);
        }
        self.finished = true;
        let taken = (
            self.from,
            self.header.clone(),
            std::mem::take(&mut self.bytes),
        );
        self.core.log.send_modify(|log| log.snapshots.push(taken));
        Ok(())
    }
}

impl Drop for FakeSnapshot {
    fn drop(&mut self) {
        if !self.finished {
            self.core.log.send_modify(|log| log.discarded += 1);
        }
    }
}

/// A member: a network with a fake core.
struct Node {
    core: Arc<FakeCore>,
    network: PeerNetwork,
    transport: Arc<dyn Transport>,
}

impl Node {
    async fn new(id: u64) -> Self {
        Self::with(id, |_| {}).await
    }

    async fn with(id: u64, change: impl FnOnce(&mut PeerConfig)) -> Self {
        Self::of_core(FakeCore::new(CLUSTER, id), change).await
    }

    async fn of_core(core: Arc<FakeCore>, change: impl FnOnce(&mut PeerConfig)) -> Self {
        let mut config = PeerConfig::new(local(0));
        // Other work on the machine must not look like a dead member.
        config.connect_timeout = Duration::from_secs(5);
        config.keepalive_timeout = Duration::from_secs(10);
        change(&mut config);
        let network = PeerNetwork::listen(config).await.expect("listening");
        let transport = network.transport();
        let inbox = Inbox::new(Arc::new(FakeSink(Arc::clone(&core))));
        network.serve(inbox).expect("serving");
        Self {
            core,
            network,
            transport,
        }
    }

    fn id(&self) -> u64 {
        self.core.id
    }

    fn address(&self) -> SocketAddr {
        self.network.local_addr()
    }

    fn member(&self) -> Member {
        member(self.id(), &[&format!("{}", self.address())])
    }

    /// Sends frames that hold these numbers.
    fn send(&self, to: u64, numbers: impl IntoIterator<Item = u64>) {
        let frames = numbers.into_iter().map(numbered).collect();
        self.transport.send(to, frames);
    }

    fn counters(&self, to: u64) -> MemberCounters {
        let members = self.network.counters().members;
        let found = members.into_iter().find(|member| member.member == to);
        found.unwrap_or_default()
    }

    /// Waits until a condition on the counters holds; they have no one to tell of a change.
    async fn until_counted(&self, to: u64, what: &str, wanted: impl Fn(&MemberCounters) -> bool) {
        let counted = async {
            while !wanted(&self.counters(to)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if timeout(BOUND, counted).await.is_err() {
            panic!("waited in vain for {what}: {:?}", self.counters(to));
        }
    }

    /// Sends from `from` on, one number after the other, until `to` has a new frame; returns the next number. What is
    /// sent before there is a connection may be lost.
    async fn send_until_received(&self, to: &FakeCore, from: u64) -> u64 {
        let before = to.log.borrow().frames.len();
        let mut next = from;
        let sending = async {
            while to.log.borrow().frames.len() == before {
                self.send(to.id, [next]);
                next += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if timeout(BOUND, sending).await.is_err() {
            panic!("nothing arrives: {:?}", self.counters(to.id));
        }
        next
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn member(id: u64, urls: &[&str]) -> Member {
    Member {
        id,
        peer_urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        ..Member::default()
    }
}

fn numbered(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

/// The numbers in frames from a member.
fn numbers(log: &Log, from: u64) -> Vec<u64> {
    let frames = log.frames.iter().filter(|(member, _)| *member == from);
    frames
        .map(|(_, frame)| u64::from_le_bytes(frame[..8].try_into().expect("eight bytes")))
        .collect()
}

/// Tells each node of all.
fn introduce(nodes: &[&Node]) {
    let members: Vec<Member> = nodes.iter().map(|node| node.member()).collect();
    for node in nodes {
        node.transport.set_members(members.clone());
    }
}

/// Two members that know each other.
async fn pair() -> (Node, Node) {
    let (a, b) = (Node::new(0xa).await, Node::new(0xb).await);
    introduce(&[&a, &b]);
    (a, b)
}

/// Takes an inbox's snapshot to its end, as a check of the fakes.
#[test]
fn a_snapshot_that_is_dropped_is_discarded() {
    let core = FakeCore::new(CLUSTER, 1);
    let inbox = Inbox::new(Arc::new(FakeSink(Arc::clone(&core))));
    let begin = || -> SnapshotIn { inbox.snapshot(2, Bytes::new()).expect("beginning") };
    drop(begin());
    begin().finish().expect("finishing");
    let log = core.log.borrow();
    assert_eq!((log.discarded, log.snapshots.len()), (1, 1));
}
