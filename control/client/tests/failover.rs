//! A client of several servers, which are real ones on 127.0.0.1 to 127.0.0.3, and what it does when they
//! stop, hang, refuse or are somebody else's.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use euston_client::{ServerAddress, Servers, connect};
use euston_tls::{Authority, ClientAuth, Identity, PeerIdentity, ServeLimits};
use futures::{AsyncRead, AsyncReadExt, StreamExt, stream};
use http::{Request, StatusCode};
use kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take on a loaded machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    unwell: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn authority() -> (Authority, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Authority::load_or_create(dir.path()).unwrap(), dir)
}

/// Says at `/who` which it is and who asks, streams for ever at `/stream`, and at `/well` says whether it can
/// serve.
async fn serve(authority: &Authority, number: u8) -> Server {
    let (stop, unwell) = (CancellationToken::new(), CancellationToken::new());
    let ill = unwell.clone();
    let router = Router::new()
        .route(
            "/who",
            get(move |request: Request<Body>| async move {
                let user = request.extensions().get::<PeerIdentity>();
                let user = user.map_or("nobody", |u| u.common_name.as_str());
                format!("{number} {user} {:?}", request.version())
            }),
        )
        .route(
            "/stream",
            get(|| async {
                let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"go"))]);
                Body::from_stream(first.chain(stream::pending()))
            }),
        )
        .route(
            "/well",
            get(move || async move {
                if ill.is_cancelled() {
                    (StatusCode::SERVICE_UNAVAILABLE, "no leader".to_owned())
                } else {
                    (StatusCode::OK, number.to_string())
                }
            }),
        );
    let identity = authority
        .issue_server("kube-apiserver", &[], &euston_tls::loopback_sans(0))
        .unwrap();
    let tls =
        euston_tls::server_config(authority.ca_pem(), &identity, ClientAuth::Optional).unwrap();
    let ip = Ipv4Addr::new(127, 0, 0, number);
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = ServeLimits {
        drain_timeout: Duration::from_millis(50),
        ..ServeLimits::default()
    };
    let until = stop.clone();
    tokio::spawn(euston_tls::serve(listener, tls, router, limits, until));
    Server {
        address,
        stop,
        unwell,
    }
}

fn dial(servers: &[SocketAddr], authority: &Authority, me: Option<&Identity>) -> (Client, Servers) {
    let servers = servers.iter().map(|&a| ServerAddress::from(a)).collect();
    connect(servers, authority.ca_pem(), me).unwrap()
}

async fn ask(client: &Client, path: &str) -> Result<String, kube::Error> {
    let request = Request::get(path).body(Vec::new()).unwrap();
    tokio::time::timeout(PATIENCE, client.request_text(request))
        .await
        .expect("an answer or an error")
}

/// A stream whose first bytes have come.
async fn stream_of(client: &Client) -> impl AsyncRead + Unpin + use<> {
    let request = Request::get("/stream").body(Vec::new()).unwrap();
    let mut stream = Box::pin(client.request_stream(request).await.unwrap());
    let mut go = [0; 2];
    stream.read_exact(&mut go).await.unwrap();
    stream
}

