//! A snapshot, as etcd sends one: blobs, and at the end a checksum.
//!
//! The bytes are those of a snapshot file of this store, zeros up to a multiple of 512, and the SHA-256 of all that.
//! Padding and checksum are what `etcdctl snapshot save` looks for to tell that it got everything: it takes a file whose
//! length is 32 more than a multiple of 512.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use raft_store::Backup;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tonic::Status;

use crate::context::Context;
use crate::etcdserverpb::SnapshotResponse;

/// What the length without the checksum is a multiple of.
const SECTOR_BYTES: usize = 512;
/// Blobs that wait to be sent, each about 1 MiB.
const BLOBS_MAX: usize = 2;
/// A client that takes nothing for so long is not waited for: what it is being sent is kept in memory.
const STALL_MAX: Duration = Duration::from_secs(60);

type Sender = mpsc::Sender<Result<SnapshotResponse, Status>>;

/// Starts to send. A thread that may block makes the blobs, only as fast as they are taken.
pub(crate) fn send(
    context: Arc<Context>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<SnapshotResponse, Status>> + Send + 'static {
    let (sender, mut blobs) = mpsc::channel(BLOBS_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let sending = Sending {
            remaining: 0,
            runtime,
            sender,
            context,
        };
        sending.run();
    });
    futures::stream::poll_fn(move |task| blobs.poll_recv(task))
}

struct Sending {
    /// About how much is left.
    remaining: u64,
    runtime: Handle,
    sender: Sender,
    context: Arc<Context>,
}

impl Sending {
    fn run(mut self) {
        let backup = self.context.store.backup();
        self.remaining = backup.bytes_about();
        if let Err(error) = self.send_all(backup) {
            tracing::warn!(%error, "a snapshot was not sent to its end");
            // Fails where the client has gone, which then is the reason.
            let _ = self.sender.try_send(Err(Status::unavailable(format!(
                "the snapshot broke off: {error}"
            ))));
        }
    }

    fn send_all(&mut self, backup: Backup) -> io::Result<()> {
        let mut digest = Sha256::new();
        let mut bytes = 0;
        for chunk in backup {
            let chunk = chunk?;
            digest.update(&chunk);
            bytes += chunk.len();
            self.blob(chunk, false)?;
        }
        let mut end = vec![0; bytes.next_multiple_of(SECTOR_BYTES) - bytes];
        digest.update(&end);
        end.extend_from_slice(&digest.finalize());
        self.blob(end.into(), true)
    }

    fn blob(&mut self, blob: Bytes, last: bool) -> io::Result<()> {
        // How long it will be is an estimate, but 0 stands for the end.
        self.remaining = self.remaining.saturating_sub(blob.len() as u64).max(1);
        let response = SnapshotResponse {
            header: Some(self.context.header_now()),
            remaining_bytes: if last { 0 } else { self.remaining },
            blob,
        };
        let sent = self
            .runtime
            .block_on(timeout(STALL_MAX, self.sender.send(Ok(response))));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the client took nothing for {STALL_MAX:?}"),
            )),
        }
    }
}
