//! The calls of other members.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use raft_store::{Inbox, InboxError};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use crate::assembly::Assembly;
use crate::group::to_wire;
use crate::handshake::{self, Callee, Reason, Refusal};
use crate::network::Network;
use crate::peer::Peer;
use crate::proto::frames_request::What;
use crate::proto::{
    FramesRequest, FramesResponse, Handshake, HelloRequest, HelloResponse, MembersRequest,
    MembersResponse, SnapshotRequest, SnapshotResponse, peer_server, snapshot_request,
};
use crate::serve::Connection;
use crate::snapshot_in;
use crate::trouble::Said;

/// Members whose nonsense is remembered as logged.
const NONSENSE_SAID_MAX: usize = 16;

#[derive(Clone)]
pub(crate) struct PeerService {
    network: Arc<Network>,
    inbox: Inbox,
    nonsense_said: Arc<Mutex<Said<u64>>>,
}

impl PeerService {
    pub(crate) fn new(network: Arc<Network>, inbox: Inbox) -> Self {
        Self {
            network,
            inbox,
            nonsense_said: Arc::new(Mutex::new(Said::new(NONSENSE_SAID_MAX))),
        }
    }

    fn admit(
        &self,
        call: Option<&Handshake>,
        connection: Option<&Connection>,
    ) -> Result<Arc<Peer>, Status> {
        let (Some(call), Some(connection)) = (call, connection) else {
            return Err(Status::invalid_argument(
                "a call between members begins with a handshake",
            ));
        };
        let identity = || connection.may_speak_for(call.from, &self.network);
        let peer = self.network.admit(&self.inbox, call, &identity)?;
        connection.admitted.store(true, Relaxed);
        Ok(peer)
    }

    /// The first message of a stream, which is not waited for without end.
    async fn first<M>(&self, stream: &mut Streaming<M>) -> Result<Option<M>, Status> {
        let limit = self.network.config.connect_timeout;
        match timeout(limit, stream.message()).await {
            Ok(first) => first,
            Err(_) => Err(Status::deadline_exceeded(format!(
                "a call between members begins with a handshake, but none came within {limit:?}"
            ))),
        }
    }

    /// Delivers frames until the stream ends.
    async fn deliver(
        &self,
        from: u64,
        stream: &mut Streaming<FramesRequest>,
    ) -> Result<(), Status> {
        let mut assembly = Assembly::new(self.network.config.frame_bytes_max);
        while let Some(FramesRequest { what }) = stream.message().await? {
            let frames = assembly
                .take(what)
                .map_err(|why| self.nonsense(from, &why))?;
            if frames.is_empty() {
                continue;
            }
            let received = &self.network.received;
            received.frames.add(frames.len() as u64);
            received
                .bytes
                .add(frames.iter().map(|frame| frame.len() as u64).sum());
            let delivered = self.inbox.deliver(from, frames).await;
            delivered.map_err(|error| self.refused_by_inbox(from, &error))?;
        }
        Ok(())
    }

    fn refused_by_inbox(&self, from: u64, error: &InboxError) -> Status {
        match error {
            InboxError::Undecodable { what } => self.nonsense(from, what),
            InboxError::Stopped => Status::unavailable(error.to_string()),
            InboxError::Busy => Status::resource_exhausted(error.to_string()),
            InboxError::Failed { .. } => Status::internal(error.to_string()),
        }
    }

    fn nonsense(&self, from: u64, why: &str) -> Status {
        if self.nonsense_said.lock().is_news(from) {
            let member = format!("{from:016x}");
            tracing::warn!(member, "another member sent what cannot be read: {why}");
        }
        Status::invalid_argument(format!("what was sent cannot be read: {why}"))
    }

