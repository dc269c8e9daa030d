//! The API as clients see it: one member in this process, the generated clients over a connection to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Channel, Client, soon, until};
use raft_store::{Config, Store};
use raft_store_etcd::etcdserverpb::request_op::Request as Step;
use raft_store_etcd::etcdserverpb::response_op::Response as Answer;
use raft_store_etcd::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, HashKvRequest, HashRequest,
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, MemberListRequest, MoveLeaderRequest, PutRequest, RangeRequest,
    RequestOp, ResponseHeader, SnapshotRequest, StatusRequest, TxnRequest,
};
use raft_store_etcd::{EtcdConfig, EtcdError, EtcdServer};
use sha2::Digest as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

struct Server {
    store: Store,
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), EtcdError>>,
    _dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::with(EtcdConfig::default(), |_| {}).await
    }

    async fn with(config: EtcdConfig, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Config::new("a", dir.path());
        store.request_bytes_max = config.request_bytes_max;
        change(&mut store);
        let store = Store::open(store).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = EtcdServer::new(store.clone(), config);
        let serving = tokio::spawn(server.serve(listener, stop.clone().cancelled_owned()));
        Self {
            store,
            address,
            stop,
            serving,
            _dir: dir,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await.unwrap()
    }
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest {
        key: key.to_owned().into(),
        ..RangeRequest::default()
    }
}

