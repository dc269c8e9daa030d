//! Logs.

use crate::{within, ws, ws_client};
use bytes::Bytes;
use euston_streams::{Purpose, ReadingSession};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_log_comes_in_messages_and_ends_with_a_close() {
    for (protocol, expect) in [
        (
            "binary.k8s.io",
            Message::Binary(Bytes::from_static(b"flour")),
        ),
        ("base64.binary.k8s.io", Message::text("ZmxvdXI=")),
    ] {
        let (near, far) = tokio::io::duplex(1 << 10);
        let session = ReadingSession::begin(far, ws(Purpose::Reading, protocol)).unwrap();
        let task = tokio::spawn(async move {
            session.send(Bytes::from_static(b"flour")).await.unwrap();
            session.finish().await;
        });
        let mut client = ws_client::Client::new(near).await;
        // What clients say does not matter.
        client.send(0, b"ignored").await;
        client.read_to_the_end().await;
        assert_eq!(client.messages, [expect]);
        assert_eq!(client.closed, Some((1000, String::new())));
        drop(client);
        within("the session's end", task).await.unwrap();
    }
}
