//! The subresource `proxy`: any request, to what stands behind a node, a pod or a Service.
//!
//! Pods have no address that the API server could reach: their node's agent hands the request to
//! them. Names follow `k8s.io/apimachinery/pkg/util/net` (`SplitSchemeNamePort`).

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use euston_api::labels;
use euston_tls::{ClientBody, HttpsClient};
use http::header::{AUTHORIZATION, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rand::seq::IndexedRandom;

use super::agent::{Agent, Pipe, node_of, unreachable};
use super::request::ResourcePath;
use super::respond;
use crate::error::{ApiError, Result};
use crate::registry::kind::ProxyTo;
use crate::registry::{Registry, Resource};
use crate::storage::ObjectKey;

/// How long what stands behind may take to begin its answer; as long as a pod may take for a
/// request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);
/// The port of a pod that names none.
const DEFAULT_PORT: u16 = 80;
/// Headers with which clients ask the API server to take them for somebody else.
const IMPERSONATE: &str = "impersonate-";
/// Headers by which a page of another origin may read answers: pods do not decide that for the
/// API server's origin.
const CORS: &str = "access-control-";

/// `[SCHEME:]NAME[:PORT]`
#[derive(Debug, PartialEq, Eq)]
struct Id<'a> {
    https: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Id<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https") && !name.is_empty();
        known.then_some(Self {
            https: scheme == "https",
            name,
            port,
        })
    }
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    node: String,
    /// The path on the node's agent that stands for the root.
    root: String,
}

/// One request to be passed on.
pub struct Call<'a> {
    /// The kind's row and cache.
    pub resource: Resource<'a>,
    /// Whom the kind's proxy speaks to.
    pub to: ProxyTo,
    /// What the request is about.
    pub target: &'a ResourcePath,
    /// Its head.
    pub parts: &'a Parts,
    /// Its body.
    pub body: Body,
    /// What nodes are asked with.
    pub client: Option<&'a HttpsClient>,
}

/// Any method.
///
/// # Errors
/// 400 for a name that cannot be meant so, 404, 503 if nothing there can be asked.
pub async fn proxy(registry: &Registry, call: Call<'_>, pipe: Pipe) -> Result<Response> {
    let Call {
        target,
        parts,
        client,
        ..
    } = call;
    let asked = target.name.as_deref().unwrap_or_default();
    let singular = &call.resource.kind.names.singular;
    let id = Id::parse(asked)
        .ok_or_else(|| ApiError::bad_request(format!("invalid {singular} request {asked:?}")))?;
    if target.rest.is_empty() && matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(with_slash(parts));
    }
    let upgrades = euston_streams::wanted_upgrade(&parts.headers).is_some();
    let namespace = target.namespace.as_deref();
    let key = ObjectKey::new(namespace, id.name);
    let entry = registry.get(call.resource, &key).await?;
    let namespace = namespace.unwrap_or_default();
    if id.https && call.to != ProxyTo::Node {
        return Err(ApiError::bad_request(format!(
            "{singular} {asked:?} cannot be asked over https: pods of this cluster serve HTTP; use {}:{}",
            id.name, id.port
        )));
    }
    let place = match call.to {
        ProxyTo::Node => {
            let agent = Agent::of(registry, client, id.name)?;
            let port = agent.address().port();
            if !id.port.is_empty() && id.port != port.to_string() {
                return Err(ApiError::bad_request(format!(
                    "node {:?} is asked on port {port} only, not on {:?}",
                    id.name, id.port
                )));
            }
            // A node's agent runs commands for whom the API server is: to the API server that
            // must not look like reading.
            if upgrades && parts.method == Method::GET {
                return Err(ApiError::bad_request(
                    "a WebSocket to a node is not passed on; use the pod's own exec, attach or portforward",
                ));
            }
            Place {
                node: id.name.to_owned(),
                root: String::new(),
            }
        }
        ProxyTo::Pod => {
            let pod: Pod = serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
            pod_place(&pod, namespace, &id)?
        }
        ProxyTo::Service => {
            let service: Service =
                serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
            let slices = slices(registry, namespace, id.name)?;
            let found = endpoints(&service, &slices, &id)?;
            // Which of them does not matter; that they take turns does.
            found
                .choose(&mut rand::rng())
                .map(|(node, pod, port)| pod_root(node, namespace, pod, *port))
                .ok_or_else(|| {
                    unreachable(format!("no endpoints available for service {:?}", id.name))
                })?
        }
    };
    let agent = Agent::of(registry, client, &place.node)?;
    let what = format!("{} of {}", parts.method, parts.uri.path());
    let request = inward(&place.root, target, parts, call.body)?;
    let answer = if upgrades {
        pipe.check()?;
        agent.upgrade(request, &what).await?
    } else {
        agent.send(request, HEAD_TIMEOUT, &what).await?
    };
    if answer.headers().contains_key(euston_streams::UNDELIVERED) {
        let what = format!("error trying to reach {singular} {asked:?}");
        return Err(agent.refusal(answer, &what).await);
    }
    Ok(outward(pipe.pass(answer), prefix(parts, target)))
}

/// Browsers resolve relative links of a page by its address, so the root needs its slash.
fn with_slash(parts: &Parts) -> Response {
    let query = parts.uri.query().map(|q| format!("?{q}"));
    let to = format!("{}/{}", parts.uri.path(), query.unwrap_or_default());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    respond::header(&mut response, LOCATION, &to);
    response
}

