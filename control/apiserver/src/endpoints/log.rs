//! `pods/NAME/log`: relayed from the pod's node.

use axum::body::Body;
use axum::response::Response;
use euston_streams::{Purpose, ReadingSession, negotiate};
use euston_tls::HttpsClient;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;

use super::agent::{ANSWER_TIMEOUT, Agent, Pipe, container, no_body, node_of};
use super::request::Query;
use crate::error::{ApiError, Result};
use crate::registry::{Registry, Resource, name_of};
use crate::storage::ObjectKey;

/// What of the query the node understands.
const PASSED_ON: &[&str] = &[
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
];

/// GET.
///
/// # Errors
/// 400 for a container that is not there or not named, 404, 503 if the node cannot be asked.
pub async fn get(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    query: &Query,
    client: Option<&HttpsClient>,
) -> Result<Response> {
    let entry = registry.get(resource, key).await?;
    let pod: Pod = serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
    let pod_name = name_of(key);
    let container = container(&pod, pod_name, query.get("container"))?;
    for name in ["sinceSeconds", "tailLines", "limitBytes"] {
        query.number(name)?;
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        return Err(ApiError::bad_request(
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    let node = node_of(&pod);
    if node.is_empty() {
        // As Kubernetes: a pod that nobody runs has written nothing.
        return Ok(plain(StatusCode::OK, Body::empty()));
    }
    let agent = Agent::of(registry, client, node)?;
    let namespace = entry.namespace();
    let path = format!(
        "/containerLogs/{namespace}/{pod_name}/{container}?{}",
        passed_on(query)
    );
    let request = Request::get(path)
        .body(no_body())
        .map_err(ApiError::internal)?;
    let what = format!("fetching the log of container {container:?} of pod {namespace}/{pod_name}");
    let answer = agent.send(request, ANSWER_TIMEOUT, &what).await?;
    if answer.status().is_success() {
        return Ok(plain(answer.status(), Body::new(answer.into_body())));
    }
    Err(agent.refusal(answer, &what).await)
}

/// The same log in the messages of a WebSocket.
///
/// # Errors
/// 400 and 403 for an upgrade that cannot be.
pub fn over_websocket(log: Response, headers: &HeaderMap, pipe: Pipe) -> Result<Response> {
    let (agreed, answer) = negotiate(headers, Purpose::Reading).map_err(|refusal| ApiError {
        code: refusal.status.as_u16(),
        reason: match refusal.status {
            StatusCode::FORBIDDEN => "Forbidden",
            _ => "BadRequest",
        },
        ..ApiError::bad_request(refusal.message)
    })?;
    let mut body = log.into_body();
    pipe.run(move |client| async move {
        let Ok(session) = ReadingSession::begin(client, agreed) else {
            return;
        };
        let gone = session.gone();
        let sending = async {
            while let Some(Ok(frame)) = body.frame().await {
                if let Ok(bytes) = frame.into_data()
                    && session.send(bytes).await.is_err()
                {
                    return;
                }
            }
        };
        // A log that is followed may be silent for ever, and its reader gone.
        gone.run_until_cancelled(sending).await;
        session.finish().await;
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer;
    Ok(response)
}

/// The part of the query that the node understands.
fn passed_on(query: &Query) -> String {
    let known = query
        .pairs()
        .iter()
        .filter(|(name, _)| PASSED_ON.contains(&name.as_str()));
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(known)
        .finish()
}

fn plain(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    response
}