#[tokio::test]
async fn all_servers_are_one_to_the_caller() {
    let (authority, _dir) = authority();
    let servers = [serve(&authority, 1).await, serve(&authority, 2).await];
    let me = authority.issue_client("kate", &[]).unwrap();
    let addresses = servers.each_ref().map(|s| s.address);
    let (client, list) = dial(&addresses, &authority, Some(&me));
    let first = ask(&client, "/who").await.unwrap();
    assert!(first.ends_with("kate HTTP/2.0"), "{first}");
    assert_eq!(ask(&client, "/who").await.unwrap(), first);

    let preferred = list.preferred().unwrap();
    let (used, other) = match servers.iter().position(|s| preferred == s.address.into()) {
        Some(index) => (&servers[index], &servers[1 - index]),
        None => panic!("{preferred} is no server"),
    };
    used.stop.cancel();
    // Requests of the moment may fail; the one after finds the other server.
    let second = loop {
        match ask(&client, "/who").await {
            Ok(answer) if answer != first => break answer,
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(second.ends_with("kate HTTP/2.0"), "{second}");
    assert_eq!(list.preferred(), Some(other.address.into()));
}

#[tokio::test]
async fn with_no_server_left_the_error_names_them_all() {
    let (authority, _dir) = authority();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = taken.local_addr().unwrap();
    drop(taken);
    let (client, _) = dial(&[dead], &authority, None);
    let error = ask(&client, "/who").await.unwrap_err().to_string();
    assert!(error.contains(&dead.to_string()), "{error}");
    assert!(error.contains("no server can be reached"), "{error}");
    let (client, list) = dial(&[], &authority, None);
    assert!(ask(&client, "/who").await.is_err());
    // The list can be put right while the client is in use.
    let server = serve(&authority, 1).await;
    list.set(vec![server.address.into()]);
    assert_eq!(ask(&client, "/who").await.unwrap(), "1 nobody HTTP/2.0");
}

#[tokio::test]
async fn a_server_of_another_cluster_is_passed_over() {
    let (authority, _dir) = authority();
    let (stranger, _other) = self::authority();
    let (wrong, right) = (serve(&stranger, 1).await, serve(&authority, 2).await);
    let (client, list) = dial(&[wrong.address, right.address], &authority, None);
    assert_eq!(ask(&client, "/who").await.unwrap(), "2 nobody HTTP/2.0");
    assert_eq!(list.preferred(), Some(right.address.into()));
}

#[tokio::test]
async fn a_server_without_its_group_loses_its_requests_and_then_its_streams() {
    let (authority, _dir) = authority();
    let servers = [serve(&authority, 1).await, serve(&authority, 2).await];
    let addresses = servers.each_ref().map(|s| s.address);
    let (client, list) = dial(&addresses, &authority, None);
    let mut stream = stream_of(&client).await;
    let preferred = list.preferred().unwrap();
    let used = servers.iter().find(|s| preferred == s.address.into());
    used.unwrap().unwell.cancel();
    assert!(ask(&client, "/well").await.is_err());
    let answer = ask(&client, "/well").await.unwrap();
    assert_ne!(list.preferred(), Some(preferred));
    assert_eq!(ask(&client, "/well").await.unwrap(), answer);
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the stream is cut")
        .unwrap_err();
}

#[tokio::test]
async fn a_single_server_without_its_group_keeps_its_client() {
    let (authority, _dir) = authority();
    let server = serve(&authority, 1).await;
    let (client, list) = dial(&[server.address], &authority, None);
    assert_eq!(ask(&client, "/well").await.unwrap(), "1");
    server.unwell.cancel();
    assert!(ask(&client, "/well").await.is_err());
    assert_eq!(ask(&client, "/who").await.unwrap(), "1 nobody HTTP/2.0");
    assert_eq!(list.preferred(), Some(server.address.into()));
}

#[tokio::test]
async fn a_new_certificate_is_shown_on_the_next_connection() {
    let (authority, _dir) = authority();
    let (first, second) = (serve(&authority, 1).await, serve(&authority, 2).await);
    let (client, list) = dial(&[first.address], &authority, None);
    assert_eq!(ask(&client, "/who").await.unwrap(), "1 nobody HTTP/2.0");
    let me = authority.issue_client("kate", &[]).unwrap();
    list.set_identity(&me).unwrap();
    list.set(vec![second.address.into()]);
    first.stop.cancel();
    loop {
        match ask(&client, "/who").await.as_deref() {
            Ok("2 kate HTTP/2.0") => break,
            Ok("2 nobody HTTP/2.0") => panic!("the old identity on a new connection"),
            _ => tokio::task::yield_now().await,
        }
    }
}

/// Passes bytes to and fro until it is frozen; then it holds its connections and takes new ones, and says
/// nothing any more, as a machine does that has lost its power or its network.
async fn freezable(to: SocketAddr) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let frozen = CancellationToken::new();
    let freeze = frozen.clone();
    tokio::spawn(async move {
        let mut held = JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            let freeze = freeze.clone();
            held.spawn(async move {
                let mut onward = TcpStream::connect(to).await.unwrap();
                let copy = tokio::io::copy_bidirectional(&mut from, &mut onward);
                if freeze.run_until_cancelled(copy).await.is_none() {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (address, frozen)
}

#[tokio::test]
async fn a_server_that_dies_silently_is_noticed_and_left() {
    let (authority, _dir) = authority();
    let (first, second) = (serve(&authority, 1).await, serve(&authority, 2).await);
    let (front, freeze) = freezable(first.address).await;
    let (client, list) = dial(&[front], &authority, None);
    let mut stream = stream_of(&client).await;
    list.set(vec![front.into(), second.address.into()]);
    freeze.cancel();
    let frozen = Instant::now();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the stream ends")
        .unwrap_err();
    assert_eq!(ask(&client, "/who").await.unwrap(), "2 nobody HTTP/2.0");
    assert_eq!(list.preferred(), Some(second.address.into()));
    // For people who look at it: pings take up to 1.75 s, the dead server 1 s more.
    println!("at another server after {:?}", frozen.elapsed());
}
