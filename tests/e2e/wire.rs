//! What breaks below the API: bodies that end too early, targets that look odd.

use std::io;

use bytes::Bytes;
use euston_tests::wait::until;
use futures::stream;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, PostParams};
use kube::client::ConfigExt;
use serde_json::json;

use crate::cluster::Cluster;
use crate::web;

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let cluster = Cluster::start(&[]);
    let config = cluster.config().await;
    let connector = config.rustls_https_connector().unwrap();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let url = format!("{}api/v1/namespaces/default/configmaps", config.cluster_url);
    let object = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "half" } });
    let object = object.to_string();
    // Whole JSON, but less than was promised; with a length, and in chunks.
    for length in [Some(object.len() + 10), None] {
        let frames = [
            Ok(Frame::data(Bytes::from(object.clone()))),
            Err(io::Error::other("the client fell over")),
        ];
        let mut request = Request::post(&url).header("content-type", "application/json");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
        let answer = client.request(request.body(body).unwrap()).await;
        let status = answer.map(|answer| answer.status());
        assert!(!status.as_ref().is_ok_and(|s| s.is_success()), "{status:?}");
    }
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await, "default");
    // Behind the two on the server's side, and good.
    let whole = serde_json::from_str(&object.replace("half", "whole")).unwrap();
    maps.create(&PostParams::default(), &whole).await.unwrap();
    assert!(maps.get_opt("half").await.unwrap().is_none());

    // JSON that ends too early, in a body that does not.
    let request = Request::post("/api/v1/namespaces/default/configmaps")
        .header("content-type", "application/json")
        .body(object.as_bytes()[..object.len() - 5].to_vec())
        .unwrap();
    let error = cluster
        .client()
        .await
        .request::<ConfigMap>(request)
        .await
        .unwrap_err();
    let kube::Error::Api(status) = error else {
        panic!("{error}")
    };
    assert_eq!((status.code, &*status.reason), (400, "BadRequest"));
    assert!(status.message.contains("EOF while parsing"), "{status:?}");
    assert!(maps.get_opt("half").await.unwrap().is_none());
}

#[tokio::test]
async fn a_node_port_hands_on_targets_as_they_are() {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["hello"]);
    let client = cluster.client().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod = json!({
        "metadata": { "name": "hello", "labels": { "app": "hello" } },
        "spec": { "containers": [{ "name": "main", "image": "hello:v1", "ports": [{ "containerPort": 80 }] }] },
    });
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    web::node_port(&client, "hello", 31_112).await;
    until("hello answers", || async {
        web::get(&web::client(), "http://127.0.0.1:31112/").await
    })
    .await;
    // The guest says what it was asked for, and that it has no such page.
    for target in ["//", "//evil.example/x", "/a//b", "/%2F", "/a/../b", "/;x"] {
        let url = format!("http://127.0.0.1:31112{target}");
        let answer = web::get(&web::client(), &url).await;
        let wanted = format!("404 Not Found: no such path: {target}\n");
        assert_eq!(answer, Err(wanted), "{target}");
    }
}
