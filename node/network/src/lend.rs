//! A body that is lent to a transport and can be taken back while nobody has read from it.
//!
//! HTTP clients swallow the request that they fail to send. A request between nodes that found
//! nobody there must still be offered to another endpoint, so its body goes out behind a handle.

use crate::{Body, BoxError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

type Slot = Arc<Mutex<Option<Body>>>;

/// The lender's side.
pub(crate) struct Lender(Slot);

impl Lender {
    /// The body, if the borrower has not begun to read it.
    pub(crate) fn take_back(self) -> Option<Body> {
        self.0.lock().take()
    }
}

struct Lent {
    slot: Slot,
    taken: Option<Body>,
    hint: SizeHint,
    ended: bool,
}

/// Splits a body into the part to send and the handle to take it back.
pub(crate) fn lend(body: Body) -> (Body, Lender) {
    use http_body::Body as _;
    let hint = body.size_hint();
    let ended = body.is_end_stream();
    let slot = Arc::new(Mutex::new(Some(body)));
    let lent = Lent {
        slot: slot.clone(),
        taken: None,
        hint,
        ended,
    };
    (lent.boxed_unsync(), Lender(slot))
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.taken.is_none() {
            let body = self.slot.lock().take();
            self.taken = body;
        }
        match self.taken.as_mut() {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(
                Err("the request was given to another endpoint".into()),
            )),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.taken {
            Some(body) => body.is_end_stream(),
            None => self.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.taken {
            Some(body) => body.size_hint(),
            None => self.hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::full;

    #[tokio::test]
    async fn a_body_comes_back_only_while_unread() {
        let (lent, lender) = lend(full("abc"));
        assert_eq!(http_body::Body::size_hint(&lent).exact(), Some(3));
        let back = lender.take_back().unwrap();
        assert_eq!(back.collect().await.unwrap().to_bytes(), "abc");
        assert!(lent.collect().await.is_err(), "the borrower finds it gone");

        let (lent, lender) = lend(full("abc"));
        assert_eq!(lent.collect().await.unwrap().to_bytes(), "abc");
        assert!(lender.take_back().is_none());
    }
}
