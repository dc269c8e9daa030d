//! `euston agent`: a node of a cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use euston_agent::{Agent, AgentConfig};
use euston_join::client::{AgentJoin, JOIN_PATIENCE, Renewal, join_agent, keep_current};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::args::{AgentArgs, Format};
use crate::place::Place;
use crate::signals::Signals;
use crate::{machine, node, output, plane};

/// For all pods of the node to end.
const STOP: Duration = Duration::from_secs(20);
/// Between looks at whether the node is Ready, where looking fails.
const AGAIN: Duration = Duration::from_secs(1);

/// What `-o json` prints when the node is Ready.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Started<'a> {
    name: &'a str,
    address: String,
    servers: Vec<String>,
    ready_seconds: f64,
}

/// Runs the node until a signal.
///
/// # Errors
/// When it is not let into the cluster or cannot start.
pub(crate) async fn run(args: AgentArgs, format: Format) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut signals = Signals::new()?;
    plane::raise_file_limit();
    let node = tokio::select! {
        node = Box::pin(Node::start(&args)) => node?,
        () = signals.next() => return Ok(()),
    };
    let shown = tokio::select! {
        shown = Box::pin(node.show(begun, format)) => shown,
        () = signals.next() => Ok(()),
    };
    if shown.is_ok() && format == Format::Text {
        output::text("\nStopping.\n")?;
    }
    node.staying.cancel();
    tokio::select! {
        () = node.agent.shutdown(STOP) => {}
        () = signals.next() => bail!("stopped at once, at the second signal; its pods were cut off"),
    }
    shown
}

struct Node {
    name: String,
    address: std::net::IpAddr,
    servers: Vec<String>,
    client: kube::Client,
    agent: Agent,
    /// Ends the renewal of certificates.
    staying: CancellationToken,
}

impl Node {
    async fn start(args: &AgentArgs) -> anyhow::Result<Self> {
        let name = machine::name(args.name.as_deref())?;
        let address = machine::address(args.address)?;
        let place = Place::open(Some(&args.data_dir), "")?;
        let join = AgentJoin {
            servers: machine::servers(&args.server)?,
            token: machine::token(args.token.as_deref())?,
            name: name.clone(),
            addresses: vec![address],
            dir: place.pki(),
            patience: JOIN_PATIENCE,
        };
        let joined = join_agent(&join).await?;
        let (client, servers) = euston_client::connect(
            joined.servers.clone(),
            &joined.ca_pem,
            Some(&joined.identity),
        )?;
        let mut config = AgentConfig::new(
            name.clone(),
            address,
            place.node(&name),
            client.clone(),
            joined.ca_pem,
            joined.identity.clone(),
        );
        config.port = args.agent_port;
        config.runtime = Some(plane::make_runtime(&place.code_cache()).await?);
        let agent = Box::pin(Agent::start(config))
            .await
            .with_context(|| format!("cannot start the node {name}"))?;
        let staying = CancellationToken::new();
        let renewal = Renewal {
            client: client.clone(),
            servers,
            dir: join.dir,
            // A new certificate is shown to servers at once, and to other nodes from the next start on: it is
            // renewed months before the old one ends.
            identity: watch::Sender::new(joined.identity),
        };
        tokio::spawn(keep_current(renewal, staying.clone()));
        Ok(Self {
            name,
            address,
            servers: joined.servers.iter().map(ToString::to_string).collect(),
            client,
            agent,
            staying,
        })
    }

    /// Says when the node is Ready, and then waits for ever.
    async fn show(&self, begun: Instant, format: Format) -> anyhow::Result<()> {
        // Servers may be down for as long as they like: what is stored here is enough to go on with.
        while let Err(e) = node::ready_soon(&self.client, &self.name).await {
            tracing::warn!("still trying: {}", output::sentence(&e));
            tokio::time::sleep(AGAIN).await;
        }
        let ready = begun.elapsed().as_secs_f64();
        let servers = self.servers.join(", ");
        match format {
            Format::Json => {
                let started = Started {
                    name: &self.name,
                    address: self.address.to_string(),
                    servers: self.servers.clone(),
                    ready_seconds: ready,
                };
                output::text(&format!("{}\n", serde_json::to_string(&started)?))?;
            }
            Format::Text => output::text(&format!(
                "Euston {}: node {} ({}) Ready after {ready:.2} s, in the cluster of {servers}\n\nCtrl-C stops it.\n",
                env!("CARGO_PKG_VERSION"),
                self.name,
                self.address,
            ))?,
        }
        std::future::pending().await
    }
}
