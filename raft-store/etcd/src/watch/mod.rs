//! Watches: any number of them on one stream.
//!
//! ```text
//! hub of the store -> bounded queue of a watch --wakes--> ready list -> stream -> HTTP/2, as fast as the client takes it
//! ```
//! A stream has no task and no queue of its own: what serves the call polls it, and it polls those watches that have
//! something. When the client takes nothing, nothing is polled, the queues fill up to their bound, and the store lets
//! these watches read on from history when their turn comes.

mod one;
mod ready;
mod stream;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::context::Context;
use crate::etcdserverpb::{WatchRequest, WatchResponse, watch_server};
use crate::leader::{self, Wanted};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use one::pieces as split;
use stream::Watches;

#[derive(Clone)]
pub(crate) struct WatchService(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl watch_server::Watch for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let over = leader::over(Arc::clone(&self.0), Wanted::by(request.metadata()));
        let watches = Watches::new(Arc::clone(&self.0), request.into_inner());
        Ok(Response::new(Box::pin(leader::until(watches, over))))
    }
}
