//! What a member sends, on its way to the [`Transport`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::Message;

use super::Request;
use super::core::Outlet;
use super::frame::Frame;
use super::snapshot::{Backup, Meta};
use crate::member::Member;
use crate::mvcc::State;
use crate::transport::{SnapshotOut, Transport};

/// Gathers frames, so that all that a turn has for a member goes in one piece.
pub(super) struct TransportOutlet {
    transport: Arc<dyn Transport>,
    /// Where to report what became of snapshots.
    requests: mpsc::Sender<Request>,
    waiting: BTreeMap<u64, Vec<Bytes>>,
}

impl TransportOutlet {
    pub(super) fn new(transport: Arc<dyn Transport>, requests: mpsc::Sender<Request>) -> Self {
        Self {
            transport,
            requests,
            waiting: BTreeMap::new(),
        }
    }
}

impl Outlet for TransportOutlet {
    fn frame(&mut self, to: u64, frame: Frame) {
        self.waiting.entry(to).or_default().push(frame.encode());
    }

    fn snapshot(&mut self, to: u64, message: Message, meta: Meta, state: State) {
        // Fails only for messages that lack a required field, and these have none.
        let header = message.write_to_bytes().unwrap_or_default().into();
        let body = Backup::new(meta, state);
        let requests = self.requests.clone();
        let snapshot = SnapshotOut {
            header,
            bytes_about: body.bytes_about(),
            body: Box::new(body),
        };
        let done = Box::new(move |taken| {
            // Fails where the member has stopped.
            let _ = requests.send(Request::SnapshotSent { to, taken });
        });
        self.transport.send_snapshot(to, snapshot, done);
    }

    fn members(&mut self, members: Vec<Member>) {
        self.transport.set_members(members);
    }

    fn flush(&mut self) {
        for (to, frames) in std::mem::take(&mut self.waiting) {
            self.transport.send(to, frames);
        }
    }
}

/// The transport of a group of one.
pub(crate) struct NoTransport;

impl Transport for NoTransport {
    fn send(&self, _: u64, _: Vec<Bytes>) {}

    fn send_snapshot(&self, _: u64, _: SnapshotOut, done: Box<dyn FnOnce(bool) + Send>) {
        done(false);
    }

    fn set_members(&self, _: Vec<Member>) {}
}
