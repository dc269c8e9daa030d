//! The life of nodes: pod ranges for new ones, taints and unready pods for silent ones, and
//! eviction of pods that do not tolerate it.

mod eviction;
mod ipam;
mod lifecycle;
mod monitor;
mod ranges;
mod taints;

use std::sync::Arc;

use crate::Shared;

pub(crate) async fn run(shared: Arc<Shared>) {
    tokio::join!(
        ranges::run(shared.clone()),
        monitor::run(shared.clone()),
        taints::run(shared)
    );
}
