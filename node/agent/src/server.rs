//! The node's own API: container logs and streams for the API server, requests from pods of other
//! nodes.

use crate::logs::reader::{self, Query as LogQuery};
use crate::manager::Manager;
use crate::node::Node;
use crate::remote::{self, Sessions};
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use euston_network::tunnel;
use euston_tls::PeerIdentity;
use futures::StreamExt;
use http_body_util::BodyExt;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Those who may read logs and reach into pods: the API server and administrators.
pub(crate) const MASTERS: &str = "system:masters";
/// Those who may send requests into pods: other agents.
const NODES: &str = "system:nodes";

#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) node: Arc<Node>,
    pub(crate) manager: Manager,
    pub(crate) sessions: Sessions,
}

pub(crate) fn router(node: Arc<Node>, manager: Manager) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .route(tunnel::PATH, post(tunnel_in))
        .merge(remote::routes())
        .with_state(Api {
            node,
            manager,
            sessions: Sessions::default(),
        })
}

/// The refusal, for a caller who is not in the group.
pub(crate) fn refusal(peer: Option<&Extension<PeerIdentity>>, group: &str) -> Option<Response> {
    match peer {
        Some(Extension(peer)) if peer.organizations.iter().any(|o| o == group) => None,
        Some(Extension(peer)) => {
            let why = format!("{} is not in the group {group}\n", peer.common_name);
            Some((StatusCode::FORBIDDEN, why).into_response())
        }
        None => {
            let why = "a client certificate is required\n";
            Some((StatusCode::UNAUTHORIZED, why).into_response())
        }
    }
}

/// The query of the kubelet's endpoint of the same name.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogParams {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    tail_lines: Option<u64>,
    limit_bytes: Option<u64>,
}

fn flag(text: Option<&String>) -> bool {
    text.is_some_and(|text| matches!(text.as_str(), "" | "true" | "1"))
}

async fn logs(
    State(api): State<Api>,
    peer: Option<Extension<PeerIdentity>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(params): Query<LogParams>,
) -> Response {
    if let Some(refusal) = refusal(peer.as_ref(), MASTERS) {
        return refusal;
    }
    let place = match api
        .manager
        .log(&namespace, &pod, &container, flag(params.previous.as_ref()))
    {
        Ok(place) => place,
        Err(missing) => return missing.into_response(),
    };
    let since = params.since_time.or_else(|| {
        let seconds = SignedDuration::from_secs(params.since_seconds?);
        Timestamp::now().checked_sub(seconds).ok()
    });
    let query = LogQuery {
        follow: flag(params.follow.as_ref()),
        timestamps: flag(params.timestamps.as_ref()),
        tail_lines: params.tail_lines,
        since,
        limit_bytes: params.limit_bytes,
    };
    let live = place.live.map(|writer| writer.log().clone());
    let blocks = reader::stream(place.dir, place.restart, live, query);
    let stream = futures::stream::unfold(blocks, |mut blocks| async move {
        blocks.recv().await.map(|block| (block, blocks))
    });
    let ended = end_with(stream, api.node.shutdown.clone());
    Response::builder()
        .header("content-type", "text/plain; charset=utf-8")
        .body(AxumBody::from_stream(ended))
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// A follower must not keep the agent from shutting down.
fn end_with<S: futures::Stream>(
    stream: S,
    shutdown: CancellationToken,
) -> impl futures::Stream<Item = S::Item> {
    stream.take_until(shutdown.cancelled_owned())
}

async fn tunnel_in(
    State(api): State<Api>,
    peer: Option<Extension<PeerIdentity>>,
    request: Request,
) -> Response {
    if let Some(refusal) = refusal(peer.as_ref(), NODES) {
        return refusal;
    }
    let wire = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let response = match tunnel::decode(wire) {
        Ok((to, request)) => tunnel::answer(api.node.net.deliver_local(to, request).await),
        Err(bad) => bad,
    };
    response.map(AxumBody::new)
}
