//! Three processes under load from clients of etcd's API, killed and stopped in turns: what was acknowledged stays, every
//! answer is one that a single store could have given, and it is measured how long writes pause.
//!
//! ```text
//! EUSTON_SURVIVAL_ROUNDS=100 cargo test -p raft-store-etcd --test survival -- --nocapture
//! ```

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/group.rs"]
mod group;

mod clients;
mod disk;
mod record;

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clients::Clients;
use common::{Client, soon, until};
use group::{Group, Kind};
use raft_store_etcd::etcdserverpb::watch_request::Request;
use raft_store_etcd::etcdserverpb::{
    HashKvRequest, RangeRequest, StatusRequest, StatusResponse, WatchCreateRequest, WatchRequest,
};
use record::{Change, Record, Version};
use rustix::process::Signal;

const ROUNDS: &str = "EUSTON_SURVIVAL_ROUNDS";
const ROUNDS_DEFAULT: u64 = 6;
const MEMBERS: u8 = 3;
const CLIENTS: usize = 6;
/// At least.
const VALUE_BYTES: usize = 100;
/// Rounds between two checks of all answers: what is kept until then fits into memory, and into the store's history.
const ROUNDS_PER_CHECK: u64 = 5;
/// Acknowledged before the next thing happens, so that it happens under load.
const WRITES_BETWEEN: usize = 50;