/// The path before what is passed on.
fn prefix<'a>(parts: &'a Parts, target: &ResourcePath) -> &'a str {
    let path = parts.uri.path();
    path.strip_suffix(target.rest.as_str()).unwrap_or(path)
}

fn pod_root(node: &str, namespace: &str, pod: &str, port: u16) -> Place {
    Place {
        node: node.to_owned(),
        root: format!("/proxy/{namespace}/{pod}/{port}"),
    }
}

fn pod_place(pod: &Pod, namespace: &str, id: &Id<'_>) -> Result<Place> {
    let mut ports = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten());
    let port = if id.port.is_empty() {
        let first = ports.next().map(|port| port.container_port);
        first.map_or(Some(DEFAULT_PORT), |port| u16::try_from(port).ok())
    } else {
        id.port.parse().ok().filter(|port| *port > 0)
    };
    let port = port.ok_or_else(|| {
        ApiError::bad_request(format!(
            "pod {:?}: {:?} is no port; must be between 1 and 65535",
            id.name, id.port
        ))
    })?;
    match node_of(pod) {
        "" => Err(ApiError::bad_request(format!(
            "pod {} does not have a host assigned",
            id.name
        ))),
        node => Ok(pod_root(node, namespace, id.name, port)),
    }
}

/// The EndpointSlices of a Service.
fn slices(registry: &Registry, namespace: &str, service: &str) -> Result<Vec<EndpointSlice>> {
    let row = registry
        .resource("discovery.k8s.io", "v1", "endpointslices")
        .ok_or_else(|| ApiError::internal("EndpointSlices are not served"))?;
    let resource = row.resource();
    let from = ObjectKey::new(Some(namespace), "");
    let mut slices = Vec::new();
    for (key, entry) in resource.cache.snapshot().range(from.clone()..) {
        if !key.as_str().starts_with(from.as_str()) {
            break;
        }
        let attrs = entry.attrs(resource.kind);
        if attrs.labels.get(labels::SERVICE_NAME).map(String::as_str) == Some(service) {
            slices.push(serde_json::from_slice(&entry.value).map_err(ApiError::internal)?);
        }
    }
    Ok(slices)
}

/// Node, pod and port of all that is ready behind a Service's port.
fn endpoints(
    service: &Service,
    slices: &[EndpointSlice],
    id: &Id<'_>,
) -> Result<Vec<(String, String, u16)>> {
    let name = match id.port.parse::<i32>() {
        Err(_) => id.port.to_owned(),
        // A number is the Service's; what stands behind it has its name.
        Ok(number) => service
            .spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten())
            .find(|port| port.port == number)
            .map(|port| port.name.clone().unwrap_or_default())
            .ok_or_else(|| {
                unreachable(format!(
                    "no service port {number} found for service {:?}",
                    id.name
                ))
            })?,
    };
    let mut found = Vec::new();
    for slice in slices {
        let port = slice
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref().unwrap_or_default() == name)
            .and_then(|port| port.port)
            .and_then(|port| u16::try_from(port).ok());
        let Some(port) = port else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|c| c.ready);
            let pod = endpoint
                .target_ref
                .as_ref()
                .filter(|target| target.kind.as_deref() == Some("Pod"))
                .and_then(|target| target.name.clone());
            if let (true, Some(node), Some(pod)) =
                (ready.unwrap_or(true), endpoint.node_name.clone(), pod)
            {
                found.push((node, pod, port));
            }
        }
    }
    Ok(found)
}

/// The request as the node gets it.
fn inward(
    root: &str,
    target: &ResourcePath,
    parts: &Parts,
    body: Body,
) -> Result<Request<ClientBody>> {
    let rest = if target.rest.is_empty() {
        "/"
    } else {
        &target.rest
    };
    let query = parts.uri.query().map(|q| format!("?{q}"));
    let uri = format!("{root}{rest}{}", query.unwrap_or_default());
    let mut request = Request::builder()
        .method(parts.method.clone())
        .uri(uri)
        .body(body.map_err(Into::into).boxed_unsync())
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let mut headers = parts.headers.clone();
    // Who the client is to the API server is nobody's business behind it.
    headers.remove(AUTHORIZATION);
    remove_starting_with(&mut headers, IMPERSONATE);
    euston_streams::strip_token(&mut headers);
    if let Some(host) = headers.remove(http::header::HOST) {
        headers.insert("x-forwarded-host", host);
    }
    if let Ok(uri) = HeaderValue::from_str(parts.uri.path()) {
        headers.insert("x-forwarded-uri", uri);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    *request.headers_mut() = headers;
    Ok(request)
}

/// The answer as the client gets it.
fn outward(mut answer: Response, prefix: &str) -> Response {
    let headers = answer.headers_mut();
    remove_starting_with(headers, CORS);
    // A place on the same host is one behind the prefix.
    if let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok())
        && location.starts_with('/')
        && !location.starts_with("//")
        && let Ok(location) = HeaderValue::from_str(&format!("{prefix}{location}"))
    {
        headers.insert(LOCATION, location);
    }
    answer
}

fn remove_starting_with(headers: &mut HeaderMap, start: &str) {
    let doomed: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(start))
        .cloned()
        .collect();
    for name in doomed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
