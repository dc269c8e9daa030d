//! Port-forward: connections to ports of a pod, each a pair of streams, one for the bytes and one
//! for what went wrong.
//!
//! Follows `k8s.io/kubelet/pkg/cri/streaming/portforward`.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::SessionError;
use crate::mux::{Gone, Inbox, Outbox};
use crate::negotiate::{Agreed, Wire};
use crate::spdy::Headers;
use crate::spdy::connection::{self as spdy, Opened};
use crate::ws::connection as ws;
use crate::ws::tunnel::Tunnel;

/// How long a client may take to open the second stream of a pair.
const PAIR_WITHIN: Duration = Duration::from_secs(30);
/// Ports of one WebSocket. Each has two channels, whose number is a byte of which 255 has another
/// meaning.
const PORTS_MAX: usize = 127;
/// Connections that wait to be taken.
const WAITING_MAX: usize = 4;

const STREAM_TYPE: &str = "streamtype";
const PORT: &str = "port";
const REQUEST_ID: &str = "requestid";

/// One connection to a port of the pod.
#[derive(Debug)]
pub struct Forward {
    /// The pod's port.
    pub port: u16,
    /// What the client sends.
    pub from_client: Inbox,
    /// What the pod answers.
    pub to_client: Outbox,
    /// A sentence for the client, where it fails; clients take anything here for a failure.
    pub error: Outbox,
}

/// A port-forward with a client that is there.
pub struct ForwardSession {
    forwards: mpsc::Receiver<Forward>,
    ended: CancellationToken,
}

/// Reads the ports that a WebSocket client asks for: numbers, separated by commas, in parameters
/// that may be there several times.
///
/// # Errors
/// A sentence with the value that is no port.
pub fn ports<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for text in values.into_iter().flat_map(|value| value.split(',')) {
        let port = text.parse::<u16>().map_err(|_| {
            format!("unable to parse {text:?} as a port: must be between 1 and 65535")
        })?;
        if port == 0 {
            return Err(format!("port {text:?} must be > 0"));
        }
        ports.push(port);
    }
    if ports.len() > PORTS_MAX {
        return Err(format!(
            "{} ports are asked for, at most {PORTS_MAX} fit into one session",
            ports.len()
        ));
    }
    Ok(ports)
}

impl ForwardSession {
    /// Begins a session on an upgraded connection; tasks of this runtime serve it. `ports` are for
    /// clients that name them in the request, which those with channels have to.
    ///
    /// # Errors
    /// If the client is gone already.
    pub async fn begin(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        agreed: Agreed,
        ports: &[u16],
    ) -> Result<Self, SessionError> {
        let ended = CancellationToken::new();
        let (sender, forwards) = mpsc::channel(WAITING_MAX);
        match agreed.wire {
            Wire::Channels(dialect) => {
                // As many as `ports` lets through.
                let count = u8::try_from(2 * ports.len()).map_err(|_| SessionError::Lost)?;
                let streams = ws::serve(io, dialect, count, ended.clone());
                tokio::spawn(channels(streams, ports.to_vec(), sender));
            }
            Wire::Spdy => {
                let incoming = spdy::serve(io, known, ended.clone());
                tokio::spawn(pair(incoming, sender));
            }
            Wire::Tunnel => {
                let incoming = spdy::serve(Tunnel::over(io).await, known, ended.clone());
                tokio::spawn(pair(incoming, sender));
            }
        }
        Ok(Self { forwards, ended })
    }

    /// Whether a client with this wire has to name its ports in the request.
    pub fn needs_ports(agreed: Agreed) -> bool {
        matches!(agreed.wire, Wire::Channels(_))
    }

    /// The next connection; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<Forward> {
        self.forwards.recv().await
    }

    /// Resolves when the client is gone. The token outlives the session.
    pub fn gone(&self) -> CancellationToken {
        self.ended.clone()
    }
}

/// One connection for each port, as channels 2n and 2n + 1, which both begin with the port.
async fn channels(streams: Vec<(Inbox, Outbox)>, ports: Vec<u16>, sender: mpsc::Sender<Forward>) {
    let mut streams = streams.into_iter();
    for port in ports {
        let (Some((from_client, to_client)), Some((_, error))) = (streams.next(), streams.next())
        else {
            return;
        };
        let greeting = Bytes::copy_from_slice(&port.to_le_bytes());
        for outbox in [&to_client, &error] {
            if let Err(Gone) = outbox.send(greeting.clone()).await {
                return;
            }
        }
        let forward = Forward {
            port,
            from_client,
            to_client,
            error,
        };
        if sender.send(forward).await.is_err() {
            return;
        }
    }
}

fn known(headers: &Headers) -> bool {
    let port = headers.get(PORT).and_then(|port| port.parse::<u16>().ok());
    matches!(headers.get(STREAM_TYPE), Some("data" | "error")) && port.is_some_and(|port| port > 0)
}

/// A pair of which one stream is there.
struct Half {
    data: Option<Opened>,
    error: Option<Opened>,
    until: Instant,
}

/// Joins data and error streams of the same request.
async fn pair(mut incoming: spdy::Incoming, sender: mpsc::Sender<Forward>) {
    let mut halves: HashMap<String, Half> = HashMap::new();
    loop {
        let due = halves.values().map(|half| half.until).min();
        let opened = tokio::select! {
            opened = incoming.next() => match opened {
                Some(opened) => opened,
                None => return,
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let now = Instant::now();
                let late: Vec<String> = halves
                    .iter()
                    .filter(|(_, half)| half.until <= now)
                    .map(|(request, _)| request.clone())
                    .collect();
                for request in late {
                    give_up(&request, halves.remove(&request)).await;
                }
                continue;
            }
        };
        let is_data = opened.headers.get(STREAM_TYPE) == Some("data");
        let request = request_of(&opened, is_data);
        let half = halves.entry(request.clone()).or_insert_with(|| Half {
            data: None,
            error: None,
            until: Instant::now() + PAIR_WITHIN,
        });
        let place = if is_data {
            &mut half.data
        } else {
            &mut half.error
        };
        // A second stream of a kind ends here.
        place.get_or_insert(opened);
        if half.data.is_none() || half.error.is_none() {
            continue;
        }
        let Some(Half {
            data: Some(data),
            error: Some(error),
            ..
        }) = halves.remove(&request)
        else {
            continue;
        };
        let port = data.headers.get(PORT).and_then(|port| port.parse().ok());
        let forward = Forward {
            // Streams without a port are not welcome.
            port: port.unwrap_or_default(),
            from_client: data.inbox,
            to_client: data.outbox,
            error: error.outbox,
        };
        if sender.send(forward).await.is_err() {
            return;
        }
    }
}

/// Old clients send no request id; theirs open the error stream first, and the data stream next.
fn request_of(opened: &Opened, is_data: bool) -> String {
    match opened.headers.get(REQUEST_ID) {
        Some(id) => id.to_owned(),
        None if is_data => opened.id.saturating_sub(2).to_string(),
        None => opened.id.to_string(),
    }
}

async fn give_up(request: &str, half: Option<Half>) {
    if let Some(error) = half.and_then(|half| half.error) {
        let why = format!(
            "timed out waiting for the data stream of request {request}, {} s after its error stream",
            PAIR_WITHIN.as_secs()
        );
        // A client that is gone is told nothing.
        let _ = error.outbox.send(why.into()).await;
    }
}
