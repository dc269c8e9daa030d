//! `wasi:http/outgoing-handler`: the requests that a guest sends, over the [`OutboundHttp`] it was
//! given.

use crate::body::Body;
use crate::error::OutboundError;
use crate::spec::{OutboundHttp, OutboundOptions};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// Exchanges one sandbox may have open at once; more fail with `connection-limit-reached`, which
/// the guest can handle.
const EXCHANGES_MAX: usize = 128;

type Done = Box<dyn Future<Output = Result<()>> + Send>;

/// The policy of one sandbox's `wasi:http`.
pub(crate) struct Hooks {
    network: Arc<dyn OutboundHttp>,
    open: Arc<AtomicUsize>,
}

impl Hooks {
    pub(crate) fn new(network: &Arc<dyn OutboundHttp>) -> Self {
        Self {
            network: Arc::clone(network),
            open: Arc::new(AtomicUsize::new(0)),
        }
    }
}

impl WasiHttpHooks for Hooks {
    /// Services inside a cluster speak plain HTTP.
    fn default_scheme(&mut self) -> Option<http::uri::Scheme> {
        Some(http::uri::Scheme::HTTP)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Done,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Done)>> + Send> {
        let network = Arc::clone(&self.network);
        let exchange = Exchange::open(&self.open);
        Box::new(async move {
            let exchange = exchange.ok_or(Error::ConnectionLimitReached)?;
            let response = send(network, request, options, exchange).await?;
            let done: Done = Box::new(async { Ok(()) });
            Ok((response, done))
        })
    }
}

async fn send(
    network: Arc<dyn OutboundHttp>,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    exchange: Exchange,
) -> Result<http::Response<WasiBody>> {
    let defaults = OutboundOptions::default();
    let asked = options.unwrap_or_default();
    let options = OutboundOptions {
        connect_timeout: asked.connect_timeout.unwrap_or(defaults.connect_timeout),
        first_byte_timeout: asked
            .first_byte_timeout
            .unwrap_or(defaults.first_byte_timeout),
        between_bytes_timeout: asked
            .between_bytes_timeout
            .unwrap_or(defaults.between_bytes_timeout),
        use_tls: request.uri().scheme() == Some(&http::uri::Scheme::HTTPS),
    };
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let head_timeout = options
        .connect_timeout
        .saturating_add(options.first_byte_timeout);
    let response = tokio::time::timeout(head_timeout, network.send(request, options))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
        .map_err(error_code)?;
    Ok(response.map(|body| {
        TimedBody {
            body,
            pause: options.between_bytes_timeout,
            sleep: Box::pin(tokio::time::sleep(options.between_bytes_timeout)),
            _exchange: exchange,
        }
        .boxed_unsync()
    }))
}

fn error_code(error: OutboundError) -> Error {
    match error {
        OutboundError::Dns(_) => Error::DnsError {
            // As DNS says it: the name does not exist.
            rcode: Some("NXDOMAIN".to_owned()),
            info_code: None,
        },
        OutboundError::ConnectionRefused => Error::ConnectionRefused,
        OutboundError::Timeout => Error::ConnectionTimeout,
        OutboundError::Denied(_) => Error::HttpRequestDenied,
        OutboundError::Other(reason) => Error::InternalError(Some(reason)),
    }
}

/// Counts one open exchange for as long as it lives.
struct Exchange(Arc<AtomicUsize>);

impl Exchange {
    fn open(count: &Arc<AtomicUsize>) -> Option<Self> {
        let exchange = Self(Arc::clone(count));
        // Dropping `exchange` takes the count back where there is no room.
        (count.fetch_add(1, Ordering::Relaxed) < EXCHANGES_MAX).then_some(exchange)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that fails when it pauses for too long.
struct TimedBody {
    body: Body,
    pause: Duration,
    sleep: Pin<Box<Sleep>>,
    _exchange: Exchange,
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = Instant::now()
                    .checked_add(self.pause)
                    .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400 * 365));
                self.sleep.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::InternalError(Some(
                format!("the response broke off: {error}"),
            ))))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self.sleep.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
