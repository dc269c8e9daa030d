//! Measures the real binary: start to Ready, scaling to many replicas, requests through a NodePort
//! beside `wasmtime serve`, and memory. Run it with
//!
//! ```sh
//! cargo run -p euston-tests --bin bench
//! ```
//!
//! The load generator runs on one thread of this process, on the same machine as what it measures:
//! the figures compare, and are no limits.

mod cluster;
mod load;
mod machine;
mod process;
mod report;
mod scale;
mod startup;
mod throughput;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use report::{Outcome, Report};

/// Everything together, whatever hangs: each part has a shorter bound of its own.
const RUN_MAX: Duration = Duration::from_secs(30 * 60);

/// Benchmarks of Euston
#[derive(Parser)]
pub(crate) struct Args {
    /// The binary to measure; otherwise target/release/euston, otherwise target/debug/euston
    #[arg(long)]
    euston: Option<PathBuf>,

    /// A `wasmtime` to compare with, from `cargo install wasmtime-cli@48 --locked`
    #[arg(long)]
    wasmtime: Option<PathBuf>,

    /// The guest, an HTTP component; wasm-examples/build.sh makes the default one
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../wasm-examples/dist/hello.wasm"))]
    guest: PathBuf,

    /// Replicas to scale to
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    replicas: u32,

    /// Starts to take the median of
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    starts: u32,

    /// Seconds of load at each number of connections
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    load_seconds: u64,

    /// Seconds after which scaling is given up, and reported as far as it came
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=1200))]
    scale_seconds_max: u64,

    /// How to print results
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

// One thread: the load generator then takes at most one core from what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Children are killed, by their ids, when the future that owns them is dropped.
    let result = tokio::select! {
        result = tokio::time::timeout(RUN_MAX, Box::pin(run(&args))) => match result {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("not finished within {RUN_MAX:?}; given up")),
        },
        stopped = stop_signal() => stopped.and_then(|()| bail!("stopped by a signal")),
    };
    match result.and_then(|report| print(&report, args.output)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every measurement has a figure.
fn print(report: &Report, format: Format) -> anyhow::Result<bool> {
    match format {
        Format::Text => print!("{}", report.text()),
        Format::Json => println!("{}", serde_json::to_string_pretty(report)?),
    }
    Ok(report.complete())
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// A measurement that fails is a line of the report, and does not take the others with it.
async fn run(args: &Args) -> anyhow::Result<Report> {
    let euston = binary(args.euston.as_deref())?;
    let guest = existing(&args.guest, "build the guests with wasm-examples/build.sh")?;
    let wasmtime = args
        .wasmtime
        .as_deref()
        .map(|path| {
            existing(
                path,
                "install it with `cargo install wasmtime-cli@48 --locked`",
            )
        })
        .transpose()?;
    let scratch = tempfile::Builder::new()
        .prefix("euston-bench-")
        .tempdir()
        .context("cannot make a temporary folder; TMPDIR chooses where")?;
    let at = cluster::Setting {
        euston: &euston,
        guest: &guest,
        scratch: scratch.path(),
    };

    let machine = machine::Facts::gather(&euston, scratch.path());
    progress(&format!("{} starts of {}", args.starts, euston.display()));
    let start = Outcome::from(startup::measure(&at, args.starts).await);
    progress(&format!("scaling 0 to {} replicas", args.replicas));
    let limit = Duration::from_secs(args.scale_seconds_max);
    let scale = Outcome::from(Box::pin(scale::measure(&at, args.replicas, limit)).await);
    progress("requests through a NodePort");
    let seconds = Duration::from_secs(args.load_seconds);
    let euston_load = Outcome::from(Box::pin(throughput::euston(&at, seconds)).await);
    let wasmtime_load = match &wasmtime {
        Some(wasmtime) => {
            progress("requests to wasmtime serve");
            Some(Outcome::from(
                Box::pin(throughput::wasmtime(&at, wasmtime, seconds)).await,
            ))
        }
        None => None,
    };
    Ok(Report {
        machine,
        start,
        scale,
        euston: euston_load,
        wasmtime: wasmtime_load,
    })
}

/// On stderr, so that stdout carries the report alone.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}

fn binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let build = "build it with `cargo build --release -p euston`, or name it with --euston";
    if let Some(path) = given {
        return existing(path, build);
    }
    let target = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target"));
    let release = target.join("release/euston");
    if release.is_file() {
        return existing(&release, build);
    }
    existing(&target.join("debug/euston"), build)
}

/// Absolute, because children start in other folders.
fn existing(path: &Path, otherwise: &str) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("there is no {}: {otherwise}", path.display()))
}
