//! How fast frames pass between two members on this machine: `cargo run --release -p raft-store-peer --example
//! peer_bench`. Prints round trips with one frame under way, and the rate of frames in one direction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_store::{Delivery, Inbox, InboxError, InboxSink, Member, SnapshotSink, Transport};
use raft_store_peer::{PeerConfig, PeerNetwork};
use tokio::sync::Notify;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

const FRAME_BYTES: usize = 1024;
const ROUND_TRIPS: usize = 20_000;
const FRAMES: u64 = 1_000_000;
/// Frames handed over at once, as a driver of Raft would.
const TOGETHER: u64 = 64;

/// Counts what arrives, or sends it back.
struct Bench {
    id: u64,
    received: AtomicU64,
    arrived: Notify,
    /// Where to send what arrives.
    back: Option<(u64, Arc<dyn Transport>)>,
}

impl InboxSink for Bench {
    fn cluster_id(&self) -> u64 {
        1
    }

    fn member_id(&self) -> u64 {
        self.id
    }

    fn is_removed(&self, _member: u64) -> bool {
        false
    }

    fn deliver(&self, _from: u64, frames: Vec<Bytes>) -> Delivery<'_> {
        Box::pin(async move {
            self.received.fetch_add(frames.len() as u64, Relaxed);
            if let Some((to, transport)) = &self.back {
                transport.send(*to, frames);
            }
            self.arrived.notify_one();
            Ok(())
        })
    }

    fn unreachable(&self, _member: u64) {}

    fn snapshot(&self, _from: u64, _header: Bytes) -> Result<Box<dyn SnapshotSink>, InboxError> {
        Err(InboxError::Busy)
    }
}

impl Bench {
    async fn until(&self, received: u64) {
        while self.received.load(Relaxed) < received {
            self.arrived.notified().await;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let listen = || PeerNetwork::listen(PeerConfig::new(([127, 0, 0, 1], 0).into()));
    let (a, b) = (listen().await?, listen().await?);
    let member = |id, network: &PeerNetwork| Member {
        id,
        peer_urls: vec![network.local_addr().to_string()],
        ..Member::default()
    };
    let members = vec![member(1, &a), member(2, &b)];
    let start = |id, network: &PeerNetwork, back| {
        let bench = Arc::new(Bench {
            id,
            received: AtomicU64::new(0),
            arrived: Notify::new(),
            back,
        });
        network.transport().set_members(members.clone());
        network.serve(Inbox::new(bench.clone())).map(|()| bench)
    };
    let near = start(1, &a, None)?;
    let far = start(2, &b, Some((1, b.transport())))?;
    let transport = a.transport();
    let frame = Bytes::from(vec![7; FRAME_BYTES]);

    // The first frame waits for the connection.
    transport.send(2, vec![frame.clone()]);
    near.until(1).await;
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    for turn in 0..ROUND_TRIPS {
        let begun = Instant::now();
        transport.send(2, vec![frame.clone()]);
        near.until(turn as u64 + 2).await;
        took.push(begun.elapsed());
    }
    took.sort();
    println!(
        "round trip of {FRAME_BYTES} bytes: p50 {:?}, p99 {:?}",
        took[ROUND_TRIPS / 2],
        took[ROUND_TRIPS * 99 / 100]
    );

    let before = far.received.load(Relaxed);
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    let begun = Instant::now();
    for _ in 0..FRAMES / TOGETHER {
        // There and back: the echo is part of the load.
        while a
            .counters()
            .members
            .iter()
            .any(|to| to.queued_bytes > 8 << 20)
        {
            tokio::task::yield_now().await;
        }
        let frames = vec![frame.clone(); TOGETHER as usize];
        let call = Instant::now();
        transport.send(2, frames);
        slowest = slowest.max(call.elapsed());
        calls += 1;
    }
    far.until(before + calls * TOGETHER).await;
    let seconds = begun.elapsed().as_secs_f64();
    let frames = (calls * TOGETHER) as f64;
    println!(
        "{:.0} frames/s, {:.0} MiB/s each way; slowest call of send {slowest:?}",
        frames / seconds,
        frames * FRAME_BYTES as f64 / seconds / (1 << 20) as f64,
    );
    println!("{:?}", a.counters());
    a.shutdown().await;
    b.shutdown().await;
    Ok(())
}
