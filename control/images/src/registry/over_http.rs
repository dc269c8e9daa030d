//! Other servers, reached over HTTP at the door that [`super::door`] opens.

use std::error::Error;

use async_trait::async_trait;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::StreamExt;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::door;
use super::siblings::{BlobStream, SiblingError, Siblings};
use crate::Digest;

/// The body of a request to another server.
pub type SiblingBody =
    http_body_util::combinators::UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// So much of an error's text is read.
const ERROR_BYTES_MAX: usize = 4 << 10;

/// Siblings named by their base address (`https://10.0.0.2:6443`).
pub struct HttpSiblings<L, S> {
    list: L,
    send: S,
}

impl<L, S> std::fmt::Debug for HttpSiblings<L, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSiblings").finish_non_exhaustive()
    }
}

impl<L, S> HttpSiblings<L, S> {
    /// Uses the addresses that `list` answers with (see [`Siblings::list`]), and sends requests, whose
    /// URIs are absolute, with `send`, which shows the certificate of a server.
    pub fn new(list: L, send: S) -> Self {
        Self { list, send }
    }
}

impl<L, S, F, B, E> HttpSiblings<L, S>
where
    S: Fn(Request<SiblingBody>) -> F + Send + Sync,
    F: Future<Output = Result<Response<B>, E>> + Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: std::fmt::Display,
{
    async fn call(
        &self,
        method: Method,
        sibling: &str,
        digest: Digest,
        content: Option<(u64, BlobStream)>,
    ) -> Result<Response<Body>, SiblingError> {
        let uri = format!("{}{}", sibling.trim_end_matches('/'), door::path(&digest));
        let mut request = Request::builder().method(method).uri(uri);
        let body = match content {
            Some((size, content)) => {
                request = request.header(CONTENT_LENGTH, size);
                Body::from_stream(content)
            }
            None => Body::empty(),
        };
        let body = body.map_err(Into::into).boxed_unsync();
        let request = request
            .body(body)
            .map_err(|e| SiblingError::new(format!("its address cannot be used: {e}")))?;
        let answered = (self.send)(request).await;
        answered
            .map(|response| response.map(Body::new))
            .map_err(|e| SiblingError::new(e.to_string()))
    }
}

#[async_trait]
impl<L, S, F, B, E> Siblings for HttpSiblings<L, S>
where
    L: Fn() -> Vec<String> + Send + Sync + 'static,
    S: Fn(Request<SiblingBody>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: std::fmt::Display + 'static,
{
    fn list(&self) -> Vec<String> {
        (self.list)()
    }

    async fn has(&self, sibling: &str, digest: Digest) -> Result<Option<u64>, SiblingError> {
        let response = self.call(Method::HEAD, sibling, digest, None).await?;
        match response.status() {
            StatusCode::OK => size(&response).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refusal(response).await),
        }
    }

    async fn fetch(
        &self,
        sibling: &str,
        digest: Digest,
    ) -> Result<Option<(u64, BlobStream)>, SiblingError> {
        let response = self.call(Method::GET, sibling, digest, None).await?;
        match response.status() {
            StatusCode::OK => {
                let size = size(&response)?;
                let content = response.into_body().into_data_stream();
                let broken = |e: axum::Error| SiblingError::new(e.to_string());
                let content = content.map(move |piece| piece.map_err(broken));
                Ok(Some((size, content.boxed())))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refusal(response).await),
        }
    }

    async fn offer(
        &self,
        sibling: &str,
        digest: Digest,
        size: u64,
        content: BlobStream,
    ) -> Result<(), SiblingError> {
        let content = Some((size, content));
        let response = self.call(Method::PUT, sibling, digest, content).await?;
        match response.status() {
            StatusCode::CREATED => Ok(()),
            _ => Err(refusal(response).await),
        }
    }
}

fn size(response: &Response<Body>) -> Result<u64, SiblingError> {
    let length = response.headers().get(CONTENT_LENGTH);
    length
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .ok_or_else(|| SiblingError::new("it did not say how large the blob is"))
}

async fn refusal(response: Response<Body>) -> SiblingError {
    let status = response.status();
    let body = Limited::new(response.into_body(), ERROR_BYTES_MAX);
    let text = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(e) => e.to_string(),
    };
    SiblingError::new(format!("it answered {status}: {text}"))
}
