//! The whole way over a loopback socket: who gets in, what the handler learns, how it ends.

// clippy.toml exempts test functions; these are their helpers.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use euston_tls::{
    Authority, ClientAuth, ClientBody, HttpsClient, Identity, PeerIdentity, ServeLimits,
    loopback_sans, serve, server_config,
};
use http_body_util::{BodyExt, Empty};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    address: SocketAddr,
    authority: Authority,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), euston_tls::TlsError>>,
    /// A handler under `/hold` answers once this has a permit.
    hold: Arc<Semaphore>,
    holding: Arc<Semaphore>,
    _dir: tempfile::TempDir,
}

async fn who(request: axum::extract::Request) -> String {
    match request.extensions().get::<PeerIdentity>() {
        Some(peer) => format!("{} {:?}", peer.common_name, peer.organizations),
        None => "anonymous".to_owned(),
    }
}

async fn hold(
    State((hold, holding)): State<(Arc<Semaphore>, Arc<Semaphore>)>,
) -> impl IntoResponse {
    holding.add_permits(1);
    drop(hold.acquire().await);
    "done"
}

async fn site(auth: ClientAuth, limits: ServeLimits) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(dir.path()).unwrap();
    let identity = authority
        .issue_server("kubernetes", &[], &loopback_sans(2))
        .unwrap();
    let tls = server_config(authority.ca_pem(), &identity, auth).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (held, holding) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let router = Router::new()
        .route("/who", get(who))
        .route("/hold", get(hold))
        .with_state((Arc::clone(&held), Arc::clone(&holding)));
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, tls, router, limits, shutdown.clone()));
    Site {
        address,
        authority,
        shutdown,
        server,
        hold: held,
        holding,
        _dir: dir,
    }
}

impl Site {
    async fn get(&self, client: &HttpsClient, path: &str) -> Result<String, String> {
        get_from(self.address, client, path).await
    }

    fn client(&self, identity: Option<&Identity>) -> HttpsClient {
        HttpsClient::new(self.authority.ca_pem(), identity).unwrap()
    }
}

async fn get_from(address: SocketAddr, client: &HttpsClient, path: &str) -> Result<String, String> {
    let body: ClientBody = Empty::<Bytes>::new().map_err(|e| match e {}).boxed_unsync();
    let request = http::Request::get(format!("https://{address}{path}"))
        .body(body)
        .unwrap();
    let answer = timeout(PATIENCE, client.send(request))
        .await
        .expect("an answer in time")
        .map_err(|e| e.to_string())?;
    let bytes = timeout(PATIENCE, answer.into_body().collect())
        .await
        .expect("a body in time")
        .map_err(|e| e.to_string())?
        .to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_handler_sees_who_calls() {
    let site = site(ClientAuth::Optional, ServeLimits::default()).await;
    let admin = site
        .authority
        .issue_client("kubernetes-admin", &["system:masters", "devs"])
        .unwrap();
    let node = site
        .authority
        .issue_server(
            "system:node:node-1",
            &["system:nodes"],
            &["127.0.0.1".into()],
        )
        .unwrap();
    for (identity, expect) in [
        (None, "anonymous"),
        (
            Some(&admin),
            r#"kubernetes-admin ["system:masters", "devs"]"#,
        ),
        (Some(&node), r#"system:node:node-1 ["system:nodes"]"#),
    ] {
        let answer = site.get(&site.client(identity), "/who").await;
        assert_eq!(answer.as_deref(), Ok(expect));
    }
}

#[tokio::test]
async fn a_required_certificate_is_required() {
    let site = site(ClientAuth::Required, ServeLimits::default()).await;
    let error = site.get(&site.client(None), "/who").await.unwrap_err();
    assert!(error.contains("cannot GET https://127.0.0.1"), "{error}");
    let id = site.authority.issue_client("a", &[]).unwrap();
    assert_eq!(
        site.get(&site.client(Some(&id)), "/who").await.as_deref(),
        Ok("a []")
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_ends() {
    let other_dir = tempfile::tempdir().unwrap();
    let other = Authority::load_or_create(other_dir.path()).unwrap();
    let stranger = other
        .issue_client("kubernetes-admin", &["system:masters"])
        .unwrap();
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let site = site(auth, ServeLimits::default()).await;
        site.get(&site.client(Some(&stranger)), "/who")
            .await
            .unwrap_err();
        let distrustful = HttpsClient::new(other.ca_pem(), None).unwrap();
        let error = site.get(&distrustful, "/who").await.unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{error}");
    }
}

#[tokio::test]
async fn a_server_is_refused_under_a_name_it_does_not_have() {
    let site = site(ClientAuth::Optional, ServeLimits::default()).await;
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let identity = site
        .authority
        .issue_server("kubernetes", &[], &loopback_sans(2))
        .unwrap();
    let tls = server_config(site.authority.ca_pem(), &identity, ClientAuth::Optional).unwrap();
    tokio::spawn(serve(
        listener,
        tls,
        Router::new(),
        ServeLimits::default(),
        site.shutdown.clone(),
    ));
    let error = get_from(address, &site.client(None), "/")
        .await
        .unwrap_err();
    assert!(error.contains("127.0.0.3"), "{error}");
}

/// Reads until the server closes; how it closes does not matter.
async fn closed_by_peer(mut stream: TcpStream) {
    let mut sink = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut sink))
        .await
        .expect("the server closes a silent connection");
}

#[tokio::test]
async fn a_peer_that_never_finishes_the_handshake_is_dropped_and_frees_its_slot() {
    let limits = ServeLimits {
        max_connections: 1,
        handshake_timeout: Duration::from_millis(50),
        ..ServeLimits::default()
    };
    let site = site(ClientAuth::Optional, limits).await;
    let silent = TcpStream::connect(site.address).await.unwrap();
    closed_by_peer(silent).await;
    assert_eq!(
        site.get(&site.client(None), "/who").await.as_deref(),
        Ok("anonymous")
    );
}

#[tokio::test]
async fn a_peer_that_sends_no_request_is_dropped() {
    let limits = ServeLimits {
        first_request_timeout: Duration::from_millis(50),
        ..ServeLimits::default()
    };
    let site = site(ClientAuth::Optional, limits).await;
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let mut config = euston_tls::client_config(site.authority.ca_pem(), None).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(site.address).await.unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect("localhost".try_into().unwrap(), stream)
            .await
            .unwrap();
        let mut sink = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut sink))
            .await
            .expect("the server closes an idle connection");
    }
}

