//! Watches: complete, in order, nothing twice, whatever the watcher's pace.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::time::Duration;

use common::{open, put};
use raft_store::{
    Error, EventKind, KeyRange, Op, Revision, Store, Txn, WatchBatch, WatchError, Watcher,
};
use tokio::time::timeout;

/// Longer than anything here takes; a test that hits it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

async fn next(watcher: &mut Watcher) -> WatchBatch {
    timeout(PATIENCE, watcher.next())
        .await
        .expect("a change in time")
        .unwrap()
}

/// Reads until a revision is reached.
async fn through(watcher: &mut Watcher, last: Revision) -> Vec<WatchBatch> {
    let mut batches = Vec::new();
    loop {
        let batch = next(watcher).await;
        let done = batch.revision >= last;
        batches.push(batch);
        if done {
            return batches;
        }
    }
}

fn check_complete(batches: &[WatchBatch], first: Revision, last: Revision) {
    let revisions: Vec<Revision> = batches.iter().map(|batch| batch.revision).collect();
    assert_eq!(revisions, (first..=last).collect::<Vec<_>>());
}

async fn write_concurrently(store: &Store, writers: usize, each: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            for at in 0..each {
                put(&store, &format!("{writer}/{:02}", at % 20)).await;
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_any_pace_see_every_revision_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (writers, each) = (8, 250);
    let last = 1 + (writers * each) as u64;

    let eager: Vec<_> = (0..5)
        .map(|_| {
            let mut watcher = store.watch(KeyRange::all(), 2).unwrap();
            tokio::spawn(async move { through(&mut watcher, last).await })
        })
        .collect();
    // Goes live at the first write, then does not read until all is written: its queue overflows.
    let mut lagging = store.watch(KeyRange::all(), 2).unwrap();
    let one_writer = store.watch(KeyRange::prefix("3/"), 2).unwrap();
    put(&store, "first").await;
    assert_eq!(next(&mut lagging).await.revision, 2);
    let last = last + 1;
    write_concurrently(&store, writers, each).await;
    assert_eq!(store.revision(), last);

    for task in eager {
        check_complete(
            &timeout(PATIENCE, task).await.unwrap().unwrap(),
            2,
            last - 1,
        );
    }
    check_complete(&through(&mut lagging, last).await, 3, last);
    let mut late = store.watch(KeyRange::all(), last / 2).unwrap();
    check_complete(&through(&mut late, last).await, last / 2, last);

    let mut one_writer = one_writer;
    let mut of_three = Vec::new();
    while of_three.len() < each {
        of_three.push(next(&mut one_writer).await);
    }
    assert!(
        of_three
            .windows(2)
            .all(|pair| pair[0].revision < pair[1].revision)
    );
    assert!(
        of_three
            .iter()
            .all(|batch| batch.events[0].kv.key.starts_with(b"3/"))
    );

    // All of them live again: one more write reaches each.
    for watcher in [&mut lagging, &mut late] {
        put(&store, "3/more").await;
        let batch = through(watcher, store.revision()).await;
        assert_eq!(batch.last().unwrap().events[0].kv.key, "3/more");
    }
}

#[tokio::test]
async fn events_tell_what_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watcher = store.watch(KeyRange::prefix("k"), 0).unwrap();
    store.txn(Txn::put("k1", "a")).await.unwrap();
    store.txn(Txn::put("k1", "b")).await.unwrap();
    store.txn(Txn::put("other", "")).await.unwrap();
    store.txn(Txn::delete(KeyRange::all())).await.unwrap();

    let created = next(&mut watcher).await.events[0].clone();
    assert!(created.is_create());
    let updated = next(&mut watcher).await.events[0].clone();
    assert_eq!((updated.kind, updated.is_create()), (EventKind::Put, false));
    assert_eq!(updated.prev_kv, Some(created.kv));
    let deleted = next(&mut watcher).await;
    assert_eq!(
        (deleted.revision, deleted.events.len()),
        (5, 1),
        "only the watched key"
    );
    assert_eq!(deleted.events[0].kind, EventKind::Delete);
    assert_eq!(deleted.events[0].prev_kv, Some(updated.kv));
    assert_eq!(deleted.events[0].kv.mod_revision, 5);
}

