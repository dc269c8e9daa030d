//! Where the other servers of the cluster ask for blobs, and bring them.
//!
//! ```text
//! GET, HEAD, PUT  /euston/v1/blobs/sha256/HEX
//! ```
//! It answers from this server's disk alone, so that servers never ask each other in circles.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_LENGTH;
use http::{Extensions, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::copies::Copies;
use super::error::OciError;
use super::http::READ_BYTES;
use crate::Digest;

/// Blobs that are received at one time. One more waits for as long as a server may take to answer,
/// and is then refused; the sender tries again or turns to others.
const RECEIVING_MAX: usize = 16;

/// The path of a blob at the door.
pub(super) fn path(digest: &Digest) -> String {
    format!("/euston/v1/blobs/sha256/{}", digest.hex())
}

#[derive(Clone)]
struct Door {
    copies: Arc<Copies>,
    may: Arc<dyn Fn(&Extensions) -> bool + Send + Sync>,
    receiving: Arc<Semaphore>,
}

/// The routes, for requests that `may` lets in.
pub(super) fn router(
    copies: Arc<Copies>,
    may: impl Fn(&Extensions) -> bool + Send + Sync + 'static,
) -> Router {
    let door = Door {
        copies,
        may: Arc::new(may),
        receiving: Arc::new(Semaphore::new(RECEIVING_MAX)),
    };
    Router::new()
        .route(
            "/euston/v1/blobs/sha256/{hex}",
            get(give).head(tell).put(take),
        )
        .with_state(door)
}

impl Door {
    fn enter(&self, extensions: &Extensions, hex: &str) -> Result<Digest, OciError> {
        if !(self.may)(extensions) {
            let why = "only servers of the cluster may exchange blobs here; clients use /v2/";
            return Err(OciError::denied(why.to_owned()));
        }
        Digest::from_hex(hex).ok_or_else(|| {
            let hex: String = hex.chars().take(80).collect();
            OciError::digest_invalid(format!("{hex:?} is not a digest's hexadecimal part"))
        })
    }
}

async fn tell(
    State(door): State<Door>,
    Path(hex): Path<String>,
    request: Request,
) -> Result<Response, OciError> {
    let digest = door.enter(request.extensions(), &hex)?;
    let size = door.copies.blobs.keep(&digest).await?;
    let size = size.ok_or_else(|| OciError::blob_unknown(&digest))?;
    Ok([(CONTENT_LENGTH, size)].into_response())
}

async fn give(
    State(door): State<Door>,
    Path(hex): Path<String>,
    request: Request,
) -> Result<Response, OciError> {
    let digest = door.enter(request.extensions(), &hex)?;
    let found = door.copies.blobs.open_blob(&digest).await?;
    let (file, size) = found.ok_or_else(|| OciError::blob_unknown(&digest))?;
    let body = Body::from_stream(ReaderStream::with_capacity(file, READ_BYTES));
    Ok(([(CONTENT_LENGTH, size)], body).into_response())
}

async fn take(
    State(door): State<Door>,
    Path(hex): Path<String>,
    request: Request,
) -> Result<Response, OciError> {
    let digest = door.enter(request.extensions(), &hex)?;
    let limits = &door.copies.limits;
    let Ok(Ok(_place)) = timeout(limits.sibling_idle, door.receiving.acquire()).await else {
        let why = format!("this server is receiving {RECEIVING_MAX} blobs already");
        return Err(OciError::unavailable(why));
    };
    let mut upload = door.copies.uploads.scratch().await?;
    let (body, bytes_max) = (request.into_body(), limits.content_bytes_max());
    upload.append(body, bytes_max, limits.body_idle).await?;
    let (file, found) = upload.finish().await?;
    if found != digest {
        let why = format!("the bytes that were sent have the digest {found} and not {digest}");
        return Err(OciError::digest_invalid(why));
    }
    door.copies.blobs.adopt(file, digest).await?;
    Ok(StatusCode::CREATED.into_response())
}
