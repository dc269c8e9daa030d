//! What arrives from other members, on its way to the thread.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use tokio::sync::Semaphore;

use super::core::Arrived;
use super::frame::Frame;
use super::snapshot::{self, Loaded};
use super::{Request, Shared};
use crate::transport::{Delivery, InboxError, InboxSink, SnapshotSink};

/// The unit in which what has arrived is accounted.
const UNIT_BYTES: usize = 1024;
/// Bytes of frames that may wait for the thread: what one turn takes up, and as much again behind it.
const WAITING_BYTES: usize = 64 << 20;
/// How long the thread may take to install a snapshot.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);

/// See the module.
pub(crate) struct CoreInbox {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    snapshots: PathBuf,
    receiving: Arc<AtomicBool>,
}

impl CoreInbox {
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Sender<Request>,
        snapshots: PathBuf,
    ) -> Self {
        Self {
            shared,
            requests,
            room: Arc::new(Semaphore::new(WAITING_BYTES / UNIT_BYTES)),
            snapshots,
            receiving: Arc::default(),
        }
    }

    fn send(&self, request: Request) -> Result<(), InboxError> {
        if self.shared.stop_cause().is_some() {
            return Err(InboxError::Stopped);
        }
        self.requests.send(request).map_err(|_| InboxError::Stopped)
    }
}

impl InboxSink for CoreInbox {
    fn cluster_id(&self) -> u64 {
        self.shared.cluster_id
    }

    fn member_id(&self) -> u64 {
        self.shared.member_id
    }

    fn is_removed(&self, member: u64) -> bool {
        self.shared.state.read().is_removed(member)
    }

    fn deliver(&self, from: u64, frames: Vec<Bytes>) -> Delivery<'_> {
        Box::pin(async move {
            let bytes: usize = frames.iter().map(Bytes::len).sum();
            let units = (bytes / UNIT_BYTES + 1).min(WAITING_BYTES / UNIT_BYTES) as u32;
            // Decoded here, so that the thread need not.
            let frames = frames
                .iter()
                .map(Frame::decode)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|what| InboxError::Undecodable { what })?;
            let room = self
                .room
                .clone()
                .acquire_many_owned(units)
                .await
                .map_err(|_| InboxError::Stopped)?;
            self.send(Request::Frames {
                from,
                frames,
                _room: room,
            })
        })
    }

    fn unreachable(&self, member: u64) {
        // Fails where the member has stopped.
        let _ = self.send(Request::Unreachable(member));
    }

    fn told_removed(&self, by: u64) {
        let _ = self.send(Request::ToldRemoved { by });
    }

    fn snapshot(&self, from: u64, header: Bytes) -> Result<Box<dyn SnapshotSink>, InboxError> {
        let undecodable = |what: String| InboxError::Undecodable { what };
        let message = Message::parse_from_bytes(&header)
            .map_err(|error| undecodable(format!("a snapshot's header: {error}")))?;
        if message.get_msg_type() != MessageType::MsgSnapshot
            || message.from != from
            || message.to != self.shared.member_id
        {
            return Err(undecodable(
                "a snapshot's header is not from whom or not to whom it should be".to_owned(),
            ));
        }
        if self.receiving.swap(true, Ordering::AcqRel) {
            return Err(InboxError::Busy);
        }
        let receiving = Receiving(self.receiving.clone());
        let path = self.snapshots.join("incoming.received");
        let file = File::create(&path).map_err(|error| failed("creating", &path, &error))?;
        Ok(Box::new(Incoming {
            message,
            file,
            path,
            shared: self.shared.clone(),
            requests: self.requests.clone(),
            _receiving: receiving,
        }))
    }
}

/// Held by the one snapshot that is being taken in.
struct Receiving(Arc<AtomicBool>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

struct Incoming {
    message: Message,
    file: File,
    path: PathBuf,
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    _receiving: Receiving,
}

impl SnapshotSink for Incoming {
    fn write(&mut self, chunk: &[u8]) -> Result<(), InboxError> {
        self.file
            .write_all(chunk)
            .map_err(|error| failed("writing", &self.path, &error))
    }

    fn finish(self: Box<Self>) -> Result<(), InboxError> {
        self.file
            .sync_all()
            .map_err(|error| failed("syncing", &self.path, &error))?;
        let Loaded {
            meta, state, bytes, ..
        } = snapshot::read(&self.path).map_err(|error| InboxError::Failed {
            what: format!("a snapshot that arrived cannot be used: {error}"),
        })?;
        let metadata = self.message.get_snapshot().get_metadata();
        if meta.cluster_id != self.shared.cluster_id
            || meta.position.index != metadata.index
            || meta.position.term != metadata.term
        {
            return Err(InboxError::Undecodable {
                what: "a snapshot is not what its header says".to_owned(),
            });
        }
        let (path, position) = (self.path.clone(), meta.position);
        let (done, installed) = mpsc::sync_channel(1);
        let arrived = Box::new(Arrived {
            message: self.message.clone(),
            meta,
            state,
            bytes,
            keep: Box::new(move |install| snapshot::keep(&path, position, install)),
        });
        self.requests
            .send(Request::Snapshot { arrived, done })
            .map_err(|_| InboxError::Stopped)?;
        match installed.recv_timeout(INSTALL_TIMEOUT) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(InboxError::Stopped),
            Err(RecvTimeoutError::Timeout) => Err(InboxError::Failed {
                what: format!("a snapshot was not installed within {INSTALL_TIMEOUT:?}"),
            }),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Gone already if it was installed; if it stays, the next one overwrites it.
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(what: &str, path: &std::path::Path, error: &std::io::Error) -> InboxError {
    InboxError::Failed {
        what: format!("{what} {}: {error}", path.display()),
    }
}
