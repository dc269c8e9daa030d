//! One member through its public surface.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::time::Duration;

use common::{count, open, put, small};
use raft_store::{
    Compare, CompareOp, Config, Consistency, Error, KeyRange, Op, OpenError, RangeRequest,
    StopCause, Store, Txn,
};

#[tokio::test]
async fn a_second_open_of_a_directory_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let error = Store::open(Config::new("a", dir.path())).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(
        error.to_string().contains(dir.path().to_str().unwrap()),
        "{error}"
    );
    store.shutdown().await;
    open(dir.path()).await.shutdown().await;
}

#[tokio::test]
async fn a_directory_belongs_to_its_member() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.shutdown().await;
    let error = Store::open(Config::new("b", dir.path())).await.unwrap_err();
    assert!(
        error.to_string().contains("belongs to the member \"a\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_stopped_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watcher = store.watch(KeyRange::all(), 0).unwrap();
    put(&store, "a").await;
    store.shutdown().await;
    store.shutdown().await;
    let stopped = |error: &Error| {
        matches!(
            error,
            Error::Stopped {
                cause: StopCause::Shutdown
            }
        )
    };
    assert!(stopped(&store.txn(Txn::put("b", "")).await.unwrap_err()));
    assert!(stopped(
        &store
            .range(RangeRequest::new(KeyRange::all()))
            .await
            .unwrap_err()
    ));
    assert!(stopped(&store.compact(2).await.unwrap_err()));
    assert!(stopped(&store.watch(KeyRange::all(), 0).unwrap_err()));
    // What happened before is still told, then the end.
    assert_eq!(watcher.next().await.unwrap().revision, 2);
    watcher.next().await.unwrap_err();
}

#[tokio::test]
async fn the_last_handle_dropped_stops_the_member() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    put(&store, "a").await;
    let mut watcher = store.watch(KeyRange::all(), 0).unwrap();
    drop(store);
    // Ends when the member has stopped, after which the directory is let go.
    watcher.next().await.unwrap_err();
    let store = loop {
        match Store::open(Config::new("a", dir.path())).await {
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            result => break result.unwrap(),
        }
    };
    assert_eq!(store.revision(), 2);
}

#[tokio::test]
async fn requests_beyond_the_bounds_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let too_large = |error: Error, expect: usize| match error {
        Error::TooLarge { size, max, .. } | Error::TooManySteps { size, max, .. } => {
            assert_eq!((size, max), (expect, max))
        }
        error => panic!("{error}"),
    };
    let value = vec![0; 3 << 20];
    too_large(
        store.txn(Txn::put("k", value.clone())).await.unwrap_err(),
        (3 << 20) + 1,
    );
    store.txn(Txn::put("k", value[1..].to_vec())).await.unwrap();
    let many = Txn {
        success: vec![Op::Range(RangeRequest::new(KeyRange::key("k"))); 1025],
        ..Txn::default()
    };
    too_large(store.txn(many).await.unwrap_err(), 1025);
    let twice = Txn {
        success: [Txn::put("a", "1").success, Txn::put("a", "2").success].concat(),
        ..Txn::default()
    };
    assert!(matches!(
        store.txn(twice).await,
        Err(Error::DuplicateKey { .. })
    ));
    assert_eq!(store.revision(), 2);
    assert!(matches!(
        store.compact(9).await,
        Err(Error::FutureRevision { current: 2, .. })
    ));
}

#[tokio::test]
async fn a_read_only_transaction_makes_no_entry_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    put(&store, "a").await;
    let txn = Txn {
        compare: vec![Compare::version("a", CompareOp::Equal, 1)],
        success: vec![Op::Range(RangeRequest::new(KeyRange::all()))],
        failure: vec![],
    };
    let response = store.txn(txn).await.unwrap();
    assert!(response.succeeded);
    assert_eq!((response.revision, store.revision()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_competing_compare_and_swaps_exactly_one_wins_each_round() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut won = 0;
            while won < 25 {
                let request = RangeRequest {
                    consistency: Consistency::Local,
                    ..RangeRequest::new(KeyRange::key("counter"))
                };
                let seen = store.range(request).await.unwrap().kvs.pop();
                let number: u64 = seen.as_ref().map_or(0, |kv| {
                    std::str::from_utf8(&kv.value).unwrap().parse().unwrap()
                });
                let txn = Txn {
                    compare: vec![Compare::mod_revision(
                        "counter",
                        CompareOp::Equal,
                        seen.map_or(0, |kv| kv.mod_revision),
                    )],
                    ..Txn::put("counter", (number + 1).to_string())
                };
                won += u32::from(store.txn(txn).await.unwrap().succeeded);
            }
        });
    }
    tasks.join_all().await;
    let counter = store
        .range(RangeRequest::new(KeyRange::key("counter")))
        .await
        .unwrap();
    assert_eq!(counter.kvs[0].value, "200");
    assert_eq!(counter.kvs[0].version, 200);
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let store = Store::open(small(dir.path())).await.unwrap();
        assert_eq!(count(&store).await, (round * 100).min(500));
        let compacted = store.compacted();
        // Enough for several snapshots (Config of `small`), some of which are under way at shutdown.
        for at in 0..100 {
            put(&store, &format!("{:03}", (round * 100 + at) % 500)).await;
        }
        let revision = store.revision();
        assert_eq!(revision, 1 + (round as u64 + 1) * 100);
        if compacted > 0 {
            let gone = RangeRequest {
                at_revision: Some(compacted - 1),
                ..RangeRequest::new(KeyRange::all())
            };
            let error = store.range(gone).await.unwrap_err();
            assert!(matches!(error, Error::Compacted { .. }), "{error}");
        }
        let mut watcher = store.watch(KeyRange::all(), compacted.max(1) + 1).unwrap();
        for expect in compacted.max(1) + 1..=revision {
            assert_eq!(watcher.next().await.unwrap().revision, expect);
        }
        store.compact(revision - 50).await.unwrap();
        store.shutdown().await;
    }
    let snapshots = std::fs::read_dir(dir.path().join("snapshots")).unwrap();
    assert_eq!(snapshots.count(), 1, "old snapshots are removed");
}

#[tokio::test]
async fn history_that_outgrows_its_bounds_is_compacted_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        history_revisions_max: 100,
        ..Config::new("a", dir.path())
    };
    let store = Store::open(config).await.unwrap();
    for _ in 0..400 {
        put(&store, "a").await;
    }
    let kept = store.revision() - store.compacted();
    assert!((49..=110).contains(&kept), "{kept} revisions are kept");
}

#[tokio::test]
async fn an_empty_directory_is_ready_to_write_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let start = std::time::Instant::now();
    let store = open(dir.path()).await;
    put(&store, "a").await;
    // An election by timeout alone would take ten ticks of 50 ms.
    assert!(
        start.elapsed() < Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
}
