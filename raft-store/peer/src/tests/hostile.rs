//! What must not hurt a member.

use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use super::refusals::{fitting, link_to};
use super::*;
use crate::proto::frames_request::What;
use crate::proto::{Batch, FramesRequest, Part, SnapshotBegin, SnapshotEnd, SnapshotRequest};
use crate::proto::{HelloRequest, snapshot_request};

const MIB: usize = 1 << 20;

/// A member that has heard of member a.
async fn target() -> Node {
    let node = Node::with(0xb, |config| {
        config.connect_timeout = Duration::from_millis(300);
        config.frame_bytes_max = MIB;
        config.connections_max = 8;
    })
    .await;
    let a = member(0xa, &["127.0.0.1:1"]);
    node.transport.set_members(vec![a, node.member()]);
    node
}

/// Shows that a member is still taken calls from.
async fn is_well(node: &Node) {
    let well = async {
        let link = link_to(node.address()).await;
        link.hello(fitting(), BOUND)
            .await
            .expect("a hello is taken");
    };
    timeout(BOUND, well).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_http_2_close_the_connection() {
    let node = target().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let with = |more: &[u8]| [&preface, more].concat();
    let cases = [
        // Nothing at all, and nothing more.
        Vec::new(),
        preface.clone(),
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
        // A frame of 16 MiB that is announced and does not come; one of an unknown kind.
        with(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]),
        with(&[0, 0, 1, 0xee, 0, 0, 0, 0, 0, 1]),
        // Data on a stream that was never opened.
        with(&[0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 5]),
    ];
    for bytes in cases {
        let mut tcp = TcpStream::connect(node.address())
            .await
            .expect("connecting");
        // May be closed before all is written.
        let _ = tcp.write_all(&bytes).await;
        let mut answer = Vec::new();
        let closed = timeout(BOUND, tcp.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "{} bytes keep it open", bytes.len());
        is_well(&node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_make_room_for_others() {
    let node = target().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(
            TcpStream::connect(node.address())
                .await
                .expect("connecting"),
        );
    }
    let well = async {
        // Its own patience ends before the silent ones are closed: it calls again.
        let config = PeerConfig::new(local(0));
        let address = crate::address::Address {
            host: "127.0.0.1".to_owned(),
            port: node.address().port(),
        };
        loop {
            if let Ok(link) = crate::link::Link::connect(&address, &config).await
                && link.hello(fitting(), Duration::from_secs(1)).await.is_ok()
            {
                return;
            }
        }
    };
    timeout(BOUND, well).await.expect("room in the end");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_make_no_sense_end_with_a_status() {
    let node = target().await;
    let hello = || What::Handshake(fitting());
    let part = |frame_bytes, len| {
        What::Part(Part {
            frame_bytes,
            data: vec![0; len].into(),
        })
    };
    let batch = |count, len| {
        What::Batch(Batch {
            frames: vec![vec![0; len].into(); count],
        })
    };
    let mib = MIB as u64;
    let cases = [
        (vec![], Code::InvalidArgument),
        (vec![None], Code::InvalidArgument),
        (vec![Some(batch(1, 1))], Code::InvalidArgument),
        (vec![Some(hello()), Some(hello())], Code::InvalidArgument),
        (vec![Some(hello()), None], Code::InvalidArgument),
        (
            vec![Some(hello()), Some(part(mib + 1, 1))],
            Code::InvalidArgument,
        ),
        (
            vec![Some(hello()), Some(part(u64::MAX, 1))],
            Code::InvalidArgument,
        ),
        (
            vec![Some(hello()), Some(part(9, 10))],
            Code::InvalidArgument,
        ),
        (
            vec![Some(hello()), Some(part(9, 5)), Some(batch(1, 1))],
            Code::InvalidArgument,
        ),
        (
            vec![Some(hello()), Some(batch(100_000, 0))],
            Code::InvalidArgument,
        ),
        // Refused before it is read.
        (
            vec![Some(hello()), Some(batch(1, 4 * MIB))],
            Code::OutOfRange,
        ),
    ];
    for (messages, code) in cases {
        // A connection for each: what was refused is not to be explained by what came before.
        let link = link_to(node.address()).await;
        let count = messages.len();
        let messages = messages.into_iter().map(|what| FramesRequest { what });
        let mut client = link.client().max_encoding_message_size(usize::MAX);
        let call = client.frames(stream::iter(messages.collect::<Vec<_>>()));
        let status = timeout(BOUND, call).await.expect("in time").unwrap_err();
        assert_eq!(status.code(), code, "{count} messages: {status:?}");
    }
    assert!(node.core.log.borrow().frames.is_empty());
    is_well(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_begin_is_ended() {
    let node = target().await;
    let link = link_to(node.address()).await;
    link.hello(fitting(), BOUND)
        .await
        .expect("a hello is taken");
    let mut client = link.client();
    let call = client.frames(stream::pending());
    let status = timeout(BOUND, call).await.expect("in time").unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let empty = client.hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_without_a_right_end_are_discarded() {
    use snapshot_request::What;
    let node = target().await;
    let begin = || {
        What::Begin(SnapshotBegin {
            handshake: Some(fitting()),
            ..SnapshotBegin::default()
        })
    };
    let chunk = || What::Chunk(Bytes::from_static(b"12345"));
    let end = |bytes| What::End(SnapshotEnd { bytes });
    let check = async |messages: Vec<Option<What>>, expect: Option<Code>| {
        let link = link_to(node.address()).await;
        let messages = messages.into_iter().map(|what| SnapshotRequest { what });
        let messages: Vec<_> = messages.collect();
        let shown = format!("{messages:?}");
        let mut client = link.client();
        let call = client.snapshot(stream::iter(messages));
        let result = timeout(BOUND, call).await.expect("in time");
        assert_eq!(result.err().map(|status| status.code()), expect, "{shown}");
    };
    let invalid = Some(Code::InvalidArgument);
    check(vec![], invalid).await;
    check(vec![Some(chunk()), Some(end(5))], invalid).await;
    assert_eq!(node.core.log.borrow().discarded, 0, "none was begun");
    check(vec![Some(begin())], invalid).await;
    check(vec![Some(begin()), None], invalid).await;
    check(vec![Some(begin()), Some(chunk())], invalid).await;
    check(vec![Some(begin()), Some(chunk()), Some(end(4))], invalid).await;
    check(vec![Some(begin()), Some(begin())], invalid).await;
    let log = node
        .core
        .until("discarding", |log| log.discarded == 5)
        .await;
    assert!(log.snapshots.is_empty());
    check(vec![Some(begin()), Some(chunk()), Some(end(5))], None).await;
}
