//! Watches as clients see them: one member in this process, the generated client over a connection to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Client, soon};
use raft_store::{Config, KeyRange, Store, Txn};
use raft_store_etcd::etcdserverpb::watch_request::Request;
use raft_store_etcd::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use raft_store_etcd::{EtcdConfig, EtcdServer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::{Code, Streaming};

struct Server {
    store: Store,
    address: SocketAddr,
    _dir: TempDir,
}

impl Server {
    async fn with(config: EtcdConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Config::new("a", dir.path())).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = EtcdServer::new(store.clone(), config);
        tokio::spawn(server.serve(listener, std::future::pending::<()>()));
        Self {
            store,
            address,
            _dir: dir,
        }
    }

    async fn start() -> Self {
        Self::with(EtcdConfig::default()).await
    }

    async fn put(&self, key: &str, value: &str) -> i64 {
        let txn = Txn::put(key.to_owned(), value.to_owned());
        let revision = self.store.txn(txn).await.unwrap().revision;
        i64::try_from(revision).unwrap()
    }

    async fn delete(&self, key: &str) {
        let range = KeyRange::key(key.to_owned());
        self.store.txn(Txn::delete(range)).await.unwrap();
    }

    /// A stream of watches.
    async fn stream(&self) -> Stream {
        let mut client = Client::connect(self.address).await.unwrap().watch;
        let (requests, receiver) = mpsc::channel(16);
        let requested = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let answers = client.watch(requested).await.unwrap().into_inner();
        Stream { requests, answers }
    }
}

struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Stream {
    async fn ask(&self, request: Request) {
        let request = WatchRequest {
            request: Some(request),
        };
        self.requests.send(request).await.unwrap();
    }

    async fn next(&mut self) -> WatchResponse {
        let answer = soon("an answer", self.answers.message()).await;
        answer.unwrap().unwrap()
    }

    /// Creates a watch and returns its id and the revision that it was told.
    async fn create(&mut self, request: WatchCreateRequest) -> (i64, i64) {
        self.ask(Request::Create(request)).await;
        let created = self.next().await;
        assert!(created.created && !created.canceled, "{created:?}");
        (created.watch_id, created.header.unwrap().revision)
    }

    /// The next events, each as `id put KEY=VALUE` or `id delete KEY`.
    async fn events(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        while events.len() < count {
            let answer = self.next().await;
            assert!(!answer.canceled && !answer.created, "{answer:?}");
            for event in answer.events {
                let kv = event.kv.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let before = event.prev_kv.map(|kv| format!(" was {}", text(&kv.value)));
                let before = before.unwrap_or_default();
                let (id, key) = (answer.watch_id, text(&kv.key));
                events.push(match event.r#type {
                    0 => format!("{id} put {key}={}{before}", text(&kv.value)),
                    _ => format!("{id} delete {key}{before}"),
                });
            }
        }
        events
    }
}

fn all() -> WatchCreateRequest {
    WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..WatchCreateRequest::default()
    }
}

