//! Requests as bytes, for what a typed client would never send.

use http::{Request, StatusCode};
use kube::client::Body;
use serde_json::Value;

/// A request's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
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
        body,
    }
}
