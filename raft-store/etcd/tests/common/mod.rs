//! What tests and the benchmark call a server with: the generated clients, over one connection each.

#![allow(dead_code, reason = "not every one of them needs all of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use raft_store_etcd::etcdserverpb::cluster_client::ClusterClient;
use raft_store_etcd::etcdserverpb::kv_client::KvClient;
use raft_store_etcd::etcdserverpb::lease_client::LeaseClient;
use raft_store_etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use raft_store_etcd::etcdserverpb::watch_client::WatchClient;
use tokio::net::TcpStream;
use tonic::body::Body;

/// Carries calls over one connection.
#[derive(Clone)]
pub struct Channel(SendRequest<Body>);

impl Channel {
    pub async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        Self::over(tcp).await
    }

    pub async fn over<I>(io: I) -> std::io::Result<Self>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(64 << 20)
            .handshake(TokioIo::new(io))
            .await
            .map_err(std::io::Error::other)?;
        // Its error is the error of the calls on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(sender))
    }
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// The clients of all services.
#[derive(Clone)]
pub struct Client {
    pub kv: KvClient<Channel>,
    pub watch: WatchClient<Channel>,
    pub lease: LeaseClient<Channel>,
    pub cluster: ClusterClient<Channel>,
    pub maintenance: MaintenanceClient<Channel>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self::of(Channel::connect(address).await?, address))
    }

    pub fn of(channel: Channel, address: SocketAddr) -> Self {
        let origin: http::Uri = format!("http://{address}").parse().unwrap();
        Self {
            kv: KvClient::with_origin(channel.clone(), origin.clone())
                .max_decoding_message_size(usize::MAX),
            watch: WatchClient::with_origin(channel.clone(), origin.clone())
                .max_decoding_message_size(usize::MAX),
            lease: LeaseClient::with_origin(channel.clone(), origin.clone()),
            cluster: ClusterClient::with_origin(channel.clone(), origin.clone()),
            maintenance: MaintenanceClient::with_origin(channel, origin),
        }
    }
}

/// Longer than anything here takes; a test that hits it has failed.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Waits for a condition.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "waited too long: {what}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A future that must not take for ever.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited too long: {what}"),
    }
}
