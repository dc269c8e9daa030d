//! Leases.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use raft_store::Error;
use tonic::{Request, Response, Status, Streaming};

use crate::context::Context;
use crate::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server,
};
use crate::leader::{self, Wanted};
use crate::translate::status_of;

/// Renewals of one stream that are under way at one time. They are answered in order; more than one spares a client with
/// many leases on a follower the round trip for each. When all are taken, the stream is read no further.
const RENEWALS_MAX: usize = 16;

/// What etcd says of a lease that does not exist.
const NO_LEASE: i64 = -1;

#[derive(Clone)]
pub(crate) struct LeaseService(pub(crate) Arc<Context>);

/// Gives a lease its full time again. That it does not exist is an answer (a time of 0), not an error, for the other
/// leases on the stream go on.
async fn renew(
    context: Arc<Context>,
    request: Result<LeaseKeepAliveRequest, Status>,
) -> Result<LeaseKeepAliveResponse, Status> {
    let id = request?.id;
    let ttl = match context.store.lease_keep_alive(id).await {
        Ok(ttl) => ttl,
        Err(Error::LeaseNotFound { .. }) => 0,
        Err(error) => return Err(status_of(&error)),
    };
    Ok(LeaseKeepAliveResponse {
        header: Some(context.header_now()),
        id,
        ttl,
    })
}

#[tonic::async_trait]
impl lease_server::Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        let granted = self.0.store.lease_grant(id, ttl).await;
        let granted = granted.map_err(|error| status_of(&error))?;
        Ok(Response::new(LeaseGrantResponse {
            header: Some(self.0.header(granted.revision)),
            id: granted.id,
            ttl: granted.ttl_seconds,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let revoked = self.0.store.lease_revoke(request.into_inner().id).await;
        let revision = revoked.map_err(|error| status_of(&error))?;
        let header = Some(self.0.header(revision));
        Ok(Response::new(LeaseRevokeResponse { header }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let context = Arc::clone(&self.0);
        let over = leader::over(Arc::clone(&context), Wanted::by(request.metadata()));
        let answers = request
            .into_inner()
            .map(move |request| renew(Arc::clone(&context), request))
            .buffered(RENEWALS_MAX);
        Ok(Response::new(Box::pin(leader::until(answers, over))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let store = &self.0.store;
        let left = match store.lease_time_to_live(id).await {
            Ok(left) => left,
            Err(Error::LeaseNotFound { .. }) => {
                return Ok(Response::new(LeaseTimeToLiveResponse {
                    header: Some(self.0.header_now()),
                    id,
                    ttl: NO_LEASE,
                    ..LeaseTimeToLiveResponse::default()
                }));
            }
            Err(error) => return Err(status_of(&error)),
        };
        let keys = if keys {
            // The leader knows the time, but the keys are looked up here.
            store
                .read_index()
                .await
                .map_err(|error| status_of(&error))?;
            store.lease_keys(id)
        } else {
            Vec::new()
        };
        Ok(Response::new(LeaseTimeToLiveResponse {
            header: Some(self.0.header_now()),
            id,
            ttl: left.remaining_seconds,
            granted_ttl: left.granted_seconds,
            keys,
        }))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let store = &self.0.store;
        store
            .read_index()
            .await
            .map_err(|error| status_of(&error))?;
        let leases = store.leases().into_iter().map(|id| LeaseStatus { id });
        Ok(Response::new(LeaseLeasesResponse {
            header: Some(self.0.header_now()),
            leases: leases.collect(),
        }))
    }
}
