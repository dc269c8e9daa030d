//! What a server prints when it is up: where it is, how to reach it, how others join.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use euston_join::tokens::{self, NewToken};
use euston_join::{GroupId, Role};
use euston_tls::Fingerprint;
use euston_tls::files::{self, Access};
use jiff::Timestamp;
use serde::Serialize;

use super::boot::{Origin, Server};
use crate::args::Format;
use crate::{node, output};

/// Everything worth knowing about the server; `-o json` prints it as it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    name: String,
    api: String,
    peer: String,
    kubeconfig: PathBuf,
    data_dir: PathBuf,
    cluster_id: GroupId,
    member_id: GroupId,
    /// Files with the tokens that the first server made.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_token: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_token: Option<PathBuf>,
    /// From the start to here: the API serves, and the node, if there is one, is Ready.
    ready_seconds: f64,
}

/// Makes the tokens of a new cluster, waits for the node, and says that all is up.
///
/// # Errors
/// When the tokens cannot be made, the node cannot be watched, or nobody reads what is printed.
pub(super) async fn show(server: &Server, started: Instant, format: Format) -> anyhow::Result<()> {
    if server.origin == Origin::First {
        first_tokens(server).await?;
    }
    if server.agent.is_some() {
        node::ready_soon(&server.admin, &server.name).await?;
    }
    let ready = started.elapsed();
    let status = server.plane.store.status();
    let token = |role| Some(token_file(server, role)).filter(|file| file.is_file());
    let summary = Summary {
        name: server.name.clone(),
        api: format!("https://{}", server.api),
        peer: format!("https://{}", server.peer),
        kubeconfig: server.place.kubeconfig(),
        data_dir: server.place.path().to_path_buf(),
        cluster_id: GroupId(status.cluster_id),
        member_id: GroupId(status.member_id),
        server_token: token(Role::Server),
        agent_token: token(Role::Agent),
        ready_seconds: ready.as_secs_f64(),
    };
    match format {
        // One line, so that a reader knows when it has all of it.
        Format::Json => output::text(&format!("{}\n", serde_json::to_string(&summary)?)),
        Format::Text => output::text(&text(&summary, server, ready)),
    }
}

fn text(summary: &Summary, server: &Server, ready: Duration) -> String {
    let members = server.plane.store.members().len();
    let origin = match server.origin {
        Origin::First => "the first of a new cluster".to_owned(),
        Origin::Joined => format!("joined a cluster, which has {members} servers now"),
        Origin::Back => format!("back in its cluster of {members}"),
    };
    let mut text = format!(
        "Euston {}: server {}, {origin}, ready after {:.2} s\n\n  API    {}\n  peers  {}\n  data   {}\n",
        env!("CARGO_PKG_VERSION"),
        summary.name,
        ready.as_secs_f64(),
        summary.api,
        summary.peer,
        summary.data_dir.display(),
    );
    if server.agent.is_some() {
        text += &format!("  node   {} ({})\n", summary.name, server.api.ip());
    }
    text += &format!("\n  export KUBECONFIG={}\n", summary.kubeconfig.display());
    if let (Some(servers), Some(agents)) = (&summary.server_token, &summary.agent_token) {
        text += &format!(
            "\nOn other machines, with what these files hold:\n\n  \
             euston server --name NAME --join {api} --token \"$(cat {})\"\n  \
             euston agent --name NAME --server {api} --token \"$(cat {})\"\n",
            servers.display(),
            agents.display(),
            api = summary.api,
        );
    }
    text + "\nCtrl-C stops it.\n"
}

fn token_file(server: &Server, role: Role) -> PathBuf {
    server.place.tokens().join(role.as_str())
}

/// The tokens of a new cluster, in files that only their owner can read.
async fn first_tokens(server: &Server) -> anyhow::Result<()> {
    let ca = Fingerprint::of_ca(&server.ca_pem)?;
    for role in [Role::Server, Role::Agent] {
        let new = NewToken {
            role,
            ttl: None,
            description: "made with the cluster".to_owned(),
            created_by: server.name.clone(),
        };
        let token = tokens::create(&server.admin, &new, ca, Timestamp::now())
            .await
            .context("cannot make the cluster's first tokens; `euston token create` makes more")?;
        files::write(
            &token_file(server, role),
            &format!("{token}\n"),
            Access::Owner,
        )?;
    }
    Ok(())
}
