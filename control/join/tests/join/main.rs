//! Joining a real cluster: an API server over a real store, behind TLS on loopback addresses.

mod agents;
mod cluster;
mod failover;
mod hostile;
mod servers;
