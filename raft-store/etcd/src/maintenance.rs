//! Health, hashes, snapshots, and who leads.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use raft_store::{Alarm, Error, StateHash};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::etcdserverpb::alarm_request::AlarmAction;
use crate::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse, HashKvRequest,
    HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
    SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse, maintenance_server,
};
use crate::snapshot;
use crate::translate::{self, Refused, status_of, wire};
use crate::{API_VERSION, leader};

/// Hashes that are computed at one time: each walks over all keys on a thread of its own.
const HASHES_MAX: usize = 2;
/// Snapshots that are sent at one time: each keeps the state of its moment in memory for as long as it takes.
const SNAPSHOTS_MAX: usize = 4;

#[derive(Clone)]
pub(crate) struct MaintenanceService {
    context: Arc<Context>,
    hashes: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
}

impl MaintenanceService {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            hashes: Arc::new(Semaphore::new(HASHES_MAX)),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS_MAX)),
        }
    }

    async fn hash_at(&self, revision: i64) -> Result<StateHash, Status> {
        let at = u64::try_from(revision).unwrap_or(0);
        let Ok(permit) = self.hashes.clone().try_acquire_owned() else {
            return Err(Refused::TooManyRequests.into());
        };
        let context = Arc::clone(&self.context);
        let hashed = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            context.store.hash(at)
        });
        match hashed.await {
            Ok(Ok(hash)) => Ok(hash),
            Ok(Err(error)) => Err(status_of(&error)),
            Err(_) => Err(Refused::Stopped.into()),
        }
    }
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        let store = &self.context.store;
        let alarm = translate::alarm_of(request.alarm)?;
        let set = async |alarm: Option<Alarm>, on| match alarm {
            Some(alarm) => store.alarm(alarm, request.member_id, on).await,
            None => Ok(Vec::new()),
        };
        let alarms = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => match store.read_index().await {
                Ok(_) => {
                    let mut on = store.alarms();
                    on.retain(|(_, on)| alarm.is_none_or(|asked| asked == *on));
                    Ok(on)
                }
                Err(error) => Err(error),
            },
            Ok(AlarmAction::Activate) => set(alarm, true).await,
            Ok(AlarmAction::Deactivate) => set(alarm, false).await,
            Err(_) => {
                return Err(Status::invalid_argument(format!(
                    "there is no action {} on alarms",
                    request.action
                )));
            }
        };
        let alarms = alarms.map_err(|error| status_of(&error))?;
        Ok(Response::new(AlarmResponse {
            header: Some(self.context.header_now()),
            alarms: translate::alarms(alarms),
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.context.store.status();
        let mut errors = Vec::new();
        if status.leader.is_none() {
            errors.push(Refused::NoLeader.text().to_owned());
        }
        for alarm in translate::alarms(self.context.store.alarms()) {
            // As etcd prints the message.
            let kind = AlarmType::try_from(alarm.alarm).unwrap_or(AlarmType::None);
            let kind = kind.as_str_name();
            errors.push(format!("memberID:{} alarm:{kind} ", alarm.member_id));
        }
        Ok(Response::new(StatusResponse {
            header: Some(self.context.header(status.revision)),
            version: API_VERSION.to_owned(),
            db_size: i64::try_from(status.db_bytes).unwrap_or(i64::MAX),
            leader: status.leader.unwrap_or(0),
            raft_index: status.last_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: i64::try_from(status.db_bytes_in_use).unwrap_or(i64::MAX),
            is_learner: status.learner,
        }))
    }

    /// There is nothing to do: the state is in memory, without holes that could be closed, and the log and snapshots on
    /// disk are rewritten as they grow.
    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        let header = Some(self.context.header_now());
        Ok(Response::new(DefragmentResponse { header }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let hash = self.hash_at(0).await?;
        Ok(Response::new(HashResponse {
            header: Some(self.context.header(hash.revision)),
            hash: hash.hash,
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let hash = self.hash_at(request.into_inner().revision).await?;
        Ok(Response::new(HashKvResponse {
            header: Some(self.context.header_now()),
            hash: hash.hash,
            compact_revision: wire(hash.compacted),
            hash_revision: wire(hash.revision),
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let Ok(permit) = self.snapshots.clone().try_acquire_owned() else {
            return Err(Refused::TooManyRequests.into());
        };
        let wanted = leader::Wanted::by(request.metadata());
        let over = leader::over(Arc::clone(&self.context), wanted);
        let blobs = snapshot::send(Arc::clone(&self.context), permit);
        Ok(Response::new(Box::pin(leader::until(blobs, over))))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let store = &self.context.store;
        // Any member could pass it on, but etcd's clients look for the leader, and take this for its sign.
        if store.leader() != Some(self.context.member_id()) {
            return Err(Refused::NotLeader.into());
        }
        match store.move_leader(request.into_inner().target_id).await {
            Ok(()) => {}
            Err(Error::MemberNotFound { .. }) => return Err(Refused::BadTransferee.into()),
            Err(error) => return Err(status_of(&error)),
        }
        let header = Some(self.context.header_now());
        Ok(Response::new(MoveLeaderResponse { header }))
    }
}
