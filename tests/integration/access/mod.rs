//! Who may do what: roles, bindings, questions about them, impersonation.

mod refused;
mod rules;

use euston_tests::control_plane::ControlPlane;
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
