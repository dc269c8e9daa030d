//! Answering requests: a fresh sandbox for each.

use crate::body::{Body, BoxError};
use crate::container::Shared;
use crate::error::HandleError;
use crate::image::Linked;
use crate::meter::Metered;
use crate::runtime::FOREVER;
use crate::spec::Entry;
use crate::state::{Guest, Limited};
use crate::trap::Failure;
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// Requests that may wait, for each that may run: a burst of that size is smoothed, beyond it an
/// early 503 is worth more to the caller than a late answer.
const QUEUE_FACTOR: usize = 4;
/// The longest that a request waits for a sandbox.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(5);
/// When a caller that was turned away should come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The head of the guest's answer.
type Head = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Lets so many requests in, and so many wait.
#[derive(Debug)]
pub(crate) struct Gate {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl Gate {
    pub(crate) fn new(concurrent: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(concurrent.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            waiting_max: concurrent.saturating_mul(QUEUE_FACTOR),
        }
    }

    /// Takes `permits` of `semaphore`, in the queue if need be.
    async fn enter(
        &self,
        semaphore: &Arc<Semaphore>,
        permits: u32,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, HandleError> {
        const BUSY: HandleError = HandleError::Busy {
            retry_after: RETRY_AFTER,
        };
        if let Ok(permit) = Arc::clone(semaphore).try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        let _place = Place::take(&self.waiting, self.waiting_max).ok_or(BUSY)?;
        let until = deadline.min(Instant::now() + QUEUE_WAIT_MAX);
        let permit = Arc::clone(semaphore).acquire_many_owned(permits);
        match tokio::time::timeout_at(until, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(HandleError::Stopped),
            Err(_) => Err(BUSY),
        }
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) async fn handle(
    shared: &Arc<Shared>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, HandleError> {
    // First the token, then the look at `closing`: whoever drains either sees us or stops us.
    let token = shared.guests.token();
    if shared.closing.load(Ordering::SeqCst) || shared.entry != Entry::Http {
        return Err(HandleError::Stopped);
    }
    let Linked::Component {
        http: Some(pre), ..
    } = shared.linked()
    else {
        return Err(HandleError::Stopped);
    };
    let request = with_authority(request)?;
    let deadline = Instant::now()
        .checked_add(shared.request_timeout.min(FOREVER))
        .unwrap_or_else(|| Instant::now() + FOREVER);
    let gate = &shared.gate;
    let permits = tokio::select! {
        biased;
        () = shared.kill.cancelled() => return Err(HandleError::Stopped),
        permits = async {
            let mine = gate.enter(&gate.running, 1, deadline).await?;
            let slots = &shared.host.slots;
            let node = gate.enter(slots, shared.image.slots(), deadline).await?;
            Ok::<_, HandleError>((mine, node))
        } => permits?,
    };
    shared.requests.fetch_add(1, Ordering::Relaxed);

    let (head_sender, head) = oneshot::channel::<Head>();
    // Dropped with this future, which tells the sandbox that nobody waits for its answer.
    let (caller, caller_left) = oneshot::channel::<()>();
    let failure = Arc::new(OnceLock::new());
    let task = {
        let shared = Arc::clone(shared);
        let failure = Arc::clone(&failure);
        let pre = pre.clone();
        async move {
            let guest = Metered::new(
                run(
                    Arc::clone(&shared),
                    pre,
                    request,
                    head_sender,
                    Arc::clone(&failure),
                ),
                Arc::clone(&shared.cpu),
                shared.host.pulse(),
            );
            tokio::pin!(guest);
            let ended_from_outside = tokio::select! {
                biased;
                () = shared.kill.cancelled() => HandleError::Stopped,
                () = &mut guest => {
                    drop((permits, token));
                    return;
                }
                () = tokio::time::sleep_until(deadline) => {
                    HandleError::Timeout(shared.request_timeout)
                }
                () = left(caller_left) => HandleError::Stopped,
            };
            // Told before the sandbox is dropped: its body's reader must find the reason.
            fail(&shared, &failure, ended_from_outside);
        }
    };
    let Some(task) = shared.host.spawn(task) else {
        return Err(HandleError::Stopped);
    };
    match head.await {
        Ok(Ok(response)) => {
            let _ = caller.send(());
            Ok(response.map(|body| GuestBody { body, failure }.boxed_unsync()))
        }
        Ok(Err(code)) => {
            // It answered, if badly; what it still does after that is its own affair.
            let _ = caller.send(());
            let error =
                HandleError::BadResponse(format!("the guest answered with an error: {code}"));
            shared.note(&error.to_string());
            Err(error)
        }
        Err(_) => {
            let panicked = task.await.is_err();
            drop(caller);
            match failure.get() {
                Some(error) => Err(error.clone()),
                None if panicked => Err(HandleError::BadResponse(
                    "the host failed on this request; see the node's log".to_owned(),
                )),
                None => {
                    let error = HandleError::BadResponse(
                        "the guest returned without setting a response".to_owned(),
                    );
                    shared.note(&error.to_string());
                    Err(error)
                }
            }
        }
    }
}

/// Resolves when the caller went away before there was an answer; never after it got one.
async fn left(caller: oneshot::Receiver<()>) {
    if caller.await.is_ok() {
        std::future::pending::<()>().await;
    }
}

async fn run(
    shared: Arc<Shared>,
    pre: ProxyPre<Guest>,
    request: http::Request<Body>,
    head: oneshot::Sender<Head>,
    failure: Arc<OnceLock<HandleError>>,
) {
    let mut store = shared.template.component_store(&shared.host.engine);
    let result = async {
        let request = request.map(|body| {
            body.map_err(|error| {
                wasmtime_wasi_http::Error::InternalError(Some(format!(
                    "the request broke off: {error}"
                )))
            })
        });
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let answer = http.new_response_outparam(head)?;
        let proxy = pre.instantiate_async(&mut store).await?;
        proxy
            .wasi_http_incoming_handler()
            .call_handle(&mut store, request, answer)
            .await
    }
    .await;
    if let Err(error) = result {
        let error = match Failure::of(&error, store.data_mut().limits()) {
            Failure::Exit(code) => HandleError::BadResponse(format!(
                "the guest exited with code {code} while it handled a request"
            )),
            Failure::OutOfMemory(message) => HandleError::OutOfMemory(message),
            Failure::Trap(what) => HandleError::Trap(what),
            Failure::NoRoom(_) => HandleError::Busy {
                retry_after: RETRY_AFTER,
            },
        };
        // Before `store` is dropped, and with it the sender of the response's body.
        fail(&shared, &failure, error);
    }
}

/// Keeps the reason, and tells it where the guest's output goes.
fn fail(shared: &Shared, failure: &OnceLock<HandleError>, error: HandleError) {
    if matches!(
        error,
        HandleError::Trap(_)
            | HandleError::OutOfMemory(_)
            | HandleError::Timeout(_)
            | HandleError::BadResponse(_)
    ) {
        shared.note(&error.to_string());
    }
    let _ = failure.set(error);
}

/// Guests are promised an authority; requests from inside the node may lack one.
fn with_authority(mut request: http::Request<Body>) -> Result<http::Request<Body>, HandleError> {
    if request.uri().authority().is_some() {
        return Ok(request);
    }
    match request.headers().get(header::HOST) {
        Some(host) if host.to_str().is_ok() => {}
        Some(_) => {
            return Err(HandleError::BadRequest(
                "its Host header has bytes that are not visible ASCII".to_owned(),
            ));
        }
        None => {
            let host = HeaderValue::from_static("localhost");
            request.headers_mut().insert(header::HOST, host);
        }
    }
    Ok(request)
}

/// The response's body. wasmtime ends it alike whether the guest finished it or fell over; here
/// the two are told apart, so that nobody takes half an answer for a whole one.
struct GuestBody {
    body: HyperOutgoingBody,
    failure: Arc<OnceLock<HandleError>>,
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => match self.failure.get() {
                Some(error) => Poll::Ready(Some(Err(Box::new(error.clone())))),
                None => Poll::Ready(None),
            },
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
