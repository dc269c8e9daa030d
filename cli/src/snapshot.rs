//! `euston snapshot`: a cluster's data in a file, and clusters from such files.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use http::Request;
use http_body_util::BodyExt;
use indicatif::{ProgressBar, ProgressStyle};
use raft_store::{NewGroup, SnapshotStatus};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::args::{Format, Global, SnapshotCommand};
use crate::place::Place;
use crate::server::backup;
use crate::{cluster, machine, output};

/// Revisions left out when a cluster begins from a snapshot: more than were written since it was taken. So a client
/// that saw some of those is told to list again, and never takes new revisions for old ones.
const SKIPPED_REVISIONS: u64 = 1_000_000_000;
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
        SnapshotCommand::Restore {
            file,
            name,
            data_dir,
        } => restore(&file, &name, &data_dir, global.output).await,
        SnapshotCommand::ForceNew { data_dir } => force_new(&data_dir, global.output).await,
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

/// Reads a whole file and checks all of it.
async fn check(file: &Path) -> anyhow::Result<SnapshotStatus> {
    let path = file.to_owned();
    let status = tokio::task::spawn_blocking(move || raft_store::snapshot_status(&path)).await?;
    status.with_context(|| format!("cannot use the snapshot {}", file.display()))
}

async fn status(file: &Path, format: Format) -> anyhow::Result<()> {
    show(file, &check(file).await?, format)
}

fn show(file: &Path, found: &SnapshotStatus, format: Format) -> anyhow::Result<()> {
    let hash: String = found
        .content_hash
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let members: Vec<&str> = found.members.iter().map(|m| m.name.as_str()).collect();
    match format {
        Format::Json => output::json(&json!({
            "file": file,
            "bytes": found.bytes,
            "format": found.format,
            "hash": hash,
            "clusterId": format!("{:x}", found.cluster_id),
            "revision": found.revision,
            "compacted": found.compacted,
            "keys": found.keys,
            "members": members,
        })),
        Format::Text => output::text(&format!(
            "{}: whole, {}\n  revision  {}, history since {}\n  keys      {}\n  cluster   {:x} of {}\n  hash      {hash}\n",
            file.display(),
            output::size(found.bytes),
            found.revision,
            found.compacted,
            found.keys,
            found.cluster_id,
            members.join(", "),
        )),
    }
}

/// A new cluster of one server with what a file holds.
async fn restore(file: &Path, name: &str, data_dir: &Path, format: Format) -> anyhow::Result<()> {
    let name = machine::name(Some(name))?;
    let place = Place::open(Some(data_dir), "")?;
    let config = raft_store::Config::new(name.clone(), place.store());
    let path = file.to_owned();
    let group =
        tokio::task::spawn_blocking(move || raft_store::restore(&path, &config, SKIPPED_REVISIONS))
            .await?
            .with_context(|| {
                format!(
                    "cannot restore the snapshot {} into {}",
                    file.display(),
                    data_dir.display()
                )
            })?;
    begun(&name, data_dir, &group, format)
}

/// A new cluster of the one server that is left of another.
async fn force_new(data_dir: &Path, format: Format) -> anyhow::Result<()> {
    // A wrong name must not become a folder.
    if !data_dir.is_dir() {
        bail!("there is no data directory {}", data_dir.display());
    }
    let store = Place::open(Some(data_dir), "")?.store();
    let group = tokio::task::spawn_blocking(move || raft_store::force_new_group(&store))
        .await?
        .with_context(|| {
            format!(
                "cannot make a new cluster of what is in {}",
                data_dir.display()
            )
        })?;
    let name = group.members.first().map(|m| m.name.clone());
    begun(&name.unwrap_or_default(), data_dir, &group, format)
}

fn begun(name: &str, data_dir: &Path, group: &NewGroup, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json(&json!({
            "name": name,
            "dataDir": data_dir,
            "clusterId": format!("{:x}", group.cluster_id),
            "memberId": format!("{:x}", group.member_id),
            "revision": group.revision,
            "uncommittedEntriesKept": group.uncommitted,
        })),
        Format::Text => output::text(&format!(
            "A new cluster {:x} of one server, at revision {}. Start it, then let the others join with\nempty data directories:\n\n  euston server --name {name} --data-dir {}\n",
            group.cluster_id,
            group.revision,
            data_dir.display(),
        )),
    }
}
