//! `euston version`

use std::time::Duration;

use serde_json::json;

use crate::args::{Format, Global, VersionArgs};
use crate::{cluster, output};

/// The Kubernetes API that this program serves and speaks.
const KUBERNETES: &str = "v1.37.0";
/// A cluster that does not answer in this time is reported as such.
const PATIENCE: Duration = Duration::from_secs(3);

/// Prints the versions of program and cluster; a cluster that cannot be asked is not an error.
///
/// # Errors
/// When stdout is closed.
pub(crate) async fn run(args: &VersionArgs, global: &Global) -> anyhow::Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    let server = if args.client {
        None
    } else {
        Some(ask(global).await)
    };
    match global.output {
        Format::Json => output::json(&json!({
            "client": {"version": client, "kubernetes": KUBERNETES},
            "server": match &server {
                Some(Ok((url, version))) => json!({"url": url, "version": version}),
                Some(Err(e)) => json!({"error": e}),
                None => json!(null),
            },
        })),
        Format::Text => {
            let mut text = format!("Client: euston {client} (Kubernetes {KUBERNETES})\n");
            match server {
                Some(Ok((url, version))) => text.push_str(&format!("Server: {version} at {url}\n")),
                Some(Err(e)) => text.push_str(&format!("Server: unknown: {e}\n")),
                None => {}
            }
            output::text(&text)
        }
    }
}

async fn ask(global: &Global) -> Result<(String, String), String> {
    let ask = async {
        let (client, url) = cluster::connect(global.kubeconfig.as_deref()).await?;
        let version = client.apiserver_version().await?;
        anyhow::Ok((url, version.git_version))
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(output::sentence(&e)),
        Err(_) => Err(format!("it did not answer within {PATIENCE:?}")),
    }
}
