//! Clients that mean harm, or are broken: the answer is a Status where there can be one, others
//! are served, and nothing is held for long. Small here; `bench api` does the same in the large.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use euston_apiserver::MASTERS;
use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use euston_tests::wait::PATIENCE;
use euston_tls::{Authority, ClientAuth, Identity, ServeLimits, loopback_sans, server_config};
use futures::StreamExt;
use futures::future::join_all;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::raw;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const YAML: &str = "application/yaml";
const JSON: &str = "application/json";

#[tokio::test]
async fn a_body_that_is_a_trap_is_refused_in_a_sentence() {
    let plane = ControlPlane::start().await;
    raw::json(&plane.client, "POST", MAPS, &sample("ConfigMap", "m")).await;
    let deep = |open: &str, close: &str, times: usize| open.repeat(times) + &close.repeat(times);
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (before, now) in "abcdefgh".chars().zip("bcdefghi".chars()) {
        let list = vec![format!("*{before}"); 9].join(",");
        bomb.push_str(&format!("{now}: &{now} [{list}]\n"));
    }
    let within = |inner: String| format!(r#"{{"metadata":{{"name":"x"}},"data":{{"a":{inner}}}}}"#);
    let one = format!("{MAPS}/m");
    let copies = {
        let mut ops =
            vec![json!({ "op": "add", "path": "/data", "value": { "a": "x".repeat(1000) } })];
        for i in 0..40 {
            ops.push(json!({ "op": "copy", "from": "/data", "path": format!("/data/k{i}") }));
        }
        json!(ops).to_string()
    };
    let merge = "application/merge-patch+json";
    for (what, method, path, content_type, body, codes) in [
        (
            "deep lists",
            "POST",
            MAPS,
            JSON,
            "[".repeat(100_000),
            &[400][..],
        ),
        (
            "deep closed lists",
            "POST",
            MAPS,
            JSON,
            deep("[", "]", 100_000),
            &[400],
        ),
        (
            "deep objects",
            "POST",
            MAPS,
            JSON,
            deep("{\"a\":", "}", 100_000),
            &[400],
        ),
        (
            "deep in a field",
            "POST",
            MAPS,
            JSON,
            within(deep("[", "]", 50_000)),
            &[400],
        ),
        (
            "deep in an unknown field",
            "POST",
            MAPS,
            JSON,
            format!(r#"{{"x":{}}}"#, deep("[", "]", 50_000)),
            &[400],
        ),
        (
            "a long number",
            "POST",
            MAPS,
            JSON,
            within("9".repeat(1 << 20)),
            &[400],
        ),
        (
            "many keys",
            "POST",
            MAPS,
            JSON,
            format!(
                "{{{}\"z\":1}}",
                (0..100_000)
                    .map(|i| format!("\"k{i}\":{i},"))
                    .collect::<String>()
            ),
            &[400, 422],
        ),
        (
            "one key often",
            "POST",
            MAPS,
            JSON,
            format!("{{{}\"z\":1}}", "\"k\":1,".repeat(300_000)),
            &[400, 422],
        ),
        (
            "many lists",
            "POST",
            MAPS,
            JSON,
            format!("[{}[]]", "[],".repeat(900_000)),
            &[400],
        ),
        ("aliases of aliases", "POST", MAPS, YAML, bomb, &[400]),
        ("deep YAML", "POST", MAPS, YAML, "[".repeat(100_000), &[400]),
        (
            "deep YAML blocks",
            "POST",
            MAPS,
            YAML,
            "- ".repeat(50_000),
            &[400],
        ),
        (
            "deep YAML maps",
            "POST",
            MAPS,
            YAML,
            "a: {".repeat(50_000),
            &[400],
        ),
        (
            "many documents",
            "POST",
            MAPS,
            YAML,
            "---\na: 1\n".repeat(100_000),
            &[400],
        ),
        (
            "a deep merge",
            "PATCH",
            &one,
            merge,
            deep("{\"a\":", "}", 100_000),
            &[400],
        ),
        (
            "copies of copies",
            "PATCH",
            &one,
            "application/json-patch+json",
            copies,
            &[413, 422],
        ),
        (
            "many operations",
            "PATCH",
            &one,
            "application/json-patch+json",
            format!(
                "[{}{{\"op\":\"test\",\"path\":\"/a\"}}]",
                "{\"op\":\"remove\",\"path\":\"/x\"},".repeat(60_000)
            ),
            &[400, 413, 422],
        ),
        (
            "not protobuf",
            "POST",
            MAPS,
            "application/vnd.kubernetes.protobuf",
            "k8s\0".to_owned() + &"\u{0a}\u{7f}".repeat(100_000),
            &[400],
        ),
        ("too much", "POST", MAPS, JSON, "x".repeat(4 << 20), &[413]),
    ] {
        let got = timeout(
            PATIENCE,
            raw::send(&plane.client, method, path, content_type, body),
        );
        let got = got.await.unwrap_or_else(|_| panic!("{what}: no answer"));
        assert!(codes.contains(&got.status.as_u16()), "{what}: {got:?}");
        assert_eq!(got.body["kind"], "Status", "{what}");
        assert!(
            got.message().len() < 2000,
            "{what}: {} bytes",
            got.message().len()
        );
    }
    assert_eq!(raw::get(&plane.client, MAPS).await.names(), ["m"]);
}

#[tokio::test]
async fn more_reads_than_may_be_under_way_are_told_to_come_back() {
    let plane = ControlPlane::start().await;
    // Each waits a few seconds for a version that does not come.
    let path = format!("{MAPS}?resourceVersion=99999999");
    let client = &plane.client;
    let flood = join_all((0..450).map(|_| raw::get(client, &path)));
    let others = async {
        // Writes and watches have places of their own.
        let made = raw::json(client, "POST", MAPS, &sample("ConfigMap", "m")).await;
        let watch = format!("{MAPS}?watch=true&timeoutSeconds=1");
        let events = raw::events(client, &watch, JSON).await;
        (made.status.as_u16(), events.len())
    };
    let (flood, others) = tokio::join!(flood, others);
    assert_eq!(others, (201, 1));
    let refused: Vec<_> = flood.iter().filter(|a| a.status == 429).collect();
    assert_eq!(refused.len(), 50);
    for answer in refused {
        assert_eq!(answer.outcome(), (429, "TooManyRequests"));
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.body["details"]["retryAfterSeconds"], 1);
    }
    assert_eq!(
        raw::get(client, MAPS).await.status,
        200,
        "afterwards all is well"
    );
}

#[tokio::test]
async fn a_thousand_watchers_see_an_event_that_is_made_once() {
    let plane = ControlPlane::start().await;
    let path = format!("{MAPS}?watch=true&timeoutSeconds=50");
    let watches = (0..1000).map(|_| {
        let (client, path) = (plane.client.clone(), path.clone());
        async move {
            let request = http::Request::get(path).body(Body::empty()).unwrap();
            client.send(request).await.unwrap().into_body()
        }
    });
    let watches: Vec<_> = futures::stream::iter(watches)
        .buffer_unordered(100)
        .collect()
        .await;
    raw::json(&plane.client, "POST", MAPS, &sample("ConfigMap", "m")).await;
    let first = |mut body: Body| async move {
        let frame = timeout(PATIENCE, body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        frame.into_data().unwrap()
    };
    let seen: Vec<Bytes> = join_all(watches.into_iter().map(first)).await;
    assert_eq!(seen.len(), 1000);
    // Not equal bytes alone: the same ones.
    assert!(seen.iter().all(|frame| frame.as_ptr() == seen[0].as_ptr()));
}

/// The API behind TLS, on a socket.
struct Served {
    plane: ControlPlane,
    address: SocketAddr,
    ca: String,
    admin: Identity,
    _stop: DropGuard,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn start(limits: ServeLimits) -> Self {
        let plane = ControlPlane::start().await;
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        let server = authority
            .issue_server("kubernetes", &[], &loopback_sans(2))
            .unwrap();
        let tls = server_config(authority.ca_pem(), &server, ClientAuth::Optional).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = plane.api.router();
        tokio::spawn(euston_tls::serve(
            listener,
            tls,
            router,
            limits,
            stop.clone(),
        ));
        Served {
            address,
            ca: authority.ca_pem().to_owned(),
            admin: authority.issue_client("admin", &[MASTERS]).unwrap(),
            plane,
            _stop: stop.drop_guard(),
            _dir: dir,
        }
    }

    async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut config = euston_tls::client_config(&self.ca, Some(&self.admin)).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = "localhost".try_into().unwrap();
        timeout(PATIENCE, connector.connect(name, stream))
            .await
            .unwrap()
            .unwrap()
    }

    /// Sends bytes over HTTP/1 and reads what comes back until the server has no more to say.
    async fn http1(&self, request: &[u8]) -> String {
        let mut stream = self.connect(b"http/1.1").await;
        // A server that has heard enough may close before it has read all.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the server ends the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn http2(&self) -> h2::client::SendRequest<Bytes> {
        let (sender, connection) = h2::client::handshake(self.connect(b"h2").await)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Others are served.
    async fn is_well(&self) {
        let path = "/api/v1/namespaces/default";
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = self.http1(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}

fn status_of(answer: &str) -> (u16, Value) {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body)
        .unwrap_or_default();
    let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
    (code.unwrap_or_else(|| panic!("{answer:?}")), body)
}

#[tokio::test]
async fn requests_over_http1_that_never_end_are_answered_or_closed() {
    let limits = ServeLimits {
        header_read_timeout: Duration::from_millis(200),
        ..ServeLimits::default()
    };
    let served = Served::start(limits).await;
    let post = |query: &str, headers: &str, body: &str| {
        format!(
            "POST {MAPS}{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
        )
    };
    // A body that stops coming, for which this client waits a second.
    let stalled = served
        .http1(post("?timeout=1s", "content-length: 1000\r\n", "{").as_bytes())
        .await;
    let (code, body) = status_of(&stalled);
    assert_eq!(
        (code, &body["reason"]),
        (504, &json!("Timeout")),
        "{stalled}"
    );
    // One that announces what will not be read.
    let huge = served
        .http1(post("", "content-length: 1000000000000\r\n", "{").as_bytes())
        .await;
    let (code, body) = status_of(&huge);
    assert_eq!(
        (code, &body["reason"]),
        (413, &json!("RequestEntityTooLarge")),
        "{huge}"
    );
    // Headers without end: in number, in length, in time.
    let many: String = (0..5000).map(|i| format!("x-{i}: {i}\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(2 << 20));
    for headers in [many, long] {
        let answer = served.http1(post("", &headers, "{}").as_bytes()).await;
        assert!(answer.is_empty() || answer.contains(" 431 "), "{answer}");
    }
    let slow = served.http1(b"GET /version HTTP/1.1\r\nhost: loc").await;
    assert!(slow.is_empty() || slow.contains(" 408 "), "{slow}");
    let nonsense = served.http1(b"\0\0\0\0 not http at all \r\n\r\n").await;
    assert!(
        nonsense.is_empty() || nonsense.contains(" 400 "),
        "{nonsense}"
    );
    served.is_well().await;
}

#[tokio::test]
async fn a_client_that_takes_its_requests_back_hurts_itself_alone() {
    let served = Served::start(ServeLimits::default()).await;
    let mut sender = served.http2().await;
    let request = || {
        let uri = format!("https://localhost{MAPS}?watch=true");
        http::Request::get(uri).body(()).unwrap()
    };
    // Until the server has had enough, or has borne all of it.
    for _ in 0..20_000 {
        sender = match timeout(PATIENCE, sender.ready()).await.unwrap() {
            Ok(sender) => sender,
            Err(_) => break,
        };
        let Ok((answer, mut stream)) = sender.send_request(request(), false) else {
            break;
        };
        stream.send_reset(h2::Reason::CANCEL);
        drop(answer);
    }
    served.is_well().await;
    // No watch is left of them: there is room for as many again.
    let path = format!("{MAPS}?watch=true&timeoutSeconds=1");
    raw::events(&served.plane.client, &path, JSON).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up() {
    let served = Served::start(ServeLimits::default()).await;
    let made = (0..40).map(|i| {
        let mut object = sample("ConfigMap", &format!("m{i}"));
        object["data"] = json!({ "text": "x".repeat(100_000) });
        let client = served.plane.client.clone();
        async move { raw::json(&client, "POST", MAPS, &object).await.status }
    });
    assert!(join_all(made).await.iter().all(|&status| status == 201));
    // A small window, and nobody who gives back what was taken of it.
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(1000)
        .handshake::<_, Bytes>(served.connect(b"h2").await)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    let mut sender = sender;
    for index in 0..100 {
        sender = timeout(PATIENCE, sender.ready()).await.unwrap().unwrap();
        let query = if index % 2 == 0 { "" } else { "?watch=true" };
        let uri = format!("https://localhost{MAPS}{query}");
        let request = http::Request::get(uri).body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        answers.push(timeout(PATIENCE, answer).await.unwrap().unwrap());
    }
    assert!(answers.iter().all(|answer| answer.status() == 200));
    served.is_well().await;
    let whole = raw::get(&served.plane.client, MAPS).await;
    assert_eq!(whole.names().len(), 40);
}

#[tokio::test]
async fn an_http2_connection_that_is_idle_is_ended_and_a_busy_one_is_not() {
    let limits = ServeLimits {
        first_request_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(100),
        ..ServeLimits::default()
    };
    let served = Served::start(limits).await;
    let (sender, connection) = h2::client::handshake::<_>(served.connect(b"h2").await)
        .await
        .unwrap();
    let ended = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    // A watch is a request under way, for longer than the connection may idle.
    let uri =
        format!("https://localhost{MAPS}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true");
    let (answer, _) = sender
        .send_request(http::Request::get(uri).body(()).unwrap(), true)
        .unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut said = Vec::new();
    while let Some(piece) = timeout(PATIENCE, body.data()).await.unwrap() {
        said.extend(piece.unwrap());
    }
    assert!(
        String::from_utf8_lossy(&said).contains("BOOKMARK"),
        "until its end"
    );
    drop(body);
    // `sender` still stands, so it is the server that ends it.
    // Whether it says goodbye in TLS as well is not the matter.
    let _ = timeout(PATIENCE, ended)
        .await
        .expect("the server ends it")
        .unwrap();
    drop(sender);
}
