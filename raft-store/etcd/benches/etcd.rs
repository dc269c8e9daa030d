//! This store beside etcd, in one run: three members each, as processes on this machine, called by the same client code.
//!
//! ```text
//! tests/fetch-etcd.sh && cargo bench -p raft-store-etcd [-- SECONDS [DATA_DIR]]
//! ```
//! Both sync every write before they acknowledge it; put DATA_DIR on a disk, not into memory. The two are measured in
//! turns, workload by workload, so that a machine that is busy with something else is so for both.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/group.rs"]
mod group;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Client, until};
use group::{Group, Kind};
use raft_store_etcd::etcdserverpb::watch_request::Request;
use raft_store_etcd::etcdserverpb::{
    PutRequest, RangeRequest, StatusRequest, WatchCreateRequest, WatchRequest,
};
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Connections that clients share, at most: as many as a program with a pool would open.
const CONNECTIONS_MAX: usize = 12;
const WATCHERS: usize = 1_000;
const RANGE_KEYS: usize = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    // cargo adds a flag of its own.
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let seconds: u64 = args.next().map_or(Ok(5), |seconds| seconds.parse())?;
    let time = Duration::from_secs(seconds);
    let dir = args.next().map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/etcd-bench"),
        PathBuf::from,
    );
    // Of an earlier run.
    let _ = std::fs::remove_dir_all(&dir);
    let groups = [
        Group::start(Kind::Etcd, &dir, 90, 3),
        Group::start(Kind::Store, &dir, 91, 3),
    ];
    let mut sides = Vec::new();
    for group in &groups {
        sides.push(Side::of(group).await?);
    }
    println!(
        "{:<34} {:>12} {:>12} {:>8}",
        "", "etcd", "raft-store", "ratio"
    );
    for bytes in [256, 1024] {
        for clients in [1, 64, 512] {
            let mut figures = Vec::new();
            for side in &sides {
                figures.push(side.puts(clients, bytes, time).await?);
            }
            let what = format!("puts, {bytes} B, {clients} clients");
            rows(&what, "puts/s", &figures);
        }
    }
    let mut figures = Vec::new();
    for side in &sides {
        figures.push(side.ranges(time).await?);
    }
    rows(
        &format!("range of {RANGE_KEYS} keys, 256 B"),
        "/s",
        &figures,
    );
    let mut figures = Vec::new();
    for side in &sides {
        figures.push(side.fan_out(time).await?);
    }
    rows(
        &format!("a change to {WATCHERS} watchers"),
        "changes/s",
        &figures,
    );
    let memory: Vec<f64> = groups.iter().map(Group::resident_mib).collect();
    row("resident memory, 3 members, MiB", &memory, |mib| *mib);
    drop(groups);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// A workload's rows. Time on the clock is shared with whatever else runs here, time on the processors is the workload's own.
fn rows(what: &str, unit: &str, figures: &[Figures]) {
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    row(&format!("{what}: {unit}"), figures, |f| f.per_second);
    row(&format!("{what}: p50 ms"), figures, |f| millis(f.p50));
    row(&format!("{what}: p99 ms"), figures, |f| millis(f.p99));
    row("  CPU of the members, us each", figures, |f| f.cpu.members);
    row("  CPU of the client, us each", figures, |f| f.cpu.client);
}

fn row<F>(what: &str, figures: &[F], of: impl Fn(&F) -> f64) {
    let [theirs, ours] = [of(&figures[0]), of(&figures[1])];
    println!(
        "{what:<34} {theirs:>12.2} {ours:>12.2} {:>7.2}x",
        ours / theirs
    );
}

struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu: Cpu,
}

/// Time on the processors, in microseconds.
struct Cpu {
    members: f64,
    client: f64,
}

/// What has been used up when a workload begins.
struct Meter {
    start: Instant,
    members: Vec<PathBuf>,
    used: Cpu,
}

impl Meter {
    fn start(pids: &[u32]) -> Self {
        let members = pids.iter().map(|pid| format!("/proc/{pid}/stat").into());
        let mut meter = Self {
            start: Instant::now(),
            members: members.collect(),
            used: Cpu {
                members: 0.0,
                client: 0.0,
            },
        };
        meter.used = meter.now();
        meter
    }

    fn now(&self) -> Cpu {
        Cpu {
            members: self.members.iter().map(|stat| cpu_micros(stat)).sum(),
            client: cpu_micros(Path::new("/proc/self/stat")),
        }
    }
}

/// User and system time of a process, from its `stat` (proc_pid_stat(5)), which counts in hundredths of a second.
fn cpu_micros(stat: &Path) -> f64 {
    let stat = std::fs::read_to_string(stat).unwrap();
    // The name, in parentheses, may hold anything.
    let fields = stat.rsplit(") ").next().unwrap().split(' ');
    let ticks = fields.skip(11).take(2).map(|f| f.parse::<f64>().unwrap());
    ticks.sum::<f64>() * 1e4
}

impl Figures {
    fn of(mut waits: Vec<Duration>, meter: &Meter) -> Self {
        let (took, used) = (meter.start.elapsed(), meter.now());
        waits.sort_unstable();
        let each = |now: f64, then: f64| (now - then) / waits.len() as f64;
        let cpu = Cpu {
            members: each(used.members, meter.used.members),
            client: each(used.client, meter.used.client),
        };
        let at = |share: usize| waits.get(waits.len() * share / 100).copied();
        Self {
            per_second: waits.len() as f64 / took.as_secs_f64(),
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            cpu,
        }
    }
}

