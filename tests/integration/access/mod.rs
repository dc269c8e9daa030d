//! Who may do what: roles, bindings, questions about them, impersonation.

mod certificates;
mod nodes;
mod refused;
mod rules;
mod tokens;

use euston_tests::control_plane::ControlPlane;
use euston_tests::wait;
use kube::Client;
use serde_json::{Value, json};

use crate::raw::{self, Answer};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    raw::send(client, "POST", path, "application/json", body.to_string()).await
}

async fn get(client: &Client, path: &str) -> u16 {
    raw::send(client, "GET", path, "", "").await.status.as_u16()
}

/// A request with a bearer token.
async fn with_token(client: &Client, method: &str, path: &str, token: &str) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(kube::client::Body::from(b"{}".to_vec()))
        .unwrap();
    let (parts, body) = client.send(request).await.unwrap().into_parts();
    let bytes = body.collect_bytes().await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

/// Waits until a GET is answered so: what pods decide follows them with the cache.
async fn becomes(client: &Client, path: &str, expect: u16) {
    let what = format!("GET {path} is {expect}");
    wait::until(&what, async || match get(client, path).await {
        got if got == expect => Ok(()),
        got => Err(got.to_string()),
    })
    .await;
}

/// Creates what must be there for a test.
async fn made(plane: &ControlPlane, path: &str, body: Value) {
    let answer = post(&plane.client, path, &body).await;
    assert_eq!(answer.status, 201, "{path} {body}: {answer:?}");
}

/// `get,list - pods,services`: verbs, group, resources.
fn rule(text: &str) -> Value {
    let mut words = text.split_whitespace().map(|word| {
        word.split(',')
            .map(|w| if w == "-" { "" } else { w })
            .collect::<Vec<_>>()
    });
    json!({ "verbs": words.next(), "apiGroups": words.next(), "resources": words.next() })
}

fn role(name: &str, rules: &[&str]) -> Value {
    let rules: Vec<Value> = rules.iter().map(|r| rule(r)).collect();
    json!({ "metadata": { "name": name }, "rules": rules })
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    let (kind, role) = role.split_once('/').unwrap();
    json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": GROUP, "kind": kind, "name": role },
        "subjects": [{ "apiGroup": GROUP, "kind": "User", "name": user }],
    })
}
