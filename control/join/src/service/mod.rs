//! The cluster's side: a router for the API's port.

mod agent;
mod gate;
mod members;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Router, middleware};
use euston_tls::{Authority, PeerIdentity};
use jiff::Timestamp;
use kube::Client;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};

use crate::group::Group;
use crate::limit::WrongTokens;
use crate::refusal::{Refusal, Result};
use crate::token::{JoinToken, Role, TokenId};
use crate::tokens::{self, CheckError};
use crate::wire;

/// Members may do everything.
const MASTERS: &str = "system:masters";

/// Requests under way at a time; one more is told to come back. Each waits for the store, not for the
/// processor, and joins are rare.
const REQUESTS_MAX: usize = 64;
/// How long a request may take. The store's own limit is 10 s, and a join asks it a few things.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// For the body of a request to arrive. Strangers who send slowly must not take all places for long.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Lets machines into the cluster. Cheap to clone.
#[derive(Clone)]
pub struct JoinService {
    inner: Arc<Inner>,
}

struct Inner {
    authority: Arc<Authority>,
    client: Client,
    group: Arc<dyn Group>,
    wrong_tokens: WrongTokens,
    requests: Semaphore,
    /// One server joins at a time here: looking for its place and making it are two steps.
    places: Mutex<()>,
}

impl std::fmt::Debug for JoinService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinService").finish_non_exhaustive()
    }
}

impl JoinService {
    /// A service that signs with `authority`. `client` needs all rights on Secrets in `kube-system`, and to read
    /// nodes; it is best one of this process, so that a join needs no other server.
    pub fn new(authority: Arc<Authority>, client: Client, group: Arc<dyn Group>) -> Self {
        Self {
            inner: Arc::new(Inner {
                authority,
                client,
                group,
                wrong_tokens: WrongTokens::new(Instant::now()),
                requests: Semaphore::new(REQUESTS_MAX),
                places: Mutex::new(()),
            }),
        }
    }

    /// Everything under `/euston/v1`, to be merged with the API server's router. It reads
    /// `euston_tls::PeerIdentity`, `PeerCertificate` and `ConnectInfo<SocketAddr>` from the requests' extensions,
    /// where `euston_tls::serve` puts them.
    pub fn router(&self) -> Router {
        let inner = &self.inner;
        let member = format!("{}/{{member}}", wire::MEMBERS_PATH);
        Router::new()
            .route(wire::CA_PATH, get(agent::ca))
            .route(wire::JOIN_AGENT_PATH, post(agent::join))
            .route(wire::RENEW_PATH, post(agent::renew))
            .route(wire::SERVERS_PATH, get(agent::servers))
            .route(wire::JOIN_SERVER_PATH, post(server::join))
            .route(wire::MEMBERS_PATH, get(members::list))
            .route(&member, delete(members::remove))
            .route(&format!("{member}/promote"), post(members::promote))
            .route(&format!("{member}/lead"), post(members::lead))
            .route(&format!("{member}/replace"), post(members::replace))
            .method_not_allowed_fallback(|| async { Refusal::method_not_allowed().into_response() })
            .layer(middleware::from_fn_with_state(inner.clone(), gate::bound))
            .with_state(inner.clone())
    }
}

impl Inner {
    /// The role that a token has, and which it is.
    async fn check_token(&self, text: &str) -> Result<(Role, TokenId)> {
        if !self.wrong_tokens.may_try(Instant::now()) {
            return Err(Refusal::too_many(
                "there were too many wrong tokens just now; try again in a second",
            ));
        }
        let token: JoinToken = text
            .parse()
            .map_err(|e| Refusal::unauthorized(format!("{e}")))?;
        let checked = tokens::check(&self.client, &token, Timestamp::now()).await;
        if !matches!(checked, Err(CheckError::Wrong | CheckError::Expired(_))) {
            self.wrong_tokens.right();
        }
        let id = token.id;
        match checked {
            Ok(role) => Ok((role, id)),
            Err(CheckError::Wrong) => Err(Refusal::unauthorized(format!(
                "the token {id} is not known here: it was deleted, or is of another cluster; on a machine of \
                 this cluster `euston token create` makes a new one"
            ))),
            Err(CheckError::Expired(end)) => Err(Refusal::unauthorized(format!(
                "the token {id} ended at {end}; on a machine of this cluster `euston token create` makes a \
                 new one"
            ))),
            Err(CheckError::Damaged(why)) => Err(Refusal::internal(format!(
                "the token {id} cannot be checked: {why}; `euston token delete {id}`, and create another"
            ))),
            Err(CheckError::Api(e)) => Err(Refusal::api(&format!("look up the token {id}"), &e)),
        }
    }
}

/// The body of a request, which is JSON.
async fn read<T: DeserializeOwned>(request: Request) -> Result<T> {
    let too_large = || {
        Refusal::too_large(format!(
            "the request has more than {} KiB",
            wire::BODY_BYTES_MAX / 1024
        ))
    };
    let body = axum::body::to_bytes(request.into_body(), wire::BODY_BYTES_MAX);
    let bytes = tokio::time::timeout(BODY_TIMEOUT, body)
        .await
        .map_err(|_| {
            Refusal::bad_request(format!(
                "the request's body did not come within {BODY_TIMEOUT:?}"
            ))
        })?
        .map_err(|e| {
            use std::error::Error;
            let limit = e
                .source()
                .is_some_and(|s| s.is::<http_body_util::LengthLimitError>());
            if limit {
                too_large()
            } else {
                Refusal::bad_request(format!("the request's body cannot be read: {e}"))
            }
        })?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Refusal::bad_request(format!("the request's body is not what belongs here: {e}"))
    })
}

/// Where a request comes from, for the log.
fn from(request: &Request) -> String {
    match request.extensions().get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(address)) => address.to_string(),
        None => "an unknown address".to_owned(),
    }
}

/// Who asks, by their certificate.
fn peer(request: &Request) -> Result<&PeerIdentity> {
    request.extensions().get::<PeerIdentity>().ok_or_else(|| {
        Refusal::unauthorized(
            "this needs a certificate of the cluster, and the connection came without one",
        )
    })
}

/// Refuses everybody but administrators.
fn only_masters(request: &Request) -> Result<()> {
    let peer = peer(request)?;
    if peer.organizations.iter().any(|o| o == MASTERS) {
        Ok(())
    } else {
        Err(Refusal::forbidden(format!(
            "{:?} may not look after the group of servers; that takes a certificate of the group {MASTERS}",
            peer.common_name
        )))
    }
}
