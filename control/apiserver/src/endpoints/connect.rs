//! `pods/NAME/exec`, `attach` and `portforward`: the upgraded connection is passed through to the
//! pod's node, byte for byte, as Kubernetes does. What is spoken on it is decided there.

use axum::response::Response;
use euston_tls::HttpsClient;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use k8s_openapi::api::core::v1::Pod;

use super::agent::{Agent, Pipe, container, no_body, node_of};
use super::request::Query;
use crate::error::{ApiError, Result};
use crate::registry::kind::Subresource;
use crate::registry::{Registry, Resource, name_of};
use crate::storage::ObjectKey;

/// Headers by which client and node agree on the protocol.
const PASSED_ON: [HeaderName; 6] = [
    CONNECTION,
    UPGRADE,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
    HeaderName::from_static("x-stream-protocol-version"),
];

/// One request to be passed on.
pub struct Call<'a> {
    /// The kind's row and cache.
    pub resource: Resource<'a>,
    /// The pod.
    pub key: &'a ObjectKey,
    /// What of it.
    pub sub: Subresource,
    /// The request's head.
    pub parts: &'a Parts,
    /// Its query.
    pub query: &'a Query,
    /// What nodes are asked with.
    pub client: Option<&'a HttpsClient>,
}

/// GET or POST that asks for an upgrade.
///
/// # Errors
/// 400 for a request that cannot be meant so, 404, 503 if the node cannot be asked.
pub async fn connect(registry: &Registry, call: Call<'_>, pipe: Pipe) -> Result<Response> {
    let Call {
        resource,
        key,
        sub,
        parts,
        query,
        client,
    } = call;
    let entry = registry.get(resource, key).await?;
    let pod: Pod = serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
    let (namespace, name) = (entry.namespace(), name_of(key));
    let node = node_of(&pod);
    if node.is_empty() {
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    let path = path(&pod, namespace, name, sub, query)?;
    if euston_streams::wanted_upgrade(&parts.headers).is_none() {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    pipe.check()?;
    let agent = Agent::of(registry, client, node)?;
    let mut request = Request::builder()
        .method(parts.method.clone())
        .uri(path)
        .body(no_body())
        .map_err(ApiError::internal)?;
    *request.headers_mut() = passed_on(&parts.headers);
    let what = format!("{} of pod {namespace}/{name}", sub.name());
    let answer = agent.upgrade(request, &what).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(pipe.pass(answer));
    }
    Err(agent.refusal(answer, &what).await)
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in &PASSED_ON {
        for value in headers.get_all(name) {
            passed.append(name, value.clone());
        }
    }
    euston_streams::strip_token(&mut passed);
    passed
}

/// Path and query on the node, which are the kubelet's.
fn path(pod: &Pod, namespace: &str, name: &str, sub: Subresource, query: &Query) -> Result<String> {
    let mut passed = form_urlencoded::Serializer::new(String::new());
    if sub == Subresource::PortForward {
        let ports: Vec<&str> = query.all("ports").collect();
        euston_streams::ports(ports.iter().copied()).map_err(ApiError::bad_request)?;
        if !ports.is_empty() {
            passed.append_pair("port", &ports.join(","));
        }
        return Ok(format!(
            "/portForward/{namespace}/{name}?{}",
            passed.finish()
        ));
    }
    let container = container(pod, name, query.get("container"))?;
    for command in query.all("command") {
        passed.append_pair("command", command);
    }
    for (ours, theirs) in [
        ("stdin", "input"),
        ("stdout", "output"),
        ("stderr", "error"),
        ("tty", "tty"),
    ] {
        if query.flag(ours) {
            passed.append_pair(theirs, "1");
        }
    }
    Ok(format!(
        "/{}/{namespace}/{name}/{container}?{}",
        sub.name(),
        passed.finish()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    fn check(sub: Subresource, query: &str, expect: std::result::Result<&str, &str>) {
        let pod: Pod = serde_json::from_value(json!({
            "spec": { "containers": [{ "name": "main" }] },
        }))
        .unwrap();
        let got = path(&pod, "shop", "web", sub, &Query::parse(Some(query)));
        match (got, expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect),
            (Err(got), Err(expect)) => {
                assert_eq!(got.code, 400);
                assert!(got.message.contains(expect), "{}", got.message);
            }
            (got, _) => panic!("{query}: {got:?}"),
        }
    }

    #[test]
    fn queries_are_said_in_the_kubelets_words() {
        use Subresource::{Attach, Exec, PortForward};
        check(
            Exec,
            "command=a+b&command=--c%26d&stdin=true&stdout=1&tty=false&other=x",
            Ok("/exec/shop/web/main?command=a+b&command=--c%26d&input=1&output=1"),
        );
        check(
            Attach,
            "container=main&stderr=true&tty=true",
            Ok("/attach/shop/web/main?error=1&tty=1"),
        );
        check(Exec, "container=other", Err("container other is not valid"));
        check(PortForward, "", Ok("/portForward/shop/web?"));
        check(
            PortForward,
            "ports=80&ports=81,82",
            Ok("/portForward/shop/web?port=80%2C81%2C82"),
        );
        check(PortForward, "ports=http", Err("unable to parse \"http\""));
    }

    #[test]
    fn only_what_the_node_needs_is_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("cookie", "secret"),
            ("impersonate-user", "x"),
            ("upgrade", "websocket"),
            ("sec-websocket-extensions", "permessage-deflate"),
            (
                "sec-websocket-protocol",
                "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.secret",
            ),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let passed = passed_on(&headers);
        assert_eq!(passed.len(), 2, "{passed:?}");
        assert_eq!(passed[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
    }
}
