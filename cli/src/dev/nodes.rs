//! The agents of a `dev` cluster: each a client of the API over mTLS, as if it were far away.

use std::net::IpAddr;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use euston_agent::{Agent, AgentConfig};
use euston_sandbox::Runtime;
use euston_tls::{Authority, Identity};
use kube::Client;
use kube::config::{AuthInfo, Config};

use crate::args::DevArgs;
use crate::node;
use crate::place::Place;

/// `node-1`, `node-2`, ...
pub(crate) fn name(number: u8) -> String {
    format!("node-{number}")
}

/// Starts all agents at the same time.
///
/// # Errors
/// When one cannot start.
pub(crate) async fn start(
    args: &DevArgs,
    place: &Place,
    url: &str,
    authority: &Authority,
    runtime: &Runtime,
) -> anyhow::Result<Vec<Agent>> {
    let starts = (1..=args.nodes).map(|number| async move {
        let name = name(number);
        let mut config = config(number, place, url, authority, runtime)
            .with_context(|| format!("cannot prepare the node {name}"))?;
        config.port = args.agent_port;
        Box::pin(Agent::start(config))
            .await
            .with_context(|| format!("cannot start the node {name}"))
    });
    futures::future::try_join_all(starts).await
}

fn config(
    number: u8,
    place: &Place,
    url: &str,
    authority: &Authority,
    runtime: &Runtime,
) -> anyhow::Result<AgentConfig> {
    let name = name(number);
    let address = IpAddr::V4(DevArgs::node_address(number));
    let identity = authority.ensure_server(
        &place.pki(),
        &name,
        &format!("system:node:{name}"),
        &["system:nodes"],
        &[address.to_string(), name.clone()],
    )?;
    let client = client(url, authority.ca_pem(), &identity)?;
    let data_dir = place.node(&name);
    let mut config = AgentConfig::new(
        name,
        address,
        data_dir,
        client,
        authority.ca_pem(),
        identity,
    );
    config.runtime = Some(runtime.clone());
    Ok(config)
}

/// A client of the API server at `url` that shows `identity`.
fn client(url: &str, ca_pem: &str, identity: &Identity) -> anyhow::Result<Client> {
    let mut config = Config::new(url.parse()?);
    let ca = ca_pem
        .lines()
        .filter(|l| !l.starts_with("-----"))
        .collect::<String>();
    config.root_cert = Some(vec![STANDARD.decode(ca)?]);
    config.auth_info = AuthInfo {
        client_certificate_data: Some(STANDARD.encode(&identity.cert_pem)),
        client_key_data: Some(STANDARD.encode(&identity.key_pem).into()),
        ..AuthInfo::default()
    };
    Ok(Client::try_from(config)?)
}

/// Waits until each node is registered and Ready.
///
/// # Errors
/// When the watch of a node fails, or a node is deleted meanwhile.
pub(crate) async fn all_ready(client: &Client, nodes: u8) -> anyhow::Result<()> {
    let waits = (1..=nodes).map(|number| async move { node::ready(client, &name(number)).await });
    futures::future::try_join_all(waits).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_made_from_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        let identity = authority
            .issue_client("system:node:n", &["system:nodes"])
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            client("https://127.0.0.1:6443", authority.ca_pem(), &identity).unwrap();
        });
    }
}
