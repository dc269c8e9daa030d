//! What holds for every request: how many, and how long.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Inner, REQUEST_TIMEOUT, REQUESTS_MAX};
use crate::refusal::Refusal;

pub(super) async fn bound(
    State(inner): State<Arc<Inner>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_permit) = inner.requests.try_acquire() else {
        let why = format!("{REQUESTS_MAX} machines are joining just now; try again in a second");
        return Refusal::too_many(why).into_response();
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::timeout(format!(
            "the request did not end within {REQUEST_TIMEOUT:?}; asking again does no harm"
        ))
        .into_response(),
    }
}
