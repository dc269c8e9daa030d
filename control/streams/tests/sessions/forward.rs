//! Port-forward.

use crate::{spdy, spdy_client, within, ws, ws_client};
use bytes::Bytes;
use euston_streams::{Agreed, Forward, ForwardSession, Purpose, ports};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::task::JoinHandle;

/// Answers each connection with its port and what it sent; port 7 fails.
fn serve(agreed: Agreed, ports: &'static [u16]) -> (DuplexStream, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let task = tokio::spawn(async move {
        let mut session = ForwardSession::begin(far, agreed, ports).await.unwrap();
        while let Some(forward) = session.next().await {
            tokio::spawn(answer(forward));
        }
        session.gone().cancelled().await;
    });
    (near, task)
}

async fn answer(mut forward: Forward) {
    if forward.port == 7 {
        let why = Bytes::from_static(b"nothing listens on port 7");
        forward.error.send(why).await.unwrap();
        return;
    }
    let port = format!("{}:", forward.port);
    forward.to_client.send(port.into()).await.unwrap();
    while let Ok(Some(bytes)) = forward.from_client.next().await {
        if forward.to_client.send(bytes).await.is_err() {
            return;
        }
    }
}

async fn over_spdy<IO: AsyncRead + AsyncWrite + Unpin>(io: IO) {
    let mut client = spdy_client::Client::new(io);
    let pair = |port, request| {
        (
            [
                ("streamType", "error"),
                ("port", port),
                ("requestID", request),
            ],
            [
                ("streamType", "data"),
                ("port", port),
                ("requestID", request),
            ],
        )
    };
    // Two at a time, and one whose port fails.
    let (error, data) = pair("80", "0");
    let (first_error, first) = (client.open(error).await, client.open(data).await);
    let (error, data) = pair("81", "1");
    let (second, second_error) = (client.open(data).await, client.open(error).await);
    let (error, data) = pair("7", "2");
    let (failing_error, failing) = (client.open(error).await, client.open(data).await);
    client.data(first_error, b"", true).await;
    client.data(first, b"one", false).await;
    client.data(second, b"two", true).await;
    client.data(first, b" more", true).await;
    client
        .until("the end", |client| {
            [
                first,
                first_error,
                second,
                second_error,
                failing,
                failing_error,
            ]
            .iter()
            .all(|id| client.ended(*id))
        })
        .await;
    assert_eq!(client.text(first), "80:one more");
    assert_eq!(client.text(second), "81:two");
    assert_eq!(client.text(first_error), "");
    assert_eq!(client.text(failing), "");
    assert_eq!(client.text(failing_error), "nothing listens on port 7");
    // Clients from before request ids.
    let error = client.open([("streamType", "error"), ("port", "82")]).await;
    let data = client.open([("streamType", "data"), ("port", "82")]).await;
    client.data(data, b"old", true).await;
    client
        .until("the old client's end", |client| client.ended(data))
        .await;
    assert_eq!(client.text(data), "82:old");
    assert!(client.reset(error).is_none());
    // Ports that are none.
    for port in ["0", "65536", "x", "-1"] {
        let refused = client.open([("streamType", "data"), ("port", port)]).await;
        client
            .until("the refusal", |client| client.reset(refused).is_some())
            .await;
    }
    client.close().await;
}

#[tokio::test]
async fn connections_are_forwarded_over_spdy() {
    let (io, task) = serve(spdy(Purpose::PortForward, "portforward.k8s.io"), &[]);
    over_spdy(io).await;
    within("the session's end", task).await.unwrap();
}

#[tokio::test]
async fn connections_are_forwarded_over_spdy_in_a_websocket() {
    let (io, task) = serve(ws(Purpose::PortForward, "SPDY/3.1+portforward.k8s.io"), &[]);
    over_spdy(ws_client::Tunnel::new(io).await).await;
    within("the session's end", task).await.unwrap();
}

#[tokio::test]
async fn connections_are_forwarded_over_channels() {
    let agreed = ws(Purpose::PortForward, "v4.channel.k8s.io");
    assert!(ForwardSession::needs_ports(agreed));
    let (io, task) = serve(agreed, &[80, 7, 0x1234]);
    let mut client = ws_client::Client::new(io).await;
    client.send(0, b"one").await;
    client.send(4, b"two").await;
    client
        .until("the answers", |client| {
            client.text(0).ends_with("one")
                && client.text(4).ends_with("two")
                && client.text(3).ends_with('7')
        })
        .await;
    // Each channel begins with the port, in little endian.
    for (channel, expect) in [
        (0, &b"\x50\x0080:one"[..]),
        (1, b"\x50\x00"),
        (2, b"\x07\x00"),
        (3, b"\x07\x00nothing listens on port 7"),
        (4, b"\x34\x124660:two"),
        (5, b"\x34\x12"),
    ] {
        assert_eq!(client.got[&channel], expect, "{channel}");
    }
    drop(client);
    within("the session's end", task).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn half_a_pair_is_given_up() {
    let (io, _task) = serve(spdy(Purpose::PortForward, "portforward.k8s.io"), &[]);
    let mut client = spdy_client::Client::new(io);
    let request = [("streamType", "error"), ("port", "80"), ("requestID", "5")];
    let error = client.open(request).await;
    let request = [("streamType", "data"), ("port", "80"), ("requestID", "6")];
    let data = client.open(request).await;
    while !(client.ended(error) && client.ended(data)) {
        assert!(client.read().await);
    }
    assert!(
        client.text(error).contains("request 5"),
        "{}",
        client.text(error)
    );
}

#[test]
fn ports_are_read_in_every_form() {
    let check = |values: &[&str], expect: Result<&[u16], &str>| match (
        ports(values.iter().copied()),
        expect,
    ) {
        (Ok(got), Ok(expect)) => assert_eq!(got, expect),
        (Err(got), Err(expect)) => assert!(got.contains(expect), "{got}"),
        (got, _) => panic!("{values:?}: {got:?}"),
    };
    check(&[], Ok(&[]));
    check(&["80"], Ok(&[80]));
    check(&["80,81", "443"], Ok(&[80, 81, 443]));
    check(&[""], Err("unable to parse \"\""));
    check(&["80,"], Err("unable to parse \"\""));
    check(&["http"], Err("\"http\""));
    check(&["0"], Err("> 0"));
    check(&["65536"], Err("\"65536\""));
    check(&["1,".repeat(127).trim_end_matches(',')], Ok(&[1; 127]));
    check(
        &["1,".repeat(128).trim_end_matches(',')],
        Err("at most 127"),
    );
}
