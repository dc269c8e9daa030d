//! Requests of clients of the API server, to a port of a pod: its `proxy` subresource.

use super::{Peer, bad_request, check};
use crate::server::Api;
use axum::extract::{Path, Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use euston_network::{Undelivered, tunnel};
use euston_streams::{UNDELIVERED, wanted_upgrade};
use http_body_util::BodyExt;
use std::net::{IpAddr, SocketAddr};

/// Segments of the path before what the pod sees.
const SEGMENTS: usize = 4;

static MARK: HeaderName = HeaderName::from_static(UNDELIVERED);

/// Which port of which pod; what the path says behind that is the pod's.
#[derive(serde::Deserialize)]
pub(super) struct Port {
    namespace: String,
    pod: String,
    port: String,
}

pub(super) async fn pass_on(
    State(api): State<Api>,
    peer: Peer,
    Path(target): Path<Port>,
    request: Request,
) -> Response {
    if let Err(refused) = check(peer.as_ref()) {
        return refused;
    }
    let Port {
        namespace,
        pod,
        port,
    } = target;
    let address = api.manager.address(&namespace, &pod);
    let (ip, to) = match (address, port.parse()) {
        (Ok(ip), Ok(port)) => (ip, SocketAddr::new(ip, port)),
        (Err(why), _) => return undelivered(why.into_response()),
        (_, Err(_)) => return bad_request(format!("{port:?} is no port")),
    };
    if wanted_upgrade(request.headers()).is_some() {
        let why = format!(
            "port {port} of pod {namespace}/{pod} cannot be upgraded to another protocol: an HTTP \
             component (wasi:http) takes requests only"
        );
        return undelivered((StatusCode::BAD_REQUEST, why).into_response());
    }
    let Some(uri) = inner_uri(request.uri(), ip, to.port()) else {
        return bad_request("the path cannot be passed on");
    };
    let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    *request.uri_mut() = uri;
    tunnel::strip_hop_by_hop(request.headers_mut());
    match api.node.net.deliver_local(to, request).await {
        Ok(mut response) => {
            tunnel::strip_hop_by_hop(response.headers_mut());
            // That is for this node to say.
            response.headers_mut().remove(&MARK);
            response.map(axum::body::Body::new)
        }
        Err(Undelivered::Refused { why, .. }) => {
            let why = format!("port {port} of pod {namespace}/{pod}: {why}");
            undelivered((StatusCode::SERVICE_UNAVAILABLE, why).into_response())
        }
        Err(Undelivered::Failed(error)) => {
            undelivered((StatusCode::BAD_GATEWAY, error.to_string()).into_response())
        }
    }
}

fn undelivered(mut response: Response) -> Response {
    let mark = HeaderValue::from_static("true");
    response.headers_mut().insert(&MARK, mark);
    response
}

/// What the pod sees: the rest of the path as it was sent, and the query.
fn inner_uri(uri: &Uri, ip: IpAddr, port: u16) -> Option<Uri> {
    let path = uri.path_and_query().map(PathAndQuery::as_str)?;
    let (at, _) = path.match_indices('/').nth(SEGMENTS)?;
    Uri::builder()
        .scheme("http")
        .authority(SocketAddr::new(ip, port).to_string())
        .path_and_query(&path[at..])
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_see_the_rest_of_the_path() {
        let check = |path: &str, expect: Option<&str>| {
            let uri = inner_uri(&path.parse().unwrap(), [10, 0, 0, 7].into(), 8080);
            let uri = uri.map(|uri| uri.to_string());
            assert_eq!(uri.as_deref(), expect, "{path}");
        };
        check("/proxy/shop/web/8080/", Some("http://10.0.0.7:8080/"));
        check(
            "/proxy/shop/web/8080/a%2Fb//c?x=%20&y",
            Some("http://10.0.0.7:8080/a%2Fb//c?x=%20&y"),
        );
        check("/proxy/shop/web/8080", None);
    }
}
