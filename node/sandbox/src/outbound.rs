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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{empty, full};
    use http_body_util::StreamBody;

    #[test]
    fn open_exchanges_are_bounded_and_counted_back() {
        let count = Arc::new(AtomicUsize::new(0));
        let mut open: Vec<Exchange> = (0..EXCHANGES_MAX)
            .map(|_| Exchange::open(&count).expect("room"))
            .collect();
        assert!(Exchange::open(&count).is_none());
        assert!(Exchange::open(&count).is_none(), "a refusal takes no room");
        open.pop();
        open.push(Exchange::open(&count).expect("room again"));
        drop(open);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    /// Answers with a body that stops after one frame; or, asked for `/never`, not at all.
    struct Stuck;

    #[async_trait::async_trait]
    impl OutboundHttp for Stuck {
        async fn send(
            &self,
            request: http::Request<Body>,
            _options: OutboundOptions,
        ) -> std::result::Result<http::Response<Body>, OutboundError> {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            if request.uri().path() == "/whole" {
                return Ok(http::Response::new(full("whole")));
            }
            let stuck = futures::StreamExt::chain(
                futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"some")))]),
                futures::stream::pending(),
            );
            Ok(http::Response::new(Body::new(StreamBody::new(stuck))))
        }
    }

    #[tokio::test]
    async fn the_guests_time_limits_hold_whatever_the_network_does() {
        let short = Some(Duration::from_millis(5));
        for (path, options, expect) in [
            (
                "/never",
                RequestOptions {
                    connect_timeout: short,
                    first_byte_timeout: short,
                    between_bytes_timeout: None,
                },
                Err("ConnectionReadTimeout"),
            ),
            (
                "/stuck",
                RequestOptions {
                    between_bytes_timeout: short,
                    ..RequestOptions::default()
                },
                Err("ConnectionReadTimeout"),
            ),
            ("/whole", RequestOptions::default(), Ok("whole")),
            (
                "/whole",
                RequestOptions {
                    // As good as none; must not overflow.
                    between_bytes_timeout: Some(Duration::MAX),
                    first_byte_timeout: Some(Duration::MAX),
                    connect_timeout: Some(Duration::MAX),
                },
                Ok("whole"),
            ),
        ] {
            let count = Arc::new(AtomicUsize::new(0));
            let exchange = Exchange::open(&count).expect("room");
            let body = empty().map_err(|_| Error::HttpProtocolError).boxed_unsync();
            let request = http::Request::get(format!("http://a{path}"))
                .body(body)
                .expect("a request");
            let got = match send(Arc::new(Stuck), request, Some(options), exchange).await {
                Ok(response) => response
                    .into_body()
                    .collect()
                    .await
                    .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()),
                Err(error) => Err(error),
            };
            let got = got.map_err(|error| format!("{error:?}"));
            assert_eq!(got.as_deref().map_err(String::as_str), expect, "{path}");
            assert_eq!(count.load(Ordering::Relaxed), 0, "{path}: closed");
        }
    }
}
