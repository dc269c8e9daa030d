//! A snapshot on its way in.

use std::time::Duration;

use bytes::Bytes;
use raft_store::{Inbox, InboxError};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::proto::SnapshotRequest;
use crate::proto::snapshot_request::What;

/// Chunks between the connection and the thread that writes them.
const CHUNKS_WAITING: usize = 2;

/// Why a snapshot was not taken in.
pub(crate) enum Failed {
    /// This member did not want it, or could not keep it.
    Inbox(InboxError),
    /// It did not arrive whole.
    Stream(Status),
}

enum Step {
    Write(Bytes),
    Finish,
}

/// Takes in what a stream brings; returns its bytes when they are kept for good. Dropped, or after an error, what came is
/// discarded.
pub(crate) async fn take(
    inbox: &Inbox,
    from: u64,
    header: Bytes,
    stream: &mut Streaming<SnapshotRequest>,
    stall_max: Duration,
) -> Result<u64, Failed> {
    let (steps, receiver) = mpsc::channel(CHUNKS_WAITING);
    let inbox = inbox.clone();
    let writer = tokio::task::spawn_blocking(move || write(&inbox, from, header, receiver));
    let passed = pass_on(stream, &steps, stall_max).await;
    drop(steps);
    let written = match writer.await {
        Ok(written) => written,
        Err(error) => Err(InboxError::Failed {
            what: format!("taking in a snapshot broke off: {error}"),
        }),
    };
    // Where the stream failed, the writer has seen no more than an early end.
    let bytes = passed.map_err(Failed::Stream)?;
    match written {
        Ok(true) => Ok(bytes),
        Ok(false) => Err(Failed::Stream(Status::internal("it was left unfinished"))),
        Err(error) => Err(Failed::Inbox(error)),
    }
}

/// Hands on what arrives, until the end or until the writer wants no more.
async fn pass_on(
    stream: &mut Streaming<SnapshotRequest>,
    steps: &mpsc::Sender<Step>,
    stall_max: Duration,
) -> Result<u64, Status> {
    let broken = |what: String| Err(Status::invalid_argument(what));
    let mut bytes = 0;
    loop {
        let message = match timeout(stall_max, stream.message()).await {
            Ok(message) => message?,
            Err(_) => {
                let what = format!("after {bytes} bytes nothing came for {stall_max:?}");
                return Err(Status::deadline_exceeded(what));
            }
        };
        let step = match message.and_then(|message| message.what) {
            Some(What::Chunk(chunk)) => {
                bytes += chunk.len() as u64;
                Step::Write(chunk)
            }
            Some(What::End(end)) if end.bytes == bytes => Step::Finish,
            Some(What::End(end)) => {
                return broken(format!("it has {bytes} bytes instead of {}", end.bytes));
            }
            Some(What::Begin(_)) => return broken("it begins twice".to_owned()),
            None => return broken(format!("it broke off after {bytes} bytes")),
        };
        let is_last = matches!(step, Step::Finish);
        if steps.send(step).await.is_err() || is_last {
            return Ok(bytes);
        }
    }
}

/// Writes what is handed on. Runs on a thread that may block; returns whether it came to the end.
fn write(
    inbox: &Inbox,
    from: u64,
    header: Bytes,
    mut steps: mpsc::Receiver<Step>,
) -> Result<bool, InboxError> {
    let mut snapshot = inbox.snapshot(from, header)?;
    while let Some(step) = steps.blocking_recv() {
        match step {
            Step::Write(chunk) => snapshot.write(&chunk)?,
            Step::Finish => return snapshot.finish().map(|()| true),
        }
    }
    Ok(false)
}
