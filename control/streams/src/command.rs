//! exec and attach: standard streams, the size of the terminal, how it ended.
//!
//! Follows `k8s.io/kubelet/pkg/cri/streaming/remotecommand`.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::SessionError;
use crate::mux::{Gone, Inbox, Outbox};
use crate::negotiate::{Agreed, Wire};
use crate::outcome::Outcome;
use crate::spdy::Headers;
use crate::spdy::connection as spdy;
use crate::ws::connection as ws;

/// How long a client may take to open the streams that it asked for (Kubernetes'
/// `DefaultStreamCreationTimeout`).
const STREAMS_WITHIN: Duration = Duration::from_secs(30);

/// The header that says what a SPDY stream is.
const STREAM_TYPE: &str = "streamtype";

/// The channels of WebSockets, in order.
const CHANNELS: u8 = 5;

/// The streams that a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never together with `tty`.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

impl Asked {
    /// Checks what a client asked for. With a terminal there is no standard error of its own.
    ///
    /// # Errors
    /// When nothing would be streamed.
    pub fn new(stdin: bool, stdout: bool, stderr: bool, tty: bool) -> Result<Self, &'static str> {
        if !stdin && !stdout && !stderr {
            return Err("you must specify at least 1 of stdin, stdout, stderr");
        }
        Ok(Self {
            stdin,
            stdout,
            stderr: stderr && !tty,
            tty,
        })
    }
}

/// One exec or attach with a client that is there.
#[derive(Debug)]
pub struct CommandSession {
    /// What the client types, if it asked for that.
    pub stdin: Option<Inbox>,
    /// The other half of `stdin`. Nothing is said on it, but its end would say that nothing more is read: client-go
    /// stops sending then.
    _stdin_open: Option<Outbox>,
    stdout: Option<Outbox>,
    stderr: Option<Outbox>,
    error: Outbox,
    status: bool,
    ended: CancellationToken,
}

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl CommandSession {
    /// Begins a session on an upgraded connection; tasks of this runtime serve it.
    ///
    /// # Errors
    /// If the client does not open the streams that it asked for.
    pub async fn begin(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        agreed: Agreed,
        asked: Asked,
    ) -> Result<Self, SessionError> {
        let ended = CancellationToken::new();
        match agreed.wire {
            Wire::Channels(dialect) => {
                let streams = ws::serve(io, dialect, CHANNELS, ended.clone());
                let Ok([stdin, stdout, stderr, error, resize]) =
                    <[_; CHANNELS as usize]>::try_from(streams)
                else {
                    return Err(SessionError::Lost);
                };
                let session = Self {
                    stdin: asked.stdin.then_some(stdin.0),
                    _stdin_open: None,
                    stdout: asked.stdout.then_some(stdout.1),
                    stderr: asked.stderr.then_some(stderr.1),
                    error: error.1,
                    status: agreed.status,
                    ended,
                };
                tokio::spawn(discard(resize.0));
                // Clients wait for a first message to know that the session stands.
                let greeted = session.stdout.as_ref().or(session.stderr.as_ref());
                let greeting = greeted.unwrap_or(&session.error).greet().await;
                greeting.map_err(|Gone| SessionError::Lost)?;
                Ok(session)
            }
            Wire::Spdy => {
                let incoming = spdy::serve(io, known, ended.clone());
                tokio::time::timeout(STREAMS_WITHIN, Self::gather(incoming, agreed, asked, ended))
                    .await
                    .map_err(|_| SessionError::Streams(STREAMS_WITHIN))?
            }
            // Never agreed on for commands.
            Wire::Tunnel => Err(SessionError::Lost),
        }
    }

    async fn gather(
        mut incoming: spdy::Incoming,
        agreed: Agreed,
        asked: Asked,
        ended: CancellationToken,
    ) -> Result<Self, SessionError> {
        let (mut stdin, mut stdout, mut stderr, mut error) = (None, None, None, None);
        let mut stdin_open = None;
        let mut resizes = false;
        let wants_resize = asked.tty && agreed.resize;
        loop {
            let complete = stdin.is_some() == asked.stdin
                && stdout.is_some() == asked.stdout
                && stderr.is_some() == asked.stderr
                && resizes == wants_resize;
            if complete && let Some(error) = error.take() {
                return Ok(Self {
                    stdin,
                    _stdin_open: stdin_open,
                    stdout,
                    stderr,
                    error,
                    status: agreed.status,
                    ended,
                });
            }
            let opened = incoming.next().await.ok_or(SessionError::Lost)?;
            // A stream that was not asked for, or is there already, ends here.
            match opened.headers.get(STREAM_TYPE) {
                Some("error") if error.is_none() => error = Some(opened.outbox),
                Some("stdin") if asked.stdin => {
                    stdin.get_or_insert(opened.inbox);
                    stdin_open.get_or_insert(opened.outbox);
                }
                Some("stdout") if asked.stdout => {
                    stdout.get_or_insert(opened.outbox);
                }
                Some("stderr") if asked.stderr => {
                    stderr.get_or_insert(opened.outbox);
                }
                Some("resize") if wants_resize && !resizes => {
                    resizes = true;
                    tokio::spawn(discard(opened.inbox));
                }
                _ => {}
            }
        }
    }

    /// Whether the client wants an output stream.
    pub fn wants(&self, channel: Channel) -> bool {
        match channel {
            Channel::Stdout => self.stdout.is_some(),
            Channel::Stderr => self.stderr.is_some(),
        }
    }

    /// Sends output; what the client did not ask for is dropped. Waits until the client takes it.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn output(&self, channel: Channel, bytes: Bytes) -> Result<(), Gone> {
        let outbox = match channel {
            Channel::Stdout => &self.stdout,
            Channel::Stderr => &self.stderr,
        };
        match outbox {
            Some(outbox) => outbox.send(bytes).await,
            None => Ok(()),
        }
    }

    /// Resolves when the client is gone. The token outlives the session.
    pub fn gone(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Tells the client how it ended, after all output, and closes. Returns when the connection is
    /// over, which the client may delay by some seconds.
    pub async fn finish(mut self, outcome: &Outcome) {
        let text = if self.status {
            outcome.status()
        } else {
            outcome.sentence()
        };
        // A client that is gone is told nothing.
        let _ = self.error.send(text.into()).await;
        for outbox in [self.stdout.take(), self.stderr.take()]
            .into_iter()
            .flatten()
        {
            let _ = outbox.finish().await;
        }
        let _ = self.error.finish().await;
        self.ended.cancelled().await;
    }
}

fn known(headers: &Headers) -> bool {
    matches!(
        headers.get(STREAM_TYPE),
        Some("error" | "stdin" | "stdout" | "stderr" | "resize")
    )
}

/// There is no kernel terminal whose size could be set: what clients say about theirs is read, so
/// that their connection goes on. Ends with the connection.
async fn discard(mut resize: Inbox) {
    while let Ok(Some(_)) = resize.next().await {}
}
