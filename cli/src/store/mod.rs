//! `euston store`: one member of a replicated store, served to clients of etcd.

mod args;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use euston_tls::{ClientAuth, Identity, client_config, server_config};
use raft_store_etcd::{InitialState, Member, MemberConfig, MemberTls, initial_cluster};
use raft_store_peer::PeerTls;
use serde::Serialize;

use args::State;
pub(crate) use args::StoreArgs;

use crate::args::Format;
use crate::signals::Signals;
use crate::{output, plane};

/// Runs a member until a signal, or until it stops by itself.
///
/// # Errors
/// When it cannot start, and when it stops by itself: its disk failed, or it was removed from the group.
pub(crate) async fn run(args: StoreArgs, format: Format) -> anyhow::Result<()> {
    // Before anything exists that would have to be cleaned up.
    let mut signals = Signals::new()?;
    let config = config(&args)?;
    // Every client's connection is one.
    plane::raise_file_limit();
    let member = tokio::select! {
        started = Box::pin(Member::start(config)) => started?,
        () = signals.next() => return Ok(()),
    };
    say(&member, format)?;
    Box::pin(member.run(signals.next())).await?;
    Ok(())
}

/// Where it serves, and how to talk to it.
fn say(member: &Member, format: Format) -> anyhow::Result<()> {
    let status = member.store().status();
    let (clients, members) = (member.client_address(), member.peer_address());
    match format {
        Format::Text => output::text(&format!(
            "Member {} ({:016x}) of cluster {:016x}\n  clients  {clients}    try: etcdctl --endpoints {clients} endpoint status -w table\n  members  {members}\n",
            status.name, status.member_id, status.cluster_id
        )),
        Format::Json => output::json(&Serving {
            name: status.name,
            member_id: format!("{:016x}", status.member_id),
            cluster_id: format!("{:016x}", status.cluster_id),
            clients,
            members,
        }),
    }
}

/// For programs that start members.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Serving {
    name: String,
    member_id: String,
    cluster_id: String,
    clients: SocketAddr,
    members: SocketAddr,
}

fn config(args: &StoreArgs) -> anyhow::Result<MemberConfig> {
    let tls = tls(args)?;
    let cluster = initial_cluster(&args.initial_cluster, tls.is_some());
    let cluster = cluster.map_err(|why| anyhow::anyhow!("--initial-cluster: {why}"))?;
    let mut config = MemberConfig::new(
        &args.name,
        &args.data_dir,
        args.listen_client,
        args.listen_peer,
        cluster,
    );
    config.token.clone_from(&args.initial_cluster_token);
    config.state = match args.initial_cluster_state {
        State::New => InitialState::New,
        State::Existing => InitialState::Existing,
    };
    config.advertise_client.clone_from(&args.advertise_client);
    config.store.db_bytes_max = args.quota_backend_bytes;
    config.store.request_bytes_max = args.max_request_bytes;
    config.serve.request_bytes_max = args.max_request_bytes;
    config.serve.txn_ops_max = args.max_txn_ops;
    // The store counts what is nested, too, so its own bound is the wider one.
    config.store.txn_ops_max = config.store.txn_ops_max.max(args.max_txn_ops);
    config.store.snapshot_log_bytes = args.snapshot_log_bytes;
    config.tls = tls;
    Ok(config)
}

/// One certificate for everything: shown to clients, to members that call, and to members that are called.
fn tls(args: &StoreArgs) -> anyhow::Result<Option<MemberTls>> {
    let (cert, key, ca) = match (&args.cert, &args.key, &args.ca) {
        (None, None, None) => return Ok(None),
        (Some(cert), Some(key), Some(ca)) => (cert, key, ca),
        _ => bail!(
            "--cert, --key and --ca go together: members prove to each other who they are, so each needs a certificate and the CA that signed those of the others"
        ),
    };
    let identity = Identity {
        cert_pem: read("--cert", cert)?,
        key_pem: read("--key", key)?,
    };
    let ca = read("--ca", ca)?;
    let auth = if args.anonymous_clients {
        ClientAuth::Optional
    } else {
        ClientAuth::Required
    };
    let server = |auth| server_config(&ca, &identity, auth).context("--cert, --key, --ca");
    Ok(Some(MemberTls {
        clients: server(auth)?,
        peer: PeerTls {
            server: server(ClientAuth::Required)?,
            client: Arc::new(client_config(&ca, Some(&identity)).context("--cert, --key, --ca")?),
            check: None,
        },
    }))
}

fn read(flag: &str, path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {flag} {}", path.display()))
}
