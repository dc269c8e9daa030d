//! Who sends a request, and how patient the sender is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The pod that a request comes from.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its namespace: short names are looked up there.
    pub namespace: Arc<str>,
    /// Its address: `localhost` means this pod.
    pub ip: IpAddr,
}

/// The time limits of one request.
#[derive(Debug, Clone, Copy)]
pub struct SendOptions {
    /// Until there is a connection.
    pub connect_timeout: Duration,
    /// From then until the response's head is there.
    pub first_byte_timeout: Duration,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(60),
        }
    }
}
