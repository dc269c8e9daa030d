//! `euston server`: a member of a cluster's control plane, with a node of its own.

pub(crate) mod backup;
mod boot;
mod group;
mod member;
mod summary;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::args::{Format, ServerArgs};
use crate::signals::Signals;
use crate::{output, plane};

/// From the start of an agent to its node being Ready. Takes well under a second; a machine that is busy or slow gets
/// this long before something is taken to be broken.
const NODE_READY: Duration = Duration::from_secs(60);
/// Without a majority of servers nothing can be done but wait; how often that is said.
const STILL_WAITING: Duration = Duration::from_secs(10);

/// Runs the server until a signal, or until a part of it fails.
///
/// # Errors
/// When it cannot start, is not let into the cluster, or a part fails.
pub(crate) async fn run(args: ServerArgs, format: Format) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut signals = Signals::new()?;
    plane::raise_file_limit();
    let (server, mut parts) = tokio::select! {
        started = Box::pin(boot::start(&args)) => started?,
        () = signals.next() => return Ok(()),
    };
    let outcome = tokio::select! {
        shown = Box::pin(summary::show(&server, started, format)) => match shown {
            Ok(()) => tokio::select! {
                failure = parts.failure() => Err(failure),
                () = signals.next() => Ok(()),
            },
            Err(e) => Err(e),
        },
        failure = parts.failure() => Err(failure),
        () = signals.next() => Ok(()),
    };
    if format == Format::Text && outcome.is_ok() {
        output::text("\nStopping.\n")?;
    }
    tokio::select! {
        () = Box::pin(server.stop(parts)) => {}
        () = signals.next() => bail!("stopped at once, at the second signal; unfinished work is lost, not damaged"),
    }
    outcome
}

/// Waits until a node is registered and Ready.
///
/// # Errors
/// When that takes longer than a minute, or it cannot be watched.
pub(crate) async fn node_ready(client: &kube::Client, name: &str) -> anyhow::Result<()> {
    tokio::time::timeout(NODE_READY, crate::dev::node_ready(client, name))
        .await
        .with_context(|| {
            format!(
                "the node {name} did not become Ready within {NODE_READY:?}; run again with -v to see why"
            )
        })?
}
