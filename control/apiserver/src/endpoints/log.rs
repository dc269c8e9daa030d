//! `pods/NAME/log`: relayed from the pod's node.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use euston_tls::HttpsClient;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::request::Query;
use crate::error::{ApiError, Result};
use crate::registry::{Registry, Resource, name_of};
use crate::storage::ObjectKey;

/// How long the node may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a node's error message is passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

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
    let node_name = pod
        .spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .unwrap_or_default();
    if node_name.is_empty() {
        // As Kubernetes: a pod that nobody runs has written nothing.
        return Ok(plain(StatusCode::OK, Body::empty()));
    }
    let (address, port) = node_address(registry, node_name)?;
    let client = client.ok_or_else(|| {
        ApiError::unavailable("this API server has no client certificate to ask nodes with")
    })?;
    let host = std::net::SocketAddr::new(address, port);
    let namespace = entry.namespace();
    let uri = format!(
        "https://{host}/containerLogs/{namespace}/{pod_name}/{container}?{}",
        passed_on(query)
    );
    let body = Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = Request::get(&uri).body(body).map_err(ApiError::internal)?;
    let cannot = |why: &dyn std::fmt::Display| {
        ApiError::unavailable(format!(
            "the log of container {container:?} of pod {namespace}/{pod_name} cannot be fetched from node {node_name:?}: {why}"
        ))
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.send(request))
        .await
        .map_err(|_| cannot(&format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))?
        .map_err(|e| cannot(&e))?;
    if answer.status().is_success() {
        return Ok(plain(answer.status(), Body::new(answer.into_body())));
    }
    let status = answer.status();
    let message = Limited::new(answer.into_body(), MESSAGE_BYTES_MAX)
        .collect()
        .await
        .map(|b| String::from_utf8_lossy(&b.to_bytes()).trim().to_owned())
        .unwrap_or_default();
    Err(match status {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => ApiError::bad_request(message),
        _ => cannot(&format!("{status}: {message}")),
    })
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

/// The container that is asked for, or the only one.
fn container(pod: &Pod, pod_name: &str, asked: Option<&str>) -> Result<String> {
    let Some(spec) = &pod.spec else {
        return Err(ApiError::internal("the pod has no spec"));
    };
    let ordinary: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let init: Vec<&str> = spec
        .init_containers
        .iter()
        .flatten()
        .map(|c| c.name.as_str())
        .collect();
    match asked {
        Some(name) if ordinary.contains(&name) || init.contains(&name) => Ok(name.to_owned()),
        Some(name) => Err(ApiError::bad_request(format!(
            "container {name} is not valid for pod {pod_name}"
        ))),
        None => match ordinary.as_slice() {
            [only] if init.is_empty() => Ok((*only).to_owned()),
            _ => {
                let mut message = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    ordinary.join(" ")
                );
                if !init.is_empty() {
                    message.push_str(&format!(
                        " or one of the init containers: [{}]",
                        init.join(" ")
                    ));
                }
                Err(ApiError::bad_request(message))
            }
        },
    }
}

/// Where the agent of a node listens.
fn node_address(registry: &Registry, name: &str) -> Result<(IpAddr, u16)> {
    let missing =
        |why: &str| ApiError::unavailable(format!("node {name:?} cannot be asked: {why}"));
    let nodes = registry
        .resource("", "v1", "nodes")
        .ok_or_else(|| missing("unknown kind"))?;
    let entry = nodes
        .cache
        .get(&ObjectKey::new(None, name))
        .ok_or_else(|| missing("it is not registered any more"))?;
    let node: Node = serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
    let status = node.status.unwrap_or_default();
    let address = status
        .addresses
        .iter()
        .flatten()
        .find(|a| a.type_ == "InternalIP")
        .and_then(|a| a.address.parse().ok())
        .ok_or_else(|| missing("it has reported no address yet"))?;
    let port = status
        .daemon_endpoints
        .and_then(|d| d.kubelet_endpoint)
        .and_then(|e| u16::try_from(e.port).ok())
        .unwrap_or(10250);
    Ok((address, port))
}
