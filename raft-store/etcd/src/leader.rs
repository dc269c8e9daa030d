//! Clients that want to be told when there is no leader, and the end of streams.
//!
//! A client says by the metadata `hasleader: true` that it would rather be refused than wait, so that it can try a member
//! on the other side of a partition. Source: `etcdserver/api/v3rpc/interceptor.go` of etcd 3.4.

use std::future::Future;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use futures::Stream;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::context::Context;
use crate::translate::Refused;

/// The metadata's name, and the value that counts.
const NAME: &str = "hasleader";
const YES: &str = "true";
/// How often a stream looks whether there is a leader, and how often in a row there must be none. Together more than an
/// election takes at default settings; a change of leader alone must end no stream.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const MISSED_MAX: u32 = 3;

/// Whether a call wants there to be a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted(bool);

impl Wanted {
    pub(crate) fn by(metadata: &MetadataMap) -> Self {
        Self(metadata.get(NAME).is_some_and(|value| value == YES))
    }

    pub(crate) fn by_headers(headers: &http::HeaderMap) -> Self {
        Self(headers.get(NAME).is_some_and(|value| value == YES))
    }

    /// Refuses the call where it wants a leader and there is none.
    pub(crate) fn check(self, context: &Context) -> Result<(), Status> {
        if self.0 && context.store.leader().is_none() {
            return Err(Refused::NoLeader.into());
        }
        Ok(())
    }
}

/// Waits for the reason to end a stream from here: the server stops, or the leader that the client wants is gone.
pub(crate) async fn over(context: Arc<Context>, wanted: Wanted) -> Status {
    if !wanted.0 {
        context.stop.cancelled().await;
        return Refused::Stopped.into();
    }
    let mut missed = 0;
    while missed < MISSED_MAX {
        if tokio::time::timeout(LOOK_EVERY, context.stop.cancelled())
            .await
            .is_ok()
        {
            return Refused::Stopped.into();
        }
        match context.store.leader() {
            Some(_) => missed = 0,
            None => missed += 1,
        }
    }
    Refused::NoLeader.into()
}

/// A stream that ends with an error when `over` says so.
pub(crate) fn until<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    over: impl Future<Output = Status> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    let mut stream = Box::pin(stream);
    let mut over = Box::pin(over);
    let mut ended = false;
    futures::stream::poll_fn(move |task| {
        if ended {
            return Poll::Ready(None);
        }
        // The end is looked at when there is nothing else: it is shared by all streams, and looking at it takes locks.
        if let Poll::Ready(item) = stream.as_mut().poll_next(task) {
            ended = !matches!(item, Some(Ok(_)));
            return Poll::Ready(item);
        }
        let why = ready!(over.as_mut().poll(task));
        ended = true;
        Poll::Ready(Some(Err(why)))
    })
}