fn key(key: &str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.to_owned().into(),
        ..WatchCreateRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_watches_share_a_stream_and_each_sees_its_own() {
    let server = Server::start().await;
    server.put("a", "0").await;
    let mut stream = server.stream().await;
    assert_eq!(stream.create(key("a")).await, (0, 2));
    let asked = WatchCreateRequest {
        watch_id: 1,
        prev_kv: true,
        filters: vec![0],
        ..all()
    };
    assert_eq!(stream.create(asked).await.0, 1, "the id that was asked for");
    let from_start = WatchCreateRequest {
        start_revision: 2,
        filters: vec![1],
        ..key("a")
    };
    assert_eq!(stream.create(from_start).await.0, 2, "the next free one");
    assert_eq!(stream.events(1).await, ["2 put a=0"]);
    server.put("a", "1").await;
    let mut events = stream.events(2).await;
    events.sort();
    assert_eq!(events, ["0 put a=1", "2 put a=1"]);
    server.delete("a").await;
    let mut events = stream.events(2).await;
    events.sort();
    assert_eq!(events, ["0 delete a", "1 delete a was 1"]);
    server.put("b", "1").await;
    server.delete("b").await;
    assert_eq!(stream.events(1).await, ["1 delete b was 1"]);

    stream
        .ask(Request::Cancel(WatchCancelRequest { watch_id: 1 }))
        .await;
    let cancelled = stream.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == 1);
    assert_eq!(
        (cancelled.compact_revision, cancelled.cancel_reason),
        (0, String::new())
    );
    server.delete("b").await;
    server.put("a", "2").await;
    let mut events = stream.events(2).await;
    events.sort();
    assert_eq!(events, ["0 put a=2", "2 put a=2"], "nothing for 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_cannot_be_are_created_and_cancelled_with_a_reason() {
    let server = Server::with(EtcdConfig {
        watches_per_stream_max: 2,
        ..EtcdConfig::default()
    })
    .await;
    let mut stream = server.stream().await;
    let asked = WatchCreateRequest {
        watch_id: 7,
        ..all()
    };
    stream.create(asked.clone()).await;
    let mut refused = async |request: WatchCreateRequest, why: &str| {
        stream.ask(Request::Create(request)).await;
        let answer = stream.next().await;
        assert!(answer.created && answer.canceled);
        assert_eq!((answer.watch_id, answer.cancel_reason.as_str()), (-1, why));
    };
    refused(
        asked,
        "mvcc: duplicate watch ID provided on the WatchStream",
    )
    .await;
    let empty = WatchCreateRequest {
        range_end: "a".into(),
        ..key("b")
    };
    refused(empty, "mvcc: watcher range is empty").await;
    stream.create(all()).await;
    stream.ask(Request::Create(all())).await;
    let answer = stream.next().await;
    assert!(answer.canceled);
    assert!(
        answer
            .cancel_reason
            .starts_with("etcdserver: too many requests")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_what_was_compacted_is_told_where_it_can_start() {
    let server = Server::start().await;
    for value in ["1", "2", "3", "4"] {
        server.put("a", value).await;
    }
    server.store.compact(4).await.unwrap();
    let mut stream = server.stream().await;
    let from = |start_revision| WatchCreateRequest {
        start_revision,
        ..all()
    };
    let (id, _) = stream.create(from(2)).await;
    let cancelled = stream.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == id);
    assert_eq!(cancelled.compact_revision, 5);
    stream.create(from(cancelled.compact_revision)).await;
    let events = stream.events(1).await;
    assert!(events[0].ends_with("put a=4"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_when_asked_and_when_nothing_happens() {
    let server = Server::with(EtcdConfig {
        progress_interval: Duration::from_millis(50),
        ..EtcdConfig::default()
    })
    .await;
    let mut stream = server.stream().await;
    stream.create(key("a")).await;
    let revision = server.put("b", "1").await;
    // Asked until it has come to what the watch has seen by now.
    soon("progress", async {
        loop {
            let ask = Request::Progress(WatchProgressRequest {});
            stream.ask(ask).await;
            let answer = stream.next().await;
            assert!(answer.watch_id == -1 && answer.events.is_empty());
            if answer.header.unwrap().revision == revision {
                return;
            }
        }
    })
    .await;
    let told = WatchCreateRequest {
        progress_notify: true,
        ..key("a")
    };
    let (id, _) = stream.create(told).await;
    assert_eq!(id, 1);
    let progress = stream.next().await;
    assert_eq!(
        (progress.watch_id, progress.header.unwrap().revision),
        (1, revision)
    );
    assert!(progress.events.is_empty() && !progress.created && !progress.canceled);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_come_in_pieces_where_the_client_takes_them() {
    let server = Server::with(EtcdConfig {
        // And half a MiB that is always added.
        request_bytes_max: 100_000,
        ..EtcdConfig::default()
    })
    .await;
    let value = "v".repeat(90_000);
    let puts = (0..15).flat_map(|at| Txn::put(format!("k{at:02}"), value.clone()).success);
    let txn = Txn {
        success: puts.collect(),
        ..Txn::default()
    };
    server.store.txn(txn).await.unwrap();
    let mut stream = server.stream().await;
    let pieces = WatchCreateRequest {
        start_revision: 2,
        fragment: true,
        ..all()
    };
    stream.create(pieces).await;
    let mut keys = Vec::new();
    let mut messages = 0;
    loop {
        let answer = stream.next().await;
        messages += 1;
        keys.extend(answer.events.into_iter().map(|event| event.kv.unwrap().key));
        if !answer.fragment {
            break;
        }
    }
    assert!(messages > 1, "{messages}");
    let expect: Vec<String> = (0..15).map(|at| format!("k{at:02}")).collect();
    assert_eq!(keys, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_for_long_holds_up_nobody_and_misses_nothing() {
    let server = Server::start().await;
    let mut slow = server.stream().await;
    slow.create(all()).await;
    let mut fast = server.stream().await;
    fast.create(key("last")).await;
    // More than all buffers together take.
    let value = "v".repeat(50_000);
    let count = 1500;
    for at in 0..count {
        server.put(&format!("k{at:04}"), &value).await;
    }
    server.put("last", "1").await;
    assert_eq!(fast.events(1).await, ["0 put last=1"]);
    let mut expect = 2;
    while expect < count + 3 {
        for event in slow.next().await.events {
            assert_eq!(
                event.kv.unwrap().mod_revision,
                expect,
                "no gap, no repetition"
            );
            expect += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watches_on_one_stream_all_see_a_change() {
    let server = Server::start().await;
    let mut stream = server.stream().await;
    for _ in 0..1000 {
        stream.create(key("a")).await;
    }
    server.put("a", "1").await;
    let mut events = stream.events(1000).await;
    events.sort();
    events.dedup();
    assert_eq!(events.len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_no_more_to_ask_ends_the_stream() {
    let server = Server::start().await;
    let mut stream = server.stream().await;
    stream.create(all()).await;
    drop(stream.requests);
    let ended = soon("the end", stream.answers.message()).await;
    assert_eq!(ended.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_with_the_store() {
    let server = Server::start().await;
    let mut stream = server.stream().await;
    stream.create(all()).await;
    server.store.shutdown().await;
    let ended = soon("the end", stream.answers.message()).await;
    let status = ended.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "etcdserver: server stopped")
    );
}
