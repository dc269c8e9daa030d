//! What a full store costs: `cargo run -p raft-store --example fill_bench [KEYS] [DATA_DIR]`.
//!
//! Fills a store with keys of 1 KiB, one put each, and prints the time, the memory that the process takes, and how
//! long a member that holds them takes to restart. Memory is read from /proc, so Linux only.

use std::time::Instant;

use raft_store::{Config, KeyRange, RangeRequest, Store, Txn};

const WRITERS: usize = 256;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let keys = args.next().map_or(Ok(1_000_000), |keys| keys.parse())?;
    let dir = args.next().unwrap_or_else(|| "fill-bench-data".to_owned());

    let store = Store::open(Config::new("bench", &dir)).await?;
    let start = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for key in (writer..keys).step_by(WRITERS) {
                let value: Vec<u8> = (0..1024 / 8)
                    .flat_map(|_| rand::random::<[u8; 8]>())
                    .collect();
                store
                    .txn(Txn::put(format!("/fill/{key:09}"), value))
                    .await?;
            }
            Ok::<_, raft_store::Error>(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    println!("{keys} keys in {:?}: {}", start.elapsed(), memory()?);
    store.compact(store.revision()).await?;
    let start = Instant::now();
    let page = RangeRequest {
        limit: 10_000,
        ..RangeRequest::new(KeyRange::prefix("/fill/"))
    };
    let count = store.range(page).await?.count;
    println!(
        "a page of 10,000 keys out of {count}: {:?}",
        start.elapsed()
    );
    store.shutdown().await;
    drop(store);

    let start = Instant::now();
    let store = Store::open(Config::new("bench", &dir)).await?;
    println!("restarted in {:?}: {}", start.elapsed(), memory()?);
    store.shutdown().await;
    Ok(())
}

/// What the process takes now, and took at most.
fn memory() -> std::io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let lines = status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    Ok(lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", "))
}
