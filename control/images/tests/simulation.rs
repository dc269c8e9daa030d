//! Whole clusters of registries under a seed: servers die and come back, calls are lost, hang, break
//! off and lie, while images are pushed, pulled and deleted. What was promised is checked after each step.
//!
//! A seed decides what is done and what fails, not how tasks interleave; a failure prints it.
//! `EUSTON_IMAGES_SEEDS=10..500` runs others.

// clippy.toml exempts test functions; these are their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use euston_images::{Digest, Limits};
use http::StatusCode;
use support::{Cluster, Dice, Fault, delete, get, push, until};

const STEPS: usize = 25;
const FAULTS: [Fault; 5] = [
    Fault::Refuse,
    Fault::LoseAnswer,
    Fault::Break,
    Fault::Lie,
    Fault::Hang,
];

struct Sim {
    seed: u64,
    dice: Arc<Dice>,
    cluster: Cluster,
    /// One of so many calls fails; 0 for none.
    rate: Arc<AtomicUsize>,
    /// By tag: the layers that it may point to. One, unless a push or deletion failed, which
    /// may have happened nevertheless; `None` stands for no tag.
    tags: BTreeMap<String, Vec<Option<Vec<u8>>>>,
}

impl Sim {
    async fn start(seed: u64) -> Self {
        let dice = Arc::new(Dice::new(seed));
        let servers = [1, 2, 3, 3, 5][dice.below(5)];
        let limits = Limits {
            sibling_idle: Duration::from_millis(100),
            ..Limits::default()
        };
        let cluster = Cluster::start(servers, limits).await;
        let rate = Arc::new(AtomicUsize::new(0));
        let fault = {
            let (dice, rate) = (dice.clone(), rate.clone());
            move |kinds: usize| {
                let rate = rate.load(Ordering::SeqCst);
                (rate > 0 && dice.below(rate) == 0).then(|| FAULTS[dice.below(kinds)])
            }
        };
        let catalog_fault = fault.clone();
        // A catalogue that hangs is bounded by seconds; the unit of time here is a tenth of one.
        *cluster.catalog.faults.lock().unwrap() = Arc::new(move |_, _, _| catalog_fault(2));
        cluster.set_net(move |_, _, _| fault(FAULTS.len()));
        Self {
            seed,
            dice,
            cluster,
            rate,
            tags: BTreeMap::new(),
        }
    }

    async fn step(&mut self) {
        let index = self.dice.below(self.cluster.servers.len());
        let tag = format!("v{}", self.dice.below(3));
        let alive = self.cluster.servers[index].registry.is_some();
        match self.dice.below(10) {
            0 if alive => self.cluster.kill(index),
            _ if !alive => self.cluster.revive(index).await,
            1 => self.rate.store(self.dice.below(8), Ordering::SeqCst),
            2 => (0..self.cluster.servers.len()).for_each(|i| self.cluster.age(i)),
            3 => self.delete(index, &tag).await,
            4 | 5 => self.pull(index, &tag).await,
            6 => self.push_and_die(index, &tag).await,
            _ => self.push(index, &tag).await,
        }
        self.check();
    }

    fn layer(&self) -> Vec<u8> {
        format!("layer {}", self.dice.below(6)).into_bytes()
    }

    async fn push(&mut self, index: usize, tag: &str) {
        let layer = self.layer();
        let answer = push(self.cluster.router(index), "app", tag, &layer).await;
        let may = self.tags.entry(tag.to_owned()).or_insert(vec![None]);
        if answer.status == StatusCode::CREATED {
            *may = vec![Some(layer)];
        } else {
            self.failed_well(answer.status);
            self.may(tag, Some(layer));
        }
    }

    /// The server dies in the middle of a push, wherever that is.
    async fn push_and_die(&mut self, index: usize, tag: &str) {
        let layer = self.layer();
        let pushing = push(self.cluster.router(index), "app", tag, &layer);
        let soon = Duration::from_millis(self.dice.below(40) as u64);
        let done = tokio::time::timeout(soon, pushing).await;
        self.cluster.kill(index);
        self.tags.entry(tag.to_owned()).or_insert(vec![None]);
        match done {
            Ok(answer) if answer.status == StatusCode::CREATED => {
                self.tags.insert(tag.to_owned(), vec![Some(layer)]);
            }
            _ => self.may(tag, Some(layer)),
        }
    }

