//! The serving side of a SPDY connection: one task that owns it, streams for whoever runs the
//! session.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::{Decoder, Encoder, Frame, FrameError, Reset};
use super::headers::Headers;
use super::machine::{Event, Machine, Violation};
use super::window::Windows;
use crate::alive::{Activity, IDLE_MAX, LINGER, PING_EVERY};
use crate::mux::{self, Filler, Inbox, Out, Outbox};

/// Streams that were opened and not yet taken by the session. When it is full the connection is
/// not read on.
const OPENED_MAX: usize = 8;
/// Bytes that are read at once; more than a control frame can have.
const READ_BYTES: usize = 32 << 10;
/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 64 << 10;
/// Statuses of GOAWAY (section 2.6.6).
const GOAWAY_OK: u32 = 0;
const GOAWAY_PROTOCOL_ERROR: u32 = 1;

/// A stream that the client opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: u32,
    pub(crate) headers: Headers,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
}

/// The streams of a connection as they are opened. The connection stays until this and every
/// stream's [`Outbox`] are gone.
pub(crate) struct Incoming {
    opened: mpsc::Receiver<Opened>,
    _open: mpsc::Sender<Out>,
}

impl Incoming {
    /// The next stream; `None` when the connection is over.
    pub(crate) async fn next(&mut self) -> Option<Opened> {
        self.opened.recv().await
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("a WINDOW_UPDATE or setting makes a window larger than 2^31 - 1")]
    Window,
    #[error("nothing happened for {} h", IDLE_MAX.as_secs() / 3600)]
    Idle,
}

struct Shared {
    machine: Mutex<Machine>,
    windows: Windows,
    activity: Activity,
    out: mpsc::WeakSender<Out>,
}

/// Serves a connection on a task of its own, which ends by itself and cancels `gone` then. Streams
/// whose headers are not `welcome` are reset.
pub(crate) fn serve(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    welcome: fn(&Headers) -> bool,
    gone: CancellationToken,
) -> Incoming {
    let (out, queue) = mux::out_queue();
    let (opened, opening) = mpsc::channel(OPENED_MAX);
    let shared = Arc::new(Shared {
        machine: Mutex::default(),
        windows: Windows::new(),
        activity: Activity::new(),
        out: out.downgrade(),
    });
    let incoming = Incoming {
        opened: opening,
        _open: out,
    };
    tokio::spawn(async move {
        let _gone = gone.drop_guard();
        if let Err(end) = run(io, shared, queue, welcome, opened).await {
            tracing::debug!(error = %end, "a SPDY connection ended early");
        }
    });
    incoming
}

async fn run(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Out>,
    welcome: fn(&Headers) -> bool,
    opened: mpsc::Sender<Opened>,
) -> Result<(), End> {
    let (read, mut write) = tokio::io::split(io);
    let mut encoder = Encoder::default();
    let reading = reading(read, &shared, welcome, opened);
    tokio::pin!(reading);
    let end = tokio::select! {
        end = &mut reading => end,
        end = writing(&mut write, &mut encoder, &shared, queue) => match end {
            // All was said: what the client still says does not matter, but its close does.
            Ok(()) => match tokio::time::timeout(LINGER, &mut reading).await {
                Ok(Err(End::Io(_))) | Err(_) => Ok(()),
                Ok(end) => end,
            },
            Err(end) => Err(end),
        }
    };
    let status = match &end {
        // There is nobody to tell.
        Err(End::Io(_)) => return end,
        Err(End::Idle) | Ok(()) => GOAWAY_OK,
        Err(_) => GOAWAY_PROTOCOL_ERROR,
    };
    let mut bytes = BytesMut::new();
    let last = shared.machine.lock().last();
    encoder.encode(&Frame::GoAway { last, status }, &mut bytes);
    let goodbye = async {
        write.write_all(&bytes).await?;
        write.shutdown().await
    };
    // A peer that takes no goodbye gets none.
    let _ = tokio::time::timeout(LINGER, goodbye).await;
    end
}