#[tokio::test]
async fn one_transaction_is_one_batch_for_keys_and_ranges_alike() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let ranges = [
        (KeyRange::all(), 3),
        (KeyRange::between("a", "c"), 2),
        (KeyRange::key("c"), 1),
    ];
    let mut watchers: Vec<_> = ranges
        .iter()
        .map(|(range, expect)| (store.watch(range.clone(), 0).unwrap(), *expect))
        .collect();
    let ops = ["a", "b", "c"].map(|key| Op::put(key, ""));
    for round in 0..2 {
        // The first round is read from history, the second one arrives live.
        let txn = Txn {
            success: ops.to_vec(),
            ..Txn::default()
        };
        store.txn(txn).await.unwrap();
        for (watcher, expect) in &mut watchers {
            let batch = next(watcher).await;
            assert_eq!((batch.revision, batch.events.len()), (round + 2, *expect));
        }
    }
}

#[tokio::test]
async fn a_key_put_and_deleted_by_one_transaction_is_both_in_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watchers =
        [KeyRange::key("a"), KeyRange::all()].map(|range| store.watch(range, 0).unwrap());
    for round in 0..2 {
        // The first round is read from history, the second one arrives live.
        let txn = Txn {
            success: vec![
                Op::put("b", ""),
                Op::Txn(Txn::put("a", "")),
                Op::Txn(Txn::delete(KeyRange::key("a"))),
            ],
            ..Txn::default()
        };
        store.txn(txn).await.unwrap();
        for watcher in &mut watchers {
            let batch = next(watcher).await;
            let of_a = batch.events.iter().filter(|event| event.kv.key == "a");
            let kinds: Vec<EventKind> = of_a.map(|event| event.kind).collect();
            assert_eq!(batch.revision, round + 2);
            assert_eq!(kinds, [EventKind::Put, EventKind::Delete]);
        }
    }
}

#[tokio::test]
async fn a_watch_of_what_is_compacted_ends_with_the_compaction_point() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut lagging = store.watch(KeyRange::all(), 2).unwrap();
    for at in 0..10 {
        put(&store, &at.to_string()).await;
    }
    let mut in_time = store.watch(KeyRange::all(), 7).unwrap();
    store.compact(6).await.unwrap();
    assert_eq!(store.compacted(), 6);
    check_complete(&through(&mut in_time, 11).await, 7, 11);
    assert_eq!(
        lagging.next().await.unwrap_err(),
        WatchError::Compacted {
            wanted: 2,
            compacted: 6
        }
    );
    assert!(matches!(
        store.watch(KeyRange::all(), 6).unwrap_err(),
        Error::Compacted {
            requested: 6,
            compacted: 6
        }
    ));
    // A watcher that is live stays so, however much is compacted.
    store.compact(11).await.unwrap();
    put(&store, "more").await;
    assert_eq!(next(&mut in_time).await.revision, 12);
}

#[tokio::test]
async fn a_watch_of_the_future_starts_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watcher = store.watch(KeyRange::all(), 4).unwrap();
    for at in 0..4 {
        put(&store, &at.to_string()).await;
    }
    check_complete(&through(&mut watcher, 5).await, 4, 5);
}

#[tokio::test]
async fn progress_moves_on_without_changes_of_the_watched_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watcher = store.watch(KeyRange::key("watched"), 0).unwrap();
    put(&store, "watched").await;
    assert_eq!(next(&mut watcher).await.revision, 2);
    let mut other = store.watch(KeyRange::key("other"), 0).unwrap();
    put(&store, "other").await;
    next(&mut other).await;
    // Polled once so that it goes live; nothing is there for it.
    assert!(has_nothing_to_say(&mut watcher).await);
    let reached = async {
        while watcher.progress() < 3 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, reached)
        .await
        .expect("progress reaches the store's revision");
    put(&store, "watched").await;
    assert_eq!(next(&mut watcher).await.revision, 4);
}

/// Polls a watcher for a few turns of the scheduler.
async fn has_nothing_to_say(watcher: &mut Watcher) -> bool {
    tokio::select! {
        biased;
        _ = watcher.next() => false,
        () = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        } => true,
    }
}
