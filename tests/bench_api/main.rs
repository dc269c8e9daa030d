//! Measures the Kubernetes API of a cluster that runs: creating, reading, patching and listing
//! pods that nobody schedules, and a change's way to many watchers.
//!
//! ```sh
//! euston dev --data-dir /tmp/bench &
//! cargo run -p euston-tests --bin bench-api -- --kubeconfig /tmp/bench/kubeconfig --pid $!
//! ```
//!
//! With `--pid` (once for each server) it says what a write costs them. The clients run in this
//! process, on the same machine as what they measure: the figures compare, and are no limits.

mod measure;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use measure::Bench;

/// Everything together, whatever hangs.
const RUN_MAX: Duration = Duration::from_secs(30 * 60);

/// Benchmarks of the Kubernetes API
#[derive(Parser)]
struct Args {
    /// The cluster to measure
    #[arg(long)]
    kubeconfig: PathBuf,

    /// Process ids of its servers, for CPU per write
    #[arg(long)]
    pid: Vec<u32>,

    /// Pods to create, get, patch and list
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pods: u32,

    /// Requests under way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    writers: u32,

    /// Lists to take the median of
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    lists: u32,

    /// Watches that see every change
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    watchers: u32,

    /// Changes that they see
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    changes: u32,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let result = match tokio::time::timeout(RUN_MAX, Box::pin(run(&args))).await {
        Ok(result) => result,
        Err(_) => Err(anyhow::anyhow!("not finished within {RUN_MAX:?}; given up")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let shown = args.kubeconfig.display();
    let read = Kubeconfig::read_from(&args.kubeconfig)
        .with_context(|| format!("cannot read the kubeconfig {shown}"))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("cannot use the kubeconfig {shown}"))?;
    let bench = Bench::start(config, args.pid.clone(), args.writers as usize).await?;
    let measured = async {
        let mut rows = bench.pods(args.pods).await?;
        rows.extend(bench.lists(args.pods, args.lists).await?);
        rows.push(bench.fan_out(args.watchers, args.changes).await?);
        Ok::<_, anyhow::Error>(rows)
    }
    .await;
    let cleaned = bench.clean_up().await;
    let rows = measured?;
    cleaned?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        rows.iter().for_each(|row| println!("{row}"));
    }
    Ok(())
}