fn says(result: Result<impl Sized, Status>, code: Code, text: &str) {
    match result {
        Ok(_) => panic!("it was taken, expected: {text}"),
        Err(status) => assert_eq!((status.code(), status.message()), (code, text)),
    }
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.unwrap().revision
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_put_read_and_deleted_and_every_answer_says_where_the_store_stands() {
    let server = Server::start().await;
    let mut kv = server.client().await.kv;
    let status = server.store.status();

    let first = kv.put(put("a", "1")).await.unwrap().into_inner();
    let header = first.header.unwrap();
    assert_eq!(header.cluster_id, status.cluster_id);
    assert_eq!(header.member_id, status.member_id);
    assert_eq!((header.revision, header.raft_term), (2, status.term));
    assert_eq!(first.prev_kv, None, "was not asked for");
    let again = PutRequest {
        prev_kv: true,
        ..put("a", "2")
    };
    let again = kv.put(again).await.unwrap().into_inner();
    assert_eq!(again.prev_kv.unwrap().value, "1");
    kv.put(put("b", "3")).await.unwrap();

    let all = RangeRequest {
        range_end: "\0".into(),
        ..get("a")
    };
    let answer = kv.range(all.clone()).await.unwrap().into_inner();
    assert_eq!((answer.count, answer.more, answer.kvs.len()), (2, false, 2));
    let a = &answer.kvs[0];
    assert_eq!((&a.key[..], &a.value[..]), (&b"a"[..], &b"2"[..]));
    assert_eq!((a.create_revision, a.mod_revision, a.version), (2, 3, 2));
    let old = RangeRequest {
        revision: 2,
        ..all.clone()
    };
    let answer = kv.range(old).await.unwrap().into_inner();
    assert_eq!((answer.kvs.len(), &answer.kvs[0].value[..]), (1, &b"1"[..]));
    assert_eq!(
        revision(answer.header),
        4,
        "the newest, not the one read at"
    );
    let one = RangeRequest { limit: 1, ..all };
    let answer = kv.range(one).await.unwrap().into_inner();
    assert_eq!((answer.count, answer.more, answer.kvs.len()), (2, true, 1));

    let delete = DeleteRangeRequest {
        key: "a".into(),
        range_end: "z".into(),
        prev_kv: true,
    };
    let answer = kv.delete_range(delete.clone()).await.unwrap().into_inner();
    assert_eq!((answer.deleted, answer.prev_kvs.len()), (2, 2));
    assert_eq!(revision(answer.header), 5);
    let answer = kv.delete_range(delete).await.unwrap().into_inner();
    assert_eq!((answer.deleted, revision(answer.header)), (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_refused_with_the_words_of_etcd() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let kv = &mut client.kv;
    for value in ["1", "2", "3"] {
        kv.put(put("k", value)).await.unwrap();
    }
    let no_key = "etcdserver: key is not provided";
    says(kv.put(put("", "")).await, Code::InvalidArgument, no_key);
    says(kv.range(get("")).await, Code::InvalidArgument, no_key);
    says(
        kv.delete_range(DeleteRangeRequest::default()).await,
        Code::InvalidArgument,
        no_key,
    );
    let ignoring = PutRequest {
        ignore_value: true,
        ..put("nothing", "")
    };
    says(
        kv.put(ignoring).await,
        Code::InvalidArgument,
        "etcdserver: key not found",
    );
    let leased = PutRequest {
        lease: 7,
        ..put("k", "v")
    };
    says(
        kv.put(leased).await,
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
    let step = |step| RequestOp {
        request: Some(step),
    };
    let twice = TxnRequest {
        success: vec![
            step(Step::Put(put("a", "1"))),
            step(Step::Put(put("a", "2"))),
        ],
        ..TxnRequest::default()
    };
    says(
        kv.txn(twice).await,
        Code::InvalidArgument,
        "etcdserver: duplicate key given in txn request",
    );
    let many = TxnRequest {
        success: vec![step(Step::Range(get("a"))); 129],
        ..TxnRequest::default()
    };
    says(
        kv.txn(many).await,
        Code::InvalidArgument,
        "etcdserver: too many operations in txn request",
    );
    let large = put("k", &"v".repeat(1536 << 10));
    says(
        kv.put(large).await,
        Code::InvalidArgument,
        "etcdserver: request is too large",
    );
    kv.put(put("k", &"v".repeat((1536 << 10) - 1)))
        .await
        .unwrap();

    let compact = |revision| CompactionRequest {
        revision,
        physical: true,
    };
    kv.compact(compact(3)).await.unwrap();
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    let future = "etcdserver: mvcc: required revision is a future revision";
    says(kv.compact(compact(3)).await, Code::OutOfRange, compacted);
    says(kv.compact(compact(-1)).await, Code::OutOfRange, compacted);
    says(kv.compact(compact(99)).await, Code::OutOfRange, future);
    let at = |revision| RangeRequest {
        revision,
        ..get("k")
    };
    says(kv.range(at(2)).await, Code::OutOfRange, compacted);
    says(kv.range(at(99)).await, Code::OutOfRange, future);
    kv.range(at(3)).await.unwrap();

    let hash = HashKvRequest { revision: 99 };
    says(
        client.maintenance.hash_kv(hash).await,
        Code::OutOfRange,
        future,
    );
    let nobody = MoveLeaderRequest { target_id: 1 };
    says(
        client.maintenance.move_leader(nobody).await,
        Code::FailedPrecondition,
        "etcdserver: bad leader transferee",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_reads_writes_and_sorts_within_itself() {
    let server = Server::start().await;
    let mut kv = server.client().await.kv;
    kv.put(put("b", "1")).await.unwrap();
    let step = |step| RequestOp {
        request: Some(step),
    };
    let descending = RangeRequest {
        range_end: "\0".into(),
        sort_order: 2,
        limit: 1,
        ..get("a")
    };
    let inner = TxnRequest {
        success: vec![step(Step::Put(PutRequest {
            prev_kv: true,
            ..put("b", "2")
        }))],
        ..TxnRequest::default()
    };
    let txn = TxnRequest {
        success: vec![
            step(Step::Put(put("c", "3"))),
            step(Step::Txn(inner)),
            step(Step::Range(descending)),
        ],
        ..TxnRequest::default()
    };
    let answer = kv.txn(txn).await.unwrap().into_inner();
    assert!(answer.succeeded);
    assert_eq!(revision(answer.header), 3, "one for all of it");
    let answers: Vec<_> = answer
        .responses
        .into_iter()
        .map(|answer| answer.response.unwrap())
        .collect();
    let Answer::Txn(inner) = &answers[1] else {
        panic!("{answers:?}")
    };
    let Some(Answer::Put(inner)) = &inner.responses[0].response else {
        panic!("{inner:?}")
    };
    assert_eq!(inner.prev_kv.as_ref().unwrap().value, "1");
    let Answer::Range(range) = &answers[2] else {
        panic!("{answers:?}")
    };
    assert_eq!(range.kvs[0].key, "c", "the last comes first");
    assert_eq!((range.count, range.more), (2, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_granted_kept_alive_and_revoked() {
    let server = Server::start().await;
    let Client {
        mut kv, mut lease, ..
    } = server.client().await;
    let grant = |id, ttl| LeaseGrantRequest { id, ttl };
    let granted = lease.lease_grant(grant(0, 100)).await.unwrap().into_inner();
    assert!(granted.id > 0 && granted.ttl == 100);
    lease.lease_grant(grant(7, 100)).await.unwrap();
    says(
        lease.lease_grant(grant(7, 100)).await,
        Code::FailedPrecondition,
        "etcdserver: lease already exists",
    );
    says(
        lease.lease_grant(grant(8, i64::MAX)).await,
        Code::OutOfRange,
        "etcdserver: too large lease TTL",
    );
    let leased = PutRequest {
        lease: 7,
        ..put("k", "v")
    };
    kv.put(leased).await.unwrap();
    let ask = |id| LeaseTimeToLiveRequest { id, keys: true };
    let left = lease.lease_time_to_live(ask(7)).await.unwrap().into_inner();
    assert_eq!((left.granted_ttl, left.keys), (100, vec!["k".into()]));
    assert!((90..=100).contains(&left.ttl), "{}", left.ttl);
    let none = lease.lease_time_to_live(ask(9)).await.unwrap().into_inner();
    assert_eq!((none.id, none.ttl, none.granted_ttl), (9, -1, 0));

    let requests = [7, 9, 7].map(|id| LeaseKeepAliveRequest { id });
    let requests = futures::stream::iter(requests);
    let mut alive = lease.lease_keep_alive(requests).await.unwrap().into_inner();
    for expect in [(7, 100), (9, 0), (7, 100)] {
        let answer = alive.message().await.unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl), expect);
    }
    assert_eq!(alive.message().await.unwrap(), None);

    let all = lease.lease_leases(LeaseLeasesRequest {}).await.unwrap();
    assert_eq!(all.into_inner().leases.len(), 2);
    let revoke = LeaseRevokeRequest { id: 7 };
    let revoked = lease.lease_revoke(revoke).await.unwrap().into_inner();
    assert_eq!(revision(revoked.header), 3, "of the deletion");
    assert_eq!(kv.range(get("k")).await.unwrap().into_inner().count, 0);
    says(
        lease.lease_revoke(revoke).await,
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_ends_with_the_checksum_that_etcdctl_looks_for() {
    let server = Server::start().await;
    let Client {
        mut kv,
        mut maintenance,
        ..
    } = server.client().await;
    for at in 0..40 {
        kv.put(put(&format!("k{at}"), &"v".repeat(100_000)))
            .await
            .unwrap();
    }
    let blobs = maintenance.snapshot(SnapshotRequest {}).await.unwrap();
    let mut blobs = blobs.into_inner();
    let mut bytes = Vec::new();
    let mut remaining = u64::MAX;
    while let Some(blob) = blobs.message().await.unwrap() {
        assert!(remaining > 0, "nothing comes after the end");
        assert!(blob.remaining_bytes <= remaining);
        remaining = blob.remaining_bytes;
        bytes.extend_from_slice(&blob.blob);
    }
    assert_eq!(remaining, 0);
    assert!(bytes.len() > 4_000_000, "{}", bytes.len());
    assert_eq!(bytes.len() % 512, 32);
    let (body, checksum) = bytes.split_at(bytes.len() - 32);
    assert_eq!(sha2::Sha256::digest(body)[..], *checksum);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_tells_its_state_hashes_and_alarms() {
    let server = Server::start().await;
    let Client {
        mut kv,
        mut cluster,
        mut maintenance,
        ..
    } = server.client().await;
    kv.put(put("a", "1")).await.unwrap();
    let stands = server.store.status();
    let status = maintenance.status(StatusRequest {}).await.unwrap();
    let status = status.into_inner();
    assert_eq!(status.leader, stands.member_id);
    assert_eq!(status.raft_term, stands.term);
    assert!(status.raft_index >= status.raft_applied_index && status.raft_applied_index > 0);
    assert!(status.db_size >= status.db_size_in_use && status.db_size_in_use > 0);
    assert!(status.version.starts_with("3.4.") && status.errors.is_empty());

    let at = |revision| HashKvRequest { revision };
    let newest = maintenance.hash_kv(at(0)).await.unwrap().into_inner();
    let same = maintenance.hash_kv(at(2)).await.unwrap().into_inner();
    let before = maintenance.hash_kv(at(1)).await.unwrap().into_inner();
    assert_eq!(newest.hash, same.hash);
    assert_ne!(newest.hash, before.hash);
    assert_eq!((newest.hash_revision, before.hash_revision), (2, 1));
    let hash = maintenance.hash(HashRequest {}).await.unwrap().into_inner();
    assert_eq!(hash.hash, newest.hash);

    let alarm = |action, alarm: AlarmType| AlarmRequest {
        action,
        member_id: stands.member_id,
        alarm: alarm.into(),
    };
    let set = alarm(1, AlarmType::Nospace);
    assert_eq!(
        maintenance
            .alarm(set)
            .await
            .unwrap()
            .into_inner()
            .alarms
            .len(),
        1
    );
    says(
        kv.put(put("b", "1")).await,
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded",
    );
    let status = maintenance.status(StatusRequest {}).await.unwrap();
    let expect = format!("memberID:{} alarm:NOSPACE ", stands.member_id);
    assert_eq!(status.into_inner().errors, [expect]);
    let (code, body) = page(server.address, "/health").await;
    assert_eq!((code, body.as_str()), (503, r#"{"health":"false"}"#));
    let asked = alarm(0, AlarmType::Corrupt);
    assert!(
        maintenance
            .alarm(asked)
            .await
            .unwrap()
            .into_inner()
            .alarms
            .is_empty()
    );
    let asked = alarm(0, AlarmType::None);
    assert_eq!(
        maintenance
            .alarm(asked)
            .await
            .unwrap()
            .into_inner()
            .alarms
            .len(),
        1
    );
    let off = alarm(2, AlarmType::Nospace);
    maintenance.alarm(off).await.unwrap();
    kv.put(put("b", "1")).await.unwrap();

    for linearizable in [false, true] {
        let list = cluster
            .member_list(MemberListRequest { linearizable })
            .await;
        let list = list.unwrap().into_inner();
        assert_eq!(list.members.len(), 1);
        assert_eq!(list.members[0].id, stands.member_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_outgrew_its_quota_takes_no_more() {
    let server = Server::with(EtcdConfig::default(), |store| store.db_bytes_max = 1 << 20).await;
    let mut kv = server.client().await.kv;
    let value = "v".repeat(100_000);
    let refused = soon("the quota", async {
        for at in 0.. {
            if let Err(status) = kv.put(put(&format!("k{at}"), &value)).await {
                return status;
            }
        }
        unreachable!()
    })
    .await;
    says(
        Err::<(), _>(refused),
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded",
    );
    kv.range(get("k0")).await.unwrap();
    let delete = DeleteRangeRequest {
        key: "k0".into(),
        ..DeleteRangeRequest::default()
    };
    kv.delete_range(delete).await.unwrap();
}

/// Asks as curl does.
async fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    // In two pieces, the first of which does not tell the protocol yet.
    tcp.write_all(&request.as_bytes()[..2]).await.unwrap();
    tcp.flush().await.unwrap();
    tcp.write_all(&request.as_bytes()[2..]).await.unwrap();
    let mut answer = String::new();
    soon("a page", tcp.read_to_string(&mut answer))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_finds_its_pages_on_the_same_port() {
    let server = Server::start().await;
    let check = async |path: &str, code: u16, body: &str| {
        let found = page(server.address, path).await;
        assert_eq!((found.0, found.1.as_str()), (code, body), "{path}");
    };
    check("/health", 200, r#"{"health":"true"}"#).await;
    let version = r#"{"etcdserver":"3.4.31","etcdcluster":"3.4.0"}"#;
    check("/version", 200, version).await;
    assert_eq!(page(server.address, "/etcdserverpb.KV/Put").await.0, 404);
    assert_eq!(page(server.address, "/").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_not_served_say_so() {
    let server = Server::start().await;
    let channel = Channel::connect(server.address).await.unwrap();
    let origin: http::Uri = format!("http://{}", server.address).parse().unwrap();
    let check = async |path: &'static str, code: Code, text: &str| {
        let mut grpc = tonic::client::Grpc::with_origin(channel.clone(), origin.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<StatusRequest, StatusRequest>::default();
        let request = tonic::Request::new(StatusRequest {});
        let path = http::uri::PathAndQuery::from_static(path);
        let answer = grpc.unary(request, path, codec).await;
        says(answer, code, text);
    };
    check(
        "/etcdserverpb.Auth/Authenticate",
        Code::FailedPrecondition,
        "etcdserver: authentication is not enabled",
    )
    .await;
    check(
        "/etcdserverpb.Maintenance/Downgrade",
        Code::Unimplemented,
        "",
    )
    .await;
    check(
        "/v3lockpb.Lock/Lock",
        Code::Unimplemented,
        "this server has no method /v3lockpb.Lock/Lock",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_tells_its_streams_and_lets_go_of_the_port() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.kv.put(put("a", "1")).await.unwrap();
    let requests = futures::stream::pending::<LeaseKeepAliveRequest>();
    let alive = client.lease.lease_keep_alive(requests).await.unwrap();
    server.stop.cancel();
    let ended = soon("the end of the stream", alive.into_inner().message()).await;
    says(ended, Code::Unavailable, "etcdserver: server stopped");
    soon("the end of the server", server.serving)
        .await
        .unwrap()
        .unwrap();
    TcpListener::bind(server.address).await.unwrap();
    // The store is not the server's to stop.
    assert_eq!(server.store.status().stopped, None);
}

#[tokio::test]
async fn plain_connections_are_served_on_loopback_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Config::new("a", dir.path())).await.unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let server = EtcdServer::new(store, EtcdConfig::default());
    let refused = server.serve(listener, std::future::pending::<()>()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("without TLS"), "{refused}");
}

mod tls {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio_rustls::TlsConnector;

    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            Self(CertifiedIssuer::self_signed(params, key).unwrap())
        }

        fn roots(&self) -> Arc<RootCertStore> {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            Arc::new(roots)
        }

        fn issue(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            let cert = params.signed_by(&key, &self.0).unwrap();
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            (vec![cert.der().clone()], key.into())
        }

        fn server(&self) -> ServerConfig {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let (chain, key) = self.issue();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
            ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_client_cert_verifier(verifier.build().unwrap())
                .with_single_cert(chain, key)
                .unwrap()
        }

        fn client(&self, known: bool) -> ClientConfig {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let client = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(self.roots());
            let mut client = if known {
                let (chain, key) = self.issue();
                client.with_client_auth_cert(chain, key).unwrap()
            } else {
                client.with_no_client_auth()
            };
            client.alpn_protocols = vec![b"h2".to_vec()];
            client
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clients_with_a_certificate_are_served_and_others_are_not() {
        let authority = Authority::new();
        let config = EtcdConfig {
            tls: Some(Arc::new(authority.server())),
            ..EtcdConfig::default()
        };
        let server = Server::with(config, |_| {}).await;
        let call = async |client: ClientConfig| {
            let tcp = TcpStream::connect(server.address).await.unwrap();
            let connector = TlsConnector::from(Arc::new(client));
            let name = ServerName::try_from("127.0.0.1").unwrap();
            // Fails here or, where the server's refusal comes later, at the first call.
            let io = connector.connect(name, tcp).await.ok()?;
            let channel = Channel::over(io).await.ok()?;
            let mut client = Client::of(channel, server.address);
            client.kv.put(put("a", "1")).await.ok()
        };
        assert!(call(authority.client(true)).await.is_some());
        assert!(call(authority.client(false)).await.is_none());
        assert!(call(Authority::new().client(true)).await.is_none());
        // A plain client, which is not served either.
        let mut plain = server.client().await;
        let answer = soon("a refusal", plain.kv.put(put("a", "1"))).await;
        assert!(answer.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_on_one_connection_are_all_answered() {
    let server = Server::start().await;
    let client = server.client().await;
    let calls = (0..500).map(|at| {
        let mut kv = client.kv.clone();
        tokio::spawn(async move { kv.put(put(&format!("k{at:03}"), "v")).await })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        soon("an answer", call).await.unwrap().unwrap();
    }
    let all = RangeRequest {
        range_end: "\0".into(),
        count_only: true,
        ..get("k")
    };
    let answer = client.kv.clone().range(all).await.unwrap().into_inner();
    assert_eq!((answer.count, answer.kvs.len()), (500, 0));
    until("the store says so too", async || {
        (server.store.revision() == 501).then_some(())
    })
    .await;
    tokio::time::timeout(Duration::from_secs(60), server.store.shutdown())
        .await
        .unwrap();
}
