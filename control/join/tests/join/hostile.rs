//! Those who should not get in, and what they send.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use euston_join::Role;
use euston_join::client::{JoinError, join_agent};
use euston_tls::{Authority, ClientBody, HttpsClient, SigningRequest};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, serve_tls};

/// A client without a certificate.
fn anonymous(cluster: &Cluster) -> HttpsClient {
    HttpsClient::new(cluster.authority.ca_pem(), None).unwrap()
}

/// Posts a body as it is.
async fn send(
    client: &HttpsClient,
    cluster: &Cluster,
    path: &str,
    body: Vec<u8>,
) -> (StatusCode, Value) {
    let body: ClientBody = Full::from(body)
        .map_err(|never| match never {})
        .boxed_unsync();
    let uri = format!("https://{}{path}", cluster.server.address);
    let request = Request::post(uri).body(body);
    let response = client.send(request.unwrap()).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|e| panic!("{status} {e}: {}", String::from_utf8_lossy(&bytes)));
    (status, value)
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_as_a_status() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Server).await.to_string();
    let csr = SigningRequest::new().unwrap().csr_pem;
    let secret = "0".repeat(32);
    let agent = |change: Value| {
        let mut body = json!({
            "token": token, "name": "w1", "addresses": ["10.0.0.7"], "nodeSecret": secret, "csr": csr,
        });
        let body_fields = body.as_object_mut().unwrap();
        body_fields.extend(change.as_object().unwrap().clone());
        body.to_string().into_bytes()
    };
    let server = |change: Value| {
        let mut body = json!({"token": token, "name": "s2", "peerUrl": "https://s2.example:2380"});
        let body_fields = body.as_object_mut().unwrap();
        body_fields.extend(change.as_object().unwrap().clone());
        body.to_string().into_bytes()
    };
    let (to_agent, to_server) = ("/euston/v1/join/agent", "/euston/v1/join/server");
    let client = anonymous(&cluster);
    let deep = "[".repeat(60_000).into_bytes();
    for (path, body, code, expect) in [
        (to_agent, b"".to_vec(), 400, "not what belongs here"),
        (to_agent, b"{".to_vec(), 400, "not what belongs here"),
        (to_agent, deep, 400, "not what belongs here"),
        (to_agent, vec![0xff; 100], 400, "not what belongs here"),
        (to_agent, vec![b' '; 64 * 1024 + 1], 413, "64 KiB"),
        (to_server, vec![b' '; 200 << 10], 413, "64 KiB"),
        (to_agent, agent(json!({"root": true})), 400, "root"),
        (
            to_agent,
            agent(json!({"addresses": ["everywhere"]})),
            400,
            "IP address",
        ),
        (to_agent, agent(json!({"addresses": []})), 422, "addresses"),
        (
            to_agent,
            agent(json!({"name": "../../etc"})),
            422,
            "cannot be the name",
        ),
        (
            to_agent,
            agent(json!({"name": "kubernetes.default.svc"})),
            422,
            "name of the API",
        ),
        (to_agent, agent(json!({"nodeSecret": "x"})), 422, "secret"),
        (
            to_agent,
            agent(json!({"csr": "garbage"})),
            400,
            "signing request",
        ),
        (to_agent, agent(json!({"csr": ""})), 400, "signing request"),
        (
            to_agent,
            agent(json!({"token": "let me in"})),
            401,
            "not a join token",
        ),
        (
            to_server,
            server(json!({"token": ""})),
            401,
            "not a join token",
        ),
        (
            to_server,
            server(json!({"name": "S 2"})),
            422,
            "cannot be the name",
        ),
        (
            to_server,
            server(json!({"peerUrl": "http://s2.example:2380"})),
            422,
            "https://",
        ),
        (to_server, server(json!({"csr": "x"})), 400, "csr"),
        ("/euston/v1/renew", b"{}".to_vec(), 401, "certificate"),
        ("/euston/v1/ca", Vec::new(), 405, "method"),
        (
            "/euston/v1/members/s1/promote",
            Vec::new(),
            401,
            "certificate",
        ),
    ] {
        let (status, answer) = send(&client, &cluster, path, body).await;
        let said = answer["message"].as_str().unwrap_or_default();
        assert_eq!(status.as_u16(), code, "{path}: {said}");
        assert!(said.contains(expect), "{path}: {said}");
        assert_eq!(answer["kind"], "Status", "{path}");
        assert_eq!(answer["code"], code, "{path}");
        assert!(!said.contains(&token), "{said}");
    }
    // None of them left anything behind.
    assert_eq!(cluster.store.members().len(), 1);
    let fine = cluster.token(Role::Agent).await;
    join_agent(&cluster.agent("w1", Some(fine))).await.unwrap();
}

