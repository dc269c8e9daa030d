//! The serving side of a connection with channels: one task that owns it, streams for whoever runs
//! the session.

use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes, error::CapacityError};
use tokio_util::sync::CancellationToken;

use super::channel::{self, BadMessage, Form, Said};
use crate::alive::{Activity, IDLE_MAX, LINGER, PING_EVERY};
use crate::mux::{self, Filler, Inbox, Out, Outbox};

/// How the channels are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) form: Form,
    /// Messages that close a channel (v5).
    pub(crate) closes: bool,
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Ws(#[from] WsError),
    #[error("{0}")]
    Message(#[from] BadMessage),
    #[error("nothing happened for {} h", IDLE_MAX.as_secs() / 3600)]
    Idle,
}

/// Serves a connection with `count` channels on a task of its own, which ends by itself and cancels
/// `gone` then. What comes for other channels is ignored, as Kubernetes does.
pub(crate) fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    dialect: Dialect,
    count: u8,
    gone: CancellationToken,
) -> Vec<(Inbox, Outbox)> {
    let (out, queue) = mux::out_queue();
    let (mut fillers, mut streams) = (Vec::new(), Vec::new());
    for id in 0..count {
        let (filler, inbox, outbox) = mux::stream(u32::from(id), &out, None);
        fillers.push(Some(filler));
        streams.push((inbox, outbox));
    }
    tokio::spawn(async move {
        let _gone = gone.drop_guard();
        if let Err(end) = run(io, dialect, fillers, queue).await {
            tracing::debug!(error = %end, "a WebSocket ended early");
        }
    });
    streams
}

async fn run(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    dialect: Dialect,
    fillers: Vec<Option<Filler>>,
    queue: mpsc::Receiver<Out>,
) -> Result<(), End> {
    let (mut sink, stream) = super::over(io).await.split();
    let activity = Activity::new();
    let reading = reading(stream, dialect, fillers, &activity);
    tokio::pin!(reading);
    let mut said_goodbye = false;
    let end = tokio::select! {
        end = &mut reading => end,
        end = writing(&mut sink, dialect, queue, &activity) => match end {
            // All was said: what the client still says does not matter, but its close does.
            Ok(()) => {
                said_goodbye = true;
                goodbye(&mut sink, CloseCode::Normal, "").await;
                let _ = tokio::time::timeout(LINGER, &mut reading).await;
                Ok(())
            }
            Err(end) => Err(end),
        }
    };
    if !said_goodbye {
        let (code, why) = match &end {
            Ok(()) => (CloseCode::Normal, String::new()),
            Err(End::Idle) => (CloseCode::Away, String::new()),
            Err(End::Message(bad)) => (CloseCode::Protocol, bad.to_string()),
            Err(End::Ws(WsError::Capacity(CapacityError::MessageTooLong { max_size, .. }))) => {
                let why = format!("a message may have {max_size} bytes");
                (CloseCode::Size, why)
            }
            Err(End::Ws(WsError::Utf8(_))) => (CloseCode::Invalid, "not UTF-8".to_owned()),
            Err(End::Ws(WsError::Protocol(error))) => (CloseCode::Protocol, error.to_string()),
            // There is nobody to tell.
            Err(End::Ws(_)) => return end,
        };
        goodbye(&mut sink, code, &why).await;
    }
    let _ = tokio::time::timeout(LINGER, sink.close()).await;
    end
}

/// Sends a close; a peer that takes none gets none.
async fn goodbye(
    sink: &mut (impl Sink<Message, Error = WsError> + Unpin),
    code: CloseCode,
    why: &str,
) {
    // The reason of a close has 123 bytes at most (RFC 6455, 5.5); ours are short and ASCII.
    let reason: String = why.chars().filter(char::is_ascii).take(120).collect();
    let close = Message::Close(Some(CloseFrame {
        code,
        reason: Utf8Bytes::from(reason),
    }));
    let _ = tokio::time::timeout(LINGER, sink.send(close)).await;
}

/// Reads until the client closes.
async fn reading(
    mut stream: impl Stream<Item = Result<Message, WsError>> + Unpin,
    dialect: Dialect,
    mut fillers: Vec<Option<Filler>>,
    activity: &Activity,
) -> Result<(), End> {
    while let Some(message) = stream.next().await {
        let bytes: Bytes = match message? {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => return Ok(()),
            // Answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        activity.note();
        match channel::decode(dialect.form, dialect.closes, bytes)? {
            Said::Nothing => {}
            Said::Data(channel, bytes) => {
                if let Some(Some(filler)) = fillers.get(usize::from(channel)) {
                    filler.fill(bytes).await;
                }
            }
            Said::Close(channel) => {
                let filler = fillers.get_mut(usize::from(channel));
                if let Some(filler) = filler.and_then(Option::take) {
                    filler.end();
                }
            }
        }
    }
    Ok(())
}

/// Writes until every channel is finished.
async fn writing(
    sink: &mut (impl Sink<Message, Error = WsError> + Unpin),
    dialect: Dialect,
    mut queue: mpsc::Receiver<Out>,
    activity: &Activity,
) -> Result<(), End> {
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping.reset();
    loop {
        let message = tokio::select! {
            out = queue.recv() => match out {
                None => return Ok(()),
                Some(Out::Data(id, bytes)) => {
                    activity.note();
                    // Channels have small numbers.
                    let channel = u8::try_from(id).unwrap_or_default();
                    let message = channel::encode(dialect.form, channel, &bytes);
                    if dialect.form.is_text() {
                        match Utf8Bytes::try_from(message) {
                            Ok(text) => Message::Text(text),
                            Err(_) => continue,
                        }
                    } else {
                        Message::Binary(message)
                    }
                }
                // The server has no way to say that one channel is at its end.
                Some(_) => continue,
            },
            _ = ping.tick() => {
                if activity.idle_for_too_long() {
                    return Err(End::Idle);
                }
                Message::Ping(Bytes::new())
            }
        };
        tokio::time::timeout(IDLE_MAX, sink.send(message))
            .await
            .map_err(|_| End::Idle)??;
    }
}