/// What is done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    KillLeader,
    StopLeader,
    KillFollower,
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_stopped_processes_lose_nothing_and_answer_as_one_store() {
    let rounds = std::env::var(ROUNDS).map_or(ROUNDS_DEFAULT, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut test = Test::start(Group::start(Kind::Store, dir.path(), 33, MEMBERS)).await;
    let mut pauses: HashMap<&str, Vec<Duration>> = HashMap::new();
    let mut answers = 0;
    for first in (0..rounds).step_by(ROUNDS_PER_CHECK as usize) {
        let addresses = test.group.addresses();
        let clients = Clients::start(CLIENTS, VALUE_BYTES, &addresses, &test.record, first);
        for round in first..rounds.min(first + ROUNDS_PER_CHECK) {
            let blow = [Blow::KillLeader, Blow::StopLeader, Blow::KillFollower][round as usize % 3];
            let pause = test.strike(blow).await;
            match blow {
                Blow::KillLeader => pauses.entry("kill -9").or_default().push(pause),
                Blow::StopLeader => pauses.entry("SIGSTOP").or_default().push(pause),
                Blow::KillFollower => {}
            }
        }
        clients.stop().await;
        answers += test.check().await;
    }
    test.members_are_equal().await;
    let mut said = format!("{rounds} rounds, {answers} answers, none wrong and none lost\n");
    for (what, mut pauses) in pauses {
        pauses.sort_unstable();
        let at = |share: usize| pauses[(pauses.len() - 1) * share / 100];
        said += &format!(
            "from the {what} of a leader to the next acknowledged write, {} times: p50 {:?}, p90 {:?}, max {:?}\n",
            pauses.len(),
            at(50),
            at(90),
            at(100),
        );
    }
    // Past the harness, which keeps the output of tests that pass to itself: the figures are half of what this is for.
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

struct Test {
    group: Group,
    record: Arc<Record>,
    /// What every key held at the last check, and the revision of that.
    known: HashMap<String, Version>,
    checked: i64,
}

impl Test {
    async fn start(group: Group) -> Self {
        let mut test = Self {
            group,
            record: Arc::default(),
            known: HashMap::new(),
            checked: 1,
        };
        test.leader().await;
        test.checked = test.revision().await;
        test
    }

    async fn status(&self, at: usize) -> Option<StatusResponse> {
        let ask = async {
            let mut client = Client::connect(self.group.address(at)).await.ok()?;
            let status = client.maintenance.status(StatusRequest {}).await.ok()?;
            Some(status.into_inner())
        };
        tokio::time::timeout(Duration::from_secs(1), ask)
            .await
            .ok()?
    }

    /// Who leads, and in which term. All members are up.
    async fn leader(&self) -> (usize, u64) {
        until("all members know one leader", async || {
            let mut all = Vec::new();
            for at in 0..usize::from(MEMBERS) {
                all.push(self.status(at).await?);
            }
            let (leader, term) = (all[0].leader, all[0].raft_term);
            let agreed = all
                .iter()
                .all(|status| (status.leader, status.raft_term) == (leader, term));
            let member =
                |status: &StatusResponse| status.header.as_ref().map(|header| header.member_id);
            let at = all
                .iter()
                .position(|status| member(status) == Some(leader))?;
            agreed.then_some((at, term))
        })
        .await
    }

    /// Strikes one member, waits until writes go on without it, and brings it back. Returns how long they paused.
    async fn strike(&mut self, blow: Blow) -> Duration {
        let (leader, term) = self.leader().await;
        self.more_writes().await;
        let victim = match blow {
            Blow::KillFollower => (leader + 1) % usize::from(MEMBERS),
            Blow::KillLeader | Blow::StopLeader => leader,
        };
        let struck = Instant::now();
        match blow {
            Blow::StopLeader => self.group.signal(victim, Signal::STOP),
            Blow::KillLeader | Blow::KillFollower => self.group.kill(victim),
        }
        let pause = if victim == leader {
            let first = until("a write in a later term", async || {
                self.record.first_after(term)
            })
            .await;
            // One of a term that began before the blow is no answer to it.
            first.saturating_duration_since(struck)
        } else {
            Duration::ZERO
        };
        self.more_writes().await;
        match blow {
            Blow::StopLeader => self.group.signal(victim, Signal::CONT),
            Blow::KillLeader | Blow::KillFollower => self.group.restart(victim),
        }
        self.leader().await;
        pause
    }

    async fn more_writes(&self) {
        let before = self.record.acknowledged();
        until("writes go on", async || {
            (self.record.acknowledged() >= before + WRITES_BETWEEN).then_some(())
        })
        .await;
    }

    async fn client(&self) -> Client {
        Client::connect(self.group.address(0)).await.unwrap()
    }

    async fn revision(&self) -> i64 {
        let mut client = self.client().await;
        let read = RangeRequest {
            key: "none".into(),
            ..RangeRequest::default()
        };
        let answer = until("a read", async || client.kv.range(read.clone()).await.ok()).await;
        answer.into_inner().header.unwrap().revision
    }

    /// Holds what clients were told since the last time against what the store says has happened.
    async fn check(&mut self) -> usize {
        let until = self.revision().await;
        let history = soon("the history", self.history(until)).await;
        self.checked = until;
        self.record.check(&mut self.known, &history)
    }

    /// All changes since the last check, up to a revision.
    async fn history(&self, until: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        if until == self.checked {
            return changes;
        }
        let create = Request::Create(WatchCreateRequest {
            key: b"\0".to_vec().into(),
            range_end: b"\0".to_vec().into(),
            start_revision: self.checked + 1,
            ..WatchCreateRequest::default()
        });
        let create = WatchRequest {
            request: Some(create),
        };
        let requests =
            futures::StreamExt::chain(futures::stream::iter([create]), futures::stream::pending());
        let mut client = self.client().await;
        let mut answers = client.watch.watch(requests).await.unwrap().into_inner();
        while changes
            .last()
            .is_none_or(|last: &Change| last.revision < until)
        {
            let answer = answers.message().await.unwrap().unwrap();
            assert!(!answer.canceled, "{answer:?}");
            for event in answer.events {
                let kv = event.kv.unwrap();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let change = Change {
                    revision: kv.mod_revision,
                    key: text(&kv.key),
                    value: text(&kv.value),
                };
                let expect = changes.last().map_or(self.checked, |last| last.revision) + 1;
                assert_eq!(change.revision, expect, "one revision behind the other");
                changes.push(change);
            }
        }
        changes
    }

    async fn members_are_equal(&self) {
        let revision = self.revision().await;
        let mut hashes = Vec::new();
        for at in 0..usize::from(MEMBERS) {
            let hash = until("a member has all", async || {
                let mut client = Client::connect(self.group.address(at)).await.ok()?;
                let hash = client.maintenance.hash_kv(HashKvRequest { revision }).await;
                Some(hash.ok()?.into_inner().hash)
            })
            .await;
            hashes.push(hash);
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    }
}
