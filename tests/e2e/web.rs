//! Requests from outside to node ports.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PostParams};
use serde_json::json;

pub type Http = Client<HttpConnector, Empty<Bytes>>;

/// A client with connections of its own.
pub fn client() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// The body of a good answer; anything else is an error that says what came.
pub async fn get(http: &Http, url: &str) -> Result<String, String> {
    let answer = tokio::time::timeout(Duration::from_secs(10), http.get(url.parse().unwrap()))
        .await
        .map_err(|_| "no answer within 10 s".to_owned())?
        .map_err(|e| format!("{e:?}"))?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|e| e.to_string())?
        .to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        Ok(text)
    } else {
        Err(format!("{status}: {text}"))
    }
}

/// Opens a node port for the pods labelled `app=NAME`.
pub async fn node_port(client: &kube::Client, name: &str, port: u16) {
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let service = json!({
        "metadata": { "name": name },
        "spec": { "type": "NodePort", "selector": { "app": name }, "ports": [{ "port": 80, "nodePort": port }] },
    });
    let service = serde_json::from_value(service).unwrap();
    services
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
}
