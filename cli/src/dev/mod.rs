//! `euston dev`: a whole cluster in this process.

mod boot;
mod manifest;
mod nodes;
mod rollout;
mod summary;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use euston_images::ImageClient;

use crate::args::{DevArgs, Format};
use crate::signals::Signals;
use crate::{image, output, plane, sessions};
use boot::Cluster;
use summary::Summary;

/// From the start of the process's work to all nodes Ready. Takes well under a second; a machine
/// that is busy or slow gets this long before something is taken to be broken.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the cluster until a signal, or until a part of it fails.
///
/// # Errors
/// When it cannot start, a manifest cannot be applied, or a part fails.
pub(crate) async fn run(args: DevArgs, format: Format) -> anyhow::Result<()> {
    let started = Instant::now();
    // Before anything exists that would have to be cleaned up.
    let mut signals = Signals::new()?;
    let manifests = manifest::read_all(&args.filename)?;
    plane::raise_file_limit();
    let (cluster, mut parts) = tokio::select! {
        started = Box::pin(boot::start(&args)) => started?,
        () = signals.next() => return Ok(()),
    };
    let outcome = tokio::select! {
        outcome = Box::pin(serve(&cluster, &args, &manifests, started, format)) => outcome,
        failure = parts.failure() => Err(failure),
        () = signals.next() => Ok(()),
    };
    if format == Format::Text && outcome.is_ok() {
        output::text("\nStopping.\n")?;
    }
    tokio::select! {
        () = Box::pin(cluster.stop(parts)) => {}
        () = signals.next() => bail!("stopped at once, at the second signal; unfinished work is lost, not damaged"),
    }
    outcome
}

/// Brings up what was asked for, says so, and then waits for ever.
async fn serve(
    cluster: &Cluster,
    args: &DevArgs,
    manifests: &[manifest::Document],
    started: Instant,
    format: Format,
) -> anyhow::Result<()> {
    let quiet = format == Format::Json;
    tokio::time::timeout(READY_TIMEOUT, nodes::all_ready(&cluster.admin, args.nodes))
        .await
        .with_context(|| {
            format!(
                "not every node became Ready within {READY_TIMEOUT:?}; run again with -v to see why"
            )
        })??;
    let ready = started.elapsed();
    let _recorded = record(cluster);
    let mut summary = Summary::new(cluster, args, ready);
    if !quiet {
        output::text(&summary.cluster_text())?;
    }
    let images = ImageClient::new(cluster.admin.clone());
    for wanted in &args.image {
        let pushed = image::push(&images, &wanted.file, &wanted.name).await?;
        if !quiet {
            output::text(&format!(
                "Pushed {} ({})\n",
                pushed.reference,
                output::size(pushed.size)
            ))?;
        }
        summary.images.push(pushed);
    }
    if !manifests.is_empty() {
        let applied = manifest::apply(&cluster.admin, manifests).await?;
        let begun = Instant::now();
        if !quiet {
            output::text(&format!("Applied {} objects\n", applied.len()))?;
        }
        let show = !quiet && std::io::stderr().is_terminal();
        let rolled_out = rollout::wait(&cluster.admin, &applied, show).await?;
        if !quiet {
            output::text(&rolled_out.text(begun.elapsed()))?;
        }
        summary.add(&cluster.admin, &applied, rolled_out).await?;
    }
    match format {
        // One line, so that a reader knows when it has all of it.
        Format::Json => output::text(&format!("{}\n", serde_json::to_string(&summary)?))?,
        Format::Text => output::text(&summary.closing_text())?,
    }
    std::future::pending().await
}

fn record(cluster: &Cluster) -> Option<sessions::Recorded> {
    let session = sessions::Session {
        pid: std::process::id(),
        kubeconfig: cluster.place.kubeconfig(),
        api: cluster.url.clone(),
    };
    let folder = sessions::folder()?;
    match sessions::record(&folder, &session) {
        Ok(recorded) => Some(recorded),
        Err(e) => {
            tracing::warn!(
                "other commands will not find this cluster by themselves, set KUBECONFIG for them: {}",
                output::sentence(&e)
            );
            None
        }
    }
}