    /// Why a stream is ended from here.
    fn ended(&self, call: &Handshake, peer: &Peer) -> Status {
        if self.network.stop.is_cancelled() {
            return Status::unavailable("this member is shutting down");
        }
        let refuse = |reason, why| {
            let callee = Callee {
                cluster_id: self.inbox.cluster_id(),
                member_id: self.inbox.member_id(),
                removed: true,
                welcome: false,
                identity: &|| Ok(()),
            };
            Status::from(Refusal::new(reason, call, &callee, why))
        };
        if peer.stop.is_cancelled() {
            return refuse(Reason::Removed, "the caller was removed from the cluster");
        }
        if peer.lane.is_past(call.run) {
            return refuse(
                Reason::Replaced,
                "another process speaks for the caller's id now",
            );
        }
        Status::aborted("a newer stream of the same member has taken its place")
    }
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    async fn hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloResponse>, Status> {
        let connection = request.extensions().get::<Arc<Connection>>().map(|c| &**c);
        self.admit(request.get_ref().handshake.as_ref(), connection)?;
        Ok(Response::new(HelloResponse {
            version: handshake::VERSION,
        }))
    }

    async fn members(
        &self,
        request: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        let asked = request.into_inner().version;
        if asked != handshake::VERSION {
            return Err(Status::failed_precondition(format!(
                "this member speaks version {} of the protocol between members, and was asked in version {asked}",
                handshake::VERSION
            )));
        }
        Ok(Response::new(MembersResponse {
            cluster_id: self.inbox.cluster_id(),
            members: self.network.members().into_iter().map(to_wire).collect(),
        }))
    }

    async fn frames(
        &self,
        request: Request<Streaming<FramesRequest>>,
    ) -> Result<Response<FramesResponse>, Status> {
        let connection = request
            .extensions()
            .get::<Arc<Connection>>()
            .map(Arc::clone);
        let mut stream = request.into_inner();
        let call = match self.first(&mut stream).await?.and_then(|first| first.what) {
            Some(What::Handshake(call)) => Some(call),
            _ => None,
        };
        let peer = self.admit(call.as_ref(), connection.as_deref())?;
        let call = call.unwrap_or_default();
        let turn = peer.lane.enter(call.run).await;
        tokio::select! {
            biased;
            () = turn.over.cancelled() => Err(self.ended(&call, &peer)),
            () = peer.stop.cancelled() => Err(self.ended(&call, &peer)),
            result = self.deliver(peer.id, &mut stream) => {
                result.map(|()| Response::new(FramesResponse {}))
            }
        }
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotRequest>>,
    ) -> Result<Response<SnapshotResponse>, Status> {
        let connection = request
            .extensions()
            .get::<Arc<Connection>>()
            .map(Arc::clone);
        let mut stream = request.into_inner();
        let begin = match self.first(&mut stream).await?.and_then(|first| first.what) {
            Some(snapshot_request::What::Begin(begin)) => begin,
            _ => Default::default(),
        };
        let peer = self.admit(begin.handshake.as_ref(), connection.as_deref())?;
        let call = begin.handshake.unwrap_or_default();
        let stall_max = self.network.config.snapshot_stall_max;
        let taken = tokio::select! {
            biased;
            () = peer.stop.cancelled() => return Err(self.ended(&call, &peer)),
            taken = snapshot_in::take(&self.inbox, peer.id, begin.header, &mut stream, stall_max) => taken,
        };
        let member = format!("{:016x}", peer.id);
        match taken {
            Ok(bytes) => {
                self.network.received.snapshots.add(1);
                tracing::info!(member, bytes, "a snapshot was taken in");
                Ok(Response::new(SnapshotResponse {}))
            }
            Err(snapshot_in::Failed::Inbox(error)) => {
                tracing::warn!(member, "a snapshot was not taken in: {error}");
                Err(self.refused_by_inbox(peer.id, &error))
            }
            Err(snapshot_in::Failed::Stream(status)) => {
                tracing::warn!(member, "a snapshot was discarded: {}", status.message());
                Err(status)
            }
        }
    }
}
