//! Requests as bytes, for what a typed client would never send.

use http::{HeaderMap, Request, StatusCode};
use kube::client::Body;
use serde_json::Value;

/// A request's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// Code and reason.
    pub fn outcome(&self) -> (u16, &str) {
        (self.status.as_u16(), self.reason())
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The names of a list's items.
    pub fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array();
        items
            .into_iter()
            .flatten()
            .map(|i| i["metadata"]["name"].as_str().unwrap_or_default())
            .collect()
    }

    /// The fields that the Status names.
    pub fn fields(&self) -> Vec<&str> {
        let causes = self.body["details"]["causes"].as_array();
        causes
            .into_iter()
            .flatten()
            .filter_map(|c| c["field"].as_str())
            .collect()
    }
}

/// Sends one request and reads the whole answer.
pub async fn send(
    client: &kube::Client,
    method: &str,
    path: &str,
    content_type: &str,
    body: impl Into<Vec<u8>>,
) -> Answer {
    send_accepting(client, method, path, content_type, "application/json", body).await
}

/// As [`send`], with an Accept header.
pub async fn send_accepting(
    client: &kube::Client,
    method: &str,
    path: &str,
    content_type: &str,
    accept: &str,
    body: impl Into<Vec<u8>>,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("accept", accept)
        .body(Body::from(body.into()))
        .unwrap();
    let response = client.send(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect_bytes().await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// Reads a path.
pub async fn get(client: &kube::Client, path: &str) -> Answer {
    send(client, "GET", path, "", "").await
}

/// Sends JSON.
pub async fn json(client: &kube::Client, method: &str, path: &str, body: &Value) -> Answer {
    let content_type = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    send(client, method, path, content_type, body.to_string()).await
}

/// Reads a watch to its end.
pub async fn events(client: &kube::Client, path: &str, accept: &str) -> Vec<Value> {
    let answer = send_accepting(client, "GET", path, "", accept, "").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    match answer.body {
        // Of several, the whole is no JSON.
        Value::String(lines) => lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
            .collect(),
        one => vec![one],
    }
}
