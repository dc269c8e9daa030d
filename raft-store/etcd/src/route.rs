//! Which service a call is for.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tower::Service as _;

use crate::cluster::ClusterService;
use crate::config::OVERHEAD_BYTES;
use crate::context::Context;
use crate::etcdserverpb::cluster_server::ClusterServer;
use crate::etcdserverpb::kv_server::KvServer;
use crate::etcdserverpb::lease_server::LeaseServer;
use crate::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::etcdserverpb::watch_server::WatchServer;
use crate::kv::KvService;
use crate::leader::Wanted;
use crate::lease::LeaseService;
use crate::maintenance::MaintenanceService;
use crate::plain;
use crate::translate::Refused;
use crate::watch::WatchService;

/// The package of all services, as it stands in the path of a call.
const PACKAGE: &str = "/etcdserverpb.";

/// All services.
pub(crate) struct Routes {
    context: Arc<Context>,
    kv: KvServer<KvService>,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
}

impl Routes {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let bytes_max = context.config.request_bytes_max + OVERHEAD_BYTES;
        let kv = KvServer::new(KvService(Arc::clone(&context)));
        let watch = WatchServer::new(WatchService(Arc::clone(&context)));
        let lease = LeaseServer::new(LeaseService(Arc::clone(&context)));
        let cluster = ClusterServer::new(ClusterService(Arc::clone(&context)));
        let maintenance = MaintenanceServer::new(MaintenanceService::new(Arc::clone(&context)));
        Self {
            context,
            kv: kv.max_decoding_message_size(bytes_max),
            watch: watch.max_decoding_message_size(bytes_max),
            lease: lease.max_decoding_message_size(OVERHEAD_BYTES),
            cluster: cluster.max_decoding_message_size(OVERHEAD_BYTES),
            maintenance: maintenance.max_decoding_message_size(OVERHEAD_BYTES),
        }
    }

    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path();
        let service = path
            .strip_prefix(PACKAGE)
            .and_then(|path| path.split_once('/'));
        let Some((service, _)) = service else {
            if is_grpc(request.headers()) {
                return Ok(unknown(path).into_http());
            }
            return Ok(plain::answer(&self.context, request.method(), path).await);
        };
        if let Err(status) = Wanted::by_headers(request.headers()).check(&self.context) {
            return Ok(status.into_http());
        }
        match service {
            "KV" => self.kv.clone().call(request).await,
            "Watch" => self.watch.clone().call(request).await,
            "Lease" => self.lease.clone().call(request).await,
            "Cluster" => self.cluster.clone().call(request).await,
            "Maintenance" => self.maintenance.clone().call(request).await,
            // Users and roles are not kept. Clients that were given a password go on without one when they hear this.
            "Auth" => Ok(Status::from(Refused::AuthNotEnabled).into_http()),
            _ => Ok(unknown(path).into_http()),
        }
    }

    /// Answers where only pages are served.
    pub(crate) async fn page(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        Ok(plain::answer(&self.context, request.method(), request.uri().path()).await)
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn unknown(path: &str) -> Status {
    Status::unimplemented(format!("this server has no method {path}"))
}
