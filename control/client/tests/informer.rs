//! The informer against a scripted API: a tower service that answers lists and streams watches.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use euston_client::{ChangeBatch, Informer, ObjectKey, Selection};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Answers each list with the next scripted one and hands out the sending end of each watch.
struct Script {
    lists: Mutex<VecDeque<(u16, Value)>>,
    watches: mpsc::UnboundedSender<Watch>,
    requests: Mutex<Vec<String>>,
}

struct Watch {
    lines: mpsc::Sender<Result<http_body::Frame<Bytes>, Infallible>>,
}

impl Watch {
    async fn send(&mut self, type_: &str, object: Value) {
        let line = format!("{}\n", json!({"type": type_, "object": object}));
        self.lines
            .send(Ok(http_body::Frame::data(Bytes::from(line))))
            .await
            .expect("the watch is open");
    }
}

fn answer(code: u16, body: &Value) -> Answer {
    Response::builder()
        .status(code)
        .body(Full::new(Bytes::from(body.to_string())).boxed_unsync())
        .expect("a valid answer")
}

fn client(lists: Vec<(u16, Value)>) -> (Client, Arc<Script>, mpsc::UnboundedReceiver<Watch>) {
    let (watches, watching) = mpsc::unbounded();
    let script = Arc::new(Script {
        lists: Mutex::new(lists.into()),
        watches,
        requests: Mutex::default(),
    });
    let service = {
        let script = script.clone();
        tower::service_fn(move |request: Request<Body>| {
            let script = script.clone();
            async move {
                let uri = request.uri().to_string();
                script.requests.lock().push(uri.clone());
                if uri.contains("watch=true") {
                    let (lines, frames) = mpsc::channel(16);
                    let sent = script.watches.unbounded_send(Watch { lines });
                    sent.expect("the test waits for watches");
                    return Ok::<_, Infallible>(Response::new(
                        StreamBody::new(frames).boxed_unsync(),
                    ));
                }
                let next = script.lists.lock().pop_front();
                let (code, body) =
                    next.unwrap_or_else(|| (500, json!({"kind": "Status", "code": 500})));
                Ok(answer(code, &body))
            }
        })
    };
    (Client::new(service, "default"), script, watching)
}

fn object(name: &str, rv: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": rv.to_string(),
        "managedFields": [{"manager": "kubectl"}],
    }})
}

fn list(rv: u64, items: &[Value], next: Option<&str>) -> (u16, Value) {
    (
        200,
        json!({
            "apiVersion": "v1", "kind": "ConfigMapList",
            "metadata": {"resourceVersion": rv.to_string(), "continue": next}, "items": items,
        }),
    )
}

fn gone() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"})
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("nothing happened for 20 s")
}

/// Waits until the informer's copy satisfies `condition`, woken by its changes.
async fn until(informer: &Informer<ConfigMap>, condition: impl Fn(&Informer<ConfigMap>) -> bool) {
    let mut changes = informer.subscribe();
    while !condition(informer) {
        within(changes.next()).await.expect("the informer stopped");
    }
}

#[tokio::test]
async fn lists_in_pages_then_follows_the_watch() {
    let (client, script, mut watches) = client(vec![
        list(10, &[object("a", 3)], Some("more")),
        list(10, &[object("b", 7)], None),
    ]);
    let stop = CancellationToken::new();
    let informer = Informer::<ConfigMap>::start(client, Selection::labels("app=x"), stop.clone());
    assert!(within(informer.synced()).await);
    assert_eq!(informer.len(), 2);
    assert!(
        informer
            .get("ns", "a")
            .unwrap()
            .metadata
            .managed_fields
            .is_none()
    );

    let events = Arc::new(Mutex::new(Vec::new()));
    informer.on_change({
        let events = events.clone();
        move |delta| {
            let name = delta
                .latest()
                .and_then(|o| o.metadata.name.clone())
                .unwrap_or_default();
            events
                .lock()
                .push((name, delta.old.is_some(), delta.new.is_some()));
        }
    });
    let mut watch = within(watches.next()).await.unwrap();
    watch.send("ADDED", object("c", 11)).await;
    watch.send("MODIFIED", object("a", 12)).await;
    watch.send("DELETED", object("b", 13)).await;
    until(&informer, |i| i.revision() == 13).await;
    assert!(informer.get("ns", "b").is_none());

    let mut events = events.lock().clone();
    events[..2].sort();
    let expect = [
        ("a", false, true),
        ("b", false, true),
        ("c", false, true),
        ("a", true, true),
        ("b", true, false),
    ];
    assert_eq!(
        events,
        expect.map(|(name, old, new)| (name.to_owned(), old, new))
    );
    let requests = script.requests.lock().clone();
    assert!(
        requests[0].contains("limit=500") && requests[0].contains("labelSelector=app%3Dx"),
        "{requests:?}"
    );
    assert!(requests[1].contains("continue=more"), "{requests:?}");
    assert!(
        requests[2].contains("resourceVersion=10")
            && requests[2].contains("allowWatchBookmarks=true"),
        "{requests:?}"
    );
    stop.cancel();
}

#[tokio::test]
async fn an_expired_watch_relists_and_subscribers_lose_nothing() {
    let (client, _script, mut watches) = client(vec![
        list(10, &[object("kept", 1), object("gone", 2)], None),
        list(20, &[object("kept", 1), object("new", 15)], None),
    ]);
    let stop = CancellationToken::new();
    let informer = Informer::<ConfigMap>::start(client, Selection::all(), stop.clone());
    assert!(within(informer.synced()).await);
    let mut changes = informer.subscribe();
    within(changes.next()).await;
    let mut watch = within(watches.next()).await.unwrap();
    watch.send("ERROR", gone()).await;
    let mut changed = Vec::new();
    while changed.len() < 2 {
        match within(changes.next()).await {
            Some(ChangeBatch::Keys(keys)) => changed.extend(keys),
            other => panic!("{other:?}"),
        }
    }
    changed.sort();
    assert_eq!(
        changed,
        [ObjectKey::new("ns", "gone"), ObjectKey::new("ns", "new")]
    );
    assert!(informer.get("ns", "gone").is_none());
    stop.cancel();
    while within(changes.next()).await.is_some() {}
    let mut after = informer.subscribe();
    assert!(matches!(within(after.next()).await, Some(ChangeBatch::Keys(keys)) if keys.len() == 2));
    assert_eq!(
        within(after.next()).await,
        None,
        "a late subscription ends too"
    );
    let late = Informer::<ConfigMap>::start(client_that_fails(), Selection::all(), stop);
    assert!(
        !within(late.synced()).await,
        "a stopped informer says so instead of waiting for ever"
    );
}

fn client_that_fails() -> Client {
    client(Vec::new()).0
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_asked_ever_less_often() {
    let asked = Arc::new(AtomicUsize::new(0));
    let service = {
        let asked = asked.clone();
        tower::service_fn(move |_request: Request<Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            async {
                Ok::<_, Infallible>(answer(
                    503,
                    &json!({"kind": "Status", "code": 503, "reason": "ServiceUnavailable"}),
                ))
            }
        })
    };
    let stop = CancellationToken::new();
    let informer = Informer::<ConfigMap>::start(
        Client::new(service, "default"),
        Selection::all(),
        stop.clone(),
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = asked.load(Ordering::SeqCst);
    assert!((6..=18).contains(&asked), "{asked} requests in a minute");
    assert!(!informer.is_synced());
    stop.cancel();
}
