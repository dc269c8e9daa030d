//! Puts the parts together.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use euston_access::User;
use euston_tls::HttpsClient;
use http::HeaderValue;
use http::header::USER_AGENT;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::access::Access;
use crate::admission::{self, Admission, Quotas, ServiceAddresses};
use crate::endpoints::Api;
use crate::error::{ApiError, Result};
use crate::registry::Registry;
use crate::registry::table::{Table, builtin};
use crate::storage::Storage;
use crate::{bootstrap, custom, upkeep};

/// What an API server is made of.
pub struct Config {
    /// Where objects are kept.
    pub store: raft_store::Store,
    /// Where images are kept; served under `/v2/`.
    pub images: euston_images::Registry,
    /// What nodes are asked with, for logs. Without it those requests get 503.
    pub node_client: Option<HttpsClient>,
    /// Where this API is reached, for the Service `default/kubernetes`.
    pub advertise: Option<(IpAddr, u16)>,
    /// Ends watches and upkeep.
    pub shutdown: CancellationToken,
}

/// A running API server. It listens nowhere by itself: serve its [`router`](Self::router),
/// or call it in process through a [`client`](Self::client).
#[derive(Clone)]
pub struct ApiServer {
    router: Router,
}

impl ApiServer {
    /// Loads the caches, creates what every cluster has, starts upkeep.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn start(config: Config) -> Result<Self> {
        let storage = Storage::start(config.store, config.shutdown.clone()).await?;
        let storage = Arc::new(storage);
        let kinds = builtin().into_iter().map(Arc::new).collect();
        let table = Arc::new(Table::new(storage.attach(kinds).await?));
        let cache = |group: &str, plural: &str| {
            table
                .row_of(group, plural)
                .map(|row| row.cache)
                .ok_or_else(|| ApiError::internal(format!("the kind {plural} is not registered")))
        };
        let keys_url = match config.advertise {
            Some((ip, port)) => format!("https://{}/openid/v1/jwks", SocketAddr::new(ip, port)),
            None => "/openid/v1/jwks".to_owned(),
        };
        let access = Arc::new(Access::start(&table, &storage, keys_url).await?);
        let addresses = ServiceAddresses::new(cache("", "services")?);
        let quotas = Quotas::new(cache("", "resourcequotas")?, storage.clone(), table.clone());
        let plugins = admission::plugins(&access, cache)?;
        let admission = Admission::new(cache("", "namespaces")?, addresses, plugins, quotas);
        let registry = Arc::new(Registry::new(table.clone(), storage, admission));
        let (group, _, plural) = custom::DEFINITIONS;
        let definitions = table
            .row_of(group, plural)
            .ok_or_else(|| ApiError::internal(format!("the kind {plural} is not registered")))?;
        bootstrap::run(&registry, config.advertise).await?;
        let mut follower = custom::Follower::new(registry.clone(), definitions.clone());
        if let Err(error) = follower.catch_up().await {
            tracing::warn!(%error, "custom resources cannot be served yet; trying again soon");
        }
        tokio::spawn(follower.run(config.shutdown.clone()));
        tokio::spawn(custom::keep(
            registry.clone(),
            definitions,
            config.shutdown.clone(),
        ));
        let api = Api::new(
            registry.clone(),
            access,
            config.node_client,
            config.shutdown.clone(),
        );
        tokio::spawn(upkeep::run(
            registry,
            api.published().clone(),
            config.shutdown,
        ));
        Ok(ApiServer {
            router: api.router(config.images.router()),
        })
    }

    /// The whole API. Identities are read from `euston_tls::PeerIdentity` in the
    /// requests' extensions, where `euston_tls::serve` puts them.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// A client of this API in the same process: no socket, no TLS, everything else alike. Without a name it is
    /// whoever its requests say: by a token, or nobody.
    pub fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        let agent = user.rsplit(':').next().unwrap_or_default();
        let agent = HeaderValue::from_str(agent).unwrap_or(HeaderValue::from_static("euston"));
        let groups = groups.iter().map(|&g| g.to_owned());
        let user = (!user.is_empty()).then(|| Arc::new(User::known(user, groups)));
        let router = self.router.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let router = router.clone();
            let mut request = request.map(Body::new);
            if let Some(user) = user.clone() {
                request.extensions_mut().insert(user);
            }
            // Who owns what it writes is told by this where it says nothing else.
            request
                .headers_mut()
                .entry(USER_AGENT)
                .or_insert_with(|| agent.clone());
            router.oneshot(request)
        });
        kube::Client::new(service, "default")
    }
}