#[tokio::test]
async fn shutdown_lets_a_request_end_and_takes_no_new_one() {
    let site = site(ClientAuth::Optional, ServeLimits::default()).await;
    let client = site.client(None);
    let address = site.address;
    let slow = tokio::spawn(async move { get_from(address, &client, "/hold").await });
    drop(timeout(PATIENCE, site.holding.acquire()).await.unwrap());
    site.shutdown.cancel();
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused)
        .await
        .expect("the listener closes");
    site.hold.add_permits(1);
    assert_eq!(slow.await.unwrap().as_deref(), Ok("done"));
    timeout(PATIENCE, site.server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let limits = ServeLimits {
        drain_timeout: Duration::from_millis(50),
        ..ServeLimits::default()
    };
    let site = site(ClientAuth::Optional, limits).await;
    let (client, address) = (site.client(None), site.address);
    let stuck = tokio::spawn(async move { get_from(address, &client, "/hold").await });
    drop(timeout(PATIENCE, site.holding.acquire()).await.unwrap());
    site.shutdown.cancel();
    timeout(PATIENCE, site.server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    stuck.await.unwrap().unwrap_err();
}

fn expect_refused(dir: &Path, words: &str) {
    let error = Authority::load_or_create(dir).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn an_authority_is_reused_and_damage_to_it_is_named() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (crt, key) = (dir.path().join("ca.crt"), dir.path().join("ca.key"));
    let first = Authority::load_or_create(dir.path()).unwrap();
    let again = Authority::load_or_create(dir.path()).unwrap();
    assert_eq!(first.ca_pem(), again.ca_pem());
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // What the reloaded CA signs is trusted by who knows only the first one.
    let stored = first
        .ensure_client(dir.path(), "admin", "me", &["g"])
        .unwrap();
    let reused = again
        .ensure_client(dir.path(), "admin", "me", &["g"])
        .unwrap();
    assert_eq!(stored.cert_pem, reused.cert_pem);

    let kept = fs::read_to_string(&key).unwrap();
    let other = tempfile::tempdir().unwrap();
    Authority::load_or_create(other.path()).unwrap();
    fs::copy(other.path().join("ca.key"), &key).unwrap();
    expect_refused(dir.path(), "does not belong to the key");
    fs::write(&key, "nonsense").unwrap();
    expect_refused(dir.path(), "ca.key is not usable");
    fs::remove_file(&key).unwrap();
    expect_refused(dir.path(), "is missing; restore the key");
    fs::write(&key, kept).unwrap();
    fs::write(&crt, &stored.cert_pem).unwrap();
    expect_refused(dir.path(), "not a CA certificate");
    fs::remove_file(&crt).unwrap();
    let renewed = Authority::load_or_create(dir.path()).unwrap();
    let reused = renewed
        .ensure_client(dir.path(), "admin", "me", &["g"])
        .unwrap();
    assert_eq!(
        stored.cert_pem, reused.cert_pem,
        "the same key keeps what it signed valid"
    );
}

#[test]
fn a_stored_certificate_that_no_longer_fits_is_issued_anew() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(dir.path()).unwrap();
    let sans = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let ensure = |cn: &str, orgs: &[&str], names: &[&str]| {
        authority
            .ensure_server(dir.path(), "s", cn, orgs, &sans(names))
            .unwrap()
            .cert_pem
    };
    let first = ensure("s", &["o"], &["127.0.0.1", "localhost"]);
    assert_eq!(first, ensure("s", &["o"], &["127.0.0.1", "localhost"]));
    assert_eq!(
        first,
        ensure("s", &["o"], &["localhost"]),
        "fewer names are fine"
    );
    let mut last = first;
    for (cn, orgs, names) in [
        ("t", &["o"][..], &["localhost"][..]),
        ("t", &["p"], &["localhost"]),
        ("t", &["p"], &["localhost", "127.0.0.9"]),
    ] {
        let next = ensure(cn, orgs, names);
        assert_ne!(last, next, "{cn} {orgs:?} {names:?}");
        last = next;
    }
    let other = tempfile::tempdir().unwrap();
    let foreign = Authority::load_or_create(other.path()).unwrap();
    foreign
        .issue_server("t", &["p"], &sans(&["localhost"]))
        .unwrap()
        .save(dir.path(), "s")
        .unwrap();
    let reissued = Identity {
        cert_pem: ensure("t", &["p"], &["localhost"]),
        key_pem: String::new(),
    };
    let stored = Identity::load(dir.path(), "s").unwrap().unwrap();
    assert_eq!(stored.cert_pem, reissued.cert_pem);
    assert!(server_config(foreign.ca_pem(), &stored, ClientAuth::Optional).is_ok());
    assert!(authority.issue_client("x", &["a", "b", "c"]).is_err());
}
