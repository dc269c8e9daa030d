//! The route behind `euston snapshot save`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use euston_apiserver::MASTERS;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use raft_store::{Backup, Store};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::may_everything;

/// Where it is.
pub(crate) const PATH: &str = "/euston/v1/snapshot";
/// How many bytes it will be, more or less.
pub(crate) const BYTES_ABOUT: &str = "euston-bytes-about";
/// Chunks of about 1 MiB that wait for a slow client; then the snapshot is made no faster than it is taken.
const CHUNKS_AHEAD: usize = 2;

/// Serves everything that `store` holds, as of the moment of the request, to those who may do everything.
pub(crate) fn router(store: Store) -> Router {
    Router::new().route(PATH, get(serve)).with_state(store)
}

async fn serve(State(store): State<Store>, extensions: Extensions) -> Response {
    if !may_everything(&extensions) {
        let why = format!("only members of {MASTERS} may read everything that the cluster holds\n");
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    // What was acknowledged before the request is in it.
    if let Err(error) = store.read_index().await {
        let why = format!("the store cannot be read: {error}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    }
    let backup = store.backup();
    let mut headers = HeaderMap::new();
    headers.insert(BYTES_ABOUT, HeaderValue::from(backup.bytes_about()));
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || send(backup, &sender));
    let frames = ReceiverStream::new(chunks).map(|chunk| chunk.map(http_body::Frame::data));
    (headers, Body::new(StreamBody::new(frames).boxed_unsync())).into_response()
}

fn send(backup: Backup, sender: &mpsc::Sender<std::io::Result<bytes::Bytes>>) {
    for chunk in backup {
        if sender.blocking_send(chunk).is_err() {
            // The client has gone.
            return;
        }
    }
}
