//! One member of a group, as a process: `euston store` without the rest of Euston, and without TLS.
//!
//! ```text
//! cargo run -p raft-store-etcd --bin store -- --name n1 --data-dir n1 --listen-client 127.0.0.1:2379 \
//!     --listen-peer 127.0.0.1:2380 --initial-cluster n1=127.0.0.1:2380
//! ```
//! Prints where it serves, and stops in good order at SIGTERM or SIGINT, or when its input ends (`--with-parent`).

use std::collections::HashMap;
use std::io::Read as _;
use std::time::Duration;

use raft_store_etcd::{InitialState, Member, MemberConfig, initial_cluster};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let (config, with_parent) = config(std::env::args().skip(1))?;
    let member = Member::start(config).await?;
    println!("serving clients at {}", member.client_address());
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let shutdown = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = input_ends(), if with_parent => {}
        }
    };
    member.run(shutdown).await?;
    Ok(())
}

/// A parent that dies takes its end of the pipe with it.
async fn input_ends() {
    let (ended, end) = tokio::sync::oneshot::channel();
    // A thread of its own, and not one of the runtime's, which would wait for it at the end.
    std::thread::spawn(move || {
        // Whether it ended or broke; and whether somebody still wants to know.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let _ = end.await;
}

fn config(mut args: impl Iterator<Item = String>) -> Result<(MemberConfig, bool)> {
    let mut given = HashMap::new();
    let mut with_parent = false;
    while let Some(flag) = args.next() {
        if flag == "--with-parent" {
            with_parent = true;
            continue;
        }
        let value = args.next().ok_or(format!("{flag} needs a value"))?;
        given.insert(flag, value);
    }
    let mut must = |flag: &str| given.remove(flag).ok_or(format!("{flag} is missing"));
    let mut config = MemberConfig::new(
        must("--name")?,
        must("--data-dir")?,
        must("--listen-client")?.parse()?,
        must("--listen-peer")?.parse()?,
        initial_cluster(&must("--initial-cluster")?, false)?,
    );
    let mut take = |flag: &str| given.remove(flag);
    if let Some(token) = take("--initial-cluster-token") {
        config.token = token;
    }
    config.state = match take("--initial-cluster-state").as_deref() {
        None | Some("new") => InitialState::New,
        Some("existing") => InitialState::Existing,
        Some(other) => return Err(format!("{other} is neither new nor existing").into()),
    };
    if let Some(bytes) = take("--quota-backend-bytes") {
        config.store.db_bytes_max = bytes.parse()?;
    }
    if let Some(bytes) = take("--snapshot-log-bytes") {
        config.store.snapshot_log_bytes = bytes.parse()?;
    }
    if let Some(millis) = take("--watch-progress-notify-millis") {
        config.serve.progress_interval = Duration::from_millis(millis.parse()?);
    }
    match given.keys().next() {
        None => Ok((config, with_parent)),
        Some(flag) => Err(format!("there is no flag {flag}").into()),
    }
}
