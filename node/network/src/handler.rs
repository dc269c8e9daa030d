//! The two doors of the pod network: into a container of this node, and to another node.

use crate::{Body, SendError};
use async_trait::async_trait;
use http::{Request, Response};
use std::net::SocketAddr;

/// A request that was not answered.
#[derive(Debug)]
pub enum Undelivered {
    /// Nothing there took the request, as when a connection is refused: it has not been seen by any
    /// guest and its body has not been read, so it may be given to another endpoint.
    Refused {
        /// The request, whole.
        request: Box<Request<Body>>,
        /// What is missing there.
        why: &'static str,
    },
    /// It may have been seen; trying again is not safe.
    Failed(SendError),
}

/// What listens on a port of a pod of this node.
#[async_trait]
pub trait HttpHandler: Send + Sync {
    /// Answers a request. The request's URI is absolute: it has scheme and authority.
    ///
    /// # Errors
    /// [`Undelivered::Refused`] while it is starting or draining; everything that a guest does
    /// wrong is a response (500, 502, 503 or 504) instead.
    async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, Undelivered>;
}

/// Carries requests to pods of other nodes.
#[async_trait]
pub trait RemoteTransport: Send + Sync {
    /// Sends a request to the pod at `to`, which runs on the named node, and returns when the
    /// response's head is there. Bodies stream in both directions; dropping the future or the
    /// response's body cancels the exchange.
    ///
    /// # Errors
    /// [`Undelivered::Refused`] only when the whole request is still at hand and no guest has seen
    /// it.
    async fn send(
        &self,
        node: &str,
        to: SocketAddr,
        request: Request<Body>,
    ) -> Result<Response<Body>, Undelivered>;
}
