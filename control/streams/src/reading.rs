//! What a client only reads, over a WebSocket: a log.
//!
//! Follows `k8s.io/apiserver/pkg/util/wsstream` (`Reader`).

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::SessionError;
use crate::mux::{Gone, Outbox};
use crate::negotiate::{Agreed, Wire};
use crate::ws::connection as ws;

/// One stream to a client that is there.
#[derive(Debug)]
pub struct ReadingSession {
    out: Outbox,
    ended: CancellationToken,
}

impl ReadingSession {
    /// Begins a session on an upgraded connection; tasks of this runtime serve it.
    ///
    /// # Errors
    /// For what was agreed on for another purpose.
    pub fn begin(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        agreed: Agreed,
    ) -> Result<Self, SessionError> {
        let ended = CancellationToken::new();
        let Wire::Channels(dialect) = agreed.wire else {
            return Err(SessionError::Lost);
        };
        let streams = ws::serve(io, dialect, 1, ended.clone());
        let (_, out) = streams.into_iter().next().ok_or(SessionError::Lost)?;
        Ok(Self { out, ended })
    }

    /// Sends bytes; waits until the client takes them.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.out.send(bytes).await
    }

    /// Resolves when the client is gone. The token outlives the session.
    pub fn gone(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Ends it after what was sent. Returns when the connection is over, which the client may delay
    /// by some seconds.
    pub async fn finish(self) {
        let Self { out, ended } = self;
        drop(out);
        ended.cancelled().await;
    }
}
