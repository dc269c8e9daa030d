//! `euston image`

use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use euston_images::{ImageClient, Inspected, Kind, Listed, Pushed};
use serde_json::json;

use crate::args::{Format, Global, ImageCommand};
use crate::{cluster, output};

/// The registry's own bound; a larger file is not read into memory first.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Runs an image command against the cluster that is found.
///
/// # Errors
/// When there is no cluster, or the registry refuses.
pub(crate) async fn run(command: ImageCommand, global: &Global) -> anyhow::Result<()> {
    let (client, url) = cluster::connect(global.kubeconfig.as_deref()).await?;
    let images = ImageClient::new(client);
    execute(command, &images, global.output).await.map_err(|e| {
        // The failure first, and then where it happened.
        anyhow::anyhow!("{} (cluster {url})", output::sentence(&e))
    })
}

async fn execute(
    command: ImageCommand,
    images: &ImageClient,
    format: Format,
) -> anyhow::Result<()> {
    match command {
        ImageCommand::Push { file, name } => {
            let pushed = push(images, &file, &name).await?;
            match format {
                Format::Json => output::json(&pushed),
                Format::Text => output::text(&format!(
                    "{} pushed: {}, {}\n",
                    pushed.reference,
                    output::size(pushed.size),
                    pushed.digest
                )),
            }
        }
        ImageCommand::List => {
            let listed = images.list().await?;
            match format {
                Format::Json => output::json(&listed),
                Format::Text => output::text(&list(&listed)),
            }
        }
        ImageCommand::Inspect { name } => {
            let inspected = images.inspect(&name).await?;
            match format {
                Format::Json => output::json(&inspected),
                Format::Text => output::text(&describe(&inspected)),
            }
        }
        ImageCommand::Delete { name } => {
            images.delete(&name).await?;
            match format {
                Format::Json => output::json(&json!({"deleted": name})),
                Format::Text => output::text(&format!("{name} deleted\n")),
            }
        }
    }
}

/// Reads a file and pushes it.
///
/// # Errors
/// When it cannot be read, is no Wasm binary, or the registry refuses.
pub(crate) async fn push(images: &ImageClient, file: &Path, name: &str) -> anyhow::Result<Pushed> {
    let shown = file.display();
    let read = || format!("cannot read {shown} to push it as {name}");
    let metadata = tokio::fs::metadata(file).await.with_context(read)?;
    if !metadata.is_file() {
        bail!("cannot push {shown} as {name}: it is not a file");
    }
    if metadata.len() > FILE_BYTES_MAX {
        bail!(
            "cannot push {shown} as {name}: it has {} and the registry takes at most {}",
            output::size(metadata.len()),
            output::size(FILE_BYTES_MAX)
        );
    }
    let wasm = tokio::fs::read(file).await.with_context(read)?;
    images
        .push(name, Bytes::from(wasm))
        .await
        .with_context(|| format!("{shown} was not pushed"))
}

fn list(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "No images; push one with `euston image push FILE NAME:TAG`.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|l| {
            let digest = l.digest.hex();
            vec![
                l.name.clone(),
                l.tag.clone(),
                digest.get(..12).unwrap_or(&digest).to_owned(),
                output::size(l.size),
                l.created.clone().unwrap_or_else(|| "<unknown>".to_owned()),
            ]
        })
        .collect();
    output::table(&["NAME", "TAG", "DIGEST", "SIZE", "CREATED"], &rows)
}

fn describe(inspected: &Inspected) -> String {
    let kind = match inspected.contents.kind {
        Kind::Component => "component (WASI 0.2 or later)",
        Kind::Module => "core module (WASI 0.1)",
    };
    let mut text = format!(
        "Name:     {}\nDigest:   {}\nKind:     {kind}\nSize:     {}\nCreated:  {}\n",
        inspected.reference,
        inspected.digest,
        output::size(inspected.size),
        inspected.created.as_deref().unwrap_or("<unknown>"),
    );
    for (title, names) in [
        ("Imports", &inspected.contents.imports),
        ("Exports", &inspected.contents.exports),
    ] {
        text.push_str(title);
        text.push_str(":\n");
        if names.is_empty() {
            text.push_str("  <none>\n");
        }
        for name in names {
            text.push_str("  ");
            text.push_str(name);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pushed() -> (tempfile::TempDir, ImageClient, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let registry = euston_images::Registry::open(&dir.path().join("registry")).unwrap();
        let images = ImageClient::new(kube::Client::new(registry.router(), "default"));
        let file = dir.path().join("app.wasm");
        std::fs::write(&file, b"\0asm\x0d\0\x01\0").unwrap();
        (dir, images, file)
    }

    #[tokio::test]
    async fn a_pushed_file_is_listed_and_described() {
        let (_dir, images, file) = pushed().await;
        assert!(list(&images.list().await.unwrap()).starts_with("No images"));
        push(&images, &file, "app:v1").await.unwrap();
        let listed = list(&images.list().await.unwrap());
        assert!(
            listed.starts_with("NAME   TAG   DIGEST") && listed.contains("\napp    v1"),
            "{listed}"
        );
        let shown = describe(&images.inspect("app:v1").await.unwrap());
        assert!(
            shown.contains("Kind:     component") && shown.contains("Imports:\n  <none>\n"),
            "{shown}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_pushed_is_named() {
        let (dir, images, file) = pushed().await;
        std::fs::write(&file, "#!/bin/sh").unwrap();
        for (path, name, expect) in [
            (file.clone(), "app:v1", "a script, not a Wasm binary"),
            (file, "Up:v1", "is not an image reference"),
            (dir.path().to_path_buf(), "app:v1", "it is not a file"),
            (
                dir.path().join("none.wasm"),
                "app:v1",
                "none.wasm to push it as app:v1",
            ),
        ] {
            let error = push(&images, &path, name).await.unwrap_err();
            let error = output::sentence(&error);
            assert!(error.contains(expect), "{error}");
        }
    }
}
