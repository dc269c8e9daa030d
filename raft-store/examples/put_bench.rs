//! How many puts a second one member takes: `cargo run -p raft-store --example put_bench [SECONDS] [DATA_DIR]`.
//!
//! Values of 1 KiB, every put acknowledged after a sync; 1, 64 and 512 clients that each wait for one put before
//! the next. For comparison, the bare disk: a thread that writes 1 KiB and syncs, over and over.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use raft_store::{Config, Store, Txn};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().map_or(Ok(5), |seconds| seconds.parse())?;
    let dir = args.next().unwrap_or_else(|| "put-bench-data".to_owned());
    let time = Duration::from_secs(seconds);

    std::fs::create_dir_all(&dir)?;
    println!(
        "bare disk: {:.0} syncs/s",
        syncs_per_second(Path::new(&dir))?
    );
    let store = Store::open(Config::new("bench", &dir)).await?;
    for clients in [1, 64, 512] {
        let (puts, p50, p99) = run(&store, clients, time).await?;
        println!(
            "{clients:4} clients: {:8.0} puts/s, p50 {p50:?}, p99 {p99:?}",
            puts as f64 / time.as_secs_f64()
        );
    }
    store.shutdown().await;
    Ok(())
}

async fn run(
    store: &Store,
    clients: usize,
    time: Duration,
) -> Result<(usize, Duration, Duration), Box<dyn std::error::Error>> {
    // Not compressible, as a stored value may be.
    let value: Vec<u8> = (0..1024).map(|_| rand::random()).collect();
    let end = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (store, value) = (store.clone(), value.clone());
        tasks.spawn(async move {
            let mut waits = Vec::new();
            for key in 0.. {
                let start = Instant::now();
                if start >= end {
                    break;
                }
                let key = format!("/bench/{client:04}/{:06}", key % 1000);
                store.txn(Txn::put(key, value.clone())).await?;
                waits.push(start.elapsed());
            }
            Ok::<_, raft_store::Error>(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(done) = tasks.join_next().await {
        waits.extend(done??);
    }
    waits.sort_unstable();
    let at = |share: usize| {
        waits
            .get(waits.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok((waits.len(), at(50), at(99)))
}

fn syncs_per_second(dir: &Path) -> std::io::Result<f64> {
    let path = dir.join("bare-disk");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0; 4 << 20])?;
    file.sync_all()?;
    let start = Instant::now();
    let mut syncs = 0;
    let mut file = File::options().write(true).open(&path)?;
    while start.elapsed() < Duration::from_secs(1) {
        if syncs % 4096 == 4095 {
            file = File::options().write(true).open(&path)?;
        }
        file.write_all(&[7; 1024])?;
        file.sync_data()?;
        syncs += 1;
    }
    std::fs::remove_file(path)?;
    Ok(f64::from(syncs) / start.elapsed().as_secs_f64())
}