    async fn delete(&mut self, index: usize, tag: &str) {
        let path = format!("/v2/app/manifests/{tag}");
        let answer = self.cluster.send(index, delete(path)).await;
        match answer.status {
            StatusCode::ACCEPTED | StatusCode::NOT_FOUND => {
                self.tags.insert(tag.to_owned(), vec![None]);
            }
            status => {
                self.failed_well(status);
                self.tags.entry(tag.to_owned()).or_insert(vec![None]);
                self.may(tag, None);
            }
        }
    }

    /// A tag points to what was pushed last, and what arrives whole is right.
    async fn pull(&mut self, index: usize, tag: &str) {
        let path = format!("/v2/app/manifests/{tag}");
        let answer = self.cluster.send(index, get(path)).await;
        let may = self.tags.get(tag).cloned().unwrap_or(vec![None]);
        let seen = match (answer.status, &answer.body) {
            (StatusCode::OK, Ok(body)) => {
                let manifest: serde_json::Value = serde_json::from_slice(body).unwrap();
                let digest = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
                self.pull_blob(index, &digest).await;
                Some(digest)
            }
            (StatusCode::OK, Err(_)) => return,
            (StatusCode::NOT_FOUND, _) => None,
            (status, _) => return self.failed_well(status),
        };
        let matches = |layer: &&Option<Vec<u8>>| {
            layer.as_ref().map(|layer| Digest::of(layer).to_string()) == seen
        };
        let seed = self.seed;
        let found = may.iter().find(matches);
        let found = found.unwrap_or_else(|| panic!("seed {seed}: {tag} is {seen:?}, not {may:?}"));
        // The index has made up its mind.
        self.tags.insert(tag.to_owned(), vec![found.clone()]);
    }

    async fn pull_blob(&self, index: usize, digest: &str) {
        let path = format!("/v2/app/blobs/{digest}");
        let answer = self.cluster.send(index, get(path)).await;
        match (answer.status, answer.body) {
            (StatusCode::OK, Ok(body)) => {
                assert_eq!(Digest::of(&body).to_string(), digest, "seed {}", self.seed);
            }
            (StatusCode::OK, Err(_)) => {}
            (status, _) => self.failed_well(status),
        }
    }

    fn may(&mut self, tag: &str, layer: Option<Vec<u8>>) {
        let may = self.tags.get_mut(tag).unwrap();
        if !may.contains(&layer) {
            may.push(layer);
        }
    }

    /// What cannot be done now is said to be so, and nothing else goes wrong.
    fn failed_well(&self, status: StatusCode) {
        let seed = self.seed;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "seed {seed}");
    }

    /// All that the index refers to is on most disks.
    fn check(&self) {
        let servers = self.cluster.servers.len();
        for digest in self.cluster.catalog.references() {
            let copies = self.cluster.copies(&digest);
            let seed = self.seed;
            assert!(
                copies > servers / 2,
                "seed {seed}: {digest} is on {copies} of {servers}"
            );
        }
    }

    /// Once nothing fails any more, every server gets everything.
    async fn heal(&mut self) {
        self.rate.store(0, Ordering::SeqCst);
        for index in 0..self.cluster.servers.len() {
            // Also those that run: this does not test how long they wait between tries.
            self.cluster.kill(index);
            self.cluster.revive(index).await;
        }
        let cluster = &self.cluster;
        let what = format!("seed {}: all have all", self.seed);
        until(&what, || {
            let referenced = cluster.catalog.references();
            referenced
                .iter()
                .all(|blob| cluster.copies(blob) == cluster.servers.len())
        })
        .await;
        for tag in 0..3 {
            let index = self.dice.below(self.cluster.servers.len());
            self.pull(index, &format!("v{tag}")).await;
        }
    }
}

#[tokio::test]
async fn what_was_pushed_is_never_lost_whatever_fails() {
    let seeds = std::env::var("EUSTON_IMAGES_SEEDS").unwrap_or("0..20".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    for seed in from.parse().unwrap()..to.parse().unwrap() {
        let mut sim = Sim::start(seed).await;
        for _ in 0..STEPS {
            sim.step().await;
        }
        sim.heal().await;
    }
}
