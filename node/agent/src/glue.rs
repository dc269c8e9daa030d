//! Where sandbox and network meet: a container as a listener of the pod network, the network as
//! what carries a guest's requests, and a log as what takes its output.

use crate::logs::format::Stream;
use crate::logs::writer::LogWriter;
use crate::remote::pipe::Taps;
use async_trait::async_trait;
use euston_network::{
    Body, Caller, HttpHandler, PodNet, SendError, SendOptions, Undelivered, plain,
};
use euston_sandbox::{
    Container, HandleError, OutboundError, OutboundHttp, OutboundOptions, Output, StdStream,
};
use http::{HeaderValue, Request, Response, StatusCode, header};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// An HTTP container behind a port.
pub(crate) struct Listener {
    container: Container,
    draining: AtomicBool,
    in_flight: AtomicUsize,
    idle: Notify,
}

impl Listener {
    pub(crate) fn new(container: Container) -> Self {
        Self {
            container,
            draining: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }

    /// Refuses new requests from now on, so that their senders go elsewhere, and waits at most this
    /// long until those that were taken have their response's head. Bodies are the container's own
    /// business when it stops.
    pub(crate) async fn drain(&self, at_most: Duration) {
        self.draining.store(true, Ordering::SeqCst);
        let wait = async {
            loop {
                let idle = self.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if self.in_flight.load(Ordering::SeqCst) == 0 {
                    return;
                }
                idle.await;
            }
        };
        // What is not answered in time is ended by the container's own stop.
        let _ = tokio::time::timeout(at_most, wait).await;
    }
}

/// Counts a request; also when its future is dropped.
struct Counted<'a>(&'a Listener);

impl<'a> Counted<'a> {
    fn new(listener: &'a Listener) -> Self {
        listener.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(listener)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1
            && self.0.draining.load(Ordering::SeqCst)
        {
            self.0.idle.notify_waiters();
        }
    }
}

#[async_trait]
impl HttpHandler for Listener {
    async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, Undelivered> {
        // Counted before looking: `drain` sets the mark and then reads the count, so that either
        // the mark is seen here or this request is seen there.
        let _counted = Counted::new(self);
        if self.draining.load(Ordering::SeqCst) {
            return Err(Undelivered::Refused {
                request: Box::new(request),
                why: "the pod is ending",
            });
        }
        match self.container.handle(request).await {
            Ok(response) => Ok(response),
            Err(HandleError::Stopped) => Err(Undelivered::Failed(SendError::Refused {
                to: "the container".into(),
                why: "it has just ended".into(),
            })),
            Err(error) => Ok(answer(&error)),
        }
    }
}

/// What a client sees of a guest that did not answer.
fn answer(error: &HandleError) -> Response<Body> {
    let status = match error {
        HandleError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
        HandleError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        HandleError::BadResponse(_) => StatusCode::BAD_GATEWAY,
        HandleError::BadRequest(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = plain(status, &error.to_string());
    if let HandleError::Busy { retry_after } = error {
        let seconds = retry_after.as_secs().max(1);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The network as a guest of one pod sees it.
pub(crate) struct Outbound {
    pub(crate) net: Arc<PodNet>,
    pub(crate) caller: Caller,
}

#[async_trait]
impl OutboundHttp for Outbound {
    async fn send(
        &self,
        request: Request<Body>,
        options: OutboundOptions,
    ) -> Result<Response<Body>, OutboundError> {
        let options = SendOptions {
            connect_timeout: options.connect_timeout,
            first_byte_timeout: options.first_byte_timeout,
        };
        self.net
            .send(&self.caller, request, options)
            .await
            .map_err(|error| match error {
                SendError::NoSuchName(name) => OutboundError::Dns(name),
                SendError::Refused { .. } | SendError::NoEndpoints { .. } => {
                    OutboundError::ConnectionRefused
                }
                SendError::Timeout { .. } => OutboundError::Timeout,
                SendError::Denied { .. } => OutboundError::Denied(error.to_string()),
                other => OutboundError::Other(other.to_string()),
            })
    }
}

/// A container's stdout and stderr: to its log, and to the clients that are attached.
pub(crate) struct ToLog {
    pub(crate) log: Arc<LogWriter>,
    pub(crate) taps: Taps,
}

impl Output for ToLog {
    fn write(&self, stream: StdStream, bytes: &[u8]) {
        self.taps.offer(stream, bytes);
        let stream = match stream {
            StdStream::Stdout => Stream::Stdout,
            StdStream::Stderr => Stream::Stderr,
        };
        self.log.write(stream, bytes);
    }
}