#[tokio::test]
async fn many_wrong_tokens_are_told_to_come_back_and_a_right_one_gets_in() {
    let cluster = Arc::new(Cluster::start().await);
    let good = cluster.token(Role::Agent).await;
    let mut wrong = good.clone();
    wrong.secret = cluster.token(Role::Agent).await.secret;
    let body = json!({
        "token": wrong.to_string(), "name": "w1", "addresses": ["10.0.0.7"],
        "nodeSecret": "0".repeat(32), "csr": "",
    });
    let client = anonymous(&cluster);
    let mut tries = JoinSet::new();
    for _ in 0..60 {
        let (client, cluster) = (client.clone(), cluster.clone());
        let body = body.to_string().into_bytes();
        tries.spawn(async move {
            let path = "/euston/v1/join/agent";
            send(&client, &cluster, path, body).await.0.as_u16()
        });
    }
    let codes = tries.join_all().await;
    assert!(
        codes.iter().all(|code| [401, 429].contains(code)),
        "{codes:?}"
    );
    assert!(codes.contains(&429), "{codes:?}");
    join_agent(&cluster.agent("w1", Some(good))).await.unwrap();
}

/// A server that is not of the cluster and writes down what it is sent. It shows `ca_pem` as its CA.
async fn impostor(
    ca_pem: String,
    stop: CancellationToken,
) -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(dir.path()).unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let ca_pem = if ca_pem.is_empty() {
        authority.ca_pem().to_owned()
    } else {
        ca_pem
    };
    let router = {
        let seen = seen.clone();
        Router::new().fallback(move |request: Request<Body>| async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let line = format!("{:?} {}", parts, String::from_utf8_lossy(&body));
            seen.lock().unwrap().push(line);
            ca_pem
        })
    };
    let address = serve_tls(&authority, Ipv4Addr::new(127, 0, 0, 3), router, stop).await;
    (address, seen)
}

#[tokio::test]
async fn a_man_in_the_middle_never_sees_the_secret() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Agent).await;
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    // One shows its own CA, the other passes the true one on, which does not make it a server of it.
    for ca_pem in [String::new(), cluster.authority.ca_pem().to_owned()] {
        let passes_on = !ca_pem.is_empty();
        let (address, seen) = impostor(ca_pem, stop.clone()).await;
        let mut join = cluster.agent("w1", Some(token.clone()));
        join.servers = vec![address.into()];
        join.patience = Duration::from_millis(100);
        let error = join_agent(&join).await.unwrap_err();
        match &error {
            JoinError::NoContact(_) if !passes_on => {}
            JoinError::Timeout { .. } if passes_on => {}
            other => panic!("{other:?}"),
        }
        // A copy: the impostor goes on listening.
        let seen = seen.lock().unwrap().clone();
        assert!(!seen.is_empty());
        for request in &seen {
            assert!(request.contains("/euston/v1/ca"), "{request}");
            assert!(!request.contains(&token.secret.to_string()), "{request}");
            assert!(!request.contains(token.id.as_str()), "{request}");
        }
        // With an honest server beside it, the join goes there.
        join.servers.push(cluster.server.address.into());
        join.patience = crate::cluster::PATIENCE;
        join_agent(&join).await.unwrap();
        std::fs::remove_file(join.dir.join("node.crt")).unwrap();
    }
}
