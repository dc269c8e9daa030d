//! The pages that etcd has beside gRPC on its clients' port: what monitoring and start scripts look at.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use tonic::body::Body;

use crate::context::Context;
use crate::{API_VERSION, CLUSTER_VERSION};

/// Answers a request that is no gRPC.
pub(crate) async fn answer(context: &Context, method: &Method, path: &str) -> Response<Body> {
    match (method, path) {
        (&Method::GET | &Method::HEAD, "/health") => health(context).await,
        (&Method::GET | &Method::HEAD, "/version") => json(
            StatusCode::OK,
            format!(r#"{{"etcdserver":"{API_VERSION}","etcdcluster":"{CLUSTER_VERSION}"}}"#),
        ),
        (_, "/health" | "/version") => json(
            StatusCode::METHOD_NOT_ALLOWED,
            format!(r#"{{"error":"{path} is for GET"}}"#),
        ),
        _ => json(
            StatusCode::NOT_FOUND,
            r#"{"error":"this port serves etcd's gRPC API, /health and /version"}"#.to_owned(),
        ),
    }
}

/// Healthy is a member that can read what was last written and has no alarm; so it is in etcd.
async fn health(context: &Context) -> Response<Body> {
    let alarmed = !context.store.alarms().is_empty();
    let healthy = !alarmed && context.store.read_index().await.is_ok();
    let status = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, format!(r#"{{"health":"{healthy}"}}"#))
}

fn json(status: StatusCode, text: String) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(text));
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
