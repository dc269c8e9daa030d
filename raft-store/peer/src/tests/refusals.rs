//! Who is refused, and told why.

use tonic::Code;

use super::*;
use crate::address::Address;
use crate::handshake::{Reason, VERSION};
use crate::link::Link;
use crate::proto::Handshake;
use crate::trouble::Trouble;

/// A connection that is not a member's.
pub(super) async fn link_to(address: SocketAddr) -> Link {
    let config = PeerConfig::new(local(0));
    let address = Address {
        host: address.ip().to_string(),
        port: address.port(),
    };
    Link::connect(&address, &config).await.expect("connecting")
}

/// What is wrong with a call, and how it is answered.
type Case = (fn(&mut Handshake), Result<(), (Reason, Code)>);

/// What member a says to member b.
pub(super) fn fitting() -> Handshake {
    Handshake {
        version: VERSION,
        cluster_id: CLUSTER,
        from: 0xa,
        to: 0xb,
        run: 1,
        peer_urls: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_do_not_fit_are_refused_by_name() {
    let b = Node::new(0xb).await;
    let others = [0xa, 0xe].map(|id| member(id, &["127.0.0.1:1"]));
    let members = || {
        others
            .iter()
            .cloned()
            .chain([b.member()])
            .collect::<Vec<_>>()
    };
    b.transport.set_members(members());
    // Listed once, and no more.
    b.transport
        .set_members(members().into_iter().filter(|m| m.id != 0xe).collect());
    b.core.removed.lock().insert(0xf);
    let link = link_to(b.address()).await;
    let cases: [Case; 8] = [
        (|_| {}, Ok(())),
        (
            |call| call.version = 7,
            Err((Reason::Version, Code::FailedPrecondition)),
        ),
        (
            |call| call.cluster_id = 0xc2,
            Err((Reason::Cluster, Code::FailedPrecondition)),
        ),
        (
            |call| call.to = 0xd,
            Err((Reason::Member, Code::FailedPrecondition)),
        ),
        (
            |call| call.from = 0xb,
            Err((Reason::Own, Code::FailedPrecondition)),
        ),
        (
            |call| call.from = 0xe,
            Err((Reason::Removed, Code::PermissionDenied)),
        ),
        (
            |call| call.from = 0xf,
            Err((Reason::Removed, Code::PermissionDenied)),
        ),
        (
            |call| call.from = 0x10,
            Err((Reason::Unknown, Code::PermissionDenied)),
        ),
    ];
    for (change, expect) in cases {
        let mut call = fitting();
        change(&mut call);
        // A hello, and a stream.
        let hello = link.hello(call.clone(), BOUND).await.map(|_| ());
        match expect {
            Ok(()) => hello.expect("a fitting call is taken"),
            Err((reason, code)) => {
                let Err(Trouble::Refused(refusal)) = hello else {
                    panic!("{call:?}: {hello:?}");
                };
                assert_eq!(refusal.reason, reason);
                for side in [call.from, call.to, 0xb] {
                    let name = format!("member {side:016x}");
                    assert!(refusal.what.contains(&name), "{name} in {}", refusal.what);
                }
                let stream = futures::stream::iter([crate::proto::FramesRequest {
                    what: Some(crate::proto::frames_request::What::Handshake(call)),
                }]);
                let status = link.client().frames(stream).await.unwrap_err();
                assert_eq!(status.code(), code);
                assert_eq!(status.message(), refusal.what);
            }
        }
    }
    assert_eq!(b.network.counters().refused, 14);
    assert!(b.core.log.borrow().frames.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_cluster_or_at_another_address_gets_nothing_through() {
    let b = Node::new(0xb).await;
    let stranger = Node::of_core(FakeCore::new(0xc2, 0xa), |_| {}).await;
    let lost = Node::new(0xa).await;
    // The first has the right address in the wrong cluster, the second takes b for d.
    stranger
        .transport
        .set_members(vec![stranger.member(), b.member()]);
    let wrong = member(0xd, &[&b.address().to_string()]);
    lost.transport.set_members(vec![lost.member(), wrong]);
    b.transport.set_members(vec![lost.member(), b.member()]);
    stranger.send(0xb, 0..3);
    lost.send(0xd, 0..3);
    stranger
        .core
        .until("reports", |log| log.unreachable > 1)
        .await;
    lost.core.until("reports", |log| log.unreachable > 1).await;
    assert!(b.core.log.borrow().frames.is_empty());
    assert!(!stranger.counters(0xb).connected && !lost.counters(0xd).connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_id_the_newer_speaks() {
    let b = Node::new(0xb).await;
    let older = Node::new(0xa).await;
    introduce(&[&older, &b]);
    older.send_until_received(&b.core, 0).await;
    let newer = Node::new(0xa).await;
    newer
        .transport
        .set_members(vec![newer.member(), b.member()]);
    let next = newer.send_until_received(&b.core, 1 << 32).await;
    older
        .until_counted(0xb, "its end", |counters| !counters.connected)
        .await;
    let call = |node: &Node| Handshake {
        run: node.network.network.run,
        ..fitting()
    };
    let link = link_to(b.address()).await;
    let Err(Trouble::Refused(refusal)) = link.hello(call(&older), BOUND).await else {
        panic!("the older one is taken");
    };
    assert_eq!(refusal.reason, Reason::Replaced);
    link.hello(call(&newer), BOUND)
        .await
        .expect("the newer one is taken");
    newer.send_until_received(&b.core, next).await;
}

#[tokio::test]
async fn plain_tcp_beyond_loopback_has_to_be_asked_for() {
    let mut config = PeerConfig::new(SocketAddr::from(([0, 0, 0, 0], 0)));
    let error = PeerNetwork::listen(config.clone()).await.unwrap_err();
    assert!(
        error.to_string().contains("0.0.0.0:0 without TLS"),
        "{error}"
    );
    config.plain_beyond_loopback = true;
    PeerNetwork::listen(config.clone())
        .await
        .expect("listening");
    config.queue_bytes = 0;
    let error = PeerNetwork::listen(config).await.unwrap_err();
    assert!(error.to_string().contains("queue_bytes"), "{error}");
}
