//! Snapshots between members.

use std::io;

use raft_store::SnapshotOut;
use tokio::sync::oneshot;

use super::*;

const MIB: usize = 1 << 20;

/// A snapshot of these chunks.
fn snapshot(chunks: Vec<io::Result<Bytes>>) -> SnapshotOut {
    SnapshotOut {
        header: Bytes::from_static(b"head"),
        bytes_about: 1,
        body: Box::new(chunks.into_iter()),
    }
}

fn chunks(count: usize, len: usize) -> Vec<io::Result<Bytes>> {
    let chunk = |index| Ok(Bytes::from(vec![index as u8; len]));
    (0..count).map(chunk).collect()
}

/// Begins to send; what is returned tells how it ended.
fn send(node: &Node, to: u64, snapshot: SnapshotOut) -> oneshot::Receiver<bool> {
    let (sender, receiver) = oneshot::channel();
    let done = Box::new(move |whether| {
        let _ = sender.send(whether);
    });
    node.transport.send_snapshot(to, snapshot, done);
    receiver
}

async fn ended(receiver: oneshot::Receiver<bool>) -> bool {
    let ended = timeout(BOUND, receiver).await.expect("an end in time");
    ended.expect("it is told")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_passes_whole_beside_frames() {
    let (a, b) = pair().await;
    // Chunks of all sizes: some are larger than a message.
    let mut body = chunks(8, MIB);
    body.extend(chunks(2, 5 * MIB + 1));
    body.extend(chunks(3, 0));
    let expect: Vec<u8> = body.iter().flatten().flatten().copied().collect();
    let sending = send(&a, b.id(), snapshot(body));
    a.send(b.id(), 0..100);
    assert!(ended(sending).await);
    let log = b
        .core
        .until("the frames", |log| log.frames.len() == 100)
        .await;
    let [(from, header, bytes)] = &log.snapshots[..] else {
        panic!("{:?}", Summary(&log));
    };
    assert_eq!((*from, &header[..]), (a.id(), &b"head"[..]));
    assert!(*bytes == expect);
    assert_eq!(a.counters(b.id()).sent_snapshots, 1);
    // And an empty one, now that the way is free again.
    assert!(ended(send(&a, b.id(), snapshot(Vec::new()))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_snapshot_is_discarded_and_reported() {
    let (a, b) = pair().await;
    let mut body = chunks(3, MIB);
    body.push(Err(io::Error::other("the disk is gone")));
    body.extend(chunks(1, MIB));
    assert!(!ended(send(&a, b.id(), snapshot(body))).await);
    b.core.until("discarding", |log| log.discarded == 1).await;

    *b.core.refuses.lock() = Some(InboxError::Undecodable {
        what: "a checksum does not match".to_owned(),
    });
    assert!(!ended(send(&a, b.id(), snapshot(chunks(3, MIB)))).await);
    b.core.until("discarding", |log| log.discarded == 2).await;

    let mut large = snapshot(Vec::new());
    large.header = Bytes::from(vec![0; 2 * MIB]);
    assert!(!ended(send(&a, b.id(), large)).await);
    assert!(!ended(send(&a, 0xd, snapshot(Vec::new()))).await, "unknown");
    assert!(b.core.log.borrow().snapshots.is_empty());
    assert_eq!(a.counters(b.id()).failed_snapshots, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_snapshot_at_a_time_and_none_that_stalls() {
    let a = Node::with(0xa, |config| {
        config.snapshot_stall_max = Duration::from_millis(500);
    })
    .await;
    let b = Node::new(0xb).await;
    introduce(&[&a, &b]);
    b.core.stalled.send_replace(true);
    let first = send(&a, b.id(), snapshot(chunks(100, MIB)));
    let second = send(&a, b.id(), snapshot(chunks(1, 1)));
    let ends = [ended(first).await, ended(second).await];
    assert_eq!(ends, [false, false]);
    assert_eq!(a.counters(b.id()).failed_snapshots, 1, "the second is none");
    b.core.stalled.send_replace(false);
    b.core.until("discarding", |log| log.discarded == 1).await;
    assert!(ended(send(&a, b.id(), snapshot(chunks(1, 1)))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_ends_with_its_receiver_and_with_the_network() {
    let (a, b) = pair().await;
    b.core.stalled.send_replace(true);
    let sending = send(&a, b.id(), snapshot(chunks(100, MIB)));
    a.transport.set_members(vec![a.member()]);
    assert!(!ended(sending).await);

    a.transport.set_members(vec![a.member(), b.member()]);
    let mut sending = send(&a, b.id(), snapshot(chunks(100, MIB)));
    a.network.shutdown().await;
    assert_eq!(sending.try_recv(), Ok(false), "told before the end");
    let late = send(&a, b.id(), snapshot(Vec::new()));
    assert!(!ended(late).await);
    b.core.stalled.send_replace(false);
}
