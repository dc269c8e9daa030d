//! Joining a real cluster: an API server over a real store, behind TLS on loopback addresses.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod agents;
mod cluster;
mod failover;
mod hostile;
mod servers;