/// Reads until the client closes.
async fn reading(
    mut read: impl AsyncRead + Unpin,
    shared: &Shared,
    welcome: fn(&Headers) -> bool,
    opened: mpsc::Sender<Opened>,
) -> Result<(), End> {
    let mut decoder = Decoder::default();
    let mut input = BytesMut::with_capacity(READ_BYTES);
    let mut fillers: HashMap<u32, Filler> = HashMap::new();
    loop {
        while let Some(frame) = decoder.decode(&mut input)? {
            let events = shared.machine.lock().take(frame)?;
            for event in events {
                apply(event, shared, welcome, &opened, &mut fillers).await?;
            }
        }
        input.reserve(READ_BYTES);
        if read.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

async fn apply(
    event: Event,
    shared: &Shared,
    welcome: fn(&Headers) -> bool,
    opened: &mpsc::Sender<Opened>,
    fillers: &mut HashMap<u32, Filler>,
) -> Result<(), End> {
    match event {
        Event::Open { id, headers } => {
            // Without a queue, or with nobody who takes streams, the session is ending.
            let Some(out) = shared.out.upgrade() else {
                return Ok(());
            };
            let refused = || Out::Reset(id, Reset::RefusedStream);
            if !welcome(&headers) || opened.is_closed() {
                shared.machine.lock().reset(id);
                let _ = out.send(refused()).await;
                return Ok(());
            }
            shared.windows.begin(id);
            let (filler, inbox, outbox) = mux::stream(id, &out, Some(&shared.windows));
            fillers.insert(id, filler);
            let _ = out.send(Out::Accept(id)).await;
            let stream = Opened {
                id,
                headers,
                inbox,
                outbox,
            };
            let _ = opened.send(stream).await;
        }
        Event::Data { id, bytes } => {
            shared.activity.note();
            if let Some(filler) = fillers.get(&id) {
                filler.fill(bytes).await;
            }
        }
        Event::End { id } => {
            if let Some(filler) = fillers.remove(&id) {
                filler.end();
            }
        }
        Event::Lost { id } => {
            shared.windows.forget(id);
            fillers.remove(&id);
        }
        Event::Window { id, delta } => {
            shared.windows.grant(id, delta).map_err(|_| End::Window)?;
        }
        Event::InitialWindow(size) => {
            shared.windows.set_initial(size).map_err(|_| End::Window)?;
        }
        Event::Refuse { id, why } => answer(shared, Out::Reset(id, why)).await,
        Event::Pong(id) => answer(shared, Out::Pong(id)).await,
    }
    Ok(())
}

async fn answer(shared: &Shared, out: Out) {
    if let Some(queue) = shared.out.upgrade() {
        let _ = queue.send(out).await;
    }
}

/// Writes until every stream is finished.
async fn writing(
    write: &mut (impl AsyncWrite + Unpin),
    encoder: &mut Encoder,
    shared: &Shared,
    mut queue: mpsc::Receiver<Out>,
) -> Result<(), End> {
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping.reset();
    let mut pings: u32 = 0;
    let mut bytes = BytesMut::with_capacity(READ_BYTES);
    loop {
        bytes.clear();
        tokio::select! {
            out = queue.recv() => {
                let Some(out) = out else { return Ok(()) };
                encode(out, encoder, shared, &mut bytes);
                while bytes.len() < WRITE_BYTES && let Ok(out) = queue.try_recv() {
                    encode(out, encoder, shared, &mut bytes);
                }
            }
            _ = ping.tick() => {
                if shared.activity.idle_for_too_long() {
                    return Err(End::Idle);
                }
                // The server's are even, and never 0.
                pings = pings.wrapping_add(2).max(2);
                encoder.encode(&Frame::Ping(pings), &mut bytes);
            }
        }
        let written = async {
            write.write_all(&bytes).await?;
            write.flush().await
        };
        tokio::time::timeout(IDLE_MAX, written)
            .await
            .map_err(|_| End::Idle)??;
    }
}

fn encode(out: Out, encoder: &mut Encoder, shared: &Shared, bytes: &mut BytesMut) {
    let mut machine = shared.machine.lock();
    let frame = match out {
        Out::Accept(id) => Frame::SynReply {
            id,
            fin: false,
            headers: Headers::default(),
        },
        Out::Reset(id, why) => {
            machine.reset(id);
            Frame::Rst {
                id,
                status: why as u32,
            }
        }
        Out::Data(id, data) if machine.may_send(id) => {
            shared.activity.note();
            Frame::Data {
                id,
                fin: false,
                bytes: data,
            }
        }
        Out::Fin(id) if machine.finish(id) => Frame::Data {
            id,
            fin: true,
            bytes: bytes::Bytes::new(),
        },
        // The client has reset the stream meanwhile.
        Out::Data(..) | Out::Fin(_) => return,
        Out::Consumed(id, delta) => {
            // The connection's window is consumed along.
            encoder.encode(&Frame::WindowUpdate { id: 0, delta }, bytes);
            Frame::WindowUpdate { id, delta }
        }
        Out::Pong(id) => Frame::Ping(id),
    };
    encoder.encode(&frame, bytes);
}
