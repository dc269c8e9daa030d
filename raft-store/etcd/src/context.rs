//! What all services of a server share.

use raft_store::{Revision, Store};
use tokio_util::sync::CancellationToken;

use crate::config::EtcdConfig;
use crate::etcdserverpb::ResponseHeader;
use crate::translate::wire;

pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) config: EtcdConfig,
    /// Streams end, and no more connections are taken.
    pub(crate) stop: CancellationToken,
    cluster_id: u64,
    member_id: u64,
}

impl Context {
    pub(crate) fn new(store: Store, config: EtcdConfig) -> Self {
        let status = store.status();
        Self {
            store,
            config,
            stop: CancellationToken::new(),
            cluster_id: status.cluster_id,
            member_id: status.member_id,
        }
    }

    pub(crate) fn member_id(&self) -> u64 {
        self.member_id
    }

    /// The header of an answer that is about a revision.
    pub(crate) fn header(&self, revision: Revision) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: wire(revision),
            raft_term: self.store.term(),
        }
    }

    /// The header of an answer that is about no revision, so that it tells the newest.
    pub(crate) fn header_now(&self) -> ResponseHeader {
        self.header(self.store.revision())
    }
}
