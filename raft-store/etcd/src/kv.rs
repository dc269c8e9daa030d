//! Reads and writes of keys.

use std::sync::Arc;

use raft_store::{OpResponse, Txn};
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse, kv_server,
};
use crate::translate::{self, Refused, status_of};

#[derive(Clone)]
pub(crate) struct KvService(pub(crate) Arc<Context>);

impl KvService {
    /// Runs a transaction of one step.
    async fn run_one(&self, op: raft_store::Op) -> Result<(Option<OpResponse>, u64), Status> {
        let txn = Txn {
            success: vec![op],
            ..Txn::default()
        };
        let mut answer = self
            .0
            .store
            .txn(txn)
            .await
            .map_err(|error| status_of(&error))?;
        Ok((answer.responses.pop(), answer.revision))
    }
}

#[tonic::async_trait]
impl kv_server::Kv for KvService {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let (read, finish) = translate::range(request.into_inner())?;
        let mut answer = self
            .0
            .store
            .range(read)
            .await
            .map_err(|error| status_of(&error))?;
        if let Some(finish) = finish {
            finish.apply(&mut answer);
        }
        let header = self.0.header(answer.revision);
        Ok(Response::new(translate::range_response(answer, header)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        let prev_kv = request.prev_kv;
        let (answer, revision) = self.run_one(translate::put(request)?).await?;
        let before = match answer {
            Some(OpResponse::Put { prev_kv: before }) if prev_kv => before,
            _ => None,
        };
        let header = self.0.header(revision);
        Ok(Response::new(translate::put_response(before, header)))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let delete = translate::delete(request.into_inner())?;
        let (answer, revision) = self.run_one(delete).await?;
        let (deleted, before) = match answer {
            Some(OpResponse::Delete { deleted, prev_kvs }) => (deleted, prev_kvs),
            _ => (0, Vec::new()),
        };
        let header = self.0.header(revision);
        Ok(Response::new(translate::delete_response(
            deleted, before, header,
        )))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let ops_max = self.0.config.txn_ops_max;
        let (txn, branches) = translate::txn(request.into_inner(), ops_max)?;
        let answer = self
            .0
            .store
            .txn(txn)
            .await
            .map_err(|error| status_of(&error))?;
        let header = self.0.header(answer.revision);
        Ok(Response::new(translate::txn_response(
            answer, &branches, header,
        )))
    }

    /// `physical` makes no difference: what was compacted takes no part in any answer from here on, and its memory is
    /// freed in small steps right after. There is no file to be made smaller that could be waited for.
    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let revision = request.into_inner().revision;
        let at = u64::try_from(revision).map_err(|_| Status::from(Refused::Compacted))?;
        let compacted = self.0.store.compact(at).await;
        compacted.map_err(|error| status_of(&error))?;
        let header = Some(self.0.header_now());
        Ok(Response::new(CompactionResponse { header }))
    }
}
