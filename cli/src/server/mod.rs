//! `euston server`: a member of a cluster's control plane, with a node of its own.

pub(crate) mod backup;
mod boot;
mod group;
mod member;
mod summary;

use std::time::{Duration, Instant};

use anyhow::bail;
use euston_apiserver::MASTERS;
use euston_tls::PeerIdentity;

use crate::args::{Format, ServerArgs};
use crate::signals::Signals;
use crate::{output, plane};

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

/// Whether a request came with a certificate that lets its holder do everything: an administrator's, or a server's.
fn may_everything(extensions: &http::Extensions) -> bool {
    let caller = extensions.get::<PeerIdentity>();
    caller.is_some_and(|who| who.organizations.iter().any(|o| o == MASTERS))
}
