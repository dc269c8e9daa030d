//! Port-forward: connections to ports of a pod.
//!
//! An HTTP container takes requests, not connections: here is who speaks HTTP in front of it.

use euston_network::PodNet;
use euston_streams::{Forward, ForwardSession, Inbox, Outbox};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;

/// Bytes under way in one direction of one connection. When it is full, who sends waits.
const CONNECTION_BYTES_MAX: usize = 64 << 10;
/// Bytes of a piece of an answer.
const PIECE_BYTES: usize = 16 << 10;

/// Serves the session until the client leaves.
pub(super) async fn run(mut session: ForwardSession, net: Arc<PodNet>, ip: IpAddr, pod: String) {
    let gone = session.gone();
    // As many as the session has streams; what a client opens beyond is refused there.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            forward = session.next() => match forward {
                Some(forward) => {
                    let to = SocketAddr::new(ip, forward.port);
                    connections.spawn(connect(forward, net.clone(), to, pod.clone()));
                }
                None => break,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    // The connections that a WebSocket named are all there is; the session ends with the last.
    tokio::select! {
        () = gone.cancelled() => {}
        () = async { while connections.join_next().await.is_some() {} } => {}
    }
}

async fn connect(forward: Forward, net: Arc<PodNet>, to: SocketAddr, pod: String) {
    let Forward {
        port,
        from_client,
        to_client,
        error,
    } = forward;
    if !net.is_listening(to) {
        let why = format!(
            "error forwarding port {port} to pod {pod}: nothing listens on it. An HTTP container \
             serves the first of its containerPorts, or 80"
        );
        // A client that is gone is told nothing.
        let _ = error.send(why.into()).await;
        return;
    }
    let (near, far) = tokio::io::duplex(CONNECTION_BYTES_MAX);
    let (read, write) = tokio::io::split(near);
    let answered = async { tokio::join!(net.serve_port(to, far), outward(read, &to_client)) };
    let asked = async {
        inward(from_client, write).await;
        // The answer to what was asked may still come.
        std::future::pending::<()>().await
    };
    tokio::select! {
        _ = answered => {}
        () = asked => {}
        () = to_client.gone() => {}
    }
}

async fn inward(mut from_client: Inbox, mut write: WriteHalf<tokio::io::DuplexStream>) {
    while let Ok(Some(bytes)) = from_client.next().await {
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // The other side may be gone already.
    let _ = write.shutdown().await;
}

async fn outward(mut read: ReadHalf<tokio::io::DuplexStream>, to_client: &Outbox) {
    let mut buffer = bytes::BytesMut::new();
    loop {
        buffer.reserve(PIECE_BYTES);
        match read.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if to_client.send(buffer.split().freeze()).await.is_err() {
            return;
        }
    }
}
