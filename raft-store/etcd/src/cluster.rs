//! Members of the group.

use std::sync::Arc;

use raft_store::Error;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, ResponseHeader, cluster_server,
};
use crate::translate::{self, status_of};

#[derive(Clone)]
pub(crate) struct ClusterService(pub(crate) Arc<Context>);

impl ClusterService {
    /// What an answer ends with, once a change has succeeded.
    fn after(&self, changed: Result<(), Error>) -> Result<(ResponseHeader, Vec<Member>), Status> {
        changed.map_err(|error| status_of(&error))?;
        let members = translate::members(self.0.store.members());
        Ok((self.0.header_now(), members))
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let request = request.into_inner();
        let urls = translate::peer_urls(request.peer_urls)?;
        let added = self.0.store.member_add(urls, request.is_learner).await;
        let added = added.map_err(|error| status_of(&error))?;
        let (header, members) = self.after(Ok(()))?;
        Ok(Response::new(MemberAddResponse {
            header: Some(header),
            member: Some(translate::member(added)),
            members,
        }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let removed = self.0.store.member_remove(request.into_inner().id).await;
        let (header, members) = self.after(removed)?;
        Ok(Response::new(MemberRemoveResponse {
            header: Some(header),
            members,
        }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        let urls = translate::peer_urls(request.peer_urls)?;
        let updated = self.0.store.member_update(request.id, urls).await;
        let (header, members) = self.after(updated)?;
        Ok(Response::new(MemberUpdateResponse {
            header: Some(header),
            members,
        }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        // Clients of etcd 3.4 do not ask for it, and find members even where there is no leader.
        if request.into_inner().linearizable {
            let read = self.0.store.read_index().await;
            read.map_err(|error| status_of(&error))?;
        }
        let (header, members) = self.after(Ok(()))?;
        Ok(Response::new(MemberListResponse {
            header: Some(header),
            members,
        }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let promoted = self.0.store.member_promote(request.into_inner().id).await;
        let (header, members) = self.after(promoted)?;
        Ok(Response::new(MemberPromoteResponse {
            header: Some(header),
            members,
        }))
    }
}