/// One of the two, with connections to its members.
struct Side {
    /// To the leader first, then to the others in turn.
    clients: Vec<Client>,
    /// Of the members.
    pids: Vec<u32>,
}

impl Side {
    async fn of(group: &Group) -> Result<Self> {
        let mut leader = None;
        until("there is a leader", async || {
            for (at, address) in group.addresses().iter().enumerate() {
                let mut client = Client::connect(*address).await.ok()?;
                let status = client.maintenance.status(StatusRequest {}).await.ok()?;
                let status = status.into_inner();
                if status.leader == status.header?.member_id {
                    leader = Some(at);
                }
            }
            leader
        })
        .await;
        let mut addresses = group.addresses();
        let members = addresses.len();
        addresses.rotate_left(leader.unwrap_or_default());
        let mut clients = Vec::new();
        for at in 0..CONNECTIONS_MAX {
            clients.push(Client::connect(addresses[at % members]).await?);
        }
        let pids = group.pids();
        Ok(Self { clients, pids })
    }

    fn client(&self, at: usize) -> Client {
        self.clients[at % self.clients.len()].clone()
    }

    /// Clients that each wait for one put before the next.
    async fn puts(&self, clients: usize, bytes: usize, time: Duration) -> Result<Figures> {
        // Not compressible, as a stored value may be.
        let value: Vec<u8> = (0..bytes).map(|_| rand::random()).collect();
        let value = bytes::Bytes::from(value);
        let meter = Meter::start(&self.pids);
        let start = meter.start;
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let mut kv = self.client(client).kv;
            let value = value.clone();
            tasks.spawn(async move {
                let mut waits = Vec::new();
                for key in 0.. {
                    let begun = Instant::now();
                    if begun - start >= time {
                        break;
                    }
                    let key = format!("/bench/{client:04}/{:06}", key % 1000);
                    let put = PutRequest {
                        key: key.into(),
                        value: value.clone(),
                        ..PutRequest::default()
                    };
                    kv.put(put).await?;
                    waits.push(begun.elapsed());
                }
                Result::Ok(waits)
            });
        }
        let mut waits = Vec::new();
        while let Some(done) = tasks.join_next().await {
            waits.extend(done??);
        }
        Ok(Figures::of(waits, &meter))
    }

    /// One client that reads a range again and again.
    async fn ranges(&self, time: Duration) -> Result<Figures> {
        let mut tasks = JoinSet::new();
        for client in 0..64 {
            let mut kv = self.client(client).kv;
            tasks.spawn(async move {
                for key in (client..RANGE_KEYS).step_by(64) {
                    let put = PutRequest {
                        key: format!("/range/{key:06}").into(),
                        value: vec![7; 256].into(),
                        ..PutRequest::default()
                    };
                    kv.put(put).await?;
                }
                Result::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        let mut kv = self.client(0).kv;
        let (meter, mut waits) = (Meter::start(&self.pids), Vec::new());
        while meter.start.elapsed() < time {
            let begun = Instant::now();
            let range = RangeRequest {
                key: "/range/".into(),
                range_end: "/range0".into(),
                ..RangeRequest::default()
            };
            let found = kv.range(range).await?.into_inner();
            assert_eq!(found.kvs.len(), RANGE_KEYS);
            waits.push(begun.elapsed());
        }
        Ok(Figures::of(waits, &meter))
    }

    /// Puts a key that many watch, each on a stream of its own, and waits until all have seen it.
    async fn fan_out(&self, time: Duration) -> Result<Figures> {
        let (seen, mut all_seen) = mpsc::channel::<i64>(WATCHERS);
        let ready = Arc::new(Barrier::new(WATCHERS + 1));
        let mut tasks = JoinSet::new();
        for watcher in 0..WATCHERS {
            let mut client = self.client(watcher).watch;
            let (seen, ready) = (seen.clone(), Arc::clone(&ready));
            tasks.spawn(async move {
                let create = Request::Create(WatchCreateRequest {
                    key: "/watched".into(),
                    ..WatchCreateRequest::default()
                });
                let create = WatchRequest {
                    request: Some(create),
                };
                let requests = futures::StreamExt::chain(
                    futures::stream::iter([create]),
                    futures::stream::pending(),
                );
                let mut answers = client.watch(requests).await?.into_inner();
                let created = answers.message().await?;
                assert!(created.is_some_and(|created| created.created));
                ready.wait().await;
                while let Some(answer) = answers.message().await? {
                    for event in answer.events {
                        let revision = event.kv.unwrap_or_default().mod_revision;
                        if seen.send(revision).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                Result::Ok(())
            });
        }
        ready.wait().await;
        let mut kv = self.client(0).kv;
        let (meter, mut waits) = (Meter::start(&self.pids), Vec::new());
        while meter.start.elapsed() < time {
            let begun = Instant::now();
            let put = PutRequest {
                key: "/watched".into(),
                value: vec![7; 256].into(),
                ..PutRequest::default()
            };
            let revision = kv.put(put).await?.into_inner().header.unwrap_or_default();
            for _ in 0..WATCHERS {
                let seen = all_seen.recv().await;
                assert_eq!(seen, Some(revision.revision));
            }
            waits.push(begun.elapsed());
        }
        let figures = Figures::of(waits, &meter);
        tasks.shutdown().await;
        Ok(figures)
    }
}
