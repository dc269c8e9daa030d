//! Clients that break the protocol: they are told so, and their connection ends.

use crate::{spdy, spdy_client, within, ws, ws_client};
use euston_streams::spdy::Headers;
use euston_streams::spdy::frame::Frame;
use euston_streams::{Asked, CommandSession, ForwardSession, Purpose};
use futures::SinkExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

const STDIN: Asked = Asked {
    stdin: true,
    stdout: false,
    stderr: false,
    tty: false,
};

const PROTOCOL_ERROR: Option<u32> = Some(1);

#[tokio::test]
async fn spdy_clients_that_break_the_rules_are_sent_away() {
    let syn = |id| Frame::SynStream {
        id,
        fin: false,
        unidirectional: false,
        headers: Headers::from([("streamtype", "error")]),
    };
    for frames in [
        vec![syn(2)],
        vec![syn(3), syn(1)],
        vec![Frame::SynReply {
            id: 1,
            fin: false,
            headers: Headers::default(),
        }],
        vec![Frame::WindowUpdate {
            id: 0,
            delta: 0x7fff_ffff,
        }],
        vec![Frame::Settings {
            values: vec![(7, u32::MAX)],
        }],
    ] {
        let (near, far) = tokio::io::duplex(64 << 10);
        let agreed = spdy(Purpose::Command, "v4.channel.k8s.io");
        let begin = tokio::spawn(CommandSession::begin(far, agreed, STDIN));
        let mut client = spdy_client::Client::new(near);
        for frame in frames.clone() {
            client.send(frame).await;
        }
        within("the close", async { while client.read().await {} }).await;
        assert_eq!(client.went_away(), PROTOCOL_ERROR, "{frames:?}");
        assert!(begin.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn websocket_clients_that_break_the_rules_are_told_why() {
    for (message, expect) in [
        (
            Message::Binary(vec![255].into()),
            (1002, "a close message of 1 bytes"),
        ),
        (
            Message::Binary(vec![0; (4 << 20) + 1].into()),
            (1009, "a message may have 4194304 bytes"),
        ),
    ] {
        let (near, far) = tokio::io::duplex(64 << 10);
        let agreed = ws(Purpose::Command, "v5.channel.k8s.io");
        let session = CommandSession::begin(far, agreed, STDIN).await.unwrap();
        let mut client = ws_client::Client::new(near).await;
        // The server closes while it is still being sent.
        let _ = client.ws.send(message).await;
        client.read_to_the_end().await;
        let (code, reason) = client.closed.unwrap();
        assert_eq!(code, expect.0);
        assert!(reason.contains(expect.1), "{reason}");
        within("the session's end", session.gone().cancelled()).await;
    }
    // Not masked, as RFC 6455 demands of clients.
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let agreed = ws(Purpose::Command, "v5.channel.k8s.io");
    let session = CommandSession::begin(far, agreed, STDIN).await.unwrap();
    near.write_all(b"\x82\x02\x00x").await.unwrap();
    let mut all = Vec::new();
    within("the close", near.read_to_end(&mut all))
        .await
        .unwrap();
    assert!(
        all.windows(4)
            .any(|w| w[0] == 0x88 && w[2..] == [0x03, 0xea]),
        "{all:?}"
    );
    within("the session's end", session.gone().cancelled()).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes after a good beginning: no panic, no hang, and the session ends.
    #[test]
    fn any_bytes_end_in_order(noise in prop::collection::vec(any::<u8>(), 0..2000), wire in 0usize..5) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (near, far) = tokio::io::duplex(64 << 10);
            let agreed = [
                ws(Purpose::Command, "v5.channel.k8s.io"),
                ws(Purpose::Command, "v4.base64.channel.k8s.io"),
                spdy(Purpose::Command, "v4.channel.k8s.io"),
                spdy(Purpose::PortForward, "portforward.k8s.io"),
                ws(Purpose::PortForward, "SPDY/3.1+portforward.k8s.io"),
            ][wire];
            let task = tokio::spawn(async move {
                if wire < 3 {
                    if let Ok(mut session) = CommandSession::begin(far, agreed, STDIN).await {
                        let mut stdin = session.stdin.take().unwrap();
                        while let Ok(Some(_)) = stdin.next().await {}
                        session.finish(&euston_streams::Outcome::Success).await;
                    }
                } else {
                    let mut session = ForwardSession::begin(far, agreed, &[]).await.unwrap();
                    while session.next().await.is_some() {}
                    session.gone().cancelled().await;
                }
            });
            let (mut read, mut write) = tokio::io::split(near);
            let drain = tokio::spawn(async move {
                let mut all = Vec::new();
                let _ = read.read_to_end(&mut all).await;
            });
            if wire == 2 || wire == 3 {
                let mut bytes = bytes::BytesMut::new();
                let mut encoder = euston_streams::spdy::frame::Encoder::default();
                for kind in ["error", "stdin"] {
                    let id = if kind == "error" { 1 } else { 3 };
                    let headers = Headers::from([("streamtype", kind), ("port", "1")]);
                    let frame = Frame::SynStream { id, fin: false, unidirectional: false, headers };
                    encoder.encode(&frame, &mut bytes);
                }
                let _ = write.write_all(&bytes).await;
            }
            let _ = write.write_all(&noise).await;
            let _ = write.shutdown().await;
            drop(write);
            // On paused time: hours at most, never for ever.
            tokio::time::timeout(std::time::Duration::from_secs(86_400), async {
                task.await.unwrap();
                drain.await.unwrap();
            })
            .await
            .unwrap();
        });
    }
}
