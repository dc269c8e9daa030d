//! Bodies that take long to be sent or received: what they hold is counted while they hold
//! it, and given back after a time, also if the client never reads.
//!
//! hyper asks a body for more only when the client has made room. So a client that stops
//! reading would keep whatever its body holds for as long as its connection lives; that is
//! why a body's time is kept by a task of its own and not by the body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http_body::Frame;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::{ApiError, Result};

/// Memory that bodies under way may hold together, in KiB: the answers that do not fit one
/// piece, and what requests have brought so far. 256 MiB is some 80 bodies of the largest
/// size, or thousands of lists read slowly; small answers never ask. When it is used up,
/// clients are told to come back.
const HELD_KIB_MAX: u32 = 256 << 10;

/// What bodies under way may hold.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

/// A part of the budget, given back when dropped.
pub struct Held(Option<OwnedSemaphorePermit>);

impl Budget {
    /// An untouched budget.
    pub fn new() -> Self {
        Self::of(HELD_KIB_MAX)
    }

    fn of(kib: u32) -> Self {
        Budget(Arc::new(Semaphore::new(kib as usize)))
    }

    /// Takes `bytes` from it. What is larger than the whole budget takes all of it.
    ///
    /// # Errors
    /// 429 if others hold too much.
    pub fn hold(&self, bytes: usize) -> Result<Held> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = self.0.clone().try_acquire_many_owned(kib.min(HELD_KIB_MAX));
        let permit = permit.map_err(|_| {
            ApiError::too_many_requests(
                "too many large bodies are under way, please try again later",
            )
        })?;
        Ok(Held(Some(permit)))
    }

    /// A request's body that is charged to the budget while it is read, and until the answer
    /// to the request is there: [`Charge`] gives everything back.
    pub fn charge(&self, body: Body) -> (Body, Charge) {
        let held = Charge(Arc::new(Mutex::new(Held(None))));
        let charged = Charged {
            body,
            budget: self.clone(),
            held: held.0.clone(),
        };
        (Body::new(charged), held)
    }
}

/// What a request's body has been charged; given back when dropped.
pub struct Charge(Arc<Mutex<Held>>);

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.lock().0 = None;
    }
}

struct Charged {
    body: Body,
    budget: Budget,
    held: Arc<Mutex<Held>>,
}

impl http_body::Body for Charged {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(frame) => frame?,
        };
        if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
            let more = self.budget.hold(data.len())?.0;
            let mut held = self.held.lock();
            match (&mut held.0, more) {
                (Some(held), Some(more)) => held.merge(more),
                (held, more) => *held = more,
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// The error that a body of ours broke off with, if it was one.
pub fn own_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a ApiError> {
    std::iter::successors(Some(error), |e| e.source()).find_map(|e| e.downcast_ref())
}

/// What becomes of a body whose time is over before it was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It ends, as if it had been sent: for watches, which end at any time.
    Ends,
    /// It breaks off, so that nobody takes a part for the whole.
    Breaks,
}

/// A body of `pieces`, which lets go of them and of `held` once they are sent, the client
/// is gone, or `deadline` has passed.
pub fn body(
    pieces: impl Stream<Item = Result<Bytes>> + Send + 'static,
    held: impl Send + 'static,
    deadline: Instant,
    late: Late,
) -> Body {
    let held: Box<dyn Send> = Box::new(held);
    let shared = Arc::new(Mutex::new(Some(Sending {
        pieces: pieces.boxed(),
        _held: held,
    })));
    let reaped = Arc::downgrade(&shared);
    let reaper = tokio::spawn(async move {
        tokio::time::sleep_until(deadline).await;
        if let Some(shared) = reaped.upgrade() {
            // Dropped outside of the lock: what it holds may be large.
            let sending = shared.lock().take();
            drop(sending);
        }
    });
    Body::from_stream(Timed {
        shared,
        reaper: reaper.abort_handle(),
        late: Some(late),
    })
}

struct Sending {
    pieces: BoxStream<'static, Result<Bytes>>,
    _held: Box<dyn Send>,
}

struct Timed {
    shared: Arc<Mutex<Option<Sending>>>,
    reaper: AbortHandle,
    /// `None` once the end was told.
    late: Option<Late>,
}

impl Stream for Timed {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut shared = self.shared.lock();
        let Some(sending) = shared.as_mut() else {
            drop(shared);
            return Poll::Ready(match self.late.take() {
                Some(Late::Breaks) => Some(Err(ApiError::timeout(
                    "the client did not read the answer in time",
                ))),
                _ => None,
            });
        };
        let piece = ready!(sending.pieces.poll_next_unpin(cx));
        if piece.is_none() {
            *shared = None;
            drop(shared);
            self.late = None;
        }
        Poll::Ready(piece)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    fn endless() -> impl Stream<Item = Result<Bytes>> + Send {
        futures::stream::repeat(Ok(Bytes::from_static(b"x")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_reads_lets_go_at_its_deadline() {
        for late in [Late::Ends, Late::Breaks] {
            let budget = Budget::of(8);
            let held = budget.hold(8 << 10).unwrap();
            assert_eq!(budget.hold(1).err().map(|e| e.code), Some(429));
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut body = body(endless(), held, deadline, late);
            assert!(body.frame().await.unwrap().is_ok());
            tokio::time::sleep(Duration::from_secs(61)).await;
            assert!(budget.hold(8 << 10).is_ok(), "given back");
            match (late, body.frame().await) {
                (Late::Ends, None) | (Late::Breaks, Some(Err(_))) => {}
                (_, other) => panic!("{other:?}"),
            }
            assert!(body.frame().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_or_sent_lets_go_at_once() {
        let budget = Budget::of(8);
        let deadline = Instant::now() + Duration::from_secs(60);
        let held = budget.hold(8 << 10).unwrap();
        drop(body(endless(), held, deadline, Late::Breaks));
        let held = budget.hold(8 << 10).unwrap();
        let short = endless().take(2);
        let sent = body(short, held, deadline, Late::Breaks).collect().await;
        assert_eq!(sent.unwrap().to_bytes(), "xx");
        assert!(budget.hold(8 << 10).is_ok());
    }

    #[tokio::test]
    async fn what_a_request_brings_is_charged_until_it_is_answered() {
        let budget = Budget::of(8);
        let (body, charge) = budget.charge(Body::from(vec![0; 5000]));
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 5000);
        assert!(budget.hold(4 << 10).is_err());
        drop(charge);
        assert!(budget.hold(8 << 10).is_ok());

        let (body, _charge) = budget.charge(Body::from(vec![0; 9000]));
        let error = body.collect().await.unwrap_err();
        assert_eq!(own_error(&error).map(|e| e.code), Some(429), "{error:?}");
    }
}
