//! A connection to another member: TCP, TLS, HTTP/2.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;

use crate::address::Address;
use crate::config::PeerConfig;
use crate::handshake;
use crate::proto::peer_client::PeerClient;
use crate::proto::{Handshake, HelloRequest, MembersRequest, MembersResponse};
use crate::trouble::Trouble;

/// The largest message, decoded; a sender of this crate makes none much larger than [`crate::queue::BATCH_BYTES`].
/// A larger frame comes in pieces, so that no message needs a bound in the hundreds of megabytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 3 << 20;
/// Bytes of a stream that may be under way or wait for the receiver. Over 8 MiB / 50 ms, a stream between continents
/// still gets 1.3 Gbit/s; a receiver that has stalled holds this much.
pub(crate) const STREAM_WINDOW: u32 = 8 << 20;
/// The same of a connection: more than a stream's, so that a stalled stream does not hold up a hello beside it.
pub(crate) const CONNECTION_WINDOW: u32 = 12 << 20;
/// HTTP/2 frames; 16 KiB is the protocol's default, and costs a header and a wake-up each.
pub(crate) const HTTP2_FRAME_BYTES: u32 = 256 << 10;
/// Bytes of headers: those of this protocol are some hundred.
pub(crate) const HEADER_BYTES_MAX: u32 = 16 << 10;

pub(crate) type Client = PeerClient<Channel>;

/// An open connection; dropped, it is cut.
pub(crate) struct Link {
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl Link {
    /// Connects, within [`PeerConfig::connect_timeout`].
    pub(crate) async fn connect(address: &Address, config: &PeerConfig) -> Result<Self, Trouble> {
        let limit = config.connect_timeout;
        match timeout(limit, Self::connect_unbounded(address, config)).await {
            Ok(result) => result,
            Err(_) => Err(Trouble::Connect(format!("no connection within {limit:?}"))),
        }
    }

    async fn connect_unbounded(address: &Address, config: &PeerConfig) -> Result<Self, Trouble> {
        let connect = |error: std::io::Error| Trouble::Connect(error.to_string());
        let host = (address.host.as_str(), address.port);
        let tcp = TcpStream::connect(host).await.map_err(connect)?;
        // Frames are small and urgent.
        tcp.set_nodelay(true).map_err(connect)?;
        let io = match &config.tls {
            None => Either::Left(tcp),
            Some(tls) => {
                let name = ServerName::try_from(address.host.clone())
                    .map_err(|error| Trouble::Connect(error.to_string()))?;
                let connector = TlsConnector::from(Arc::clone(&tls.client));
                let stream = connector.connect(name, tcp).await;
                Either::Right(stream.map_err(|error| Trouble::Tls(error.to_string()))?)
            }
        };
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(config.keepalive_interval)
            .keep_alive_timeout(config.keepalive_timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| Trouble::Connect(error.to_string()))?;
        // Its error is the error of the calls on it.
        let driver = tokio::spawn(async move { drop(connection.await) });
        let origin = http::Uri::builder()
            .scheme(if config.tls.is_some() {
                "https"
            } else {
                "http"
            })
            .authority(address.authority())
            .path_and_query("/")
            .build()
            .map_err(|error| Trouble::Connect(error.to_string()))?;
        let client = PeerClient::with_origin(Channel(sender), origin)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self {
            client,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Asks who the members are.
    pub(crate) async fn members(&self, limit: Duration) -> Result<MembersResponse, Trouble> {
        let request = MembersRequest {
            version: handshake::VERSION,
        };
        match timeout(limit, self.client().members(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Trouble::of_status(&status)),
            Err(_) => Err(Trouble::Silent(limit)),
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Asks whether a stream with this handshake would be taken; returns how long the answer took.
    pub(crate) async fn hello(
        &self,
        handshake: Handshake,
        limit: Duration,
    ) -> Result<Duration, Trouble> {
        let begun = Instant::now();
        let request = HelloRequest {
            handshake: Some(handshake),
        };
        let mut client = self.client();
        match timeout(limit, client.hello(request)).await {
            Ok(Ok(_)) => Ok(begun.elapsed()),
            Ok(Err(status)) => Err(Trouble::of_status(&status)),
            Err(_) => Err(Trouble::Silent(limit)),
        }
    }
}

/// Carries calls over one connection.
#[derive(Clone)]
pub(crate) struct Channel(SendRequest<Body>);

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
