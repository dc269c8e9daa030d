//! What a connection is doing: whether a request ever came, and how many are under way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The requests of one connection.
pub(crate) struct Activity(Mutex<State>);

struct State {
    seen: bool,
    under_way: usize,
    /// When the last one ended; of no meaning while one is under way.
    idle_since: Instant,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Activity(Mutex::new(State {
            seen: false,
            under_way: 0,
            idle_since: Instant::now(),
        }))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // Nothing that holds the lock can panic.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request is under way until what this returns is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.change(|state| {
            state.seen = true;
            state.under_way += 1;
        });
        Busy(Arc::clone(self))
    }

    /// How long no request has been under way; `None` if there never was one.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        self.change(|state| match (state.seen, state.under_way) {
            (false, _) => None,
            (true, 0) => Some(state.idle_since.elapsed()),
            (true, _) => Some(Duration::ZERO),
        })
    }
}

/// A request that is under way.
pub(crate) struct Busy(Arc<Activity>);

impl Busy {
    /// Keeps the request under way until its answer's body is sent.
    pub(crate) fn until_sent(self, body: Body) -> Body {
        Body::new(Sending { body, _busy: self })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.under_way -= 1;
            state.idle_since = Instant::now();
        });
    }
}

struct Sending {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_its_last_answer_is_sent() {
        let activity = Arc::new(Activity::new());
        let wait = || tokio::time::sleep(Duration::from_secs(5));
        assert_eq!(activity.idle_for(), None, "no request yet");
        let first = activity.begin();
        let second = activity.begin();
        wait().await;
        assert_eq!(activity.idle_for(), Some(Duration::ZERO));
        drop(first);
        let body = second.until_sent(Body::empty());
        wait().await;
        assert_eq!(activity.idle_for(), Some(Duration::ZERO));
        drop(body);
        wait().await;
        assert_eq!(activity.idle_for(), Some(Duration::from_secs(5)));
    }
}
