//! Sessions as clients see them, over both wires.

#![allow(clippy::unwrap_used)] // here a failed unwrap is a failed test

mod command;
mod forward;
mod hostile;
mod reading;
mod spdy_client;
mod ws_client;

use euston_streams::{Agreed, Purpose, negotiate};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// Nothing here takes long; a limit is there so that a hang ends.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{what} took more than {PATIENCE:?}"))
}

/// What is agreed on with a client that sends these headers.
fn agreed(purpose: Purpose, lines: &[(&str, &str)]) -> Agreed {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    negotiate(&headers, purpose).unwrap().0
}

fn ws(purpose: Purpose, protocol: &str) -> Agreed {
    agreed(
        purpose,
        &[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocol),
        ],
    )
}

fn spdy(purpose: Purpose, version: &str) -> Agreed {
    agreed(
        purpose,
        &[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", version),
        ],
    )
}
