//! Clients that go to another member when theirs does not answer, as programs with several endpoints do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raft_store_etcd::etcdserverpb::compare::{CompareResult, CompareTarget, Given};
use raft_store_etcd::etcdserverpb::request_op::Request;
use raft_store_etcd::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::common::Client;
use crate::record::Record;

/// How long a client waits before it goes to the next member: one that was stopped answers nothing.
const CALL_MAX: Duration = Duration::from_secs(1);
/// Calls after which a client goes to the next member all the same. Who has fled from one would otherwise stay where it is,
/// until all are at one member; and if that is stopped, what is measured is how long they wait for it.
const CALLS_PER_MEMBER: u64 = 20;
/// Keys that all clients share.
const KEYS: usize = 8;

/// Runs clients until they are told to stop; each then finishes what it is at.
pub struct Clients {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Clients {
    /// `round` tells them apart from any before: what they write has it in it.
    pub fn start(
        count: usize,
        value_bytes: usize,
        addresses: &[SocketAddr],
        record: &Arc<Record>,
        round: u64,
    ) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for at in 0..count {
            let one = One {
                name: format!("{round}-{at}"),
                addresses: addresses.to_vec(),
                at,
                client: None,
                value_bytes,
                record: Arc::clone(record),
                random: StdRng::seed_from_u64(round << 16 | at as u64),
                written: 0,
            };
            tasks.spawn(one.run(stop.clone()));
        }
        Self { stop, tasks }
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

struct One {
    name: String,
    addresses: Vec<SocketAddr>,
    /// The member that it calls.
    at: usize,
    client: Option<Client>,
    value_bytes: usize,
    record: Arc<Record>,
    random: StdRng,
    written: u64,
}

impl One {
    async fn run(mut self, stop: CancellationToken) {
        for calls in 1_u64.. {
            if stop.is_cancelled() {
                break;
            }
            let key = format!("k{}", self.random.random_range(0..KEYS));
            let done = match self.random.random_range(0..4) {
                0 => self.read(&key).await.map(drop),
                1 => self.swap(&key).await,
                _ => self.put(&key).await,
            };
            if done.is_none() || calls % CALLS_PER_MEMBER == 0 {
                self.client = None;
                self.at += 1;
                // Not for time to pass: so that nobody is kept from running while all members refuse.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn client(&mut self) -> Option<Client> {
        if self.client.is_none() {
            let address = self.addresses[self.at % self.addresses.len()];
            let connected = timeout(CALL_MAX, Client::connect(address)).await;
            self.client = Some(connected.ok()?.ok()?);
        }
        self.client.clone()
    }

    /// A value that nobody else writes, nor this one again.
    fn value(&mut self) -> String {
        self.written += 1;
        let name = format!("{}-{}", self.name, self.written);
        let value = format!("{name:.<width$}", width = self.value_bytes);
        self.record.tries(&value);
        value
    }

    async fn put(&mut self, key: &str) -> Option<()> {
        let mut client = self.client().await?;
        let (before, value) = (self.record.begin(), self.value());
        let call = client.kv.put(put(key, &value));
        let header = timeout(CALL_MAX, call)
            .await
            .ok()?
            .ok()?
            .into_inner()
            .header?;
        self.record
            .written(before, key, &value, None, header.revision, header.raft_term);
        Some(())
    }

    /// What a key held, and its revision; 0 for none.
    async fn read(&mut self, key: &str) -> Option<i64> {
        let mut client = self.client().await?;
        let before = self.record.begin();
        let call = client.kv.range(get(key));
        let answer = timeout(CALL_MAX, call).await.ok()?.ok()?.into_inner();
        let found = answer.kvs.into_iter().next();
        let found = found.map(|kv| {
            (
                kv.mod_revision,
                String::from_utf8_lossy(&kv.value).into_owned(),
            )
        });
        let revision = found.as_ref().map_or(0, |(revision, _)| *revision);
        self.record
            .read(before, key, found, answer.header?.revision);
        Some(revision)
    }

    /// Writes if nobody else has since a read.
    async fn swap(&mut self, key: &str) -> Option<()> {
        let over = self.read(key).await?;
        let mut client = self.client().await?;
        let (before, value) = (self.record.begin(), self.value());
        let txn = TxnRequest {
            compare: vec![Compare {
                key: key.to_owned().into(),
                target: CompareTarget::Mod.into(),
                result: CompareResult::Equal.into(),
                given: Some(Given::ModRevision(over)),
                ..Compare::default()
            }],
            success: vec![RequestOp {
                request: Some(Request::Put(put(key, &value))),
            }],
            failure: Vec::new(),
        };
        let call = client.kv.txn(txn);
        let answer = timeout(CALL_MAX, call).await.ok()?.ok()?.into_inner();
        let header = answer.header?;
        if answer.succeeded {
            let (revision, term) = (header.revision, header.raft_term);
            self.record
                .written(before, key, &value, Some(over), revision, term);
        } else {
            self.record
                .refused(before, key, &value, over, header.revision);
        }
        Some(())
    }
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest {
        key: key.to_owned().into(),
        ..RangeRequest::default()
    }
}
